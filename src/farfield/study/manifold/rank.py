"""`farfield rank`: the spectrum of the denoiser's Jacobian over noise levels, its rank, and how linear the denoiser is.

Each spectrum is a row of its own on disk, under the point's name and the level: an interrupted run continues with the next one.
Thresholds are applied afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from farfield.checkpoints.load import model_digest
from farfield.command.facts import Linearity, ModelFacts, OverPoints
from farfield.command.rank import Rank, RankLevel, RankResult
from farfield.core.artifact import Images
from farfield.core.error import FarfieldError
from farfield.core.interval import mean_score
from farfield.core.runtime import (
    exact_matmul,
    generator,
    seeded_noise,
)
from farfield.data.subset import choose
from farfield.diffusion.denoiser import Denoiser
from farfield.diffusion.schedule import DiscreteSchedule, Schedule
from farfield.diffusion.solver import integrate
from farfield.manifold.jacobian import Jacobian
from farfield.manifold.rank import effective_rank, numerical_rank
from farfield.manifold.spectrum import Spectrum, spectrum
from farfield.study.bench.carrier import encode, place
from farfield.study.bench.domain import open_source
from farfield.study.bench.numerics import load_model
from farfield.study.bench.opening import Work
from farfield.study.bench.run import Inputs, Run
from farfield.study.bench.units import units_of
from farfield.study.manifold.spectra import DIRECTIONS, FACTS, STEP, Spectra, packed, unpacked

PICTURES = "hubble"
"""The points where no images are given."""
LEVELS = 8
LOWEST, HIGHEST = 0.05, 50.0
"""Of the levels that are taken where none are given: below and above, the denoiser is the identity or a constant."""
BATCHES = 3
"""Of rows of J, that its time is told by."""
STEPS = 18
"""Of a trajectory, from the last level to the point's."""


def rank(settings: Rank, out: Path, *, quiet: bool = False) -> RankResult:
    """The spectrum at every point and level, and what it says; written to ``spectra/`` and ``summary.json``."""
    denoiser = load_model(settings.model, settings.loading)
    sigmas = levels(denoiser.schedule, settings.sigmas)
    images = None if settings.along == "trajectory" else _images(settings, denoiser)
    inputs: Inputs = {"model": model_digest(settings.model), "images": images}
    run = Run.of(out, settings, inputs, quiet, _work(settings, denoiser, len(sigmas)), sigmas=sigmas)
    names = images.keys if images else tuple(str(settings.seed + i) for i in range(settings.points))
    keys = [f"{name}@{i}" for name in names for i in range(len(sigmas))]

    def row(key: str) -> Tensor:
        name, _, place = key.rpartition("@")
        x = _point(denoiser, settings, images, name, sigmas[int(place)])
        jacobian = Jacobian(denoiser, x, sigmas[int(place)], batch=settings.loading.batch_size)
        g = generator(settings.seed, f"spectrum {key}")
        return packed(spectrum(jacobian, g, settings.method, settings.share), jacobian, g)

    spectra = run.rows("spectra", Spectra, keys, row, "spectra")
    return run.finish(
        RankResult(
            model=ModelFacts(name=settings.model, digest=run.request["model_digest"], shape=list(denoiser.image_shape)),
            along=settings.along,
            images=None if images is None else settings.images or PICTURES,
            n=len(names),
            dimension=spectra.values.shape[1] - len(FACTS),
            share=settings.share,
            linearity=Linearity(directions=DIRECTIONS, step=STEP),
            levels=[
                _level(spectra.select([f"{name}@{i}" for name in names]), sigma, settings.share)
                for i, sigma in enumerate(sigmas)
            ],
            points=list(names),
        )
    )


def _work(settings: Rank, denoiser: Denoiser, count: int) -> Work:
    """All rows of J at every point and level, which is what the matrix-free way comes to at most.

    It is measured on a few batches of rows at the middle level, one pass of the network before them.
    """
    d = math.prod(denoiser.shape)
    middle = levels(denoiser.schedule, settings.sigmas)[count // 2]

    def once(rows: int) -> Tensor:
        x = place(denoiser, torch.randn(denoiser.shape, generator=generator(0, "opening")))
        return Jacobian(denoiser, math.hypot(1, middle) * x, middle, batch=rows).rows(
            torch.ones(BATCHES * rows, d).to(x)
        )

    plan = {"spectra": settings.points * count * d / BATCHES}
    batch_size = settings.loading.batch_size
    return Work(denoiser, batch_size, plan, once=once, most=settings.method != "exact")


def levels(schedule: Schedule, given: Sequence[float] | None) -> list[float]:
    """Ascending levels, each one that the model knows: of a discrete-time model the trained level nearest to it.

    Raises:
        FarfieldError: a level out of range, or two that are the same trained level.
    """
    if given is None:
        low, high = max(schedule.sigma_min, LOWEST), min(schedule.sigma_max, HIGHEST)
        given = torch.logspace(math.log10(low), math.log10(high), LEVELS, dtype=torch.float64).tolist()
    sigmas = sorted(schedule.nearest(s) if isinstance(schedule, DiscreteSchedule) else schedule.check(s) for s in given)
    if len(set(sigmas)) < len(sigmas):
        raise FarfieldError(
            f"sigmas {', '.join(f'{s:g}' for s in given)}: two are the same level of this model; give each once"
        )
    return sigmas


def over_points(values: Sequence[float], least: float = -math.inf, most: float = math.inf) -> OverPoints:
    """The mean over points with its interval, and the extremes."""
    v = torch.tensor(values, dtype=torch.float64)
    return OverPoints(mean=mean_score(v, least, most), min=float(v.min()), max=float(v.max()))


def _level(rows: Spectra, sigma: float, share: float) -> RankLevel:
    """What all points say at one level."""
    read = [unpacked(row) for row in rows.values]
    spectra, facts = [one for one, _ in read], [fact for _, fact in read]
    ranks = {s: [numerical_rank(one, s).value for one in spectra] for s in sorted({0.9, 0.95, share}) if s <= share}
    exact = [one for one in spectra if one.method == "exact"]
    linear = {name: [fact[name] for fact in facts if not math.isnan(fact[name])] for name in FACTS}
    return RankLevel(
        sigma=sigma,
        rank=over_points(ranks[share], 0.0),
        ranks={f"{s:g}": over_points(r, 0.0) for s, r in ranks.items()},
        interval=[(r.low, r.high) for r in (numerical_rank(one, share) for one in spectra)],
        effective=over_points([effective_rank(one) for one in spectra], 0.0),
        norm=over_points([math.sqrt(one.energy.value) for one in spectra], 0.0),
        trace=over_points([one.trace.value for one in spectra]),
        trace_error=max(one.trace.error for one in spectra),
        asymmetry=over_points([one.asymmetry.value for one in spectra], 0.0),
        asymmetry_error=max(one.asymmetry.error for one in spectra),
        negative=over_points([float(one.negative or 0) for one in exact], 0.0) if exact else None,
        lowest=min((one.lowest for one in exact if one.lowest is not None), default=None),
        residual_share=max(one.residual.value / one.energy.value if one.energy.value else 0.0 for one in spectra),
        methods={name: sum(one.method == name for one in spectra) for name in ("exact", "matrix-free")},
        network_calls=sum(one.calls for one in spectra),
        cosine=over_points(linear["cosine"], -1.0, 1.0) if linear["cosine"] else None,
        ratio=over_points(linear["ratio"], 0.0) if linear["ratio"] else None,
        departure=over_points(linear["departure"], 0.0) if linear["departure"] else None,
        values=_middle(spectra),
    )


def _middle(spectra: Sequence[Spectrum]) -> list[float]:
    """The median over points of each singular value, as far as all know them."""
    known = min(len(one.values) for one in spectra)
    return torch.stack([one.values[:known] for one in spectra]).median(0).values.tolist() if known else []


def _images(settings: Rank, denoiser: Denoiser) -> Images:
    source = settings.images or PICTURES

    def draw(keys: list[str]) -> list[str]:
        if settings.points > len(keys):
            raise FarfieldError(
                f"{settings.points} points: {source} holds only {len(keys)} images; give --points {len(keys)}"
            )
        return choose(keys, settings.points, settings.seed)[0]

    return open_source(source, denoiser.image_shape, draw=draw, units=units_of(denoiser)).examples


def _point(denoiser: Denoiser, settings: Rank, images: Images | None, name: str, sigma: float) -> Tensor:
    """The point of one image or seed at one level, ``[*shape]``; its noise is the same at every level."""
    if images is not None:
        x0 = encode(denoiser, images.select([name]))[0]
        noise = torch.randn(denoiser.shape, generator=generator(settings.seed, f"noise {name}"))
        return x0 if settings.along == "clean" else x0 + sigma * place(denoiser, noise)
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
