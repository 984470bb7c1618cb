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
from typing import Any, ClassVar

import torch
from torch import Tensor

from farfield.checkpoints.load import model_digest
from farfield.core import note
from farfield.core.artifact import Artifact
from farfield.core.error import FarfieldError
from farfield.core.runtime import Advance, generator
from farfield.manifold.dimension import error_dimension, flipd, normal_bundle
from farfield.manifold.jacobian import BATCH, Jacobian
from farfield.manifold.trace import Estimate
from farfield.study.bench.carrier import encode
from farfield.study.bench.domain import Reading, open_source
from farfield.study.bench.loading import Loading
from farfield.study.bench.run import Run
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


@note.kept()
def dimension(
    model: str,
    source: str,
    out: Path,
    reading: Reading = Reading(),
    loading: Loading = Loading(BATCH),
    *,
    sigmas: Sequence[float] | None = None,
    probes: int = 32,
    copies: int | None = None,
    limit: int | None = None,
    seed: int = 0,
    quiet: bool = False,
) -> dict[str, Any]:
    """The estimates of every image, in ``levels/``, ``bundle/`` and ``summary.json``.

    Args:
        probes: of the trace, and noises of the denoising error.
        copies: noisy copies of the normal bundle; 0 leaves it out.

    Raises:
        FarfieldError: more probes than dimensions, fewer than 2, or too few copies.
    """
    denoiser = loading.load(model)
    d, batch_size = math.prod(denoiser.shape), loading.batch_size
    if not 2 <= probes <= d:
        raise FarfieldError(f"{probes} probes: expected 2 to {d}, the number of dimensions")
    copies = (4 * d if d <= SMALL else 0) if copies is None else copies
    if copies and copies < 4 * d:
        raise FarfieldError(
            f"{copies} noisy copies: expected at least {4 * d}, four times the dimensions, or 0 for none"
        )
    grid = levels(denoiser.schedule, sigmas)
    images = open_source(source, denoiser.image_shape, reading, limit=limit).examples
    request = {
        "model": model,
        "images": source,
        "sigmas": grid,
        "probes": probes,
        "copies": copies,
        "seed": seed,
        "label": loading.label,
        "batch_size": batch_size,
        "dtype": loading.dtype,
    }
    run = Run(out, "dimension", request, {"model": model_digest(model), "images": images}, quiet)

    def encoded(key: str) -> Tensor:
        return encode(denoiser, images.select([key]))[0]

    def noise(key: str, count: int) -> Tensor:
        return torch.randn((count, *denoiser.shape), generator=generator(seed, f"noise {key}"))

    def work(some: tuple[str, ...], advance: Advance) -> Dimensions:
        rows = []
        for key in some:
            name, _, place = key.rpartition("@")
            x0, sigma = encoded(name), grid[int(place)]
            g = generator(seed, f"probes {key}")
            through = flipd(Jacobian(denoiser, x0, sigma, batch=batch_size), probes, g)
            error = error_dimension(denoiser, x0, sigma, noise(key, probes), batch_size)
            rows.append([through.value, through.error, error.value, error.error])
            advance(1)
        return Dimensions(some, torch.tensor(rows, dtype=torch.float64))

    keys = [f"{name}@{i}" for name in images.keys for i in range(len(grid))]
    found = run.compute("levels", Dimensions, keys, 1, work, "dimension").values.reshape(len(images), len(grid), 4)
    chosen = recommend(grid, found[..., 2], d)
    bundle = None
    if copies:

        def bundled(some: tuple[str, ...], advance: Advance) -> Dimensions:
            rows = []
            for key in some:
                normal = normal_bundle(denoiser, encoded(key), grid[chosen["place"]], noise(key, copies), batch_size)
                rows.append([normal.threshold, normal.gap, normal.step])
                advance(1)
            return Dimensions(some, torch.tensor(rows, dtype=torch.float64))

        bundle = run.compute("bundle", Dimensions, images.keys, 1, bundled, "normal bundles").values
    summary = {
        "command": "dimension",
        "model": {"name": model, "digest": run.request["model_digest"], "shape": list(denoiser.image_shape)},
        "examples": {"source": source, "n": len(images)},
        "n": len(images),
        "dimension": d,
        "probes": probes,
        "copies": copies,
        "recommended": {"sigma": grid[chosen["place"]], "slope": chosen["slope"], "plateau": chosen["plateau"]},
        "levels": [
            {
                "sigma": sigma,
                "flipd": over_points(found[:, i, 0].tolist(), seed),
                "error": over_points(found[:, i, 2].tolist(), seed),
            }
            for i, sigma in enumerate(grid)
        ],
        "images": {
            name: {
                "flipd": [Estimate(r[0], r[1], probes).score() for r in rows.tolist()],
                "error": [Estimate(r[2], r[3], probes).score() for r in rows.tolist()],
            }
            for name, rows in zip(images.keys, found, strict=True)
        },
        "bundle": None if bundle is None else _bundle(images.keys, bundle, seed),
    }
    return run.conclude(summary)


def recommend(sigmas: Sequence[float], values: Tensor, dimension: int) -> dict[str, Any]:
    """The level at which the median over images changes least: where the data have one dimension, its curve is flat.

    It is read off the denoising error, since FLIPD asks a network about images without noise, which it was never trained on.

    Levels at which the median is not inside (0, d), where it cannot be a dimension, are passed over, if any are not.

    Args:
        values: ``[n, levels]``.

    Returns:
        ``place`` of the level; ``slope``, the change around it per factor of e in the level, in units of its value; and whether
        that is a ``plateau`` rather than the best of a slope. With one level the slope is None.
    """
    middle = values.median(0).values.tolist()
    if len(sigmas) == 1:
        return {"place": 0, "slope": None, "plateau": False}
    steps = [
        abs(b - a) / math.log(t / s) / max(abs(a + b) / 2, 1e-9)
        for (s, a), (t, b) in pairwise(zip(sigmas, middle, strict=True))
    ]
    around = [max(steps[max(0, i - 1) : i + 1]) for i in range(len(sigmas))]
    possible = [i for i, v in enumerate(middle) if 0 < v < dimension] or list(range(len(sigmas)))
    place = min(possible, key=lambda i: around[i])
    return {"place": place, "slope": around[place], "plateau": around[place] <= FLAT}


def _bundle(keys: Sequence[str], rows: Tensor, seed: int) -> dict[str, Any]:
    threshold, gap, step = rows.T.tolist()
    return {
        "threshold": over_points(threshold, seed),
        "gap": over_points(gap, seed),
        "without_gap": sum(s < GAP for s in step),
        "images": {
            k: {"threshold": t, "gap": g, "step": s} for k, t, g, s in zip(keys, threshold, gap, step, strict=True)
        },
    }
