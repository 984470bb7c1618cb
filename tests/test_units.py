"""Models in units of their own: moved Gaussians, whose exact denoisers are known, and the levels that go with them."""

import math

import pytest
import torch

from farfield.core.error import FarfieldError
from farfield.data.stretch import model_stretch, suits
from farfield.diffusion.denoiser import NetworkDenoiser
from farfield.diffusion.exact import GaussianDenoiser
from farfield.diffusion.generation import generate
from farfield.diffusion.objective import denoising_loss, levels_at
from farfield.diffusion.reading import readings
from farfield.diffusion.schedule import (
    ContinuousSchedule,
    DiscreteSchedule,
    Scaled,
    TimeSchedule,
    VPSchedule,
    linear_betas,
)
from farfield.diffusion.units import Rescaled, Units

UNITS = Units(-0.3, 11.2)
SCHEDULES = [ContinuousSchedule(0.02, 10.0), TimeSchedule(8.0), VPSchedule(), DiscreteSchedule(linear_betas())]


def test_a_moved_gaussian_has_the_denoiser_of_the_moved_law(gaussian):
    half, centre = UNITS.half, UNITS.centre
    moved = GaussianDenoiser(
        (gaussian.mean - centre) / half,
        gaussian.basis,
        gaussian.variances / half**2,
        schedule=Scaled(gaussian.schedule, half),
    )
    ours = Rescaled(gaussian, UNITS)
    x = torch.randn(7, 6, dtype=torch.float64)
    for sigma in (torch.tensor(0.01), torch.tensor(1.5), torch.logspace(-2, 0, 7, dtype=torch.float64)):
        assert torch.allclose(
            ours(x, sigma), moved(x, sigma), rtol=0, atol=1e-6 if sigma.dtype == torch.float32 else 1e-12
        )
    grid = ours.schedule.sigmas(8)
    assert torch.allclose(generate(ours, [1, 2], grid, "heun"), generate(moved, [1, 2], grid, "heun"), atol=1e-10)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_levels_are_the_models_over_the_factor(schedule):
    moved = Scaled(schedule, 5.0)
    assert torch.allclose(moved.sigmas(6), schedule.sigmas(6) / 5, rtol=1e-12)
    low, high = 2 * moved.sigma_min, moved.sigma_max / 2
    assert torch.allclose(moved.sigmas(6, high, low), schedule.sigmas(6, 5 * high, 5 * low) / 5, rtol=1e-12)
    sigma = moved.sigmas(6)
    assert torch.allclose(moved.time(sigma), schedule.time(5 * sigma), rtol=1e-12)
    with pytest.raises(FarfieldError, match="out of range"):
        moved.sigmas(6, 5 * moved.sigma_max)
    quantiles = torch.linspace(0, 0.99, 9, dtype=torch.float64)
    assert torch.allclose(levels_at(moved, quantiles), levels_at(schedule, quantiles) / 5, rtol=1e-12)
    law = (math.log(0.1), 1.0)
    ours, own = levels_at(moved, quantiles, law), levels_at(schedule, quantiles, (law[0] + math.log(5), 1.0)) / 5
    assert torch.allclose(ours, own, rtol=1e-12)


def test_a_loss_is_the_same_in_either_units(gaussian):
    """It is in units of the noise."""
    y, noise, sigma = torch.randn(3, 5, 6, dtype=torch.float64)
    sigma = 0.1 + sigma[:, 0].abs()
    half, centre = UNITS.half, UNITS.centre
    ours = denoising_loss(Rescaled(gaussian, UNITS), y, sigma, noise)
    assert torch.allclose(ours, denoising_loss(gaussian, half * y + centre, half * sigma, noise), rtol=1e-9)


def test_what_is_inside_is_found():
    network = torch.nn.Conv2d(2, 1, 1)
    inner = NetworkDenoiser(network, TimeSchedule(), (1, 4, 4), "score", label=3)
    ours = Rescaled(inner, UNITS)
    assert ours.network is network and ours.label == 3 and ours.image_shape == (1, 4, 4)
    assert all(isinstance(r.denoiser, Rescaled) and "images" not in r.changes for r in readings(ours))
    assert (
        getattr(Rescaled(GaussianDenoiser(torch.zeros(2), torch.eye(2), torch.ones(2)), UNITS), "network", None) is None
    )


@pytest.mark.parametrize("told", [(1, 1), (2, 1), (0, math.inf), (math.nan, 1), (0, 1, 0), (0, 1, -2)])
def test_units_that_cannot_be(told):
    with pytest.raises(FarfieldError, match="units"):
        Units(*told)


def test_a_models_stretch_and_its_inverse():
    stretch = model_stretch(0.0, 0.85, 1, "flux")
    values = torch.tensor([-0.5, 0.0, 1e-9, math.expm1(0.85), 1e4], dtype=torch.float64).view(1, 1, 1, -1)
    seen = stretch.forward(values)
    assert torch.allclose(seen[..., [1, 3]], torch.tensor([-1.0, 1.0], dtype=torch.float64), atol=1e-12)
    assert torch.allclose(stretch.inverse(seen), values, rtol=1e-12, atol=1e-16)
    with pytest.raises(FarfieldError, match="above -1, found -1"):
        stretch.forward(torch.full((1, 1, 2, 2), -1.0))


@pytest.mark.parametrize(("factor", "expected"), [(1.0, True), (1e-3, False), (1e3, False), (-3.0, False)])
def test_whether_examples_are_in_the_models_units(factor, expected):
    fields = factor * torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    fields[0, 0, 0, 0] = math.nan
    assert suits(model_stretch(0.0, 0.85, 1), fields) is expected
