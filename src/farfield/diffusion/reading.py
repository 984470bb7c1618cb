r"""The ways to read one network: what its output means, which levels its time steps are, how its images are scaled.

A network's file states some of this, and may be wrong. Every reading here is a `Denoiser` around the same network, so that
they can be compared (`diffusion.sanity`). Those that ask the network the same question share its answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final, get_args

import torch
from torch import Tensor, nn

from farfield.core.error import FarfieldError
from farfield.diffusion.denoiser import Denoiser, NetworkDenoiser, Prediction
from farfield.diffusion.flow import FlowSchedule, Path, Toward
from farfield.diffusion.schedule import (
    ContinuousSchedule,
    DiscreteSchedule,
    LinearBetas,
    Schedule,
    SubVPSchedule,
    VESchedule,
    VPSchedule,
    cosine_betas,
    linear_betas,
    scaled_linear_betas,
)
from farfield.diffusion.units import Rescaled, Units

PREDICTIONS: Final[tuple[Prediction, ...]] = ("epsilon", "sample", "v")
STEPS: Final = (1000, 4000)
"""How many time steps the field's published networks were trained at."""
SIGMA_DATA: Final = (0.5, 1.0)
TIME_SCALES: Final = (1.0, 1000.0)
"""What flows are told at their time 1, and EDM's networks of ln(sigma)/4 = 1."""


@dataclass(frozen=True)
class Reading:
    """One way to read a network.

    Attributes:
        changes: what differs from the way it is read now, as ``{"prediction": "v"}``; empty for that way itself.
    """

    changes: Mapping[str, str]
    denoiser: Denoiser

    @property
    def name(self) -> str:
        return ", ".join(f"{what} {value}" for what, value in self.changes.items()) or "as read"


@dataclass(frozen=True)
class Readings:
    """Readings around one network, by their names; it is opened when they are tried, and let go afterwards."""

    names: tuple[str, ...]
    open: Callable[[], Sequence[Reading]]

    @staticmethod
    def of(denoiser: NetworkDenoiser | Rescaled, doubled: bool = False) -> Readings:
        """All of `readings`, of a denoiser that is kept."""
        every = readings(denoiser, doubled)
        return Readings(tuple(r.name for r in every), lambda: every)


class Once(nn.Module):
    """A network that does not compute the answer to the same question twice in a row."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network
        self.asked: list[Tensor] = []
        self.answer = torch.empty(0)

    def forward(self, *question: Tensor) -> Tensor:
        if len(question) != len(self.asked) or not all(map(torch.equal, question, self.asked)):
            self.answer, self.asked = self.network(*question), list(question)
        return self.answer


class SecondHalf(nn.Module):
    """Of 2C channels the last C, where the variance should be."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, *question: Tensor) -> Tensor:
        answer: Tensor = self.network(*question).chunk(2, dim=1)[1]
        return answer


ZERO_TO_ONE: Final = Units(0.0, 1.0)
"""Of a model whose images are in [0, 1]."""


def readings(denoiser: NetworkDenoiser | Rescaled, doubled: bool = False) -> list[Reading]:
    """The way a network is read now, and then every other that is known here.

    One thing is changed at a time (levels, preconditioning, scale of the images), each with every prediction. The units of a
    model that has its own are taken for right.

    Args:
        doubled: it answers 2C channels, of which the second half could be the mean.
    """
    if isinstance(denoiser, Rescaled):
        units, inner = denoiser.units, denoiser.inner
        if not isinstance(inner, NetworkDenoiser):
            raise FarfieldError(
                f"{type(inner).__name__}: has no network; expected one, which could be read in other ways"
            )
        own = [r for r in readings(inner, doubled) if "images" not in r.changes]
        return [Reading(r.changes, Rescaled(r.denoiser, units)) for r in own]
    network, now = Once(denoiser.network), denoiser.prediction
    preserving = now in PREDICTIONS

    def reading(
        changes: Mapping[str, str],
        schedule: Schedule = denoiser.schedule,
        prediction: Prediction = now,
        sigma_data: float = denoiser.sigma_data,
        network: nn.Module = network,
    ) -> Reading:
        read = NetworkDenoiser(network, schedule, denoiser.shape, prediction, denoiser.label, sigma_data)
        return Reading(changes, read)

    def vp(changes: Mapping[str, str], schedule: Schedule) -> list[Reading]:
        meant = [p for p in PREDICTIONS if p != "v" or not isinstance(schedule, SubVPSchedule)]
        return [reading({**changes, **({} if p == now else {"prediction": p})}, schedule, p) for p in meant]

    every = vp({}, denoiser.schedule) if preserving else [reading({})]
    every.sort(key=lambda r: bool(r.changes))  # the present one first
    every += [Reading({"images": "[0, 1]", **r.changes}, Rescaled(r.denoiser, ZERO_TO_ONE)) for r in every]
    if doubled:
        every.append(reading({"mean": "second half of the channels"}, network=SecondHalf(network)))
    for named, schedule in equations(denoiser.schedule):
        every += vp(named, schedule)
    for named, schedule in schedules(denoiser.schedule):
        every += vp(named, schedule)
    every += [reading(named, flow, "flow") for named, flow in flows(denoiser.schedule)]
    every += [reading(named, schedule, "edm", data) for named, schedule, data in _edm(denoiser)]
    if now != "ve":
        every.append(reading({"prediction": "ve"}, VESchedule(), "ve"))
    return every


def _edm(now: NetworkDenoiser) -> Iterator[tuple[dict[str, str], ContinuousSchedule, float]]:
    """The ways to read a network as EDM's that are not the present one: what they are called, levels, deviation of the data."""
    own = now.schedule
    if now.prediction != "edm" or not isinstance(own, ContinuousSchedule):
        for data, scale in product(SIGMA_DATA, TIME_SCALES):
            named = {"prediction": "edm", "sigma_data": f"{data:g}", "time_scale": f"{scale:g}"}
            yield named, ContinuousSchedule(scale=scale), data
        return
    for data in (d for d in SIGMA_DATA if d != now.sigma_data):
        yield {"sigma_data": f"{data:g}"}, own, data
    for scale in (s for s in TIME_SCALES if s != own.scale):
        yield {"time_scale": f"{scale:g}"}, ContinuousSchedule(*own.bounds, scale=scale), now.sigma_data


def schedules(now: Schedule) -> list[tuple[dict[str, str], DiscreteSchedule]]:
    """Other levels that time steps may mean, and what they are called: the field's, at as many steps as now and as usual."""
    discrete = isinstance(now, DiscreteSchedule)
    steps, scale = (len(now.levels), now.scale) if isinstance(now, DiscreteSchedule) else (1000, 1.0)
    candidates = [
        ({"schedule": "linear"}, DiscreteSchedule(_linear(steps), scale=scale)),
        ({"schedule": "cosine"}, DiscreteSchedule(cosine_betas(steps), scale=scale)),
        ({"schedule": "scaled_linear"}, DiscreteSchedule(scaled_linear_betas(steps), scale=scale)),
    ]
    for other in (n for n in STEPS if discrete and n != steps):
        candidates.append(({"schedule": "linear", "steps": str(other)}, DiscreteSchedule(_linear(other))))
        candidates.append(({"schedule": "cosine", "steps": str(other)}, DiscreteSchedule(cosine_betas(other))))
    if isinstance(now, LinearBetas):
        del candidates[0]  # of `equations`
    return [(named, schedule) for named, schedule in candidates if not _alike(schedule, now)]


def equations(now: Schedule) -> list[tuple[dict[str, str], Schedule]]:
    """Of the SDEs that have the same betas, and so the same time steps, those that are not the present one; and DDPM's steps."""
    if not isinstance(now, LinearBetas):
        return []
    same = (now.beta_d, now.beta_min, now.steps, now.t_min)
    other = SubVPSchedule(*same) if isinstance(now, VPSchedule) else VPSchedule(*same)
    name = "subvp" if isinstance(now, VPSchedule) else "vp"
    return [({"sde": name}, other), ({"sde": "ddpm"}, DiscreteSchedule(linear_betas()))]


def flows(now: Schedule) -> list[tuple[dict[str, str], FlowSchedule]]:
    """The ways to read a network as a flow that are not the present one, and what they are called.

    The curved path is tried as those who train on it tell their networks, or as the present one is told.
    """
    current = now if isinstance(now, FlowSchedule) else None
    scales = {*TIME_SCALES, *([current.scale] if current else [])}
    ways: list[tuple[Toward, float, Path]] = [
        (w, scale, "straight") for w in get_args(Toward) for scale in sorted(scales)
    ]
    ways.append((current.toward, current.scale, "curved") if current else ("data", 1.0, "curved"))
    usual = _named(current) if current else {"path": "straight"}
    found = [FlowSchedule(toward, scale, path=path) for toward, scale, path in ways]
    changes = [({k: v for k, v in _named(flow).items() if usual.get(k) != v}, flow) for flow in found]
    return [(changed, flow) for changed, flow in changes if changed]


def _named(flow: FlowSchedule) -> dict[str, str]:
    return {"prediction": "flow", "direction": flow.toward, "time_scale": f"{flow.scale:g}", "path": flow.path}


def _linear(steps: int) -> Tensor:
    """Linear betas of a process of any length: those of 1000 steps, with so many of them in each (arXiv 2102.09672)."""
    return linear_betas(steps, 0.1 / steps, min(20 / steps, 0.999))


def _alike(a: DiscreteSchedule, b: Schedule) -> bool:
    if not isinstance(b, DiscreteSchedule) or len(a.levels) != len(b.levels) or a.scale != b.scale:
        return False
    return torch.allclose(a.levels, b.levels, rtol=1e-4)
