r"""The Gaussian that both a closed-form denoiser and a latent prior are made of: k known directions and a rest.

Its covariance is :math:`C = Q\,diag(l)\,Q^\top + r\,(I - Q Q^\top)` with orthonormal ``Q [d, k]``. Full rank is
k = d, isotropic is k = 0; nothing of size d × d is ever formed.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def log_density(centred: Tensor, basis: Tensor, variances: Tensor, residual: Tensor) -> Tensor:
    r""":math:`\log N(x; \mu, C)` for rows :math:`x - \mu`.

    Args:
        centred: ``[B, d]``.
        basis: ``[d, k]`` orthonormal columns.
        variances: ``[k]`` or ``[B, k]``, positive.
        residual: scalar or ``[B]``, positive unless k = d.

    Returns:
        ``[B]``, nats.
    """
    d, k = basis.shape
    inside = centred @ basis
    quadratic = (inside**2 / variances).sum(1)
    volume = variances.log().expand(len(centred), k).sum(1)
    if k < d:
        outside = (centred.square().sum(1) - inside.square().sum(1)).clamp(min=0)
        quadratic = quadratic + outside / residual
        volume = volume + (d - k) * residual.log()
    return -0.5 * (quadratic + volume + d * math.log(2 * math.pi))


def principal_directions(centred: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvectors ``[d, k]`` and eigenvalues ``[k]``, descending, of the scatter matrix of rows ``[n, d]``.

    Works through the n × n Gram matrix when n < d; directions without variance are left out. The eigenvalues are sums
    of squares: divide by n − 1 for variances.
    """
    _, singular, vectors = torch.linalg.svd(centred, full_matrices=False)
    keep = singular > singular.max() * 1e-10 if len(singular) else singular > 0
    return vectors[keep].T, singular[keep] ** 2
