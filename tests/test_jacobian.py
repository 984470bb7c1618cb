"""Products with a denoiser's Jacobian against closed forms, against each other, and against finite differences."""

import math

import pytest
import torch

from farfield.core.error import FarfieldError, NonFiniteError
from farfield.diffusion.denoiser import Denoiser
from farfield.diffusion.exact import EmpiricalDenoiser, GaussianDenoiser, MixtureDenoiser, molrg
from farfield.diffusion.schedule import ContinuousSchedule
from farfield.manifold.jacobian import Jacobian
from farfield.manifold.linearity import linearity
from farfield.manifold.trace import Estimate, mean_of, rademacher, trace

F64 = torch.float64


def seeded(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


class Formula(Denoiser):
    """A denoiser of d numbers by any formula."""

    def __init__(self, d, formula):
        super().__init__()
        self.shape, self.formula, self.schedule = (d,), formula, ContinuousSchedule()

    def forward(self, x, sigma):
        return self.formula(x)


class Once(torch.autograd.Function):
    """The cube, whose derivative cannot be differentiated again."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):
        return 3 * ctx.saved_tensors[0] ** 2 * g


@pytest.mark.parametrize("sigma", [0.05, 0.7, 9.0])
def test_gaussian_jacobian_is_its_formula(gaussian, sigma):
    """J = C (C + s²)^-1, by rows, by columns and whole; and blocks of any size are one product."""
    gain = gaussian.variances / (gaussian.variances + sigma**2)
    truth = gaussian.basis @ gain.diag() @ gaussian.basis.T
    vectors = seeded(7, 6)
    for batch in (1, 3, 32):
        jacobian = Jacobian(gaussian, seeded(6, seed=1), sigma, batch=batch)
        assert torch.allclose(jacobian.rows(vectors), vectors @ truth, atol=1e-12)
        assert torch.allclose(jacobian.columns(vectors), vectors @ truth.T, atol=1e-12)
        assert torch.allclose(jacobian.dense(), truth, atol=1e-12)
        assert jacobian.columns_by == "second derivative"
        assert torch.allclose(jacobian.value, gaussian(seeded(6, seed=1)[None], torch.tensor(sigma))[0], atol=1e-12)


def test_rows_and_columns_of_an_asymmetric_jacobian_are_not_confused():
    matrix = seeded(5, 5)
    jacobian = Jacobian(Formula(5, lambda x: x @ matrix.T), torch.zeros(5, dtype=F64), 1.0)
    assert torch.allclose(jacobian.dense(), matrix)
    assert torch.allclose(jacobian.columns(torch.eye(5, dtype=F64)), matrix.T)


def test_two_points_are_the_hyperbolic_tangent():
    """Data ±b: D = b tanh(b·x / s²), J = b bᵀ sech²(b·x / s²) / s²."""
    b, x, sigma = seeded(4), seeded(4, seed=3), 1.5
    truth = torch.outer(b, b) / (torch.cosh(b @ x / sigma**2) * sigma) ** 2
    assert torch.allclose(Jacobian(EmpiricalDenoiser(torch.stack([b, -b])), x, sigma).dense(), truth, atol=1e-12)


@pytest.mark.parametrize("sigma", [0.4, 2.0])
def test_empirical_jacobian_is_the_weighted_covariance(sigma):
    points, x = seeded(5, 12), seeded(12, seed=1)
    weights = torch.softmax(-(x - points).square().sum(1) / (2 * sigma**2), 0)
    centred = points - weights @ points
    truth = centred.T @ (weights[:, None] * centred) / sigma**2
    assert torch.allclose(Jacobian(EmpiricalDenoiser(points), x, sigma).dense(), truth, atol=1e-10)


def test_mixture_jacobian_is_the_posterior_covariance():
    means = 3 * seeded(3, 4)
    parts = [GaussianDenoiser(m, torch.eye(4, dtype=F64)[:, :2], torch.tensor([1.0, 0.3]), 0.1) for m in means]
    model, x, s2 = MixtureDenoiser(parts, torch.tensor([0.5, 0.3, 0.2])), seeded(4, seed=2), 1.2**2
    variances = torch.tensor([1.0, 0.3, 0.1, 0.1], dtype=F64)
    weights = model.responsibilities(x[None], torch.tensor(1.2))[0]
    answers = means + (x - means) * variances / (variances + s2)
    gaps = answers - weights @ answers
    covariance = (variances * s2 / (variances + s2)).diag() + gaps.T @ (weights[:, None] * gaps)
    assert torch.allclose(Jacobian(model, x, 1.2).dense(), covariance / s2, atol=1e-6)


@pytest.mark.parametrize("name", ["cifar10-32", "digits-generalizing", "tiny"])
def test_rows_and_columns_of_a_network_are_adjoint(name, tmp_path):
    """⟨u, Jv⟩ = ⟨Jᵀu, v⟩, and the columns are those of central differences."""
    from farfield.checkpoints.load import load_denoiser
    from tests.tiny import make_model

    denoiser = load_denoiser(str(make_model(tmp_path / "m")) if name == "tiny" else name)
    d = math.prod(denoiser.shape)
    x = seeded(*denoiser.shape)
    jacobian = Jacobian(denoiser, x, 0.8, batch=4)
    u, v = seeded(3, d, seed=1), seeded(3, d, seed=2)
    rows, columns = jacobian.rows(u), jacobian.columns(v)
    assert jacobian.columns_by == "second derivative" and rows.dtype == F64
    lengths = rows.norm(dim=1) * v.norm(dim=1)
    assert float(((rows * v).sum(1) - (u * columns).sum(1)).abs().div(lengths).max()) < 1e-6
    assert torch.allclose(jacobian._by_differences(v), columns, atol=3e-3 * float(columns.abs().max()))


def test_a_network_without_second_derivative_has_columns_by_differences():
    jacobian = Jacobian(Formula(4, Once.apply), seeded(4), 1.0)
    truth = 3 * seeded(4) ** 2
    assert torch.allclose(jacobian.dense(), truth.diag(), atol=1e-12)
    v = seeded(2, 4, seed=1)
    assert torch.allclose(jacobian.columns(v), v * truth, rtol=1e-7)
    assert jacobian.columns_by == "central differences"


def test_a_class_is_passed_on(tmp_path):
    from farfield.checkpoints.load import load_denoiser
    from tests.tiny import make_model

    model = str(make_model(tmp_path / "m", classes=3))
    x, u = seeded(3, 16, 16), seeded(2, 768, seed=1)
    zero, two = (load_denoiser(model, label=k) for k in (0, 2))
    assert torch.equal(Jacobian(zero, x, 1.0, label=2).rows(u), Jacobian(two, x, 1.0).rows(u))
    assert not torch.equal(Jacobian(zero, x, 1.0).rows(u), Jacobian(two, x, 1.0).rows(u))


def test_calls_are_images_through_the_network(gaussian):
    jacobian = Jacobian(gaussian, seeded(6), 1.0, batch=4)
    assert jacobian.calls == 1
    jacobian.rows(seeded(8, 6))  # one graph of four, two passes back through it
    assert jacobian.calls == 1 + 4 + 8


def test_hutchinson_has_the_variance_of_its_formula():
    """±1 probes, symmetric A: the trace, with variance 2 (|A|² - Σ a_ii²); the reported error says the same."""
    a = seeded(8, 8)
    a = a + a.T
    jacobian = Jacobian(Formula(8, lambda x: x @ a.T), torch.zeros(8, dtype=F64), 1.0, batch=8)
    g = torch.Generator().manual_seed(0)
    found = [trace(jacobian, 4, g) for _ in range(600)]
    values = torch.tensor([e.value for e in found], dtype=F64)
    variance = 2 * float(a.square().sum() - a.diagonal().square().sum()) / 4
    assert float(values.mean()) == pytest.approx(float(a.trace()), abs=4 * math.sqrt(variance / 600))
    assert float(values.var()) == pytest.approx(variance, rel=0.25)
    assert sum(e.error**2 for e in found) / 600 == pytest.approx(variance, rel=0.15)
    whole = trace(jacobian, 8, g)
    assert whole == Estimate(whole.value) and whole.value == pytest.approx(float(a.trace()))
    low = 2 - 12.7062  # Student, 1 degree of freedom
    assert mean_of(torch.tensor([1.0, 3.0])).score().low == pytest.approx(low, abs=1e-3)


def test_a_linear_denoiser_is_linear_and_a_cube_is_not(gaussian):
    straight = linearity(Jacobian(gaussian, seeded(6), 1.0), seeded(3, 6, seed=1), 5.0)
    assert torch.allclose(straight.cosine, torch.ones(3, dtype=F64)) and torch.allclose(
        straight.ratio, torch.ones(3, dtype=F64)
    )
    assert float(straight.departure.max()) < 1e-10
    # (1 + h)³ against 1 + 3h along one axis, from all ones
    bent = linearity(
        Jacobian(Formula(2, lambda x: x**3), torch.ones(2, dtype=F64), 1.0), torch.eye(2, dtype=F64)[:1], 0.1
    )
    assert float(bent.departure) == pytest.approx((1.1**3 - 1.3) / 0.3)
    assert float(bent.ratio) == pytest.approx(math.hypot(1.331, 1) / math.hypot(1.3, 1))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda d: Jacobian(d, seeded(6), 20.0), "out of range"),
        (lambda d: Jacobian(d, seeded(5), 1.0), "expected \\(6,\\)"),
        (lambda d: Jacobian(d, seeded(6), 1.0, label=1), "no classes"),
        (lambda d: Jacobian(d, seeded(6), 1.0, batch=0), "at least 1"),
        (lambda d: Jacobian(d, seeded(6), 1.0).rows(seeded(2, 5)), r"\[k, 6\]"),
        (lambda d: Jacobian(Formula(6, lambda x: x[:, :3]), seeded(6), 1.0), "square"),
        (
            lambda d: Jacobian(Formula(6, lambda x: x.detach().round()), seeded(6), 1.0).rows(seeded(2, 6)),
            "no gradient",
        ),
        (lambda d: trace(Jacobian(d, seeded(6), 1.0), 7, torch.Generator()), "2 to 6"),
        (lambda d: rademacher(1, 6, torch.Generator()), "2 to 6"),
        (lambda d: linearity(Jacobian(d, seeded(6), 1.0), torch.zeros(1, 6), 1.0), "other than 0"),
    ],
)
def test_what_cannot_be_done_is_refused(gaussian, call, message):
    with pytest.raises(FarfieldError, match=message):
        call(gaussian)


def test_a_product_that_is_not_finite_is_refused():
    with pytest.raises(NonFiniteError, match="dtype"):
        Jacobian(Formula(3, lambda x: x.abs().sqrt()), torch.zeros(3, dtype=F64), 1.0).rows(torch.zeros(1, 3))


def test_the_molrg_jacobian_is_symmetric_and_positive():
    model = molrg([torch.linalg.qr(seeded(20, 3, seed=k)).Q for k in range(3)])
    j = Jacobian(model, seeded(20), 0.7).dense()
    assert torch.allclose(j, j.T, atol=1e-12) and float(torch.linalg.eigvalsh(j).min()) > -1e-12
