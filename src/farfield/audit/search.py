"""Exact nearest neighbours among feature vectors, in bounded memory: never n × m × d differences at once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from farfield.audit.vectors import BLOCK, at_once, blocks, check_same_descriptor, matrix
from farfield.core.artifact import Features
from farfield.core.error import FarfieldError

SPARE: Final = 8  # candidates beyond k
MORE: Final = 8  # times as many for queries whose neighbours are not certain yet
QUERIES: Final = 1024  # that are searched at a time, at most
REFERENCES: Final = 16384  # that are looked through at a time, at most
GROUP: Final = 16  # columns of a product whose least is looked at first
ROUNDING: Final = 1e-5  # of a squared distance in float32, as a share of the squared lengths
ORDINARY: Final = 20  # powers of two: vectors up to a million, and down to a millionth, are searched as they are


@dataclass(frozen=True)
class Neighbours:
    """Each query's nearest reference: query ``keys[i]`` lies ``distance[i]`` (float64) from ``nearest_keys[i]``.

    ``index[i]`` is that reference's row; ``references`` is how many there were.
    """

    keys: tuple[str, ...]
    nearest_keys: tuple[str, ...]
    index: Tensor
    distance: Tensor
    references: int

    @property
    def similarity(self) -> Tensor:
        """The cosine, float64, where the vectors searched are of unit length (see `audit.similarity.unit`)."""
        return 1 - self.distance.square() / 2


def neighbours(queries: Features, references: Features) -> Neighbours:
    """Each query's nearest reference in Euclidean distance, with its key; errors as of `nearest`."""
    distances, indices = nearest(queries, references)
    nearest_keys = tuple(references.keys[i] for i in indices[:, 0].tolist())
    return Neighbours(queries.keys, nearest_keys, indices[:, 0], distances[:, 0], len(references))


def nearest(
    queries: Features | Tensor,
    references: Features | Tensor,
    k: int = 1,
    exclude_same: bool = False,
    exclude: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The k references nearest to each query in Euclidean distance, nearest first.

    An exhaustive search in float32, by matrix products, proposes a few more than k; their distances are computed again
    from the differences in float64 and put in order, so that an exact copy is at distance 0 exactly. Queries for which
    rounding could have hidden a nearer reference are searched again for more candidates, in the end among all. Equally
    near ones come in the order of their indices. Beside the vectors, memory is taken for the references in float32 and
    for blocks of fixed size.

    Args:
        queries: ``[n, d]``.
        references: ``[m, d]``.
        k: how many neighbours.
        exclude_same: queries and references are one set; row i is no neighbour of row i.
        exclude: ``[n]``, the row of the references that is no neighbour of query i, if queries are some of them.

    Returns:
        distances ``[n, k]`` float64 and indices ``[n, k]`` int64 into the references, on the CPU.

    Raises:
        FarfieldError: fewer than k references are there to be found, or features that cannot be compared.
    """
    check_same_descriptor(queries, references)
    x, y = _floats(matrix(queries, "queries")), _floats(matrix(references, "references"))
    if exclude_same and len(x) != len(y):
        raise FarfieldError(f"exclude_same: expected queries and references to be one set, found {len(x)} and {len(y)}")
    own = torch.arange(len(x)) if exclude_same else exclude
    most = len(y) - (own is not None)
    if not 1 <= k <= most:
        raise FarfieldError(f"k = {k}: expected 1 to {most} neighbours among {len(y)} vectors; give more of them")
    least = k + (own is not None)
    flat = _Flat(y)
    distances, indices = torch.empty(len(x), k, dtype=torch.float64), torch.empty(len(x), k, dtype=torch.long)
    left = torch.arange(len(x))
    for count in _counts(least + SPARE, len(y)):
        uncertain = []
        for some in left.split(min(QUERIES, at_once(x.shape[1:]))):
            places, sure_up_to = flat.propose(x[some], least, count)
            squares, indices[some] = rank(x[some], y, places, k, None if own is None else own[some])
            distances[some] = squares.sqrt()
            uncertain.append(some[~(squares[:, -1] < sure_up_to)])
        left = torch.cat(uncertain)
        if not len(left):
            break
    return distances, indices


def _counts(least: int, size: int) -> Iterator[int]:
    """How many candidates each round looks at, ever more of them; the last round looks at all, so no further one is needed."""
    while 2 * least < size:
        yield least
        least *= MORE
    yield size


class _Flat:
    """References about their mean, as float32 keeps most digits near the origin; to be looked through one and all."""

    def __init__(self, y: Tensor):
        self.size, pieces = len(y), [*blocks(len(y), y.shape[1])]
        self.scale = unit_scale(y)
        self.centre = torch.stack([y[rows].double().sum(0) for rows in pieces]).sum(0) / len(y)
        self.rows = torch.empty(len(y), y.shape[1] + 1)  # (-2y, |y|^2), whose product with (x, 1) is |y|^2 - 2xy
        for rows in pieces:
            part = self._centred(y[rows])
            self.rows[rows] = torch.cat([-2 * part, part.square().sum(1, keepdim=True)], 1)
        self.largest = float(self.rows[:, -1].max())

    def propose(self, x: Tensor, k: int, count: int) -> tuple[Tensor, Tensor]:
        """Places ``[n, c]`` in ascending order that hold the k nearest of so many looked at, and how far that is sure.

        The second, ``[n]``: the squared distance below which none is missing.
        """
        if count == self.size:
            return torch.arange(self.size).expand(len(x), -1), torch.full((len(x),), torch.inf, dtype=torch.float64)
        centred = self._centred(x)
        rough, places = self._least(centred, count)
        lengths = centred.double().square().sum(1)
        error = ROUNDING * (lengths + self.largest) + x.shape[1] * torch.finfo(torch.float32).tiny
        # queries so far out that their products overflow in float32: nothing is sure
        sure = torch.where((rough[:, -1] + lengths.float()).isfinite(), rough[:, -1] + lengths - error, -torch.inf)
        near = rough <= (rough[:, k - 1] + 2 * error)[:, None]
        return places[:, : max(k, int(near.sum(1).max()))].sort(1).values, sure / self.scale**2

    def _least(self, x: Tensor, count: int) -> tuple[Tensor, Tensor]:
        r"""Of the least :math:`|y|^2 - 2 x \cdot y` so many in ascending order, and their places."""
        ones = torch.cat([x, torch.ones(len(x), 1)], 1).numpy()
        rough, places = torch.empty(len(x), 0), torch.empty(len(x), 0, dtype=torch.long)
        for start in range(0, self.size, REFERENCES):
            with np.errstate(all="ignore"):  # NumPy multiplies in float32, whatever torch was told of precision
                here = torch.from_numpy(np.matmul(ones, self.rows[start : start + REFERENCES].numpy().T))
            values, at = _least_of_rows(here, min(count, here.shape[1]))
            rough, places = torch.cat([rough, values], 1), torch.cat([places, at + start], 1)
        rough, order = rough.topk(min(count, rough.shape[1]), 1, largest=False)
        return rough, places.gather(1, order)

    def _centred(self, x: Tensor) -> Tensor:
        return ((x.double() - self.centre) * self.scale).float().contiguous()


def _least_of_rows(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """So many least values of each row, and their columns: they lie in as many groups of columns, those of the least minima."""
    groups = values.shape[1] // GROUP
    if count >= groups:
        return values.topk(count, 1, largest=False, sorted=False)
    least = values[:, : groups * GROUP].reshape(len(values), GROUP, groups).amin(1)
    first = least.topk(count, 1, largest=False, sorted=False).indices
    members = (first[:, None] + groups * torch.arange(GROUP)[:, None]).flatten(1)
    rest = torch.arange(groups * GROUP, values.shape[1]).expand(len(values), -1)
    columns = torch.cat([members, rest], 1)
    least, order = values.gather(1, columns).topk(count, 1, largest=False, sorted=False)
    return least, columns.gather(1, order)


def unit_scale(y: Tensor) -> float:
    """A power of two that brings vectors into the range in which float32 holds squares; 1 for those of ordinary size."""
    low, high = y.aminmax()
    exponent = math.frexp(max(-float(low), float(high)))[1]
    return 2.0**-exponent if abs(exponent) > ORDINARY else 1.0


def rank(x: Tensor, y: Tensor, places: Tensor, k: int, own: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The k nearest of the references at these places ``[n, c]``: squared distances and places, nearest first."""
    width = min(places.shape[1], max(1, BLOCK // y.shape[1]))
    height = max(1, BLOCK // max(width * y.shape[1], places.shape[1]))
    distances, where = [], []
    for row in range(0, len(x), height):
        block = slice(row, row + height)
        query, at = x[block, None].double(), places[block]
        squares = torch.cat([(y[part] - query).square_().sum(2) for part in at.split(width, 1)], 1)
        if own is not None:
            squares[at == own[block, None]] = torch.inf
        order = squares.argsort(dim=1, stable=True)[:, :k]
        distances.append(squares.gather(1, order))
        where.append(at.gather(1, order))
    return torch.cat(distances), torch.cat(where)


def _floats(x: Tensor) -> Tensor:
    """On the CPU, in float32 where that holds every value, else in float64."""
    x = x.cpu()
    return x.float() if x.dtype in (torch.float16, torch.bfloat16, torch.float32) else x.double()
