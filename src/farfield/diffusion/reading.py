r"""The ways to read one network: what its output means, which levels its time steps are, how its images are scaled.

A network's file states some of this, and may be wrong. Every reading here is a `Denoiser` around the same network, so that
they can be compared (`diffusion.sanity`). Those that ask the network the same question share its answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from farfield.diffusion.denoiser import Denoiser, EDMDenoiser, NetworkDenoiser, Prediction, VEDenoiser
from farfield.diffusion.precondition import Trainable
from farfield.diffusion.schedule import (
    ContinuousSchedule,
    DiscreteSchedule,
    Schedule,
    VESchedule,
    cosine_betas,
    linear_betas,
    scaled_linear_betas,
)

PREDICTIONS: Final[tuple[Prediction, ...]] = ("epsilon", "sample", "v")
STEPS: Final = (1000, 4000)
"""How many time steps the field's published networks were trained at."""
SIGMA_DATA: Final = (0.5, 1.0)


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
    def of(denoiser: Trainable, doubled: bool = False) -> Readings:
        """All of `readings`, of a denoiser that is kept."""
        found = readings(denoiser, doubled)
        return Readings(tuple(r.name for r in found), lambda: found)


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


class ZeroToOne(Denoiser):
    r"""A denoiser of images in [0, 1], for images in [-1, 1]: :math:`2 D((x + 1)/2, \sigma/2) - 1`."""

    def __init__(self, inner: Denoiser):
        super().__init__()
        self.inner, self.shape, self.schedule = inner, inner.shape, inner.schedule

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        answer: Tensor = self.inner((x + 1) / 2, sigma / 2)
        return 2 * answer - 1


def readings(denoiser: Trainable, doubled: bool = False) -> list[Reading]:
    """The way a network is read now, and then every other that is known here.

    One thing is changed at a time (levels, preconditioning, scale of the images), each with every prediction.

    Args:
        doubled: it answers 2C channels, of which the second half could be the mean.
    """
    network, shape, label = Once(denoiser.network), denoiser.shape, denoiser.label
    now = denoiser.prediction if isinstance(denoiser, NetworkDenoiser) else None

    def vp(schedule: Schedule, changes: Mapping[str, str], inner: nn.Module = network) -> list[Reading]:
        return [
            Reading(
                {**changes, **({} if p == now else {"prediction": p})},
                NetworkDenoiser(inner, schedule, shape, p, label),
            )
            for p in PREDICTIONS
        ]

    def edm(data: float, changes: Mapping[str, str]) -> Reading:
        schedule = denoiser.schedule if isinstance(denoiser, EDMDenoiser) else ContinuousSchedule()
        return Reading(changes, EDMDenoiser(network, schedule, shape, data, label))

    found: list[Reading]
    if isinstance(denoiser, NetworkDenoiser):
        found = sorted(vp(denoiser.schedule, {}), key=lambda r: bool(r.changes))  # the present one first
        inside = [Reading({"images": "[0, 1]", **r.changes}, ZeroToOne(r.denoiser)) for r in found]
        found += inside
    else:
        found = [Reading({}, _around(denoiser, network))]
        found += [Reading({"images": "[0, 1]"}, ZeroToOne(found[0].denoiser))]
    if doubled:
        found.append(Reading({"mean": "second half of the channels"}, _around(denoiser, SecondHalf(network))))
    family = {} if now else {"preconditioning": "vp"}
    for named, schedule in schedules(denoiser.schedule):
        found += vp(schedule, {**family, **named})
    if isinstance(denoiser, EDMDenoiser):
        found += [edm(d, {"sigma_data": f"{d:g}"}) for d in SIGMA_DATA if d != denoiser.sigma_data]
    else:
        found += [edm(d, {"preconditioning": "edm", "sigma_data": f"{d:g}"}) for d in SIGMA_DATA]
    if not isinstance(denoiser, VEDenoiser):
        found.append(Reading({"preconditioning": "ve"}, VEDenoiser(network, VESchedule(), shape, label)))
    return found


def schedules(now: Schedule) -> list[tuple[dict[str, str], DiscreteSchedule]]:
    """Other levels that time steps may mean, and what they are called: the field's, at as many steps as now and as usual."""
    discrete = isinstance(now, DiscreteSchedule)
    steps, scale = (len(now.levels), now.scale) if isinstance(now, DiscreteSchedule) else (1000, 1.0)
    found = [
        ({"schedule": "linear"}, DiscreteSchedule(_linear(steps), scale=scale)),
        ({"schedule": "cosine"}, DiscreteSchedule(cosine_betas(steps), scale=scale)),
        ({"schedule": "scaled_linear"}, DiscreteSchedule(scaled_linear_betas(steps), scale=scale)),
    ]
    for other in (n for n in STEPS if discrete and n != steps):
        found.append(({"schedule": "linear", "steps": str(other)}, DiscreteSchedule(_linear(other))))
        found.append(({"schedule": "cosine", "steps": str(other)}, DiscreteSchedule(cosine_betas(other))))
    return [(named, schedule) for named, schedule in found if not _alike(schedule, now)]


def _linear(steps: int) -> Tensor:
    """Linear betas of a process of any length: those of 1000 steps, with so many of them in each (arXiv 2102.09672)."""
    return linear_betas(steps, 0.1 / steps, min(20 / steps, 0.999))


def _alike(a: DiscreteSchedule, b: Schedule) -> bool:
    if not isinstance(b, DiscreteSchedule) or len(a.levels) != len(b.levels) or a.scale != b.scale:
        return False
    return torch.allclose(a.levels, b.levels, rtol=1e-4)


def _around(denoiser: Trainable, network: nn.Module) -> Trainable:
    """The same denoiser around another network."""
    if isinstance(denoiser, NetworkDenoiser):
        return NetworkDenoiser(network, denoiser.schedule, denoiser.shape, denoiser.prediction, denoiser.label)
    if isinstance(denoiser, EDMDenoiser):
        return EDMDenoiser(network, denoiser.schedule, denoiser.shape, denoiser.sigma_data, denoiser.label)
    return VEDenoiser(network, denoiser.schedule, denoiser.shape, denoiser.label)
