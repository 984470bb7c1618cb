"""Spectra of Jacobians, exact and matrix-free, against closed forms and against each other; ranks from them."""

import pytest
import torch

from farfield.core.error import FarfieldError
from farfield.diffusion.exact import EmpiricalDenoiser, GaussianDenoiser, molrg
from farfield.manifold.jacobian import Jacobian
from farfield.manifold.rank import effective_rank, numerical_rank
from farfield.manifold.spectrum import Spectrum, TooFlatError, _needed, exact, matrix_free, spectrum
from farfield.manifold.trace import Estimate
from tests.test_jacobian import F64, Formula, seeded


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def linear(matrix):
    """A denoiser whose Jacobian is this matrix, at 0."""
    return Jacobian(Formula(len(matrix), lambda x: x @ matrix.T), torch.zeros(len(matrix), dtype=F64), 1.0)


def with_values(values, seed=0):
    """A matrix with these singular values and random singular vectors, not symmetric."""
    d = len(values)
    left, right = (torch.linalg.qr(seeded(d, d, seed=seed + k)).Q for k in (0, 1))
    return left @ values.diag() @ right.T


def of_values(*values, residual=0.0, error=0.0):
    """A spectrum made by hand, of 10 dimensions."""
    v = torch.tensor(values, dtype=F64)
    none = Estimate(0.0)
    energy = Estimate(float(v.square().sum()) + residual, error, 4)
    return Spectrum(v, 10, energy, Estimate(residual, error, 4), none, none, None, None, "matrix-free", 0)


@pytest.mark.parametrize("sigma", [0.05, 0.7, 9.0])
def test_exact_eigenvalues_of_a_gaussian(gaussian, sigma):
    truth = gaussian.variances / (gaussian.variances + sigma**2)
    found = exact(Jacobian(gaussian, seeded(6), sigma))
    assert torch.allclose(found.values, truth.sort(descending=True).values, atol=1e-6)
    assert found.energy.value == pytest.approx(float(truth.square().sum()))
    assert found.trace.value == pytest.approx(float(truth.sum()))
    assert found.asymmetry.value < 1e-10 and found.negative == 0 and abs(found.lowest) < 1e-10
    assert found.method == "exact" and found.residual == Estimate(0.0)


@pytest.mark.parametrize("sigma", [0.3, 3.0])
def test_matrix_free_eigenvalues_of_a_low_rank_gaussian(sigma):
    d, variances = 300, torch.tensor([5.0, 2.0, 1.0, 0.5, 0.2], dtype=F64)
    model = GaussianDenoiser(torch.zeros(d), torch.linalg.qr(seeded(d, 5)).Q, variances)
    found = matrix_free(Jacobian(model, seeded(d), sigma), generator())
    truth = variances / (variances + sigma**2)
    assert torch.allclose(found.values[:5], truth, rtol=1e-3) and float(found.values[5:].max()) < 1e-6
    assert found.energy.value == pytest.approx(float(truth.square().sum()), rel=1e-6)
    assert found.trace.value == pytest.approx(float(truth.sum()), rel=1e-6)
    assert found.asymmetry.value < 1e-6


def test_matrix_free_values_energy_trace_and_asymmetry_of_a_general_matrix():
    """The rests are estimates: the truth lies within four of the errors they come with."""
    d = 600
    matrix = with_values(1.0 / torch.arange(1, d + 1, dtype=F64) ** 1.2) + 0.5 / d * torch.eye(d, dtype=F64)
    truth = torch.linalg.svdvals(matrix)
    found = matrix_free(linear(matrix), generator())
    assert torch.allclose(found.values[:8], truth[:8], rtol=1e-3)
    for estimate, value in (
        (found.energy, matrix.square().sum()),
        (found.trace, matrix.trace()),
        (found.skew, (matrix - matrix.T).square().sum()),
    ):
        assert estimate.error > 0 and abs(estimate.value - float(value)) < 4 * estimate.error
    assert found.residual.value < 0.02 * found.energy.value
    assert found.calls < d


@pytest.mark.parametrize("decay", [2.0, 1.5, 1.1, 0.9, 0.7, 0.4])
def test_the_matrix_free_rank_is_the_exact_one_or_refused(decay):
    d = 800
    jacobian = linear(with_values(1.0 / torch.arange(1, d + 1, dtype=F64) ** decay))
    truth = numerical_rank(exact(jacobian)).value
    try:
        found = numerical_rank(matrix_free(jacobian, generator()))
    except TooFlatError as error:
        assert f"of {d} directions" in str(error) and truth > 0.05 * d
    else:
        assert abs(found.value - truth) <= max(1, 0.02 * truth) and found.low <= truth <= found.high + 1


@pytest.mark.parametrize("left", [0.5, 0.4999, 0.4999999999, 0.5000001, 1e-3])
def test_the_pace_of_a_spectrum_that_hardly_falls_is_a_number(left):
    """At 64 × 64 pixels a block misses as much as the one before it, but for the seventh digit."""
    needed = _needed((480, 0.5), (512, left), 0.02)
    assert needed == 512 if left < 0.02 else needed > 1e6


def test_auto_takes_the_cheaper_way_and_says_which():
    d = 800
    steep, flat = torch.exp(-torch.arange(d, dtype=F64) / 4), torch.ones(d, dtype=F64)
    assert spectrum(linear(with_values(steep)), generator()).method == "matrix-free"
    found = spectrum(linear(with_values(flat)), generator())
    assert found.method == "exact" and "falls off slowly" in found.reason
    # refused after a few blocks, not after all that it was allowed
    assert found.calls < 1.4 * d
    small = spectrum(linear(with_values(steep[:40])), generator())
    assert small.method == "exact" and "few" in small.reason
    with pytest.raises(TooFlatError, match="use the exact method"):
        spectrum(linear(with_values(flat)), generator(), "matrix-free")


def test_the_released_setting_has_rank_14_far_out_and_7_near():
    """n = 48, K = 2, d = 7 (arXiv 2409.02426, code); by both ways."""
    bases = torch.linalg.qr(seeded(48, 14)).Q
    model = molrg([bases[:, :7], bases[:, 7:]])
    point = bases[:, :7] @ seeded(7, seed=2)
    for way in (exact, lambda jacobian: matrix_free(jacobian, generator())):
        ranks = [numerical_rank(way(Jacobian(model, point, s))).value for s in (30.0, 3.0, 0.5, 0.1)]
        assert ranks == [14, 14, 7, 7]


def test_the_empirical_denoiser_has_one_rank_less_than_points():
    model = EmpiricalDenoiser(seeded(9, 200))
    for sigma in (3.0, 8.0, 30.0):
        jacobian = Jacobian(model, seeded(200, seed=1), sigma)
        for found in (exact(jacobian), matrix_free(jacobian, generator())):
            assert float(found.values[8]) < 1e-7 * float(found.values[0])
            assert numerical_rank(found, 0.999).value <= 8


def test_a_network_by_both_ways():
    """The bundled digit model: 64 dimensions, whose whole Jacobian is its own witness."""
    from farfield.checkpoints.load import load_denoiser

    denoiser = load_denoiser("digits-generalizing")
    x = seeded(*denoiser.shape)
    for sigma in (0.3, 20.0):
        jacobian = Jacobian(denoiser, x, sigma)
        reference = torch.autograd.functional.jacobian(lambda y, s=sigma: denoiser(y[None], torch.tensor(s))[0], x)
        values = torch.linalg.svdvals(reference.reshape(64, 64))
        found = exact(jacobian)
        assert torch.allclose(found.values, values, atol=1e-5 * float(values[0]))


def test_zero_is_a_jacobian_too():
    for found in (
        exact(linear(torch.zeros(40, 40, dtype=F64))),
        matrix_free(linear(torch.zeros(40, 40, dtype=F64)), generator()),
    ):
        assert numerical_rank(found).value == 0 and effective_rank(found) == 0 and found.asymmetry.value == 0


def test_rank_is_the_first_to_exceed_the_share():
    """r equal values: the least r' with sqrt(r' / r) > share."""
    assert numerical_rank(of_values(*[2.0] * 7)).value == 7
    assert numerical_rank(of_values(*[2.0] * 100)).value == 99  # 98 / 100 = 0.98 < 0.9801
    assert numerical_rank(of_values(3.0, 1.0), 0.9).value == 1  # 3 / sqrt(10) = 0.949
    assert numerical_rank(of_values(3.0, 1.0), 0.95).value == 2
    assert effective_rank(of_values(*[2.0] * 7)) == pytest.approx(7)


def test_an_uncertain_energy_makes_an_uncertain_rank():
    found = numerical_rank(of_values(*[1.0] * 9, residual=1.0, error=1.0), 0.9)
    assert (found.low, found.value, found.high) == (6, 9, 10)  # above 0.81 of 10, less Student's interval
    with pytest.raises(FarfieldError, match=r"hold 0\.9487"):
        numerical_rank(of_values(*[1.0] * 9, residual=1.0), 0.99)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda j: spectrum(j, generator(), "best"), "auto, exact, matrix-free"),
        (lambda j: spectrum(j, generator(), share=1.0), "between 0 and 1"),
        (lambda j: numerical_rank(exact(j), 0.0), "between 0 and 1"),
    ],
)
def test_what_cannot_be_asked_is_refused(gaussian, call, message):
    with pytest.raises(FarfieldError, match=message):
        call(Jacobian(gaussian, seeded(6), 1.0))


def test_a_jacobian_too_large_to_be_made_is_not():
    with pytest.raises(FarfieldError, match=r"20000 dimensions.*smaller share"):
        exact(Jacobian(Formula(20_000, lambda x: x), torch.zeros(20_000), 1.0))


@pytest.mark.slow
def test_the_ranks_of_the_base_model_by_both_ways(cifar):
    """At five noise levels of one image: the matrix-free rank is within 2 % (or 1) of the exact one, or refused."""
    from farfield.data.image import load_images

    x0 = load_images("hubble", cifar.shape, limit=1).values[0].double()
    noise = torch.randn(x0.shape, generator=generator(), dtype=F64)
    for sigma in (0.3, 1.0, 3.0, 10.0, 40.0):
        jacobian = Jacobian(cifar, x0 + sigma * noise, sigma)
        truth = numerical_rank(exact(jacobian)).value
        try:
            found = numerical_rank(matrix_free(jacobian, generator())).value
        except TooFlatError:
            assert truth > 0.05 * jacobian.dimension
        else:
            assert abs(found - truth) <= max(1, 0.02 * truth)
