"""Solvers against the closed forms of Gaussian data."""

import math
from itertools import pairwise

import pytest
import torch

from farfield.core.error import FarfieldError, NonFiniteError
from farfield.diffusion.denoiser import Denoiser, NetworkDenoiser
from farfield.diffusion.exact import EmpiricalDenoiser, GaussianDenoiser
from farfield.diffusion.schedule import DiscreteSchedule, karras, linear_betas
from farfield.diffusion.solver import SOLVERS, integrate, network_calls


def slope_of_error(model, flow, solver, up):
    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    low, high = 0.02, 10.0
    start, end = (low, high) if up else (high, low)
    x = model.mean + (x if up else high * x)
    truth = flow(model, x, start, end)
    errors = []
    for steps in (80, 160, 320):
        sigmas = karras(steps, low, high)
        errors.append(float((integrate(model, x, sigmas.flip(0) if up else sigmas, solver) - truth).norm()))
    return math.log2(errors[-2] / errors[-1])


@pytest.mark.parametrize("up", [True, False])
@pytest.mark.parametrize("solver", list(SOLVERS))
def test_order_of_convergence(gaussian, flow, solver, up):
    assert slope_of_error(gaussian, flow, solver, up) == pytest.approx(SOLVERS[solver].order, abs=0.15)


def test_euler_is_the_closed_form_product(gaussian):
    """Each eigen-direction of a Gaussian is multiplied by prod [1 + h s / (l + s²)], to the bit of float64."""
    sigmas = karras(12, 0.02, 10.0)
    x = gaussian.mean + torch.randn(3, 6, dtype=torch.float64)
    factor = torch.ones(6, dtype=torch.float64)
    for s0, s1 in pairwise(sigmas):
        factor = factor * (1 + (s1 - s0) * s0 / (gaussian.variances + s0**2))
    expected = gaussian.mean + (((x - gaussian.mean) @ gaussian.basis) * factor) @ gaussian.basis.T
    assert torch.allclose(integrate(gaussian, x, sigmas, "euler"), expected, atol=1e-12)


def test_naive_round_trip_is_wrong_by_the_known_amount():
    """12 geometric nodes from 0.02 to 10: the image shrinks to these shares of itself (TRUTHS: 0.762, 0.756, 0.7549, 1)."""
    variances = torch.tensor([4.0, 1.0, 0.1, 0.0], dtype=torch.float64)
    model = GaussianDenoiser(torch.zeros(4, dtype=torch.float64), torch.eye(4, dtype=torch.float64), variances)
    sigmas = torch.logspace(math.log10(10.0), math.log10(0.02), 12, dtype=torch.float64)
    x = torch.ones(1, 4, dtype=torch.float64)
    back = integrate(model, integrate(model, x, sigmas.flip(0), "euler"), sigmas, "euler")
    assert torch.allclose(back[0], torch.tensor([0.762, 0.756, 0.7549, 1.0], dtype=torch.float64), atol=6e-4)


def test_discrete_ddim_is_euler_in_this_coordinate():
    """The textbook DDIM recursion on x_t with alpha-bar, against our Euler on x = x_t / a."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(2, 8, 3, padding=1), torch.nn.Tanh(), torch.nn.Conv2d(8, 2, 3, padding=1)
    ).double()

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network

        def forward(self, x, time):
            return self.inner(x) * (1 + time.reshape(-1, 1, 1, 1) / 1000)

    schedule = DiscreteSchedule(linear_betas())
    model = NetworkDenoiser(Net(), schedule, (2, 5, 5))
    signal = torch.cumprod(1 - linear_betas(), 0)
    times = list(range(999, -1, -27))
    x_t = torch.randn(2, 2, 5, 5, dtype=torch.float64)
    y = x_t.clone()
    with torch.no_grad():
        for t, u in pairwise(times):
            eps = Net()(y, torch.tensor([float(t)] * 2, dtype=torch.float64))
            x0 = (y - (1 - signal[t]).sqrt() * eps) / signal[t].sqrt()
            y = signal[u].sqrt() * x0 + (1 - signal[u]).sqrt() * eps
    ours = integrate(model, x_t / signal[times[0]].sqrt(), schedule.levels[times], "euler") * signal[times[-1]].sqrt()
    assert (ours - y).abs().max() < 1e-9


@pytest.mark.parametrize("solver", list(SOLVERS))
def test_a_point_mass_is_reached_in_one_step(solver):
    """x(s) = y + (s / s0) (x(s0) - y): the slope is constant, so no solver may err, whatever its step."""
    point, start = torch.full((1, 3), 0.3, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64) * 10
    end = integrate(EmpiricalDenoiser(point), start, torch.tensor([10.0, 0.01], dtype=torch.float64), solver)
    assert (end - (point + 0.001 * (start - point))).abs().max() < 1e-11


@pytest.mark.parametrize("solver", ["heun", "midpoint"])
def test_eta_keeps_the_law_of_a_gaussian(solver):
    """With fresh noise at every step the end is still N(mean, C + s²): within the sampling error of 4,000 draws (1.1 %)."""
    model = GaussianDenoiser(
        torch.tensor([1.0, -1.0], dtype=torch.float64),
        torch.eye(2, dtype=torch.float64),
        torch.tensor([1.0, 0.25], dtype=torch.float64),
    )
    n = 4000
    noise = torch.randn(n, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = model.mean + noise * (model.variances + 100.0).sqrt()
    end = integrate(model, x, karras(50, 0.02, 10.0), solver, eta=1.0, seeds=list(range(n)))
    expected = (model.variances + 0.02**2).sqrt()
    assert torch.allclose(end.mean(0), model.mean, atol=0.06)
    assert torch.allclose(end.std(0), expected, rtol=0.045)


def test_eta_has_the_closed_form_variance():
    """Euler with eta on N(0, l): each step makes the variance v into factor² v + s_up²; 10 steps, 6,000 draws."""
    variance, eta, n = 1.0, 0.7, 6000
    model = GaussianDenoiser(
        torch.zeros(1, dtype=torch.float64), torch.eye(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    )
    sigmas = karras(10, 0.02, 10.0)
    expected = variance + 100.0
    x = torch.randn(n, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * math.sqrt(expected)
    for s0, s1 in zip(sigmas[:-1].tolist(), sigmas[1:].tolist(), strict=True):
        up = eta * s1 * math.sqrt(1 - s1**2 / s0**2)
        factor = 1 + (math.sqrt(s1**2 - up**2) - s0) * s0 / (variance + s0**2)
        expected = factor**2 * expected + up**2
    end = integrate(model, x, sigmas, "euler", eta=eta, seeds=list(range(n)))
    assert abs(expected - (variance + 0.02**2)) > 0.2  # few steps: the recursion, not the limit, is what is tested
    assert float(end.var()) == pytest.approx(expected, rel=4 * math.sqrt(2 / n))


def test_noise_depends_on_the_seed_alone(gaussian):
    x = torch.randn(3, 6, dtype=torch.float64)
    sigmas = karras(5, 0.02, 10.0)
    whole = integrate(gaussian, x, sigmas, "euler", eta=1.0, seeds=[5, 6, 7])
    alone = integrate(gaussian, x[[2]], sigmas, "euler", eta=1.0, seeds=[7])
    assert torch.allclose(whole[[2]], alone, atol=1e-12)


class Counting(Denoiser):
    def __init__(self, model):
        super().__init__()
        self.model, self.shape, self.schedule, self.calls = model, model.shape, model.schedule, 0

    def forward(self, x, sigma):
        self.calls += 1
        return self.model(x, sigma)


@pytest.mark.parametrize("solver", list(SOLVERS))
def test_network_calls_are_what_is_said(gaussian, solver):
    model, seen = Counting(gaussian), []
    integrate(
        model,
        torch.zeros(1, 6, dtype=torch.float64),
        karras(9, 0.02, 10.0),
        solver,
        callback=lambda s: seen.append(s.index),
    )
    assert model.calls == network_calls(solver, 9)
    assert seen == list(range(1, 10))


def test_nan_stops_with_the_number_of_the_step(gaussian):
    class Breaking(Counting):
        def forward(self, x, sigma):
            answer = super().forward(x, sigma)
            return answer * math.nan if self.calls == 4 else answer

    with pytest.raises(NonFiniteError, match="step 4 of 9: 2 of 2 states"):
        integrate(Breaking(gaussian), torch.zeros(2, 6, dtype=torch.float64), karras(9, 0.02, 10.0), "euler")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"solver": "rk4"}, "solver 'rk4'"),
        ({"sigmas": torch.tensor([1.0, 2.0, 1.5])}, "strictly ascending or strictly descending"),
        ({"sigmas": torch.tensor([1.0, 0.0])}, "positive levels"),
        ({"sigmas": torch.tensor([1.0])}, "steps \\+ 1"),
        ({"eta": 0.5, "sigmas": torch.tensor([0.1, 1.0])}, "inversion is deterministic"),
        ({"eta": 0.5}, "one seed for each"),
        ({"eta": 1.5, "seeds": [0]}, "eta 1.5"),
        ({"eta": 0.5, "seeds": [0], "solver": "multistep"}, "multistep"),
    ],
)
def test_bad_requests_are_refused(gaussian, change, message):
    request = {"sigmas": torch.tensor([1.0, 0.5, 0.1]), "solver": "euler", **change}
    with pytest.raises(FarfieldError, match=message):
        integrate(gaussian, torch.zeros(1, 6, dtype=torch.float64), **request)
