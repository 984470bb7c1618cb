r"""A frozen denoiser that has seen a measurement: :math:`E[x_0 \mid x, y]` for :math:`y = A x_0 + \Sigma_y^{1/2} n`.

Moment matching (arXiv 2405.13712). Given x, the clean image has mean D and covariance :math:`V = \sigma^2 J`, where J is the
Jacobian of D; taking its law for a Gaussian,

.. math:: D_y(x, \sigma) = D + V A^\top (\Sigma_y + A V A^\top)^{-1} (y - A D).

For Gaussian data that is exact, and a solver that follows :math:`D_y` draws from the posterior of y. J is symmetric
(:math:`J = Cov(x_0 \mid x) / \sigma^2`), so that products are those of one backward pass, :math:`V v = \sigma^2 J^\top v`. The
inverse is never formed: some steps of conjugate gradients, one backward pass each.

One step moves D along :math:`J^\top A^\top (y - A D)`, the direction of DPS (arXiv 2209.14687), for the same price; its length is
that of a line search on the same equation, where DPS has a constant to be tuned for each task and number of steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import torch
from torch import Tensor

from farfield.core.error import FarfieldError
from farfield.diffusion.denoiser import Denoiser, column
from farfield.diffusion.operator import Operator

Applied = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Of a direction p the product K p, and what a solution gains for each p in it."""


@final
class PosteriorDenoiser(Denoiser):
    """The denoiser of images of which a measurement is known: an ordinary denoiser, for every solver.

    Args:
        inner: of pixels, frozen; its answer must have a gradient.
        operator: A, of the rows of a batch.
        measurement: y, ``[B, C, h, w]``: a row for each of the batch.
        variance: of the measurement's noise, above 0: one number, or broadcast to y.
        iterations: of conjugate gradients, each one backward pass; at most as many as numbers are measured.

    Raises:
        FarfieldError: a latent model, a measurement of another shape, or no noise.
    """

    def __init__(
        self, inner: Denoiser, operator: Operator, measurement: Tensor, variance: float | Tensor, iterations: int = 3
    ):
        super().__init__()
        if inner.codec is not None:
            raise FarfieldError("posterior: measurements are of pixels; this is a latent model, expected a pixel model")
        if tuple(measurement.shape[1:]) != (expected := operator.measured(inner.shape)):
            raise FarfieldError(f"measurement of shape {tuple(measurement.shape[1:])}: expected {expected}, a row each")
        if not bool((torch.as_tensor(variance) > 0).all()):
            raise FarfieldError("posterior: expected a measurement with noise, a variance above 0")
        self.shape, self.schedule = inner.shape, inner.schedule
        self.inner, self.operator, self.iterations = inner, operator, iterations
        self.measurement, self.variance = measurement, variance

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        point = x.detach().requires_grad_()
        with torch.enable_grad():
            answer: Tensor = self.inner(point, sigma)
        if not answer.requires_grad:
            raise FarfieldError(
                f"{type(self.inner).__name__}: its answer has no gradient (it is computed without one, or does not depend on x); "
                "a posterior needs a model that can be differentiated"
            )
        level = column(sigma, x) ** 2

        def applied(p: Tensor) -> tuple[Tensor, Tensor]:
            (grad,) = torch.autograd.grad(answer, point, self.operator.adjoint(p), retain_graph=True)
            back = level * grad
            return self.variance * p + self.operator.forward(back), back

        mean = answer.detach()
        return mean + solve(applied, self.measurement.to(x) - self.operator.forward(mean), self.iterations)


def solve(applied: Applied, residual: Tensor, iterations: int, tolerance: float = 1e-12) -> Tensor:
    """Conjugate gradients on K u = residual, of each row alone: the sum of what the directions in u gain.

    K should be symmetric and positive definite. A trained network's is only nearly so: a row that meets a direction in which it
    is not positive stops there, with what it has.

    Args:
        residual: ``[B, ...]``.
        iterations: at most.
        tolerance: length of what is left, relative to the residual, at which a row is done.
    """

    def inner(a: Tensor, b: Tensor) -> Tensor:
        return (a * b).flatten(1).sum(1).reshape(-1, *(1,) * (a.ndim - 1))

    p, left = residual, inner(residual, residual)
    enough = tolerance**2 * left
    gained: Tensor | None = None
    for _ in range(iterations):
        product, back = applied(p)
        curvature = inner(p, product)
        going = (curvature > 0) & (left > enough)
        length = torch.where(going, left / torch.where(going, curvature, 1), 0)
        gained = length * back if gained is None else gained + length * back
        residual = residual - length * product
        before, left = left, inner(residual, residual)
        p = torch.where(going, residual + left / torch.where(going, before, 1) * p, 0)
        if not bool(going.any()):
            break
    if gained is None:
        raise FarfieldError(f"{iterations} iterations: expected at least 1")
    return gained
