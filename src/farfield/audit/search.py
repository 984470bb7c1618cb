"""Exact nearest neighbours among feature vectors."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from farfield.audit.vectors import check_same_descriptor, rows
from farfield.core.artifact import Features
from farfield.core.error import FarfieldError

SPARE: Final = 8  # candidates beyond k
ROUNDING: Final = 1e-5  # of a squared distance in float32, as a share of the squared lengths


def nearest(
    queries: Features | Tensor, references: Features | Tensor, k: int = 1, exclude_same: bool = False
) -> tuple[Tensor, Tensor]:
    """The k references nearest to each query in Euclidean distance, nearest first.

    An exhaustive search (faiss ``IndexFlatL2``, float32) proposes a few more than k; their distances are computed again
    from the differences in float64 and put in order, so that an exact copy is at distance 0 exactly. Where rounding
    could have hidden a nearer reference, all are compared in float64. Equally near ones come in the order of their
    indices.

    Args:
        queries: ``[n, d]``.
        references: ``[m, d]``.
        k: how many neighbours.
        exclude_same: queries and references are one set; row i is no neighbour of row i.

    Returns:
        distances ``[n, k]`` float64 and indices ``[n, k]`` int64 into the references, on the CPU.

    Raises:
        FarfieldError: fewer than k references are there to be found, or features that cannot be compared.
    """
    import faiss

    check_same_descriptor(queries, references)
    x, y = rows(queries, "queries").cpu(), rows(references, "references").cpu()
    if exclude_same and len(x) != len(y):
        raise FarfieldError(f"exclude_same: expected queries and references to be one set, found {len(x)} and {len(y)}")
    most = len(y) - exclude_same
    if not 1 <= k <= most:
        raise FarfieldError(f"k = {k}: expected 1 to {most} neighbours among {len(y)} vectors; give more of them")
    centre = y.mean(0)  # float32 keeps most digits near the origin
    x0, y0 = x - centre, y - centre
    index = faiss.IndexFlatL2(y.shape[1])
    index.add(y0.float().contiguous().numpy())
    proposed = min(len(y), k + exclude_same + SPARE)
    rough, candidates = (torch.from_numpy(a) for a in index.search(x0.float().contiguous().numpy(), proposed))
    slack = ROUNDING * (x0.square().sum(1) + y0.square().sum(1).max())
    sure_up_to = (rough.double()[:, -1] - slack).tolist() if proposed < len(y) else [torch.inf] * len(x)
    everything = torch.arange(len(y))
    distances, indices = torch.empty(len(x), k, dtype=torch.float64), torch.empty(len(x), k, dtype=torch.long)
    for i, places in enumerate(candidates.sort(dim=1).values):
        found = _order(x[i], y, places[places != i] if exclude_same else places, k)
        if not float(found[0][-1]) < sure_up_to[i]:
            found = _order(x[i], y, everything[everything != i] if exclude_same else everything, k)
        distances[i], indices[i] = found[0].sqrt(), found[1]
    return distances, indices


def _order(query: Tensor, references: Tensor, places: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k nearest of the references at these places, which are in ascending order: squared distances and places."""
    squares = (references[places] - query).square().sum(1)
    order = squares.argsort(stable=True)[:k]
    return squares[order], places[order]
