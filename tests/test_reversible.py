"""Reversible solvers: exact round trips of random networks, the published formulas, orders, and their stability."""

import math

import pytest
import torch
from test_implicit import GRID, Random, images

from farfield.core.error import FarfieldError, NonFiniteError
from farfield.diffusion.denoiser import Denoiser
from farfield.diffusion.exact import EmpiricalDenoiser
from farfield.diffusion.reversible import (
    REVERSIBLE,
    WEIGHTS,
    integrate_reversible,
    reversible_calls,
    second_level,
    start,
)
from farfield.diffusion.schedule import ContinuousSchedule, karras

F64 = torch.float64


@pytest.mark.parametrize("up", [True, False])
@pytest.mark.parametrize("method", REVERSIBLE)
def test_a_random_network_is_undone(method, up):
    """Up and down or down and up: the pair comes back to 1e-9 in float64."""
    model, grid = Random(), GRID if up else GRID.flip(0)
    x = images() * (1.0 if up else 10.0)
    second = start(model, x, grid, method)
    end, beside = integrate_reversible(model, x, second, grid, method)
    back, first = integrate_reversible(model, end, beside, grid.flip(0), method)
    assert float((end - x).abs().max()) > 0.1
    assert float((back - x).abs().max()) < 1e-9 and float((first - second).abs().max()) < 1e-9


@pytest.mark.parametrize("method", REVERSIBLE)
def test_order_of_convergence(gaussian, flow, method):
    """Second order up the smooth grid; two-step rules with the exact second state, so the rule alone is measured."""
    x, errors = gaussian.mean + images(4, 6), []
    for steps in (80, 160, 320):
        up = karras(steps, 0.5, 10.0).flip(0)
        second = flow(gaussian, x, 0.5, float(up[1])) if method in WEIGHTS else x
        truth = flow(gaussian, x, 0.5, 10.0)
        errors.append(float((integrate_reversible(gaussian, x, second, up, method)[0] - truth).norm()))
    assert math.log2(errors[-2] / errors[-1]) == pytest.approx(2, abs=0.2)


def test_belm_is_the_published_recursion():
    """O-BELM with h_i = s_i - s_{i-1}: x_{i-1} = h_i²/h_{i+1}² x_{i+1} + (1 - that) x_i - h_i (h_i + h_{i+1})/h_{i+1} eps_i."""
    model, s = Random(), GRID  # ascending: s[i] is the published sigma_i
    x = {12: images() * 10, 11: images() * 8}
    for i in range(11, 0, -1):
        h, above = s[i] - s[i - 1], s[i + 1] - s[i]
        eps = (x[i] - model(x[i], s[i])) / s[i]
        share = h**2 / above**2
        x[i - 1] = share * x[i + 1] + (1 - share) * x[i] - h * (h + above) / above * eps
    end, beside = integrate_reversible(model, x[12], x[11], s.flip(0), "belm")
    assert torch.allclose(end, x[0], atol=1e-11) and torch.allclose(beside, x[1], atol=1e-11)


def test_bdia_is_two_ddim_steps_in_unit_variance():
    """With alpha-bar: z_next = z_previous + DDIM(z, now to next) - DDIM(z, now to previous), gamma 1."""
    model, s = Random(), GRID.flip(0)
    signal = 1 / (1 + s**2)
    z = [images(), images() * 0.9]
    for i in range(1, 12):
        a, b = signal[i].sqrt(), (1 - signal[i]).sqrt()
        x0 = model(z[i] / a, s[i])
        eps = (z[i] - a * x0) / b

        def ddim(j, x0=x0, eps=eps):
            return signal[j].sqrt() * x0 + (1 - signal[j]).sqrt() * eps

        z.append(z[i - 1] + ddim(i + 1) - ddim(i - 1))
    end, _ = integrate_reversible(model, z[0] / signal[0].sqrt(), z[1] / signal[1].sqrt(), s, "bdia")
    assert torch.allclose(end * signal[12].sqrt(), z[12], atol=1e-11)


def test_the_shadow_of_reversible_heun_is_a_leapfrog():
    """On equal angles: shadow_{n+1} = shadow_{n-1} + 2 h f(shadow_n) with f = dz/d(arctan s)."""
    model = Random()
    angles = torch.linspace(0.1, 1.4, 9, dtype=F64)
    grid, h = angles.tan(), float(angles[1] - angles[0])
    scale = (1 + grid**2).sqrt()

    def speed(z, i):
        x = scale[i] * z
        return scale[i] * (x - model(x, grid[i])) / grid[i] - grid[i] * z

    shadow = [images() / scale[0]]
    shadow.append(shadow[0] + h * speed(shadow[0], 0))
    for i in range(1, 8):
        shadow.append(shadow[i - 1] + 2 * h * speed(shadow[i], i))
    _, beside = integrate_reversible(model, images(), images(), grid, "reversible-heun")
    assert torch.allclose(beside / scale[-1], shadow[-1], atol=1e-11)


@pytest.mark.parametrize("method", sorted(WEIGHTS))
def test_a_point_mass_is_a_straight_line(method):
    """Whatever the weight, a two-step rule is exact where the slope is constant."""
    point, noise = torch.full((1, 5), 0.3, dtype=F64), images()
    x, second = point + GRID[-1] * noise, point + GRID[-2] * noise
    end, _ = integrate_reversible(EmpiricalDenoiser(point), x, second, GRID.flip(0), method)
    assert torch.allclose(end, point + GRID[0] * noise, atol=1e-9)


class Still(Denoiser):
    """No slope anywhere: what moves is the parasitic solution alone."""

    shape, schedule = (5,), ContinuousSchedule(0.02, 10.0)

    def forward(self, x, sigma):
        return x


@pytest.mark.parametrize("method", sorted(WEIGHTS))
def test_the_parasitic_solution_grows_by_the_product_of_the_weights(method):
    """Of belm the square of the last step over the first: 1e5 up this grid, and as much damping down it."""
    x, off = images(), 1e-6 * images()
    h = GRID.diff()
    end, beside = integrate_reversible(Still(), x, x + off, GRID, method)
    grown = float((end - beside).norm() / off.norm())
    product = 1.0
    for i in range(1, len(GRID) - 1):
        product *= float(WEIGHTS[method](GRID[i - 1], GRID[i], GRID[i + 1]))
    assert grown == pytest.approx(product, rel=1e-6)
    if method == "belm":
        assert product == pytest.approx(float((h[-1] / h[0]) ** 2)) and product > 1e4
        down, beside = integrate_reversible(Still(), x, x + off, GRID.flip(0), method)
        assert float((down - beside).norm() / off.norm()) == pytest.approx(1 / product, rel=1e-3)


@pytest.mark.parametrize("method", REVERSIBLE)
def test_network_calls_are_what_is_said(method):
    for grid, up in ((GRID, True), (GRID.flip(0), False)):
        model, seen = Random(), []
        second = start(model, images(1), grid, method) if up else images(1)
        integrate_reversible(model, images(1), second, grid, method, lambda step, seen=seen: seen.append(step.index))
        assert model.rows == reversible_calls(method, 12, up) and seen == list(range(1, 13))


@pytest.mark.parametrize("method", REVERSIBLE)
def test_the_second_state_is_required(method):
    with pytest.raises(FarfieldError, match="second state is missing"):
        integrate_reversible(Random(), images(), None, GRID, method)
    with pytest.raises(FarfieldError, match="expected \\(4, 5\\)"):
        integrate_reversible(Random(), images(), images(3), GRID, method)
    model = Random()
    end, _ = integrate_reversible(model, images(), start(model, images(), GRID, method), GRID, method)
    made_anew = start(model, end, GRID.flip(0), method)
    back, _ = integrate_reversible(model, end, made_anew, GRID.flip(0), method)
    assert float((back - images()).abs().max()) > 1e-3  # it holds what the state alone does not


def test_bad_requests_are_refused():
    with pytest.raises(FarfieldError, match="reversible method 'edict'"):
        integrate_reversible(Random(), images(), images(), GRID, "edict")
    with pytest.raises(FarfieldError, match="at least 2 steps"):
        second_level(GRID[:2], "belm")
    with pytest.raises(NonFiniteError, match="step 1 of 12"):
        integrate_reversible(Random(), images(), images() * math.nan, GRID, "bdia")
