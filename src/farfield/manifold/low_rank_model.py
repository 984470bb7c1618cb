r"""The low-rank denoiser of arXiv 2409.02426, trained on samples by the denoising loss.

.. math:: x_\theta(x, \sigma) = \frac{1}{1 + \sigma^2} \sum_k w_k(x)\, U_k U_k^\top x, \qquad
          w = softmax_k\Big(\frac{\|U_k^\top x\|^2}{2 \sigma^2 (1 + \sigma^2)}
              + \frac{d_k}{2} \ln \frac{\sigma^2}{1 + \sigma^2}\Big)

with orthonormal :math:`U_k` as its weights: the exact denoiser of a mixture whose subspaces are to be found
(`diffusion.exact.molrg` of the bases).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from farfield.core.error import FarfieldError
from farfield.core.runtime import generator
from farfield.manifold.molrg import random_basis
from farfield.manifold.subspace import complete

CERTAIN, ALL = (0.02, 0.2), (0.1, 3.0)
"""Levels of training: at which samples are certain of their class, and up to where classes cannot be told apart."""
BATCH = 64
"""Samples of a step."""
MOMENTS = (0.9, 0.99)


@dataclass(frozen=True)
class Fit:
    """The best of several starts: its ``bases``; the denoising loss that each start ended with is in ``losses``."""

    bases: tuple[Tensor, ...]
    losses: tuple[float, ...]


def fit(
    samples: Tensor,
    dimensions: Sequence[int],
    seed: int,
    *,
    start: Sequence[Tensor] | None = None,
    starts: int = 4,
    steps: int = 300,
    rate: float | None = None,
    levels: tuple[float, float] | None = None,
) -> Fit:
    """Train the model on samples ``[N, n]``.

    Adam along the Grassmannians: the gradient's part along the subspaces is taken out, and each step ends with a QR
    factorisation. The rate falls to 0 as a half cosine.

    Args:
        dimensions: of the subspaces.
        start: bases to begin with, filled up at random where they have too few columns; random ones if not given.
        starts: how many random beginnings, of which the one with the lowest loss is kept.
        rate: of Adam; 0.15 from random bases, which is large enough to leave shallow minima, and 0.02 from given ones.
        levels: of the noise. From random bases all that matter, since the classes are to be found; from given ones those at
            which samples are certain of their class, where the loss is that of subspace clustering (arXiv 2409.02426). With
            all levels and hardly more samples than dimensions, other subspaces than the true ones have a lower loss.

    Raises:
        FarfieldError: no samples, dimensions that do not fit, or fewer than one step or start.
    """
    n = samples.shape[1] if samples.ndim == 2 else 0
    if not len(samples) or not dimensions or not 1 <= min(dimensions) <= max(dimensions) <= n:
        raise FarfieldError(
            f"samples {tuple(samples.shape)} and subspaces of dimensions {list(dimensions)}: expected samples [N, n] and "
            "dimensions from 1 to n"
        )
    if steps < 1 or starts < 1:
        raise FarfieldError(f"{steps} steps, {starts} starts: expected at least one of each")
    x, g = samples.double(), generator(seed, "low-rank-model")
    blocks = list(dimensions)
    if start is None:
        begun = [[random_basis(n, d, g) for d in blocks] for _ in range(starts)]
    else:
        begun = [[complete(u.double(), d, g) for u, d in zip(start, blocks, strict=True)]]
    highest = rate or (0.15 if start is None else 0.02)
    levels = levels or (ALL if start is None else CERTAIN)
    u = torch.stack([torch.cat(bases, 1) for bases in begun])
    mean, square = torch.zeros_like(u), torch.zeros_like(u)
    for step in range(steps):
        some = x[torch.randperm(len(x), generator=g)[:BATCH]]
        u.requires_grad_(True)
        (gradient,) = torch.autograd.grad(denoising_loss(u, blocks, some, g, levels).sum(), u)
        with torch.no_grad():
            gradient = _along(u, gradient, blocks)
            mean = MOMENTS[0] * mean + (1 - MOMENTS[0]) * gradient
            square = MOMENTS[1] * square + (1 - MOMENTS[1]) * gradient.square()
            size = (square / (1 - MOMENTS[1] ** (step + 1))).sqrt() + 1e-12
            now = highest * (1 + math.cos(math.pi * step / steps)) / 2
            u = _orthonormal(u - now * mean / (1 - MOMENTS[0] ** (step + 1)) / size, blocks)
    with torch.no_grad():
        losses = denoising_loss(u, blocks, x, generator(seed, "low-rank-loss"), levels)
    best = int(losses.argmin())
    return Fit(tuple(b.contiguous() for b in u[best].split(blocks, 1)), tuple(losses.tolist()))


def denoising_loss(
    u: Tensor, dimensions: Sequence[int], samples: Tensor, g: torch.Generator, levels: tuple[float, float] = ALL
) -> Tensor:
    r""":math:`E\,\|x_\theta(x_0 + \sigma e, \sigma) - x_0\|^2` of models with bases side by side, ``u [R, n, D]``: ``[R]``.

    The levels of the samples are spread evenly over ln sigma. The loss and its gradient see the noise through the span of
    the bases alone, so it is drawn there; that of a sample is one random length times each of the columns of a random
    rotation, with both signs: Gaussian each, and together with mean 0 and covariance exactly in all directions alike. So a
    step's gradient has no noise of its own where the classes are certain, and for K = 1 the model ends at the PCA
    solution.
    """
    blocks = list(dimensions)
    q = min(u.shape[1:])
    with torch.no_grad():
        span = torch.linalg.qr(u).Q
        rotation = random_basis(q, q, g)
        noise = torch.cat([rotation, -rotation], 1).T @ span.transpose(1, 2)  # [R, 2q, n], unit length
        place = (torch.randperm(len(samples), generator=g) + torch.rand(len(samples), generator=g)) / len(samples)
        sigma = levels[0] * (levels[1] / levels[0]) ** place.double()
        length = torch.randn(len(samples), q, generator=g, dtype=torch.float64).norm(dim=1)
        which = torch.eye(len(blocks), dtype=torch.float64).repeat_interleave(torch.tensor(blocks), 0)  # [D, K]
    clean = (samples @ u)[:, :, None]  # [R, N, 1, D]
    p = clean + (sigma * length)[:, None, None] * (noise @ u)[:, None]
    v = (sigma**2)[:, None, None]
    prior = torch.tensor(blocks) / 2 * (v / (1 + v)).log()
    weights = torch.softmax(p.square() @ which / (2 * v * (1 + v)) + prior, -1)
    answer = weights @ which.T * p / (1 + v)  # of the model, by its coefficients
    inner = u.transpose(1, 2) @ u
    length_of = (answer @ inner[:, None] * answer).sum(-1)
    error = samples.square().sum(1)[:, None] - 2 * (answer * clean).sum(-1) + length_of
    return error.mean((1, 2))


def _along(u: Tensor, gradient: Tensor, blocks: list[int]) -> Tensor:
    """The part of a gradient that moves each subspace: what lies in it only turns its basis."""
    parts = zip(u.split(blocks, -1), gradient.split(blocks, -1), strict=True)
    return torch.cat([g - b @ (b.transpose(1, 2) @ g) for b, g in parts], -1)


def _orthonormal(u: Tensor, blocks: list[int]) -> Tensor:
    return torch.cat([torch.linalg.qr(b).Q for b in u.split(blocks, -1)], -1)
