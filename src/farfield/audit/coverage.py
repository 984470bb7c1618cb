"""How much of one set of feature vectors lies within the other: precision and recall, density and coverage.

Arguments and intervals as in `audit.distribution`: by keyword, float64, 95 %.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor

from farfield.audit.vectors import blocks, comparable
from farfield.core.artifact import Features, Score
from farfield.core.error import FarfieldError
from farfield.core.interval import Z95, share, variances

SAME: Final = 1e-13  # squared distances this far below the vectors' squared length are rounding


def precision_recall(
    *, real: Features | Tensor, generated: Features | Tensor, k: int = 3, halves: int = 30, seed: int = 0
) -> tuple[Score, Score]:
    """The share of generated vectors inside the real manifold (precision), and the reverse (recall).

    A set's manifold is the union of balls around its points, each as wide as the distance to the point's k-th nearest
    neighbour in the same set (Kynkäänniemi et al. 2019, arXiv 1904.06991). The edge counts as inside. Both shares
    depend on n and m: compare at equal sizes only, and next to the score of held-out real against real.

    The intervals are Wilson's, for as many independent trials as would vary like the share does over random halves of
    both sets (never more trials than vectors). Trials given the other set's manifold alone would leave out the chance
    in that manifold: such intervals cover the mean in as little as two cases of three.

    Args:
        real: ``[n, d]``.
        generated: ``[m, d]``.
        k: which neighbour sets the radius.
        halves: how many random halves; with 0, or sets too small to halve, the interval is that of given manifolds.
        seed: of the halves.

    Returns:
        ``(precision, recall)``; their ``n`` are m and n.

    Raises:
        FarfieldError: k < 1, no more than k vectors in a set, or sets that cannot be compared.
    """
    x, y = _neighbourly(real, generated, k)
    precision, recall = _precision_recall(x, y, k)
    spread = variances(_precision_recall, x, y, k, halves, seed)
    return share(precision, len(y), spread[0]), share(recall, len(x), spread[1])


def density_coverage(
    *, real: Features | Tensor, generated: Features | Tensor, k: int = 5, halves: int = 30, seed: int = 0
) -> tuple[Score, Score]:
    """How many real balls hold a generated vector (density), and the share of real balls that hold one (coverage).

    Balls as in `precision_recall`, around real points only, which spares them the generated outliers (Naeem et al.
    2020, arXiv 2002.09797): density is the number of balls around a generated vector divided by k, averaged. For equal
    laws its mean is 1; above 1 generated vectors crowd in dense places. For equal laws the mean coverage is
    ``1 - (n-1)…(n-k) / ((n+m-1)…(n+m-k))``, about 1 − 2^−k for n = m.

    Intervals from random halves of both sets, as in `precision_recall`: normal for density, Wilson's for coverage.

    Args:
        real: ``[n, d]``.
        generated: ``[m, d]``.
        k: which neighbour sets the radius.
        halves: how many random halves; with 0, or sets too small to halve, density has no interval, and
            coverage that of given real balls.
        seed: of the halves.

    Returns:
        ``(density, coverage)``; their ``n`` are m and n.

    Raises:
        FarfieldError: k < 1, no more than k vectors in a set, or sets that cannot be compared.
    """
    x, y = _neighbourly(real, generated, k)
    density, coverage = _density_coverage(x, y, k)
    spread = variances(_density_coverage, x, y, k, halves, seed)
    half_width = Z95 * math.sqrt(spread[0])
    bounds = (max(density - half_width, 0.0), density + half_width) if half_width > 0 else (None, None)
    return Score(density, len(y), *bounds), share(coverage, len(x), spread[1])


def _neighbourly(real: Features | Tensor, generated: Features | Tensor, k: int) -> tuple[Tensor, Tensor]:
    if k < 1:
        raise FarfieldError(f"k = {k}: expected a neighbour's number of at least 1; the papers take 3 and 5")
    x, y = comparable(real, generated, least=max(k + 1, 2))
    centre = x.mean(0)  # near the origin the squared distances lose least to rounding
    return x - centre, y - centre


def _precision_recall(x: Tensor, y: Tensor, k: int) -> tuple[float, float]:
    precision = _balls_around(y, x, _radii(x, k)) > 0
    recall = _balls_around(x, y, _radii(y, k)) > 0
    return float(precision.double().mean()), float(recall.double().mean())


def _density_coverage(x: Tensor, y: Tensor, k: int) -> tuple[float, float]:
    radii = _radii(x, k)
    counts, covered = _balls_around(y, x, radii), _nearest(x, y) <= radii
    return float(counts.double().mean() / k), float(covered.double().mean())


def _squared_distances(x: Tensor, y: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Blocks of the matrix of squared distances, what is below rounding set to 0."""
    xx, yy = x.square().sum(1), y.square().sum(1)
    for block in blocks(len(x), len(y)):
        scale = xx[block, None] + yy
        squares = torch.addmm(scale, x[block], y.T, alpha=-2)
        yield block, squares.masked_fill_(squares <= scale.mul_(SAME), 0.0)


def _radii(x: Tensor, k: int) -> Tensor:
    """The squared distance of each point to its k-th nearest neighbour in the set, widened by rounding: ``[n]``."""
    parts = []
    for block, squares in _squared_distances(x, x):
        here = torch.arange(block.start, block.stop, device=x.device)
        squares[here - block.start, here] = 0.0
        parts.append(squares.topk(k + 1, dim=1, largest=False).values[:, k])  # the first is the point itself
    return torch.cat(parts) * (1 + 1e-9)


def _balls_around(x: Tensor, centres: Tensor, radii: Tensor) -> Tensor:
    """How many balls hold each row of ``x``: ``[len(x)]``."""
    return torch.cat([(squares <= radii).sum(1) for _, squares in _squared_distances(x, centres)])


def _nearest(x: Tensor, y: Tensor) -> Tensor:
    """The squared distance of each row of ``x`` to the nearest of ``y``: ``[len(x)]``."""
    return torch.cat([squares.amin(1) for _, squares in _squared_distances(x, y)])
