"""Ways to find subspaces in samples, and from how many samples on they do."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from farfield.core.artifact import Score
from farfield.core.interval import bootstrap
from farfield.manifold.low_rank_model import fit
from farfield.manifold.subspace import cluster, from_labels, k_subspaces

RECOVERED = 0.1
"""Subspaces are found where their mean distance from the true ones is below this."""
METHODS = ("labels", "clustering", "k_subspaces", "low_rank", "low_rank_random")
"""Ways to find them: PCA with the classes known, after spectral clustering, K-subspaces, and the low-rank model from the
second or from random bases."""


def find(
    samples: Tensor, labels: Tensor, dimensions: Sequence[int], method: str, seed: int, starts: int
) -> list[Tensor]:
    """The subspaces that a method of METHODS finds in samples ``[N, n]``."""
    if method == "labels":
        return from_labels(samples, labels, dimensions)
    if method == "k_subspaces":
        return k_subspaces(samples, dimensions, seed)
    if method == "low_rank_random":
        return list(fit(samples, dimensions, seed, starts=starts).bases)
    clustered = from_labels(samples, cluster(samples, len(dimensions), seed), dimensions)
    return clustered if method == "clustering" else list(fit(samples, dimensions, seed, start=clustered).bases)


def empty_error(ratio: float) -> float:
    """The distance of a subspace of d dimensions from the span of N = ratio · d generic samples in it."""
    return math.sqrt(max(0.0, 1 - ratio) / (1 + min(ratio, 1.0)))


def transition(ratios: Sequence[float], errors: Tensor) -> Score:
    """The least ratio from which on at least half of the seeds find the subspaces.

    Args:
        errors: ``[ratios, seeds]``.

    Returns:
        With its bootstrap interval over the seeds; infinite where there is none.
    """

    def first(rows: Tensor) -> int:
        failed = ((errors[:, rows] < RECOVERED).double().mean(1) < 0.5).nonzero()
        return int(failed.max()) + 1 if len(failed) else 0

    steps, seeds = [*ratios, math.inf], errors.shape[1]
    value = steps[first(torch.arange(seeds))]
    low, high = bootstrap(first, seeds)
    if low is None or high is None:
        return Score(value, seeds)
    return Score(value, seeds, steps[math.floor(low)], steps[math.ceil(high)])
