"""`farfield rank`: the spectrum of the denoiser's Jacobian over noise levels, its rank, and how linear the denoiser is.

Each spectrum is a row of its own on disk, under the point's name and the level: an interrupted run continues with the next one.
Thresholds are applied afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from farfield.audit.interval import bootstrap, resample
from farfield.checkpoints.load import model_digest
from farfield.core import note
from farfield.core.artifact import Images, Score
from farfield.core.error import FarfieldError
from farfield.core.runtime import (
    Advance,
    exact_matmul,
    generator,
    seeded_noise,
)
from farfield.data.subset import choose
from farfield.diffusion.denoiser import Denoiser
from farfield.diffusion.schedule import DiscreteSchedule, Schedule
from farfield.diffusion.solver import integrate
from farfield.manifold.jacobian import BATCH, Jacobian
from farfield.manifold.rank import effective_rank, numerical_rank
from farfield.manifold.spectrum import Spectrum, check_request, spectrum
from farfield.study.bench.carrier import encode, place
from farfield.study.bench.domain import open_source
from farfield.study.bench.loading import Loading
from farfield.study.bench.run import Run
from farfield.study.manifold.spectra import DIRECTIONS, FACTS, STEP, Spectra, packed, unpacked

Along = Literal["noised", "trajectory", "clean"]

PICTURES = "hubble"
"""The points where no images are given."""
LEVELS = 8
LOWEST, HIGHEST = 0.05, 50.0
"""Of the levels that are taken where none are given: below and above, the denoiser is the identity or a constant."""
STEPS = 18
"""Of a trajectory, from the last level to the point's."""
RESAMPLES = 1000


@dataclass(frozen=True)
class Points:
    """Where the Jacobian is taken.

    Attributes:
        along: ``noised`` images, points of the model's own ``trajectory`` from seeds, or ``clean`` images as they are.
        images: their source.
        count: how many.
        sigmas: the levels; LEVELS between the model's ends if not given.
        seed: of the noise, and the first seed of a trajectory.
    """

    along: str = "noised"
    images: str | None = None
    count: int = 16
    sigmas: tuple[float, ...] | None = None
    seed: int = 0

    def check(self) -> None:
        if self.along not in get_args(Along):
            raise FarfieldError(f"along {self.along!r}: expected one of {', '.join(get_args(Along))}")
        if self.along == "trajectory" and self.images is not None:
            raise FarfieldError(f"images {self.images}: a trajectory begins at noise; leave one of the two out")
        if self.count < 1:
            raise FarfieldError(f"{self.count} points: expected at least 1")


@note.kept()
def rank(
    model: str,
    out: Path,
    points: Points,
    loading: Loading = Loading(BATCH),
    *,
    method: str = "auto",
    share: float = 0.99,
    quiet: bool = False,
) -> dict[str, Any]:
    """The spectrum at every point and level, and what it says; written to ``spectra/`` and ``summary.json``.

    Args:
        method: see `manifold.spectrum.spectrum`.
        share: of the Frobenius norm that the rank holds.
    """
    points.check()
    check_request(method, share)
    denoiser = loading.load(model)
    sigmas = levels(denoiser.schedule, points.sigmas)
    images = None if points.along == "trajectory" else _images(points, denoiser)
    request = {
        "model": model,
        **asdict(points),
        "sigmas": sigmas,
        "method": method,
        "share": share,
        "label": loading.label,
        "batch_size": loading.batch_size,
        "dtype": loading.dtype,
    }
    run = Run(out, "rank", request, {"model": model_digest(model), "images": images}, quiet)
    names = images.keys if images else tuple(str(points.seed + i) for i in range(points.count))
    keys = [f"{name}@{i}" for name in names for i in range(len(sigmas))]

    def work(some: tuple[str, ...], advance: Advance) -> Spectra:
        rows = []
        for key in some:
            name, _, place = key.rpartition("@")
            x = _point(denoiser, points, images, name, sigmas[int(place)])
            jacobian = Jacobian(denoiser, x, sigmas[int(place)], batch=loading.batch_size)
            g = generator(points.seed, f"spectrum {key}")
            found = spectrum(jacobian, g, method, share)
            rows.append(packed(found, jacobian, g))
            advance(1)
        return Spectra(some, torch.stack(rows))

    spectra = run.compute("spectra", Spectra, keys, 1, work, "spectra")
    summary = {
        "command": "rank",
        "model": {"name": model, "digest": run.request["model_digest"], "shape": list(denoiser.image_shape)},
        "along": points.along,
        "images": None if images is None else points.images or PICTURES,
        "n": len(names),
        "dimension": spectra.values.shape[1] - len(FACTS),
        "share": share,
        "linearity": {"directions": DIRECTIONS, "step": STEP},
        "levels": [
            _level(spectra.select([f"{name}@{i}" for name in names]), sigma, share, points.seed)
            for i, sigma in enumerate(sigmas)
        ],
        "points": list(names),
    }
    return run.conclude(summary)


def levels(schedule: Schedule, given: Sequence[float] | None) -> list[float]:
    """Ascending levels, each one that the model knows: of a discrete-time model the trained level nearest to it.

    Raises:
        FarfieldError: a level out of range, or two that are the same trained level.
    """
    if given is None:
        low, high = max(schedule.sigma_min, LOWEST), min(schedule.sigma_max, HIGHEST)
        given = torch.logspace(math.log10(low), math.log10(high), LEVELS, dtype=torch.float64).tolist()
    found = sorted(schedule.nearest(s) if isinstance(schedule, DiscreteSchedule) else schedule.check(s) for s in given)
    if len(set(found)) < len(found):
        raise FarfieldError(
            f"sigmas {', '.join(f'{s:g}' for s in given)}: two are the same level of this model; give each once"
        )
    return found


def over_points(values: Sequence[float], seed: int) -> dict[str, Any]:
    """The mean over points with its bootstrap interval, and the extremes."""
    v = torch.tensor(values, dtype=torch.float64)
    low, high = (
        bootstrap(lambda g: float(v[resample(len(v), g)].mean()), RESAMPLES, seed) if len(v) > 1 else (None, None)
    )
    return {"mean": Score(float(v.mean()), len(v), low, high), "min": float(v.min()), "max": float(v.max())}


def _level(spectra: Spectra, sigma: float, share: float, seed: int) -> dict[str, Any]:
    """What all points say at one level."""
    read = [unpacked(row) for row in spectra.values]
    found, facts = [s for s, _ in read], [f for _, f in read]
    ranks = {s: [numerical_rank(one, s).value for one in found] for s in sorted({0.9, 0.95, share}) if s <= share}
    exact = [one for one in found if one.method == "exact"]
    return {
        "sigma": sigma,
        "rank": over_points(ranks[share], seed),
        "ranks": {f"{s:g}": over_points(r, seed) for s, r in ranks.items()},
        "interval": [[r.low, r.high] for r in (numerical_rank(one, share) for one in found)],
        "effective": over_points([effective_rank(one) for one in found], seed),
        "norm": over_points([math.sqrt(one.energy.value) for one in found], seed),
        "trace": over_points([one.trace.value for one in found], seed),
        "trace_error": max(one.trace.error for one in found),
        "asymmetry": over_points([one.asymmetry.value for one in found], seed),
        "asymmetry_error": max(one.asymmetry.error for one in found),
        "negative": over_points([float(one.negative or 0) for one in exact], seed) if exact else None,
        "lowest": min((one.lowest for one in exact if one.lowest is not None), default=None),
        "residual_share": max(one.residual.value / one.energy.value if one.energy.value else 0.0 for one in found),
        "methods": {name: sum(one.method == name for one in found) for name in ("exact", "matrix-free")},
        "network_calls": sum(one.calls for one in found),
        **{
            name: over_points(known, seed) if (known := [f[name] for f in facts if not math.isnan(f[name])]) else None
            for name in ("cosine", "ratio", "departure")
        },
        "values": _middle(found),
    }


def _middle(found: Sequence[Spectrum]) -> list[float]:
    """The median over points of each singular value, as far as all know them."""
    known = min(len(one.values) for one in found)
    return torch.stack([one.values[:known] for one in found]).median(0).values.tolist() if known else []


def _images(points: Points, denoiser: Denoiser) -> Images:
    source = points.images or PICTURES

    def draw(keys: list[str]) -> list[str]:
        if points.count > len(keys):
            raise FarfieldError(
                f"{points.count} points: {source} holds only {len(keys)} images; give --points {len(keys)}"
            )
        return choose(keys, points.count, points.seed)[0]

    return open_source(source, denoiser.image_shape, draw=draw).examples


def _point(denoiser: Denoiser, points: Points, images: Images | None, name: str, sigma: float) -> Tensor:
    """The point of one image or seed at one level, ``[*shape]``; its noise is the same at every level."""
    if images is not None:
        x0 = encode(denoiser, images.select([name]))[0]
        noise = torch.randn(denoiser.shape, generator=generator(points.seed, f"noise {name}"))
        return x0 if points.along == "clean" else x0 + sigma * place(denoiser, noise)
    last = denoiser.schedule.sigma_max
    start = math.sqrt(1 + last**2) * place(denoiser, seeded_noise([int(name)], denoiser.shape))
    if sigma == last:
        return start[0]
    known = denoiser.schedule.sigmas(_steps(denoiser.schedule, sigma), last, sigma)
    with exact_matmul(), torch.no_grad():
        return integrate(denoiser, start, known)[0]


def _steps(schedule: Schedule, sigma: float) -> int:
    """STEPS, or as many trained levels as are left above this one."""
    if not isinstance(schedule, DiscreteSchedule):
        return STEPS
    return min(STEPS, int((schedule.levels > sigma * (1 + 1e-9)).sum()))
