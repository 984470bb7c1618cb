"""Closed-form denoisers against one another, against autograd, and against their limits."""

import math

import pytest
import torch

from farfield.core.error import FarfieldError
from farfield.diffusion.exact import EmpiricalDenoiser, GaussianDenoiser, MixtureDenoiser, molrg

F64 = torch.float64


def orthonormal(d, k, seed):
    return torch.linalg.qr(torch.randn(d, k, generator=torch.Generator().manual_seed(seed), dtype=F64)).Q


def broadcast_empirical(points, x, sigma):
    """The formula as written, N × B × D at once: the independent witness."""
    squared = (x[:, None].flatten(2) - points[None].flatten(2)).square().sum(-1)
    weights = torch.softmax(-squared / (2 * sigma**2), 1)
    return (weights @ points.flatten(1)).reshape(x.shape)


@pytest.mark.parametrize("sigma", [0.01, 0.5, 3.0, 50.0])
def test_gaussian_is_the_matrix_formula(gaussian, sigma):
    covariance = gaussian.basis @ gaussian.variances.diag() @ gaussian.basis.T
    x = torch.randn(4, 6, dtype=F64)
    gain = covariance @ torch.linalg.inv(covariance + sigma**2 * torch.eye(6, dtype=F64))
    assert torch.allclose(gaussian(x, torch.tensor(sigma)), gaussian.mean + (x - gaussian.mean) @ gain.T, atol=1e-12)
    law = torch.distributions.MultivariateNormal(gaussian.mean, covariance + sigma**2 * torch.eye(6, dtype=F64))
    assert torch.allclose(gaussian.log_density(x, torch.tensor(sigma)), law.log_prob(x), atol=1e-8)


def test_low_rank_with_a_rest_equals_its_full_covariance():
    q = orthonormal(7, 3, 0)
    values = torch.tensor([3.0, 1.0, 0.2], dtype=F64)
    low = GaussianDenoiser(torch.ones(7, dtype=F64), q, values, residual=0.05)
    every, vectors = torch.linalg.eigh(q @ values.diag() @ q.T + 0.05 * (torch.eye(7, dtype=F64) - q @ q.T))
    full = GaussianDenoiser(torch.ones(7, dtype=F64), vectors, every)
    x = torch.randn(5, 7, dtype=F64)
    for sigma in (torch.tensor(0.1), torch.tensor([0.1, 0.5, 1.0, 2.0, 9.0])):
        assert torch.allclose(low(x, sigma), full(x, sigma), atol=1e-12)
        assert torch.allclose(low.log_density(x, sigma), full.log_density(x, sigma), atol=1e-10)


@pytest.mark.parametrize("sigma", [0.3, 1.0, 4.0])
def test_jacobian_is_the_posterior_covariance_over_the_noise_variance(sigma):
    """Any law: J = Cov(x0 | x) / s², symmetric and positive; here for a mixture, by its own closed form."""
    components = [
        GaussianDenoiser(3 * torch.randn(4, dtype=F64), orthonormal(4, 2, k), torch.tensor([1.0, 0.3], dtype=F64), 0.1)
        for k in range(3)
    ]
    model = MixtureDenoiser(components, torch.tensor([0.5, 0.3, 0.2]))
    x = torch.randn(1, 4, dtype=F64)
    s = torch.tensor(sigma, dtype=F64)
    jacobian = torch.autograd.functional.jacobian(lambda y: model(y[None], s)[0], x[0])
    weights, mean = model.responsibilities(x, s)[0], model(x, s)[0]
    covariance = torch.zeros(4, 4, dtype=F64)
    for w, c in zip(weights, components, strict=True):
        full = c.basis @ (c.variances - c.residual).diag() @ c.basis.T + c.residual * torch.eye(4, dtype=F64)
        gap = c(x, s)[0] - mean
        covariance += w * (
            full - full @ torch.linalg.inv(full + s**2 * torch.eye(4, dtype=F64)) @ full + gap[:, None] * gap
        )
    assert torch.allclose(jacobian, covariance / s**2, atol=1e-8)
    assert float(torch.linalg.eigvalsh(jacobian).min()) > -1e-10


def test_molrg_is_its_closed_form_and_its_rank_falls_from_14_to_7():
    n, d, sigma = 48, 7, torch.tensor(0.8, dtype=F64)
    bases = [orthonormal(n, 2 * d, 5)[:, :d], orthonormal(n, 2 * d, 5)[:, d:]]
    model = molrg(bases)
    x = torch.randn(3, n, dtype=F64)
    energy = torch.stack([(x @ u).square().sum(1) for u in bases], 1)
    weights = torch.softmax(energy / (2 * sigma**2 * (1 + sigma**2)), 1)
    expected = sum(weights[:, [k]] * (x @ u @ u.T) for k, u in enumerate(bases)) / (1 + sigma**2)
    assert torch.allclose(model(x, sigma), expected, atol=1e-10)
    point = bases[0] @ torch.randn(d, generator=torch.Generator().manual_seed(2), dtype=F64)

    def rank(s):
        values = torch.linalg.svdvals(
            torch.autograd.functional.jacobian(lambda y: model(y[None], torch.tensor(s, dtype=F64))[0], point)
        )
        share = (values.square().cumsum(0) / values.square().sum()).sqrt()
        return int((share <= 0.99).sum()) + 1

    assert [rank(s) for s in (30.0, 3.0, 0.5, 0.1)] == [14, 14, 7, 7]


@pytest.mark.parametrize("sigma", [1e-3, 0.05, 1.0, 80.0])
@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_empirical_equals_the_broadcast_formula(sigma, chunk):
    points = torch.randn(50, 2, 3, 3, dtype=F64)
    x = points[:6] + sigma * torch.randn(6, 2, 3, 3, dtype=F64)
    model = EmpiricalDenoiser(points, chunk=chunk)
    assert torch.allclose(model(x, torch.tensor(sigma)), broadcast_empirical(points, x, sigma), atol=1e-9)


def test_empirical_is_a_mixture_of_points_and_ignores_order_and_duplicates():
    points, x = torch.randn(9, 5, dtype=F64), torch.randn(4, 5, dtype=F64)
    sigma = torch.tensor([0.1, 0.4, 1.0, 5.0])
    model = EmpiricalDenoiser(points, chunk=4)
    dots = [GaussianDenoiser(p, torch.zeros(5, 0), torch.zeros(0)) for p in points]
    assert torch.allclose(model(x, sigma), MixtureDenoiser(dots, torch.ones(9))(x, sigma), atol=1e-8)
    assert torch.allclose(model(x, sigma), EmpiricalDenoiser(points.flip(0), chunk=4)(x, sigma), atol=1e-12)
    assert torch.allclose(model(x, sigma), EmpiricalDenoiser(points.repeat(3, 1), chunk=4)(x, sigma), atol=1e-12)


def test_empirical_limits_and_jacobian_rank():
    points = torch.randn(5, 12, dtype=F64)
    x = points[[3]] + 0.01 * torch.randn(1, 12, dtype=F64)
    model = EmpiricalDenoiser(points)
    assert torch.allclose(model(x, torch.tensor(1e-3)), points[[3]], atol=1e-12)
    assert torch.allclose(model(x, torch.tensor(1e5)), points.mean(0, keepdim=True), atol=1e-4)
    jacobian = torch.autograd.functional.jacobian(lambda y: model(y[None], torch.tensor(1.0, dtype=F64))[0], x[0])
    assert int(torch.linalg.matrix_rank(jacobian, rtol=1e-10)) == 4


def test_empirical_survives_float32_points_far_from_the_origin():
    """|y|² / s² is 1e9 here: without centring and float64 sums the weights would be noise."""
    points = (100 + torch.randn(40, 64, generator=torch.Generator().manual_seed(0))).float()
    x = points[:3].double() + 0.01
    assert torch.allclose(
        EmpiricalDenoiser(points)(x, torch.tensor(0.05)), broadcast_empirical(points.double(), x, 0.05), atol=1e-9
    )


def test_denoiser_is_the_posterior_mean():
    """Bayes by brute force: average x0 over joint draws that land near x."""
    model = MixtureDenoiser(
        [GaussianDenoiser(torch.tensor([m], dtype=F64), torch.eye(1), torch.tensor([0.2])) for m in (-1.0, 1.5)],
        torch.tensor([0.3, 0.7]),
    )
    g = torch.Generator().manual_seed(0)
    n, sigma = 4_000_000, 0.8
    which = torch.rand(n, generator=g, dtype=F64) < 0.3
    x0 = torch.where(which, -1.0, 1.5) + math.sqrt(0.2) * torch.randn(n, generator=g, dtype=F64)
    x = x0 + sigma * torch.randn(n, generator=g, dtype=F64)
    for at in (-1.0, 0.2, 1.0):
        near = (x - at).abs() < 0.01
        assert float(model(torch.tensor([[at]], dtype=F64), torch.tensor(sigma))) == pytest.approx(
            float(x0[near].mean()), abs=5 * float(x0[near].std()) / math.sqrt(int(near.sum()))
        )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GaussianDenoiser(torch.zeros(3), torch.eye(3), torch.tensor([1.0, 1.0, -1.0])), "variances"),
        (lambda: MixtureDenoiser([], torch.ones(0)), "mixture"),
        (lambda: EmpiricalDenoiser(torch.zeros(0, 3)), "at least one point"),
        (lambda: EmpiricalDenoiser(torch.tensor([[math.nan]])), "finite"),
    ],
)
def test_impossible_laws_are_refused(make, message):
    with pytest.raises(FarfieldError, match=message):
        make()
