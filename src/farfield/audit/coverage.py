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
from farfield.core.interval import Z95, Parts, halve, share

SAME: Final = 1e-13  # squared distances this far below the vectors' squared length are rounding
SPARE: Final = 20  # neighbours beyond k that a half is expected to have among those searched


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
    parts = halve(len(x), len(y), k, halves, seed).to(x.device)
    found = _precision_recall(x, y, parts, k)
    (precision, recall), spread = found[0].tolist(), parts.variance(found)
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
    parts = halve(len(x), len(y), k, halves, seed).to(x.device)
    found = _density_coverage(x, y, parts, k)
    (density, coverage), spread = found[0].tolist(), parts.variance(found)
    half_width = Z95 * math.sqrt(spread[0])
    bounds = (max(density - half_width, 0.0), density + half_width) if half_width > 0 else (None, None)
    return Score(density, len(y), *bounds), share(coverage, len(x), spread[1])


def _neighbourly(real: Features | Tensor, generated: Features | Tensor, k: int) -> tuple[Tensor, Tensor]:
    if k < 1:
        raise FarfieldError(f"k = {k}: expected a neighbour's number of at least 1; the papers take 3 and 5")
    x, y = comparable(real, generated, least=max(k + 1, 2))
    centre = x.mean(0)  # near the origin the squared distances lose least to rounding
    return x - centre, y - centre


def _squared_distances(x: Tensor, y: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Blocks of the matrix of squared distances, what is below rounding set to 0."""
    xx, yy = x.square().sum(1), y.square().sum(1)
    for block in blocks(len(x), len(y)):
        scale = xx[block, None] + yy
        squares = torch.addmm(scale, x[block], y.T, alpha=-2)
        yield block, squares.masked_fill_(squares <= scale.mul_(SAME), 0.0)


def _radii(x: Tensor, members: Tensor, k: int) -> Tensor:
    """The squared distance of each point to its k-th nearest neighbour among the members of each part, widened by rounding.

    One search for all parts: each point's nearest of the whole set come in order, and a part's k-th is the k-th of them that
    belongs to it. The few points of which too few do are searched again.

    Args:
        members: which points each part has, ``[parts, n]`` bool.

    Returns:
        ``[parts, n]``; of points outside a part without meaning.
    """
    least = float(members.double().mean(1).min())
    most = min(len(x) - 1, math.ceil((k + SPARE) / least))
    radii = x.new_empty(members.shape)
    for block, squares in _squared_distances(x, x):
        here = torch.arange(block.start, block.stop, device=x.device)
        squares[here - block.start, here] = torch.inf  # no point is its own neighbour
        near, places = squares.topk(most, dim=1, largest=False)
        for part, own in zip(radii, members, strict=True):
            count = own[places].cumsum(1)
            part[block] = near.gather(1, (count < k).sum(1, keepdim=True).clamp(max=most - 1))[:, 0]
            if len(short := ((count[:, -1] < k) & own[block]).nonzero()[:, 0]):
                part[here[short]] = squares[short][:, own].kthvalue(k, dim=1).values
    return radii * (1 + 1e-9)


def _pairs(
    x: Tensor, y: Tensor, reach_x: Tensor, reach_y: Tensor | None = None
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Pairs within the reach ``[n]`` of their x or ``[m]`` of their y: rows of x and of y and squared distances, in blocks."""
    for block, squares in _squared_distances(y, x):
        reach = reach_x[None] if reach_y is None else torch.maximum(reach_x[None], reach_y[block, None])
        row, column = (squares <= reach).nonzero(as_tuple=True)
        yield column, row + block.start, squares[row, column]


def _reach(radii: Tensor, members: Tensor) -> Tensor:
    """The largest radius of each point in any part that has it."""
    return radii.masked_fill(~members, 0.0).amax(0)


def _precision_recall(x: Tensor, y: Tensor, parts: Parts, k: int) -> Tensor:
    """Of each part, ``[parts, 2]``."""
    radii_x, radii_y = _radii(x, parts.first, k), _radii(y, parts.second, k)
    inside_y, inside_x = torch.zeros_like(parts.second), torch.zeros_like(parts.first)
    for i, j, squares in _pairs(x, y, _reach(radii_x, parts.first), _reach(radii_y, parts.second)):
        for part in range(len(radii_x)):
            both = parts.first[part, i] & parts.second[part, j]
            inside_y[part, j[both & (squares <= radii_x[part, i])]] = True
            inside_x[part, i[both & (squares <= radii_y[part, j])]] = True
    return torch.stack([_share(inside_y, parts.second), _share(inside_x, parts.first)], 1)


def _density_coverage(x: Tensor, y: Tensor, parts: Parts, k: int) -> Tensor:
    """Of each part, ``[parts, 2]``."""
    radii = _radii(x, parts.first, k)
    balls, covered = radii.new_zeros(len(radii)), torch.zeros_like(parts.first)
    for i, j, squares in _pairs(x, y, _reach(radii, parts.first)):
        for part in range(len(radii)):
            inside = parts.first[part, i] & parts.second[part, j] & (squares <= radii[part, i])
            balls[part] += inside.sum()
            covered[part, i[inside]] = True
    return torch.stack([balls / (k * parts.second.sum(1)), _share(covered, parts.first)], 1)


def _share(hits: Tensor, members: Tensor) -> Tensor:
    return hits.sum(1).double() / members.sum(1)
