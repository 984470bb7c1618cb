"""The fixed-point inverse against the closed form of Gaussian data, and its exactness for a random network."""

from itertools import pairwise

import pytest
import torch

from farfield.core.error import FarfieldError
from farfield.diffusion.denoiser import Denoiser, column
from farfield.diffusion.exact import GaussianDenoiser
from farfield.diffusion.implicit import integrate_implicit, solve
from farfield.diffusion.schedule import ContinuousSchedule, karras
from farfield.diffusion.solver import integrate

F64 = torch.float64
GRID = karras(12, 0.02, 10.0).flip(0)


class Random(Denoiser):
    """A nonlinear network with random weights whose slope is bounded; ``steep`` multiplies how fast it turns."""

    def __init__(self, d=5, steep=1.0):
        super().__init__()
        g = torch.Generator().manual_seed(1)
        self.shape, self.schedule, self.rows = (d,), ContinuousSchedule(0.02, 10.0), 0
        self.a = steep * torch.randn(d, d, generator=g, dtype=F64) / d
        self.b = torch.randn(d, generator=g, dtype=F64)

    def forward(self, x, sigma):
        self.rows += len(x)
        s = column(sigma, x)
        return x - s * torch.tanh(x / (1 + s**2).sqrt() @ self.a + self.b * s.log())


def images(n=4, d=5):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(2), dtype=F64)


def test_euler_inverse_is_the_closed_form_factor(gaussian):
    """Each direction of a Gaussian is multiplied by 1 / (1 - h g(s')), g(s) = s / (l + s²), at every step."""
    x = gaussian.mean + images(3, 6)
    found = integrate_implicit(gaussian, x, GRID, "euler", tolerance=1e-14)
    factor = torch.ones(6, dtype=F64)
    for s0, s1 in pairwise(GRID):
        factor = factor / (1 - (s1 - s0) * s1 / (gaussian.variances + s1**2))
    expected = gaussian.mean + (((x - gaussian.mean) @ gaussian.basis) * factor) @ gaussian.basis.T
    assert torch.allclose(found.x, expected, rtol=1e-10)


@pytest.mark.parametrize("variance", [0.05, 0.5, 4.0])
def test_the_plain_fixed_point_contracts_at_the_known_rate(variance):
    s0, s1 = torch.tensor(0.5, dtype=F64), torch.tensor(1.1, dtype=F64)
    model = GaussianDenoiser(torch.zeros(1, dtype=F64), torch.eye(1, dtype=F64), torch.tensor([variance], dtype=F64))
    x = torch.ones(1, 1, dtype=F64)

    def residual(y, rows):
        return x[rows] + (s1 - s0) * (y - model(y, s1)) / s1 - y

    history = solve(residual, x, 1e-12, memory=0).history
    rate = float((s1 - s0) * s1 / (variance + s1**2))
    assert history[6] / history[5] == pytest.approx(rate, rel=1e-6)
    assert len(solve(residual, x, 1e-12).history) < len(history) / 2  # linear: Anderson ends in a few


@pytest.mark.parametrize("solver", ["euler", "heun", "midpoint"])
def test_the_decoder_returns_the_image_of_any_network(solver):
    model, x = Random(), images()
    found = integrate_implicit(model, x, GRID, solver, tolerance=1e-13)
    assert float((integrate(model, found.x, GRID.flip(0), solver) - x).abs().max()) < 1e-9
    explicit = integrate(model, integrate(model, x, GRID, solver), GRID.flip(0), solver)
    assert float((explicit - x).abs().max()) > 1e-4  # so it is the implicit step that returns it


def test_calls_are_what_the_network_was_asked_for_each_row():
    model = Random()
    found = integrate_implicit(model, images(), GRID, "heun")
    assert int(found.calls.sum()) == model.rows
    assert len(set(found.calls.tolist())) > 1  # a row stops when it is done, whatever the others need


def test_a_row_does_not_depend_on_the_others():
    model, x = Random(), images()
    whole, alone = integrate_implicit(model, x, GRID, "heun"), integrate_implicit(model, x[[2]], GRID, "heun")
    assert torch.allclose(whole.x[[2]], alone.x, atol=1e-12) and int(whole.calls[2]) == int(alone.calls[0])


def test_what_does_not_contract_is_an_error_with_the_step():
    with pytest.raises(FarfieldError, match=r"step \d+ of 3 .*did not contract"):
        integrate_implicit(Random(steep=80.0), images(), karras(3, 0.02, 10.0).flip(0), "euler", most=20)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_network_that_overflows_in_the_middle_of_a_step_is_an_error_with_the_step(bad):
    class Overflown(Random):
        def forward(self, x, sigma):
            self.asked = getattr(self, "asked", 0) + 1
            return super().forward(x, sigma) * (bad if self.asked > 8 else 1.0)

    with pytest.raises(FarfieldError, match=r"step \d+ of 12 "):
        integrate_implicit(Overflown(), images(), GRID, "heun")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"solver": "multistep"}, "cannot be solved one by one"),
        ({"solver": "rk4"}, "solver 'rk4'"),
        ({"sigmas": GRID.flip(0)}, "goes up"),
        ({"tolerance": 0.0}, "tolerance 0"),
    ],
)
def test_bad_requests_are_refused(change, message):
    request = {"sigmas": GRID, "solver": "euler", **change}
    with pytest.raises(FarfieldError, match=message):
        integrate_implicit(Random(), images(), **request)
