"""How much of one set of feature vectors lies within the other: precision and recall, density and coverage.

Arguments and intervals as in `audit.distribution`: by keyword, float64, 95 %.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import torch
from torch import Tensor

from farfield.audit.vectors import blocks, comparable
from farfield.core.artifact import Features, Score
from farfield.core.error import FarfieldError
from farfield.core.interval import Z95, Parts, halve, share

SAME: Final = 1e-13  # squared distances this far below the vectors' squared length are rounding
SPARE: Final = 20  # neighbours beyond k that a half is expected to have among those searched


class Prdc(NamedTuple):
    """What `prdc` finds, each with its interval; ``n`` is m of precision and density, n of recall and coverage."""

    precision: Score
    recall: Score
    density: Score
    coverage: Score


def prdc(
    *,
    real: Features | Tensor,
    generated: Features | Tensor,
    manifold_k: int = 3,
    ball_k: int = 5,
    halves: int = 30,
    seed: int = 0,
) -> Prdc:
    """Precision and recall, density and coverage, from one search.

    **Precision** is the share of generated vectors inside the real manifold, **recall** the reverse. A set's manifold is
    the union of balls around its points, each as wide as the distance to the point's k-th nearest neighbour in the same
    set (Kynkäänniemi et al. 2019, arXiv 1904.06991). The edge counts as inside. Both depend on n and m: compare at equal
    sizes only, and next to the score of held-out real against real.

    **Density** is the number of real balls around a generated vector divided by k, averaged; **coverage** the share of
    real balls that hold one. Balls are around real points only, which spares them the generated outliers (Naeem et al.
    2020, arXiv 2002.09797). For equal laws density's mean is 1; above 1 generated vectors crowd in dense places; the mean
    coverage is ``1 - (n-1)…(n-k) / ((n+m-1)…(n+m-k))``, about 1 − 2^−k for n = m.

    The intervals are normal for density, Wilson's for the shares, for as many independent trials as would vary like the
    share does over random halves of both sets (never more trials than vectors). Trials given the other set's manifold
    alone would leave out the chance in that manifold: such intervals cover the mean in as little as two cases of three.

    Args:
        real: ``[n, d]``.
        generated: ``[m, d]``.
        manifold_k: which neighbour sets the radius for precision and recall.
        ball_k: which one does for density and coverage.
        halves: how many random halves; with 0, or sets too small to halve, density has no interval, and those of the
            others are of given balls.
        seed: of the halves.

    Raises:
        FarfieldError: k < 1, no more than k vectors in a set, or sets that cannot be compared.
    """
    ks = (manifold_k, ball_k)
    if min(ks) < 1:
        raise FarfieldError(f"k = {min(ks)}: expected a neighbour's number of at least 1; the papers take 3 and 5")
    x, y = comparable(real, generated, least=max(ks) + 1)
    centre = x.mean(0)  # near the origin the squared distances lose least to rounding
    x, y = x - centre, y - centre
    parts = halve(len(x), len(y), max(ks), halves, seed).to(x.device)
    found = _by_part(x, y, parts, ks)
    (precision, recall, density, coverage), spread = found[0].tolist(), parts.variance(found)
    half_width = Z95 * math.sqrt(spread[2])
    bounds = (max(density - half_width, 0.0), density + half_width) if half_width > 0 else (None, None)
    return Prdc(
        share(precision, len(y), spread[0]),
        share(recall, len(x), spread[1]),
        Score(density, len(y), *bounds),
        share(coverage, len(x), spread[3]),
    )


def _by_part(x: Tensor, y: Tensor, parts: Parts, ks: tuple[int, int]) -> Tensor:
    """The four of each part, ``[parts, 4]``.

    Halves share one search with the whole. Parts so small that all of them together ask for less are searched by themselves.
    """
    sizes, others = parts.first.sum(1), parts.second.sum(1)
    if int((sizes * others)[1:].sum()) > len(x) * len(y):
        return _together(x, y, parts, ks)
    rows = []
    for first, second, n, m in zip(parts.first, parts.second, sizes.tolist(), others.tolist(), strict=True):
        rows.append(_together(x[first], y[second], halve(n, m, 0, 0, 0).to(x.device), ks))
    return torch.cat(rows)


def _together(x: Tensor, y: Tensor, parts: Parts, ks: tuple[int, int]) -> Tensor:
    """The four of each part from one search, ``[parts, 4]``."""
    manifold_x, ball_x = _radii(x, parts.first, ks)
    [manifold_y] = _radii(y, parts.second, ks[:1])
    reach_x = _reach(torch.maximum(manifold_x, ball_x), parts.first)
    balls = x.new_zeros(len(parts.first))
    inside_x, covered, inside_y = map(torch.zeros_like, (parts.first, parts.first, parts.second))
    for i, j, squares in _pairs(x, y, reach_x, _reach(manifold_y, parts.second)):
        for part in range(len(balls)):
            both = parts.first[part, i] & parts.second[part, j]
            inside_y[part, j[both & (squares <= manifold_x[part, i])]] = True
            inside_x[part, i[both & (squares <= manifold_y[part, j])]] = True
            hit = both & (squares <= ball_x[part, i])
            balls[part] += hit.sum()
            covered[part, i[hit]] = True
    density = balls / (ks[1] * parts.second.sum(1))
    inside = _share(inside_y, parts.second), _share(inside_x, parts.first)
    return torch.stack([*inside, density, _share(covered, parts.first)], 1)


def _squared_distances(x: Tensor, y: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Blocks of the matrix of squared distances, what is below rounding set to 0."""
    xx, yy = x.square().sum(1), y.square().sum(1)
    for block in blocks(len(x), len(y)):
        scale = xx[block, None] + yy
        squares = torch.addmm(scale, x[block], y.T, alpha=-2)
        yield block, squares.masked_fill_(squares <= scale.mul_(SAME), 0.0)


def _radii(x: Tensor, members: Tensor, ks: Sequence[int]) -> Tensor:
    """The squared distance of each point to its k-th nearest neighbour among the members of each part, for each k,
    widened by rounding.

    One search for all parts: each point's nearest of the whole set come in order, and a part's k-th is the k-th of them that
    belongs to it. The few points of which too few do are searched again.

    Args:
        members: which points each part has, ``[parts, n]`` bool.

    Returns:
        ``[ks, parts, n]``; of points outside a part without meaning.
    """
    least = float(members.double().mean(1).min())
    most = min(len(x) - 1, math.ceil((max(ks) + SPARE) / least))
    radii = x.new_empty((len(ks), *members.shape))
    for block, squares in _squared_distances(x, x):
        here = torch.arange(block.start, block.stop, device=x.device)
        squares[here - block.start, here] = torch.inf  # no point is its own neighbour
        near, places = squares.topk(most, dim=1, largest=False)
        for part, own in enumerate(members):
            count = own[places].cumsum(1)
            for k, found in zip(ks, radii[:, part], strict=True):
                found[block] = near.gather(1, (count < k).sum(1, keepdim=True).clamp(max=most - 1))[:, 0]
                if len(short := ((count[:, -1] < k) & own[block]).nonzero()[:, 0]):
                    found[here[short]] = squares[short][:, own].kthvalue(k, dim=1).values
    return radii * (1 + 1e-9)


def _pairs(x: Tensor, y: Tensor, reach_x: Tensor, reach_y: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Pairs within the reach ``[n]`` of their x or ``[m]`` of their y: rows of x and of y and squared distances, in blocks."""
    for block, squares in _squared_distances(y, x):
        row, column = (squares <= torch.maximum(reach_x[None], reach_y[block, None])).nonzero(as_tuple=True)
        yield column, row + block.start, squares[row, column]


def _reach(radii: Tensor, members: Tensor) -> Tensor:
    """The largest radius of each point in any part that has it."""
    return radii.masked_fill(~members, 0.0).amax(0)


def _share(hits: Tensor, members: Tensor) -> Tensor:
    return hits.sum(1).double() / members.sum(1)
