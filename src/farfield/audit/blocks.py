"""Exact nearest neighbours of sets that are read block by block: of queries and of references one block is held each."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from farfield.audit.search import nearest
from farfield.audit.vectors import Vectors, at_once, check_same_descriptor
from farfield.core.error import FarfieldError

ENTRIES: Final = 1 << 22  # of a block: 16 MB in float32


def nearest_in_blocks(
    queries: Vectors, references: Vectors, k: int = 1, *, exclude: Tensor | None = None, kept: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """`audit.search.nearest`, to the bit: distances are of single pairs, and blocks are gone through in their order.

    Args:
        exclude: ``[n]``, the row of the references that is no neighbour of query i.
        kept: rows of the references, ascending, outside which nothing is searched.

    Raises:
        FarfieldError: fewer than k references are there to be found, or features that cannot be compared.
    """
    check_same_descriptor(queries, references)
    among = torch.ones(len(references), dtype=torch.bool) if kept is None else _mask(kept, len(references))
    n = int(among.sum())
    most = n - (exclude is not None)
    if not 1 <= k <= most:
        raise FarfieldError(f"k = {k}: expected 1 to {most} neighbours among {n} vectors; give more of them")
    distance = torch.full((len(queries), k), torch.inf, dtype=torch.float64)
    index = torch.full((len(queries), k), -1, dtype=torch.long)
    start = 0
    for block in references.parts(at_once(references.shape, ENTRIES)):
        places = start + among[start : start + len(block)].nonzero()[:, 0]
        if len(places):
            known = block.values if len(places) == len(block) else block.values[places - start]
            _join(distance, index, queries, known, places, exclude)
        start += len(block)
    return distance, index


def _join(
    distance: Tensor, index: Tensor, queries: Vectors, known: Tensor, places: Tensor, exclude: Tensor | None
) -> None:
    """Put what is nearer among these references into the neighbours found so far."""
    k, row = distance.shape[1], 0
    for block in queries.parts(at_once(queries.shape, ENTRIES)):
        here = slice(row, row + len(block))
        block_distance, at = nearest(block.values, known, min(k + (exclude is not None), len(known)))
        at = places[at]
        if exclude is not None:
            block_distance[at == exclude[here, None]] = torch.inf
        both, which = torch.cat([distance[here], block_distance], 1), torch.cat([index[here], at], 1)
        order = both.argsort(dim=1, stable=True)[:, :k]  # of equally near ones the first
        distance[here], index[here] = both.gather(1, order), which.gather(1, order)
        row += len(block)


def _mask(rows: Tensor, n: int) -> Tensor:
    mask = torch.zeros(n, dtype=torch.bool)
    mask[rows] = True
    return mask
