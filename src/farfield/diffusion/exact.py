r"""Closed-form denoisers: laws of data for which :math:`E[x_0 \mid x]` is known exactly.

They are ordinary denoisers, so every solver, prior, score and Jacobian can be held against the truth, and the empirical
one is the memorization limit of any trained model. With :math:`x = x_0 + \sigma n`:

- Gaussian :math:`N(\mu, C)`: :math:`D = \mu + C (C + \sigma^2 I)^{-1} (x - \mu)`;
- mixture: the posterior-weighted mean of its components' denoisers, weights
  :math:`w_k \propto \pi_k N(x; \mu_k, C_k + \sigma^2 I)`; MoLRG (arXiv 2409.02426) is the mixture with
  :math:`\mu_k = 0`, :math:`C_k = U_k U_k^\top`;
- empirical, points :math:`y_i`: :math:`D = \sum_i w_i y_i`, :math:`w = softmax(-\|x - y_i\|^2 / 2\sigma^2)`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import torch
from torch import Tensor, nn

from farfield.core.error import FarfieldError
from farfield.core.gaussian import log_density
from farfield.diffusion.denoiser import Denoiser, column, per_image
from farfield.diffusion.schedule import ContinuousSchedule, Schedule

CACHED: Final = 1 << 20
"""Numbers of a chunk of points: 8 MB in float64, past which reading them again costs more than the products do."""


class GaussianDenoiser(Denoiser):
    r"""Data :math:`N(\mu, Q\,diag(l)\,Q^\top + r\,(I - Q Q^\top))` with orthonormal Q: full rank or low rank in one form.

    Args:
        mean: ``[*shape]``.
        basis: ``[d, k]`` orthonormal columns Q, ``d`` the product of ``shape``.
        variances: ``[k]`` eigenvalues l along the basis, at least 0.
        residual: eigenvalue r of every direction outside the basis.
        schedule: levels it claims to know; any, since the form is exact at all.
    """

    def __init__(
        self, mean: Tensor, basis: Tensor, variances: Tensor, residual: float = 0.0, schedule: Schedule | None = None
    ):
        super().__init__()
        self.shape = tuple(mean.shape)
        self.schedule = schedule or ContinuousSchedule()
        d = mean.numel()
        if basis.shape != (d, len(variances)) or residual < 0 or bool((variances < 0).any()):
            raise FarfieldError(
                f"Gaussian in {d} dimensions: expected a basis [{d}, k] and k variances of at least 0, found "
                f"{tuple(basis.shape)} and {tuple(variances.shape)}"
            )
        self.mean = nn.Buffer(mean.double().flatten())
        self.basis = nn.Buffer(basis.double())
        self.variances = nn.Buffer(variances.double())
        self.residual = residual

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        centred = x.double().flatten(1) - self.mean
        variance = column(sigma, centred).double() ** 2
        inside = centred @ self.basis
        gain, rest = self.variances / (self.variances + variance), self.residual / (self.residual + variance)
        answer = self.mean + rest * centred + (inside * (gain - rest)) @ self.basis.T
        return answer.reshape(x.shape).to(x.dtype)

    def log_density(self, x: Tensor, sigma: Tensor) -> Tensor:
        r""":math:`\log N(x; \mu, C + \sigma^2 I)`, ``[B]`` float64."""
        centred = x.double().flatten(1) - self.mean
        variance = column(sigma, centred).double() ** 2
        return log_density(centred, self.basis, self.variances + variance, (self.residual + variance)[:, 0])


class MixtureDenoiser(Denoiser):
    """A mixture of Gaussians, each a `GaussianDenoiser` of the same shape.

    Args:
        components: the K Gaussians.
        weights: ``[K]`` positive, normalised here.
    """

    def __init__(self, components: Sequence[GaussianDenoiser], weights: Tensor, schedule: Schedule | None = None):
        super().__init__()
        if not components or len(components) != len(weights) or bool((weights <= 0).any()):
            raise FarfieldError(
                f"mixture: expected a positive weight for each component, found {len(components)} components and "
                f"{len(weights)} weights"
            )
        if len({c.shape for c in components}) > 1:
            raise FarfieldError("mixture: its components differ in shape")
        self.components = nn.ModuleList(components)
        self.log_weights = nn.Buffer((weights.double() / weights.double().sum()).log())
        self.shape = components[0].shape
        self.schedule = schedule or ContinuousSchedule()

    def responsibilities(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Posterior probability of each component, ``[B, K]`` float64."""
        logs = torch.stack([c.log_density(x, sigma) for c in self._gaussians()], 1)
        return torch.softmax(logs + self.log_weights, 1)

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        means = torch.stack([c(x.double(), sigma).flatten(1) for c in self._gaussians()], 1)
        return (self.responsibilities(x, sigma)[..., None] * means).sum(1).reshape(x.shape).to(x.dtype)

    def _gaussians(self) -> list[GaussianDenoiser]:
        return [c for c in self.components if isinstance(c, GaussianDenoiser)]


def molrg(bases: Sequence[Tensor], weights: Tensor | None = None, schedule: Schedule | None = None) -> MixtureDenoiser:
    r"""Mixture of low-rank Gaussians :math:`\sum_k \pi_k N(0, U_k U_k^\top)` (arXiv 2409.02426).

    Args:
        bases: K matrices ``[d, d_k]`` with orthonormal columns.
        weights: ``[K]``; equal if not given.
    """
    gaussians = [GaussianDenoiser(torch.zeros(len(u)), u, torch.ones(u.shape[1])) for u in bases]
    return MixtureDenoiser(gaussians, torch.ones(len(bases)) if weights is None else weights, schedule)


class EmpiricalDenoiser(Denoiser):
    """The optimal denoiser of a finite data set: what a network that memorizes it perfectly would compute.

    One pass over the points in chunks: two matrix products a chunk and a running log-sum-exp, so memory is bounded by
    one chunk in float64 and its ``B × chunk`` weights however many points there are. Distances and sums are accumulated in
    float64; the points are centred first, which keeps their cross terms small.

    Args:
        points: ``[N, *shape]``, kept in the dtype given.
        chunk: points per matrix product; as many as stay in a processor's cache if not given.
    """

    def __init__(self, points: Tensor, schedule: Schedule | None = None, chunk: int | None = None):
        super().__init__()
        if len(points) == 0 or not bool(torch.isfinite(points).all()):
            raise FarfieldError(f"empirical denoiser: expected at least one point, all finite, found {len(points)}")
        self.shape = tuple(points.shape[1:])
        self.schedule = schedule or ContinuousSchedule()
        flat = points.flatten(1)
        self.chunk = chunk or min(max(CACHED // flat.shape[1], 64), 2048)
        self.points = nn.Buffer(flat)
        self.centre = nn.Buffer(flat.mean(0, dtype=torch.float64))
        self.half_norms = nn.Buffer(torch.cat([(c - self.centre).square().sum(1) / 2 for c in flat.split(self.chunk)]))

    def forward(self, x: Tensor, sigma: Tensor, kept: Tensor | None = None) -> Tensor:
        r""":math:`E[x_0 \mid x]`.

        Args:
            kept: ``[B, N]`` bool, the points that each row weighs, at least one; all if not given.
        """
        centred = x.double().flatten(1) - self.centre
        precision = per_image(sigma, centred)[:, None] ** -2
        most = centred.new_full((len(x), 1), torch.finfo(torch.float64).min)  # finite: a row may keep none of a chunk
        total = centred.new_zeros((len(x), 1))
        answer = torch.zeros_like(centred)
        for points, half_norms, weighed in self._chunks(kept):
            y = points - self.centre
            # |x|² is the same for every point and cancels in the softmax.
            logits = (centred @ y.T - half_norms) * precision
            if weighed is not None:
                logits.masked_fill_(~weighed, -torch.inf)
            higher = torch.maximum(most, logits.max(1, keepdim=True).values)
            weights, shrink = (logits - higher).exp_(), (most - higher).exp()
            total = total * shrink + weights.sum(1, keepdim=True)
            answer = torch.addmm(answer.mul_(shrink), weights, y)
            most = higher
        return (self.centre + answer / total).reshape(x.shape).to(x.dtype)

    def _chunks(self, kept: Tensor | None) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        """Points, their half norms and who weighs them; those that no row keeps are passed over."""
        if kept is None:
            for points, half_norms in zip(
                self.points.split(self.chunk), self.half_norms.split(self.chunk), strict=True
            ):
                yield points, half_norms, None
        else:
            for places in kept.any(0).nonzero()[:, 0].split(self.chunk):
                yield self.points[places], self.half_norms[places], kept[:, places]
