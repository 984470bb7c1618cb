import math

import pytest
import torch

from farfield.core.error import FarfieldError
from farfield.diffusion.exact import GaussianDenoiser
from farfield.diffusion.schedule import (
    ContinuousSchedule,
    DiscreteSchedule,
    cosine_betas,
    karras,
    linear_betas,
    scaled_linear_betas,
    spread,
)
from farfield.diffusion.solver import integrate


@pytest.mark.parametrize("betas", [linear_betas(), scaled_linear_betas(), cosine_betas(), linear_betas(50, 0.01, 0.4)])
def test_levels_are_noise_over_signal(betas):
    schedule = DiscreteSchedule(betas)
    signal = 1.0
    for beta, level in zip(betas.tolist(), schedule.levels.tolist(), strict=False):
        signal *= 1 - beta
        assert level == pytest.approx(math.sqrt((1 - signal) / signal), rel=1e-9)


@pytest.mark.parametrize("kind", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_betas_equal_those_of_diffusers(kind):
    from diffusers import DDPMScheduler

    theirs = DDPMScheduler(1000, beta_start=1e-4, beta_end=0.02, beta_schedule=kind).betas.double()
    ours = {
        "linear": linear_betas,
        "scaled_linear": lambda: scaled_linear_betas(1000, 1e-4, 0.02),
        "squaredcos_cap_v2": cosine_betas,
    }[kind]()
    assert torch.allclose(ours, theirs, rtol=2e-5, atol=1e-7)


def test_time_is_the_step_at_trained_levels_and_between_them_elsewhere():
    schedule = DiscreteSchedule(linear_betas())
    assert torch.equal(schedule.time(schedule.levels), torch.arange(1000, dtype=torch.float64))
    between = (schedule.levels[400] * schedule.levels[401]).sqrt()
    assert schedule.time(between).item() == pytest.approx(400.5, abs=1e-9)


@pytest.mark.parametrize("steps", [1, 2, 10, 14, 63, 500, 998, 999])
def test_grids_hold_trained_levels_only_and_both_ends(steps):
    schedule = DiscreteSchedule(linear_betas())
    sigmas = schedule.sigmas(steps)
    assert len(sigmas) == steps + 1
    assert bool((sigmas.diff() < 0).all())
    assert sigmas[0] == schedule.levels[-1] and sigmas[-1] == schedule.levels[0]
    assert set(sigmas.tolist()) <= set(schedule.levels.tolist())


def test_grid_can_end_below_the_last_level():
    schedule = DiscreteSchedule(linear_betas())
    sigmas = schedule.sigmas(14, sigma_max=5.0)
    assert sigmas[0] == schedule.nearest(5.0) == pytest.approx(5.0, rel=0.01)


def test_more_steps_than_trained_levels_are_refused():
    with pytest.raises(FarfieldError, match="use at most 999 steps"):
        DiscreteSchedule(linear_betas()).sigmas(1000)


@pytest.mark.parametrize("sigma", [0.0, -1.0, 1e-4, 500.0, math.nan])
def test_levels_out_of_range_are_refused(sigma):
    for schedule in (DiscreteSchedule(linear_betas()), ContinuousSchedule()):
        with pytest.raises(FarfieldError, match="out of range"):
            schedule.check(sigma)


def test_zero_terminal_signal_ends_the_schedule_before_it():
    betas = linear_betas()
    betas[-1] = 1.0
    schedule = DiscreteSchedule(betas)
    assert len(schedule.levels) == 999 and math.isfinite(schedule.sigma_max)


def test_karras_is_uniform_in_the_root_and_exact_at_its_ends():
    sigmas = karras(10, 0.01, 80.0, 7.0)
    roots = sigmas ** (1 / 7)
    assert torch.allclose(roots.diff(), roots.diff()[0].expand(10), rtol=1e-9)
    assert sigmas[0] == 80.0 and sigmas[-1] == 0.01


def test_spread_is_uniform_in_its_share_and_exact_at_its_ends():
    sigmas = spread(10, 0.01, 80.0)
    shares = 1 / (1 + (sigmas / 1.5) ** -0.35)
    assert torch.allclose(shares.diff(), shares.diff()[0].expand(10), rtol=1e-9)
    assert sigmas[0] == 80.0 and sigmas[-1] == 0.01
    assert torch.equal(ContinuousSchedule(0.01, 80.0).sigmas(10), sigmas)
    assert torch.equal(ContinuousSchedule(0.01, 80.0).sigmas(10, rho=7), karras(10, 0.01, 80.0))


@pytest.mark.parametrize("steps", [8, 12, 24, 48])
def test_spread_has_less_than_half_of_the_error_of_karras_at_equal_calls(steps):
    """On Gaussians, whose paths are known, of all variances that bands of pictures have: multistep's error relative to them."""
    variances, (low, high) = torch.logspace(-3, 2, 40, dtype=torch.float64), (0.002, 80.0)
    model = GaussianDenoiser(torch.zeros(40), torch.eye(40), variances)
    start, end = ((variances + level**2).sqrt()[None] for level in (high, low))
    errors = [
        (integrate(model, start, grid(steps, low, high)) / end - 1).square().mean().sqrt() for grid in (spread, karras)
    ]
    assert errors[0] < 0.5 * errors[1]


@pytest.mark.parametrize(
    "betas", [torch.tensor([0.1]), torch.tensor([0.1, 1.5]), torch.tensor([0.0, 0.1]), torch.tensor([0.1, math.nan])]
)
def test_impossible_betas_are_refused(betas):
    with pytest.raises(FarfieldError, match="betas"):
        DiscreteSchedule(betas)
