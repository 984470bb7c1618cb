r"""Subspaces from samples, and how far they are from the true ones.

The distance of two subspaces with orthonormal bases U and V of a and b dimensions is

.. math:: \frac{\|U U^\top - V V^\top\|_F}{\sqrt{a + b}} = \sqrt{1 - \frac{2\,\|U^\top V\|_F^2}{a + b}},

0 for equal ones and 1 for orthogonal ones; for a = b it is the root mean square of the sines of the principal angles.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from farfield.core.error import FarfieldError
from farfield.core.gaussian import principal_directions
from farfield.core.runtime import generator
from farfield.manifold.molrg import random_basis


def distance(u: Tensor, v: Tensor) -> float:
    """Of two subspaces by their orthonormal bases ``[n, a]`` and ``[n, b]``, 0 to 1."""
    both = u.shape[1] + v.shape[1]
    if len(u) != len(v) or not both:
        raise FarfieldError(f"bases {tuple(u.shape)} and {tuple(v.shape)}: expected [n, a] and [n, b], not both empty")
    # ‖(I − V Vᵀ) U‖² + ‖(I − U Uᵀ) V‖²: no difference of nearly equal numbers where the two are nearly equal.
    apart = (u - v @ (v.T @ u)).square().sum() + (v - u @ (u.T @ v)).square().sum()
    return math.sqrt(float(apart) / both)


def match(bases: Sequence[Tensor], truth: Sequence[Tensor]) -> list[int]:
    """Which found basis stands for each true one, so that the sum of their distances is least."""
    from scipy.optimize import linear_sum_assignment

    if len(bases) != len(truth):
        raise FarfieldError(f"{len(bases)} subspaces found: expected {len(truth)}, one for each true one")
    rows, columns = linear_sum_assignment([[distance(u, v) for u in bases] for v in truth])
    return [int(c) for _, c in sorted(zip(rows, columns, strict=True))]


def recovery_error(bases: Sequence[Tensor], truth: Sequence[Tensor]) -> Tensor:
    """The distance of each true subspace to the found one that stands for it, ``[K]``."""
    errors = [distance(bases[i], v) for i, v in zip(match(bases, truth), truth, strict=True)]
    return torch.tensor(errors, dtype=torch.float64)


def pca(samples: Tensor, dimension: int) -> Tensor:
    """The subspace through the origin nearest to the samples ``[N, n]``: ``[n, k]``, k at most ``dimension``.

    Fewer samples than dimensions span fewer; the rest is left empty.
    """
    return principal_directions(samples)[0][:, :dimension] if len(samples) else samples.new_zeros(samples.shape[1], 0)


def complete(basis: Tensor, dimension: int, g: torch.Generator) -> Tensor:
    """A basis filled up to ``dimension`` columns with random directions orthogonal to it."""
    if basis.shape[1] >= dimension:
        return basis
    more = random_basis(len(basis), dimension - basis.shape[1], g)
    return torch.cat([basis, torch.linalg.qr(more - basis @ (basis.T @ more)).Q], 1)


def from_labels(samples: Tensor, labels: Tensor, dimensions: Sequence[int]) -> list[Tensor]:
    """`pca` of each class."""
    return [pca(samples[labels == k], d) for k, d in enumerate(dimensions)]


def cluster(samples: Tensor, classes: int, seed: int = 0) -> Tensor:
    """Classes of samples ``[N, n]`` by spectral clustering of their squared cosines, ``[N]``.

    Samples of orthogonal subspaces have no cosine, and are told apart whatever their number.
    """
    from sklearn.cluster import SpectralClustering

    if classes == 1 or len(samples) <= classes:
        return torch.arange(len(samples)) % classes
    units = samples / samples.norm(dim=1, keepdim=True)
    # A hair of affinity to all keeps the graph in one piece, which the method expects.
    affinity = (units @ units.T).square() + 1e-9
    method = SpectralClustering(classes, affinity="precomputed", random_state=seed)
    return torch.as_tensor(method.fit_predict(affinity.numpy()), dtype=torch.long)


def k_subspaces(
    samples: Tensor, dimensions: Sequence[int], seed: int, starts: int = 20, rounds: int = 100
) -> list[Tensor]:
    """Subspaces that leave the least squared distance of the samples to the nearest one.

    Samples are given to the nearest subspace and subspaces are fitted to their samples in turn, from random subspaces; the
    best of ``starts`` is kept (Bradley and Mangasarian 2000).
    """
    best: tuple[float, list[Tensor]] | None = None
    for start in range(starts):
        g = generator(seed, f"k-subspaces-{start}")
        bases = [random_basis(samples.shape[1], d, g) for d in dimensions]
        labels: Tensor | None = None
        for _ in range(rounds):
            inside = torch.stack([(samples @ u).square().sum(1) for u in bases], 1)
            before, labels = labels, inside.argmax(1)
            if before is not None and torch.equal(before, labels):
                break
            bases = from_labels(samples, labels, dimensions)
        left = float((samples.square().sum(1) - inside.max(1).values).sum())
        if best is None or left < best[0]:
            best = left, bases
    assert best is not None
    return best[1]
