"""Posterior sampling: operators with their adjoints, and closed forms of Gaussians and mixtures under measurements."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from farfield.core.error import FarfieldError
from farfield.diffusion.denoiser import Denoiser, NetworkDenoiser
from farfield.diffusion.exact import EmpiricalDenoiser, GaussianDenoiser, MixtureDenoiser
from farfield.diffusion.operator import Blur, Operator, Reduce, Seen, Whole, gaussian_kernel
from farfield.diffusion.posterior import PosteriorDenoiser, solve
from farfield.diffusion.schedule import ContinuousSchedule
from farfield.diffusion.solver import integrate
from farfield.manifold.molrg import random_basis

F64 = torch.float64
SIDE = 4
HALF = torch.arange(SIDE * SIDE).reshape(1, 1, SIDE, SIDE) % 3 > 0
OPERATORS: dict[str, Operator] = {
    "mask": Seen(Whole(), HALF),
    "blur": Blur(gaussian_kernel(0.8)),
    "psf": Blur(
        torch.tensor([[0.0, 0.3, 0.0, 0.1, 0.0], [0.2, 0.3, 0.1, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 0.0]], dtype=F64)
    ),
    "scale": Reduce(2),
    "blurred and masked": Seen(Blur(gaussian_kernel(0.5)), HALF),
}


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def gaussian() -> GaussianDenoiser:
    """Images of one channel, with a mean and eigenvalues from 4 down to 0.02."""
    d = SIDE * SIDE
    basis = random_basis(d, d, torch.Generator().manual_seed(0))
    levels = ContinuousSchedule(0.002, 300.0)
    return GaussianDenoiser(
        random(1, SIDE, SIDE, seed=3), basis, 4 * 0.7 ** torch.arange(d, dtype=F64), schedule=levels
    )


def matrix(operator: Operator) -> Tensor:
    """A itself, ``[m, d]``."""
    return operator.forward(torch.eye(SIDE * SIDE, dtype=F64).reshape(-1, 1, SIDE, SIDE)).flatten(1).T


def law(model: GaussianDenoiser) -> tuple[Tensor, Tensor]:
    return model.mean, model.basis @ model.variances.diag() @ model.basis.T


def conditioned(mean: Tensor, covariance: Tensor, a: Tensor, y: Tensor, variance: float) -> tuple[Tensor, Tensor]:
    """The Gaussian given y, by its closed form."""
    noise = variance * torch.eye(len(a), dtype=F64)
    gain = covariance @ a.T @ torch.linalg.inv(noise + a @ covariance @ a.T)
    return mean + gain @ (y - a @ mean), covariance - gain @ a @ covariance


@pytest.mark.parametrize("name", OPERATORS)
def test_an_adjoint_is_the_transpose(name: str):
    operator = OPERATORS[name]
    x = random(2, 3, SIDE, SIDE)
    y = random(2, *operator.measured((3, SIDE, SIDE)), seed=1)
    assert operator.forward(x).shape == y.shape and operator.adjoint(y).shape == x.shape
    there, back = (operator.forward(x) * y).sum(), (x * operator.adjoint(y)).sum()
    assert torch.allclose(there, back, rtol=1e-12)


def test_a_blur_is_the_convolution_with_its_kernel_and_mirrors_at_the_edges():
    from scipy.ndimage import convolve

    kernel = random(3, 5)
    x = random(1, 1, 7, 6, seed=1)
    expected = convolve(x[0, 0].numpy(), kernel.numpy(), mode="reflect")
    assert torch.allclose(Blur(kernel).forward(x)[0, 0], torch.from_numpy(expected))
    assert torch.allclose(
        Blur(gaussian_kernel(1.2)).forward(torch.ones(1, 2, 9, 9, dtype=F64)), torch.ones(1, dtype=F64)
    )


def test_each_row_has_what_was_seen_of_it():
    seen = random(3, 1, SIDE, SIDE) > 0
    some = Seen(Whole(), seen).rows(torch.tensor([2, 0, 2]))
    assert torch.equal(some.forward(torch.ones(3, 1, SIDE, SIDE)), seen[[2, 0, 2]].float())


def test_what_does_not_fit_is_refused():
    with pytest.raises(FarfieldError, match="scale 3: does not divide the model's size of 4×4"):
        Reduce(3).measured((1, 4, 4))
    with pytest.raises(FarfieldError, match="blur: its kernel has 41×41 pixels, too many for images of 4×4"):
        Blur(gaussian_kernel(5)).measured((1, 4, 4))
    with pytest.raises(FarfieldError, match="odd number"):
        Blur(torch.ones(2, 3))
    with pytest.raises(FarfieldError, match=r"expected \(1, 2, 2\)"):
        PosteriorDenoiser(gaussian(), Reduce(2), torch.zeros(1, 1, 4, 4), 0.1)
    with pytest.raises(FarfieldError, match="variance above 0"):
        PosteriorDenoiser(gaussian(), Whole(), torch.zeros(1, 1, 4, 4), 0.0)


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("sigma", [0.05, 1.0, 50.0])
def test_of_a_gaussian_the_posterior_mean_is_exact_at_every_level(name: str, sigma: float):
    """Given the noisy image the data are a Gaussian about D with covariance C s²/(C + s²); then given y, by its closed form."""
    model, operator, a = gaussian(), OPERATORS[name], matrix(OPERATORS[name])
    x, y = random(3, 1, SIDE, SIDE, seed=4), operator.forward(random(3, 1, SIDE, SIDE, seed=5))
    found = PosteriorDenoiser(model, operator, y, 0.04, iterations=40)(x, torch.tensor(sigma, dtype=F64))
    kept = model.variances * sigma**2 / (model.variances + sigma**2)
    means, covariance = model(x, torch.tensor(sigma)), model.basis @ kept.diag() @ model.basis.T
    for row in range(3):
        expected, _ = conditioned(means[row].flatten(), covariance, a, y[row].flatten(), 0.04)
        assert torch.allclose(found[row].flatten(), expected, atol=1e-9)


@pytest.mark.parametrize(("name", "solver"), [("mask", "multistep"), ("scale", "heun")])
def test_of_a_gaussian_the_draws_have_the_mean_and_covariance_of_the_posterior(name: str, solver: str):
    """The flow is affine: its value at no noise is the draws' mean, its linear part B gives their covariance B Bᵀ."""
    model, operator = gaussian(), OPERATORS[name]
    d = SIDE * SIDE
    y = operator.forward(random(1, 1, SIDE, SIDE, seed=6))
    starts = torch.cat([torch.zeros(1, d, dtype=F64), torch.eye(d, dtype=F64)]).reshape(-1, 1, SIDE, SIDE)
    posterior = PosteriorDenoiser(model, operator, y.expand(d + 1, -1, -1, -1), 0.04, iterations=d)
    sigmas = model.schedule.sigmas(60)
    ends = integrate(posterior, sigmas[0] * starts, sigmas, solver).flatten(1)
    mean, linear = ends[0], (ends[1:] - ends[0]).T
    expected, covariance = conditioned(*law(model), matrix(operator), y[0].flatten(), 0.04)
    assert torch.allclose(mean, expected, atol=0.02)
    assert torch.allclose(linear @ linear.T, covariance, atol=0.02)
    assert float(covariance.abs().max()) > 0.3 and float((mean - model.mean).norm()) > 1  # y tells much, and not all


def test_of_one_point_of_two_the_measurement_chooses():
    """Two points that differ where it was seen: every draw ends at the one that was measured."""
    points = torch.stack([-torch.ones(1, SIDE, SIDE, dtype=F64), torch.ones(1, SIDE, SIDE, dtype=F64)])
    model = EmpiricalDenoiser(points, ContinuousSchedule(0.01, 50.0))
    operator = OPERATORS["mask"]
    y = operator.forward(points[1:]).expand(8, -1, -1, -1)
    sigmas = model.schedule.sigmas(40)
    drawn = integrate(PosteriorDenoiser(model, operator, y, 0.01), sigmas[0] * random(8, 1, SIDE, SIDE), sigmas, "heun")
    assert torch.allclose(drawn, points[1:].expand(8, -1, -1, -1), atol=0.05)


def test_of_a_mixture_the_gradient_is_that_of_all_of_it():
    """One class of two is left at low noise; there the mixture's posterior is that class's own."""
    d = SIDE * SIDE
    classes = [
        GaussianDenoiser(s * 3 * torch.ones(1, SIDE, SIDE), torch.eye(d), torch.full((d,), 0.2)) for s in (-1, 1)
    ]
    both = MixtureDenoiser(classes, torch.ones(2))
    y = OPERATORS["scale"].forward(3 + 0.3 * random(2, 1, SIDE, SIDE))
    x, sigma = 3 + random(2, 1, SIDE, SIDE, seed=1), torch.tensor(0.3, dtype=F64)
    found, alone = (PosteriorDenoiser(m, OPERATORS["scale"], y, 0.04, 16)(x, sigma) for m in (both, classes[1]))
    assert torch.allclose(found, alone, atol=1e-6)


def test_a_network_is_differentiated_where_gradients_are_off():
    """A linear network, D = W x / (1 + s²)^½: J is known, though parameters are frozen and no_grad is around."""
    w = random(SIDE * SIDE, SIDE * SIDE)
    w = (w @ w.T / 16).float()

    class Linear(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = torch.nn.Parameter(w, requires_grad=False)

        def forward(self, x: Tensor, time: Tensor) -> Tensor:
            return (x.flatten(1) @ self.w).reshape(x.shape)

    model = NetworkDenoiser(Linear().eval(), ContinuousSchedule(0.01, 50.0), (1, SIDE, SIDE), "sample")
    operator, a, s = OPERATORS["scale"], matrix(OPERATORS["scale"]), torch.tensor(2.0, dtype=F64)
    x, y = random(1, 1, SIDE, SIDE), random(1, 1, 2, 2, seed=1)
    with torch.no_grad():
        found = PosteriorDenoiser(model, operator, y, 0.1, iterations=8)(x, s)
    j = w.double() / 5**0.5
    expected, _ = conditioned(j @ x.flatten(), 4 * j, a, y.flatten(), 0.1)
    assert torch.allclose(found.flatten(), expected, atol=1e-5)
    assert not found.requires_grad


def test_one_iteration_moves_along_the_gradient_of_the_misfit():
    """The direction of DPS, and the step to the lowest point along it."""
    model, operator, a = gaussian(), OPERATORS["scale"], matrix(OPERATORS["scale"])
    x, y, s = random(1, 1, SIDE, SIDE), random(1, 1, 2, 2, seed=1), torch.tensor(1.0, dtype=F64)
    moved = (PosteriorDenoiser(model, operator, y, 0.04, 1)(x, s) - model(x, s)).flatten()
    v = model.basis @ (model.variances / (model.variances + 1)).diag() @ model.basis.T
    left = (y - operator.forward(model(x, s))).flatten()
    product = 0.04 * left + a @ v @ a.T @ left
    step = left @ product / (product @ product)
    assert torch.allclose(moved, step * v @ a.T @ left)


def test_what_is_not_symmetric_nor_positive_is_solved_and_a_row_that_is_done_stays():
    matrices = random(3, 6, 6)
    matrices[2] = torch.eye(6)
    rights = random(3, 6, seed=1)
    rights[1] = 0
    for iterations in (1, 3, 6, 9):
        found = solve(lambda p: ((matrices @ p[..., None])[..., 0], p), rights, iterations)
        left = (rights - (matrices @ found[..., None])[..., 0]).norm(dim=1)
        assert float(left[0]) < float(rights[0].norm()) and torch.equal(found[1], rights[1])
        assert torch.allclose(found[2], rights[2])
    assert torch.allclose(found, torch.linalg.solve(matrices, rights), atol=1e-8)


def test_without_a_gradient_it_is_refused():
    class Deaf(Denoiser):
        shape, schedule = (1, SIDE, SIDE), ContinuousSchedule(0.01, 50.0)

        def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
            return torch.zeros_like(x)

    with pytest.raises(FarfieldError, match="no gradient"):
        PosteriorDenoiser(Deaf(), Whole(), torch.zeros(1, 1, SIDE, SIDE), 0.1)(
            random(1, 1, SIDE, SIDE), torch.tensor(1.0)
        )
