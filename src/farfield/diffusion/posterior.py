r"""A frozen denoiser that has seen a measurement: :math:`E[x_0 \mid x, y]` for :math:`y = A x_0 + \Sigma_y^{1/2} n`.

Moment matching (arXiv 2405.13712). Given x, the clean image has mean D and covariance :math:`V = \sigma^2 J`, where J is the
Jacobian of D; taking its law for a Gaussian,

.. math:: D_y(x, \sigma) = D + V A^\top (\Sigma_y + A V A^\top)^{-1} (y - A D).

For Gaussian data that is exact, and a solver that follows :math:`D_y` draws from the posterior of y. J is symmetric
(:math:`J = Cov(x_0 \mid x) / \sigma^2`), so that products are those of one backward pass, :math:`V v = \sigma^2 J^\top v`. The
inverse is never formed: some steps of conjugate residuals, one backward pass each.

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

SOLVED = 1e-12
"""What is left of a residual, relative to its length, where a row is done."""

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
        iterations: of `solve`, each one backward pass; of no use beyond as many as numbers are measured.

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


def solve(applied: Applied, residual: Tensor, iterations: int) -> Tensor:
    """Generalized conjugate residuals (Eisenstat, Elman and Schultz 1983) on K u = residual, of each row alone.

    Of all u that so many products with K span, the one that leaves least; the answer is what the directions in u gain. K need be
    neither symmetric nor positive. A trained network's is only nearly so, and at high levels its errors are multiplied by the
    level's square: conjugate gradients, which count on both, there leave more than they began with.

    Args:
        residual: ``[B, ...]``.
        iterations: one product each.
    """

    def inner(a: Tensor, b: Tensor) -> Tensor:
        return (a * b).flatten(1).sum(1).reshape(-1, *(1,) * (a.ndim - 1))

    gained: Tensor | None = None
    spanned: list[tuple[Tensor, Tensor]] = []
    enough = SOLVED * inner(residual, residual).sqrt()
    for _ in range(iterations):
        product, back = applied(residual)
        for known, its_back in spanned:
            share = inner(product, known)
            product, back = product - share * known, back - share * its_back
        length = inner(product, product).sqrt()
        going = (length > 0) & (inner(residual, residual).sqrt() > enough)
        scale = torch.where(going, 1 / torch.where(going, length, 1), 0)  # a row that is done goes no further
        product, back = scale * product, scale * back
        spanned.append((product, back))
        step = inner(residual, product)
        gained = step * back if gained is None else gained + step * back
        residual = residual - step * product
    if gained is None:
        raise FarfieldError(f"{iterations} iterations: expected at least 1")
    return gained
