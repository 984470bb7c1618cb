"""`farfield dimension`: how many dimensions the data have around each image, by three estimates of one denoiser.

FLIPD and the denoising error at every level, one image and level a row on disk; the normal bundle at the level that these
recommend.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from farfield.checkpoints.load import model_digest
from farfield.command.dimension import (
    Bundle,
    BundleImage,
    Dimension,
    DimensionLevel,
    DimensionResult,
    ImageDimension,
    Recommended,
)
from farfield.command.facts import ModelFacts, SourceFacts
from farfield.command.settings import LEFT_OUT
from farfield.command.shared import Reading
from farfield.core.artifact import Artifact
from farfield.core.error import FarfieldError
from farfield.core.runtime import generator
from farfield.diffusion.denoiser import Denoiser
from farfield.manifold.dimension import denoised, error_dimension, flipd, normal_bundle
from farfield.manifold.jacobian import Jacobian
from farfield.manifold.trace import Estimate
from farfield.study.bench.carrier import encode, place
from farfield.study.bench.domain import open_source
from farfield.study.bench.numerics import load_model
from farfield.study.bench.opening import Work
from farfield.study.bench.run import Inputs, Run
from farfield.study.bench.units import units_of
from farfield.study.manifold.rank import levels, over_points

SMALL = 1024
"""Dimensions up to which the normal bundle is made unasked: it takes four times as many network calls for each image."""
FLAT = 0.2
"""Slope, in units of the dimension found per factor of e in the level, up to which a curve counts as a plateau."""
GAP = 0.25
"""Step between singular values, of 1 at most, from which on a gap is one."""


@dataclass(frozen=True)
class Dimensions(Artifact):
    """Rows of float64: FLIPD, its error, that of denoising, its error; or of a normal bundle: threshold, gap, step."""

    kind: ClassVar[str] = "dimensions"


def dimension(settings: Dimension, out: Path, *, quiet: bool = False) -> DimensionResult:
    """The estimates of every image, in ``levels/``, ``bundle/`` and ``summary.json``.

    Raises:
        FarfieldError: more probes than dimensions, or too few copies.
    """
    probes, copies, seed, batch_size = settings.probes, settings.copies, settings.seed, settings.loading.batch_size
    denoiser = load_model(settings.model, settings.loading)
    d = math.prod(denoiser.shape)
    if probes > d:
        raise FarfieldError(f"--probes {probes}: expected at most {d}, the number of dimensions")
    copies = (4 * d if d <= SMALL else 0) if copies is None else copies
    if copies and copies < 4 * d:
        raise FarfieldError(f"--copies {copies}: expected at least {4 * d}, four times the dimensions, or 0 for none")
    grid = levels(denoiser.schedule, settings.sigmas)
    reading, units = Reading(settings.strict), units_of(denoiser)
    images = open_source(settings.images, denoiser.image_shape, reading, limit=settings.limit, units=units).examples
    inputs: Inputs = {"model": model_digest(settings.model), "images": images}
    works = _works(settings, denoiser, len(images), grid, copies)
    run = Run.of(out, settings, inputs, quiet, works, sigmas=grid, copies=copies, limit=LEFT_OUT)

    def encoded(key: str) -> Tensor:
        return encode(denoiser, images.select([key]))[0]

    def noise(key: str, count: int) -> Tensor:
        return torch.randn((count, *denoiser.shape), generator=generator(seed, f"noise {key}"))

    def row(key: str) -> list[float]:
        name, _, level = key.rpartition("@")
        x0, sigma = encoded(name), grid[int(level)]
        g = generator(seed, f"probes {key}")
        through = flipd(Jacobian(denoiser, x0, sigma, batch=batch_size), probes, g)
        error = error_dimension(denoiser, x0, sigma, noise(key, probes), batch_size)
        return [through.value, through.error, error.value, error.error]

    keys = [f"{name}@{i}" for name in images.keys for i in range(len(grid))]
    values = run.rows("levels", Dimensions, keys, row, "dimension").values.reshape(len(images), len(grid), 4)
    best, slope, plateau = recommend(grid, values[..., 2], d)
    bundle = None
    if copies:

        def bundled(key: str) -> list[float]:
            normal = normal_bundle(denoiser, encoded(key), grid[best], noise(key, copies), batch_size)
            return [normal.threshold, normal.gap, normal.step]

        bundle = run.rows("bundle", Dimensions, images.keys, bundled, "normal bundles").values
    return run.finish(
        DimensionResult(
            model=ModelFacts(name=settings.model, digest=run.request["model_digest"], shape=list(denoiser.image_shape)),
            examples=SourceFacts(source=settings.images, n=len(images)),
            n=len(images),
            dimension=d,
            probes=probes,
            copies=copies,
            recommended=Recommended(sigma=grid[best], slope=slope, plateau=plateau),
            levels=[
                DimensionLevel(
                    sigma=sigma,
                    flipd=over_points(values[:, i, 0].tolist()),
                    error=over_points(values[:, i, 2].tolist(), 0.0),
                )
                for i, sigma in enumerate(grid)
            ],
            images={
                name: ImageDimension(
                    flipd=[Estimate(r[0], r[1], probes).score() for r in rows.tolist()],
                    error=[Estimate(r[2], r[3], probes).score() for r in rows.tolist()],
                )
                for name, rows in zip(images.keys, values, strict=True)
            },
            bundle=None if bundle is None else _bundle(images.keys, bundle),
        )
    )


def _works(settings: Dimension, denoiser: Denoiser, n: int, grid: Sequence[float], copies: int) -> list[Work]:
    """Of probes at every level and of noisy copies, each as it is done, at the middle level."""
    sigma, batch_size = grid[len(grid) // 2], settings.loading.batch_size
    x0 = place(denoiser, torch.zeros(denoiser.shape))

    def noise(rows: int) -> Tensor:
        return torch.randn((rows, *denoiser.shape), generator=generator(0, "opening"))

    def probed(rows: int) -> None:
        Jacobian(denoiser, x0, sigma, batch=rows).rows(noise(rows).flatten(1).to(x0))
        denoised(denoiser, x0, sigma, noise(rows), rows)

    def copied(rows: int) -> Tensor:
        return denoised(denoiser, x0, sigma, noise(rows), rows)

    probes, count = settings.probes, n * len(grid)
    works = [Work(denoiser, min(batch_size, probes), {"dimension": count * probes}, once=probed)]
    return works + ([Work(denoiser, batch_size, {"normal bundles": n * copies}, once=copied)] if copies else [])


def recommend(sigmas: Sequence[float], values: Tensor, dimension: int) -> tuple[int, float | None, bool]:
    """The level at which the median over images changes least: where the data have one dimension, its curve is flat.

    It is read off the denoising error, since FLIPD asks a network about images without noise, which it was never trained on.

    Levels at which the median is not inside (0, d), where it cannot be a dimension, are passed over, if any are not.

    Args:
        values: ``[n, levels]``.

    Returns:
        the place of the level; the slope, the change around it per factor of e in the level, in units of its value; and whether
        that is a plateau rather than the best of a slope. With one level the slope is None.
    """
    middle = values.median(0).values.tolist()
    if len(sigmas) == 1:
        return 0, None, False
    steps = [
        abs(b - a) / math.log(t / s) / max(abs(a + b) / 2, 1e-9)
        for (s, a), (t, b) in pairwise(zip(sigmas, middle, strict=True))
    ]
    around = [max(steps[max(0, i - 1) : i + 1]) for i in range(len(sigmas))]
    possible = [i for i, v in enumerate(middle) if 0 < v < dimension] or list(range(len(sigmas)))
    place = min(possible, key=lambda i: around[i])
    return place, around[place], around[place] <= FLAT


def _bundle(keys: Sequence[str], rows: Tensor) -> Bundle:
    threshold, gap, step = rows.T.tolist()
    return Bundle(
        threshold=over_points(threshold, 0.0),
        gap=over_points(gap, 0.0),
        without_gap=sum(s < GAP for s in step),
        images={
            key: BundleImage(threshold=t, gap=g, step=s)
            for key, t, g, s in zip(keys, threshold, gap, step, strict=True)
        },
    )
