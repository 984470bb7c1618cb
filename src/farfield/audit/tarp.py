r"""Are posterior draws as wide as they should be? Coverage with random points (TARP, arXiv 2302.03026).

Of each of J cases there are n draws, the truth, and a reference point that knows nothing of that truth but the measurement. The
rank is how many draws are nearer to the reference than the truth is. Draws of the true posterior and the truth cannot be told
apart, so that the rank is 0, 1, …, n with equal chance, whatever the reference. The share of cases whose rank is below k is then
:math:`k / (n + 1)` on average: the coverage at that credibility. Above it draws are too wide (or their truth too near), below too
narrow or beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from farfield.core.error import FarfieldError

NULLS = 2000
"""Sets of ranks of equal chance that a p-value is counted among."""


@dataclass(frozen=True)
class Tarp:
    """Coverage by credibility, k / (n + 1) for k of 1 … n.

    Attributes:
        credibility: what it should be.
        coverage: the share of cases with a rank below k.
        low, high: what 95 % of all sets of J cases have at each k, where draws are right (binomial).
        p: how often right draws stray from the diagonal as far at their farthest.
        n: cases.
    """

    credibility: list[float]
    coverage: list[float]
    low: list[float]
    high: list[float]
    p: float
    n: int


def tarp_ranks(truths: Tensor, draws: Tensor, references: Tensor) -> Tensor:
    """How many draws of each case are nearer to its reference than its truth, ``[J]``.

    Args:
        truths, references: ``[J, d]``.
        draws: ``[J, n, d]``.
    """
    if draws.ndim != 3 or truths.shape != references.shape or draws.shape[::2] != truths.shape:
        raise FarfieldError(
            f"coverage: expected draws [J, n, d] of truths and references [J, d], found {tuple(draws.shape)}, "
            f"{tuple(truths.shape)} and {tuple(references.shape)}"
        )
    apart = (draws - references[:, None]).square().sum(2)
    return (apart < (truths - references).square().sum(1)[:, None]).sum(1)


def tarp(ranks: Tensor, draws: int, seed: int = 0) -> Tarp:
    """Coverage of ranks ``[J]`` of 0 … ``draws``, with the band and the p-value of right draws.

    Raises:
        FarfieldError: fewer than 2 cases, or ranks out of range.
    """
    from scipy.stats import binom

    cases = len(ranks)
    if cases < 2 or draws < 1 or not bool(((ranks >= 0) & (ranks <= draws)).all()):
        raise FarfieldError(f"coverage: expected at least 2 ranks from 0 to {draws}, found {cases}")
    levels = torch.arange(1, draws + 1, dtype=torch.float64) / (draws + 1)

    def below(some: Tensor) -> Tensor:
        """Shares of cases with a rank below k, of sets ``[S, J]``: ``[S, draws]``."""
        return torch.stack([(some < k).double().mean(1) for k in range(1, draws + 1)], 1)

    null = torch.from_numpy(np.random.Generator(np.random.PCG64(seed)).integers(0, draws + 1, (NULLS, cases)))
    farthest = (below(null) - levels).abs().amax(1)
    found = below(ranks[None])[0]
    far = int((farthest >= (found - levels).abs().max() - 1e-12).sum())
    low, high = (torch.from_numpy(binom.ppf(q, cases, levels.numpy()) / cases) for q in (0.025, 0.975))
    return Tarp(levels.tolist(), found.tolist(), low.tolist(), high.tolist(), (1 + far) / (1 + NULLS), cases)
