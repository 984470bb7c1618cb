"""The law of a domain's latents, fitted in float64 from a few examples (from two on).

Every prior is a Gaussian; they differ in how much of the covariance they dare to estimate. All of them centre first: a
domain's latents share a mean.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from farfield.core.error import FarfieldError
from farfield.core.gaussian import log_density, principal_directions


class Prior(ABC):
    """Abstract: a law over latents of one shape, answering in the words of ``torch.distributions``."""

    mean: Tensor
    """``[*shape]`` float64."""

    @abstractmethod
    def sample(self, generators: Sequence[torch.Generator]) -> Tensor:
        """One draw from each generator: ``[n, *shape]`` float64. Row i depends on generator i alone."""

    @abstractmethod
    def log_prob(self, z: Tensor) -> Tensor:
        """Log density in nats: ``[n, *shape]`` → ``[n]`` float64."""


class IsotropicPrior(Prior):
    """N(m, s² I): the paper's prior (arXiv 2310.09213). ``scale`` is s."""

    def __init__(self, mean: Tensor, scale: float):
        self.mean = mean.double()
        self.scale = scale

    @staticmethod
    def fit(latents: Tensor) -> IsotropicPrior:
        mean, centred = _centre(latents)
        return IsotropicPrior(mean, math.sqrt(float(centred.square().sum()) / ((len(latents) - 1) * mean.numel())))

    def sample(self, generators: Sequence[torch.Generator]) -> Tensor:
        return self.mean + self.scale * _normal(generators, self.mean)

    def log_prob(self, z: Tensor) -> Tensor:
        centred = (z.double() - self.mean).flatten(1)
        return log_density(
            centred, centred.new_zeros((centred.shape[1], 0)), centred.new_zeros(0), centred.new_tensor(self.scale**2)
        )


class DiagonalPrior(Prior):
    """N(m, diag(s²)). Each variance is shrunk towards their average as if that had been seen in two more examples, so
    that two examples do not pin a coordinate that they happen to share. ``scales`` is s, ``[*shape]``."""

    def __init__(self, mean: Tensor, scales: Tensor):
        self.mean = mean.double()
        self.scales = scales.double()

    @staticmethod
    def fit(latents: Tensor) -> DiagonalPrior:
        mean, centred = _centre(latents)
        squares, freedom = centred.square().sum(0), len(latents) - 1
        variances = (squares + 2 * squares.mean() / freedom) / (freedom + 2)
        return DiagonalPrior(mean, variances.sqrt().reshape(mean.shape))

    def sample(self, generators: Sequence[torch.Generator]) -> Tensor:
        return self.mean + self.scales * _normal(generators, self.mean)

    def log_prob(self, z: Tensor) -> Tensor:
        normal = torch.distributions.Normal(self.mean, self.scales)
        total: Tensor = normal.log_prob(z.double()).flatten(1).sum(1)
        return total


class LowRankPrior(Prior):
    r"""N(m, Q diag(l) Qᵀ + r (I − Q Qᵀ)): the examples' own directions, and a rest for all others.

    Two fits: `fit` shrinks the sample covariance towards a multiple of the identity by Ledoit and Wolf's (2004) optimal
    weight; `fit_ppca` keeps ``rank`` directions and spreads what is left over the others (Tipping and Bishop 1999).
    """

    def __init__(self, mean: Tensor, basis: Tensor, variances: Tensor, residual: float):
        self.mean = mean.double()
        self.basis = basis.double()
        self.variances = variances.double()
        self.residual = residual

    @staticmethod
    def fit(latents: Tensor) -> LowRankPrior:
        r"""Ledoit–Wolf: :math:`(1 - \rho) S + \rho\,\frac{tr S}{d} I`; no d × d matrix is formed.

        With rows :math:`x_i` centred and :math:`S = X^\top X / n`:
        :math:`\rho = \min(1, \frac{(\sum |x_i|^4 / n - \|S\|^2) / n}{\|S\|^2 - (tr S)^2 / d})`, but at least 1/n: from a
        handful of examples the estimate is degenerate (0 from two), and no direction may be held impossible.
        """
        mean, centred = _centre(latents)
        n, d = centred.shape
        basis, squares = principal_directions(centred)
        trace, energy = float(squares.sum()) / n, float(squares.square().sum()) / n**2
        noise = (float(centred.square().sum(1).square().mean()) - energy) / n
        signal = energy - trace**2 / d
        shrinkage = 1.0 if signal <= 0 else min(1.0, max(noise / signal, 1 / n))
        floor = shrinkage * trace / d
        # n − 1 and not n: the mean was fitted too.
        unbiased = n / (n - 1)
        return LowRankPrior(mean, basis, unbiased * ((1 - shrinkage) * squares / n + floor), unbiased * floor)

    @staticmethod
    def fit_ppca(latents: Tensor, rank: int) -> LowRankPrior:
        """Probabilistic PCA with ``rank`` directions, at most n − 1."""
        mean, centred = _centre(latents)
        n, d = centred.shape
        if not 0 <= rank < min(n, d):
            raise FarfieldError(f"rank {rank}: expected 0 to {min(n, d) - 1} for {n} examples in {d} dimensions")
        basis, squares = principal_directions(centred)
        variances = squares / (n - 1)
        return LowRankPrior(mean, basis[:, :rank], variances[:rank], float(variances[rank:].sum()) / (d - rank))

    def sample(self, generators: Sequence[torch.Generator]) -> Tensor:
        noise = _normal(generators, self.mean).flatten(1)
        inside = noise @ self.basis
        scaled = noise * self.residual**0.5 + (inside * (self.variances.sqrt() - self.residual**0.5)) @ self.basis.T
        return self.mean + scaled.reshape(-1, *self.mean.shape)

    def log_prob(self, z: Tensor) -> Tensor:
        centred = (z.double() - self.mean).flatten(1)
        return log_density(centred, self.basis, self.variances, centred.new_tensor(self.residual))


PRIORS: dict[str, Callable[[Tensor], Prior]] = {
    "isotropic": IsotropicPrior.fit,
    "diagonal": DiagonalPrior.fit,
    "lowrank": LowRankPrior.fit,
}


def fit_prior(name: str, latents: Tensor) -> Prior:
    """Fit a prior by name: ``isotropic``, ``diagonal`` or ``lowrank``; latents ``[n, *shape]``, n at least 2."""
    if name not in PRIORS:
        raise FarfieldError(f"prior {name!r}: expected one of {', '.join(PRIORS)}")
    return PRIORS[name](latents)


def _centre(latents: Tensor) -> tuple[Tensor, Tensor]:
    """The mean ``[*shape]`` and the rows around it ``[n, d]``."""
    if len(latents) < 2:
        raise FarfieldError(f"prior: expected at least 2 examples, found {len(latents)}; one image has no spread")
    mean = latents.double().mean(0)
    centred = (latents.double() - mean).flatten(1)
    if not bool(centred.any()):
        raise FarfieldError(f"prior: all {len(latents)} examples are the same image; there is no spread to learn")
    return mean, centred


def _normal(generators: Sequence[torch.Generator], like: Tensor) -> Tensor:
    return torch.stack([torch.randn(like.shape, generator=g, dtype=torch.float64) for g in generators]).to(like.device)
