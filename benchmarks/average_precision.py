"""Micro average precision: how well one threshold on similarity finds the copies among all pairs."""

from __future__ import annotations

import torch
from torch import Tensor

from farfield.audit.similarity import unit
from farfield.audit.vectors import check_same_descriptor
from farfield.core.artifact import Features, Score
from farfield.core.error import FarfieldError
from farfield.core.interval import expanded
from farfield.core.runtime import generator

ROWS = 512
"""Queries whose similarities are held at once."""


def micro_average_precision(
    queries: Features, references: Features, match: Tensor, unit_of: Tensor, draws: int = 1000, seed: int = 0
) -> Score:
    """The area under one precision–recall curve of all pairs of query and reference, ranked by cosine.

    ``mean over true pairs p of |{true pairs at least as alike as p}| / |{pairs at least as alike as p}|``: the measure of
    the image similarity challenge (Douze et al. 2021, arXiv 2106.09672). Queries without a match count as distractors.

    Args:
        match: row of the references that each query is a copy of, -1 for none, ``[n]``.
        unit_of: what is drawn again together in the bootstrap, ``[n]``, from 0: queries of one original belong to one.
        draws: of the bootstrap, at least 1; the interval is the expanded percentile one, see `core.interval`.

    Returns:
        the score, with the number of true pairs as its n.

    Raises:
        FarfieldError: no true pair, or features that cannot be compared.
    """
    check_same_descriptor(queries, references)
    x, y = (unit(f).values.float() for f in (queries, references))
    has = match >= 0
    if not bool(has.any()):
        raise FarfieldError(f"{len(queries)} queries: expected some that are copies of a reference, found none")
    true = torch.cat([(a * y[m]).sum(1) for a, m in zip(x[has].split(ROWS), match[has].split(ROWS), strict=True)])
    levels, place = true.sort()
    above = torch.zeros(int(unit_of.max()) + 1, len(levels), dtype=torch.float64)
    for rows in torch.arange(len(x)).split(ROWS):
        alike = x[rows] @ y.T
        own = torch.nonzero(match[rows] >= 0)[:, 0]
        # the product of matrices rounds unlike the sum above; a true pair must be as alike as itself
        alike[own, match[rows][own]] = (x[rows][own] * y[match[rows][own]]).sum(1)
        reached = torch.searchsorted(levels, alike.flatten(), right=True)  # the levels that a pair is at or above
        flat = unit_of[rows].repeat_interleave(len(y)) * (len(levels) + 1) + reached
        counts = torch.bincount(flat, minlength=len(above) * (len(levels) + 1)).view(len(above), -1)
        above += counts[:, 1:].flip(1).cumsum(1).flip(1)
    of = unit_of[has][place]
    again = torch.randint(len(above), (draws, len(above)), generator=generator(seed, "bootstrap"))
    drawn = torch.zeros(draws, len(above), dtype=torch.float64).scatter_add_(1, again, torch.ones_like(again).double())
    weights = torch.cat([torch.ones(1, len(above), dtype=torch.float64), drawn])
    first = torch.searchsorted(levels, levels)  # equal levels share what is at or above the first of them
    weighted = weights[:, of]
    true_above = weighted.flip(1).cumsum(1).flip(1)[:, first]
    precision = true_above / (weights @ above).clamp(min=1)
    areas = (weighted * precision).sum(1) / weighted.sum(1).clamp(min=1)
    ends = areas[1:].quantile(expanded(len(above))).tolist() if len(above) > 1 else ()
    return Score(float(areas[0]), len(levels), *ends)
