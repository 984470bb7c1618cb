"""The denoising loss against its closed forms: the floor of Gaussian data, the loss of the noise's own prediction."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from farfield.core.error import FarfieldError
from farfield.diffusion.denoiser import NetworkDenoiser
from farfield.diffusion.objective import denoising_loss, draw_levels, heldout_loss, levels_at
from farfield.diffusion.schedule import ContinuousSchedule, DiscreteSchedule, linear_betas


class Wave(nn.Module):
    """A network of a fixed formula."""

    def forward(self, x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        return x.sin() + time.reshape(-1, 1, 1, 1) / 1000


def _draws(gaussian, n: int, g: torch.Generator) -> torch.Tensor:
    x = torch.randn(n, 6, generator=g, dtype=torch.float64) * gaussian.variances.sqrt()
    return gaussian.mean + x @ gaussian.basis.T


@pytest.mark.parametrize("sigma", [0.1, 1.0, 6.0])
def test_loss_of_the_exact_denoiser_is_the_least_error_of_gaussian_data(gaussian, sigma):
    g = torch.Generator().manual_seed(1)
    x0, noise = _draws(gaussian, 20000, g), torch.randn(20000, 6, generator=g, dtype=torch.float64)
    found = denoising_loss(gaussian, x0, torch.tensor(sigma, dtype=torch.float64), noise)
    floor = float((gaussian.variances / (gaussian.variances + sigma**2)).sum()) / 6  # sum l s²/(l+s²), over s² d
    error = float(found.std()) / len(found) ** 0.5
    assert found.shape == (20000,)
    assert abs(float(found.mean()) - floor) < 4 * error


def test_loss_of_a_network_that_predicts_noise_is_its_error_in_noise():
    schedule = DiscreteSchedule(linear_betas())
    model = NetworkDenoiser(Wave(), schedule, (2, 4, 4))
    g = torch.Generator().manual_seed(2)
    x0, noise = (torch.randn(5, 2, 4, 4, generator=g, dtype=torch.float64) for _ in range(2))
    sigma = schedule.levels[torch.tensor([0, 10, 300, 700, 999])]
    a = (1 + sigma**2).rsqrt().reshape(-1, 1, 1, 1)
    predicted = Wave()(a * (x0 + sigma.reshape(-1, 1, 1, 1) * noise), schedule.time(sigma))
    expected = (noise - predicted).square().mean((1, 2, 3))
    assert torch.allclose(denoising_loss(model, x0, sigma, noise), expected, rtol=1e-9)


def test_levels_follow_the_law_of_training():
    discrete = DiscreteSchedule(linear_betas(100))
    drawn = draw_levels(discrete, 50_000, torch.Generator().manual_seed(3))
    counts = torch.bincount(torch.searchsorted(discrete.levels, drawn), minlength=100)
    assert len(counts) == 100 and bool(torch.isin(drawn, discrete.levels).all())
    assert float(((counts - 500) ** 2 / 500).sum()) < 150  # chi square of 99: 150 is passed once in 1,000 times
    logs = draw_levels(ContinuousSchedule(1e-9, 1e9), 50_000, torch.Generator().manual_seed(3)).log()
    assert abs(float(logs.mean()) + 1.2) < 0.03 and abs(float(logs.std()) - 1.2) < 0.02
    bounded = levels_at(ContinuousSchedule(0.1, 2.0), torch.linspace(0, 1, 101, dtype=torch.float64))
    assert float(bounded.min()) == pytest.approx(0.1) and float(bounded.max()) == pytest.approx(2.0)


def test_heldout_loss_is_the_same_for_any_batch_and_estimates_the_mean(gaussian):
    x0 = _draws(gaussian, 400, torch.Generator().manual_seed(4))
    one, other = (heldout_loss(gaussian, x0, draws=16, seed=5, batch_size=b) for b in (7, 512))
    assert torch.allclose(one, other, rtol=1e-12) and one.dtype == torch.float64
    assert torch.equal(heldout_loss(gaussian, x0[:3], draws=16, seed=5), one[:3])
    assert not torch.allclose(heldout_loss(gaussian, x0[:3], draws=16, seed=6), one[:3])
    levels = levels_at(gaussian.schedule, torch.linspace(0.5e-4, 1 - 0.5e-4, 10_000, dtype=torch.float64))
    floor = float((gaussian.variances / (gaussian.variances + levels[:, None] ** 2)).sum(1).mean()) / 6
    assert abs(float(one.mean()) - floor) < 4 * float(one.std()) / 20


def test_bad_input_is_named(gaussian):
    x0 = torch.zeros(2, 6)
    with pytest.raises(FarfieldError, match="expected the same"):
        denoising_loss(gaussian, x0, torch.tensor(1.0), torch.zeros(3, 6))
    with pytest.raises(FarfieldError, match="at least 1 draw"):
        heldout_loss(gaussian, x0, draws=0)
