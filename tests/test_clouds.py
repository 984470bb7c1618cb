"""Simulated clouds against the closed forms they are made to have."""

import math

import numpy as np
import pytest
import torch

from farfield.command.shared import Reading
from farfield.core.error import FarfieldError
from farfield.data.bundled import CLOUDS, is_domain, load_domain
from farfield.data.clouds import COLUMN, SLOPE, WIDTH, cloud, log_density
from farfield.data.field_source import is_physical, open_fields
from farfield.data.image import list_keys, load_images

MEAN = -(WIDTH**2) / 2


@pytest.fixture(scope="module")
def logs() -> torch.Tensor:
    return torch.stack([log_density(seed, 16) for seed in range(100)])


def test_the_log_density_is_gaussian(logs):
    from scipy import stats

    assert math.isclose(WIDTH, math.sqrt(math.log(5)))
    at = logs[:, 3, 5, 7].numpy()  # one place over seeds: independent draws
    assert stats.kstest((at - MEAN) / WIDTH, "norm").pvalue > 0.01
    variance = ((logs - MEAN) ** 2).mean((1, 2, 3))
    assert abs(float(variance.mean()) - WIDTH**2) < 3 * float(variance.std()) / math.sqrt(len(logs))
    assert torch.allclose(logs.mean((1, 2, 3)), torch.full((100,), MEAN).double(), atol=1e-12)  # no power at k = 0


def test_the_density_is_lognormal_of_mean_one(logs):
    density = logs.exp()[:, ::8, ::8, ::8].flatten(1)
    assert abs(float(density.mean()) - 1) < 4 * float(density.mean(1).std()) / math.sqrt(len(logs))
    deciles = torch.linspace(0.1, 0.9, 9, dtype=torch.float64)
    expected = (MEAN + WIDTH * torch.special.ndtri(deciles)).exp()
    found = density.flatten().quantile(deciles)
    assert torch.allclose(found.log(), expected.log(), atol=4 * 1.7 * WIDTH / math.sqrt(density.numel() / 4))


def test_the_spectrum_is_a_power_law_in_every_direction(logs):
    power = torch.fft.fftn(logs, dim=(1, 2, 3)).abs().square().mean(0)
    k1 = torch.fft.fftfreq(16, 1 / 16).double()
    k = (k1[:, None, None] ** 2 + k1[:, None] ** 2 + k1**2).sqrt()
    inside = (k >= 1) & (k <= 8)
    assert power[(k > 8)].max() < 1e-18 * power.max()
    # a mode's power is exponential: the mean of the logarithm over modes is a line whose slope is known to about 0.01
    slope = np.polyfit(k[inside].log().numpy(), power[inside].log().numpy(), 1)[0]
    assert slope == pytest.approx(-SLOPE, abs=0.03)
    ratio = power[inside] * k[inside] ** SLOPE
    for direction in (k1.abs()[:, None, None], k1.abs()[:, None], k1.abs()):
        near = ratio[direction.expand_as(k)[inside] > 0.9 * k[inside]]
        assert float(near.mean() / ratio.mean()) == pytest.approx(1, abs=0.05)


def test_another_slope_and_width_are_kept():
    logs = torch.stack([log_density(seed, 16, width=0.5, slope=2.0) for seed in range(60)])
    assert float(logs.std()) == pytest.approx(0.5, rel=0.03) and float(logs.mean()) == pytest.approx(-0.125)
    power = torch.fft.fftn(logs, dim=(1, 2, 3)).abs().square().mean(0)
    low, high = power[2, 0, 0] + power[0, 2, 0] + power[0, 0, 2], power[6, 0, 0] + power[0, 6, 0] + power[0, 0, 6]
    assert float(low / high) == pytest.approx(9, rel=0.5)


def test_a_cloud_is_the_density_seen_along_a_line():
    seen = cloud(4, 16)
    assert np.allclose(seen, COLUMN * log_density(4, 16).exp().mean(0).numpy(), rtol=1e-14) and seen.min() > 0
    columns = np.stack([cloud(seed, 16) for seed in range(100)])
    assert columns.mean() / COLUMN == pytest.approx(1, abs=4 * columns.mean((1, 2)).std() / COLUMN / 10)


def test_clouds_have_no_seam():
    columns = np.log(np.stack([cloud(seed, 16) for seed in range(100)]))
    step = np.diff(columns, axis=2, append=columns[..., :1]) ** 2
    assert step[..., -1].mean() == pytest.approx(step[..., :-1].mean(), rel=0.15)


def test_seeds_are_independent_and_repeatable():
    a, b = cloud(0, 16), cloud(1, 16)
    assert np.array_equal(a, cloud(0, 16)) and not np.array_equal(a, b)
    logs = torch.stack([log_density(seed, 8) - MEAN for seed in range(200)])
    products = (logs[::2] * logs[1::2]).mean((1, 2, 3))
    assert abs(float(products.mean())) < 3 * float(products.std()) / 10


@pytest.mark.parametrize(("seed", "side", "width"), [(-1, 16, 1.0), (0, 2, 1.0), (0, 16, 0.0)])
def test_bad_numbers_are_refused(seed, side, width):
    with pytest.raises(FarfieldError, match="clouds: expected seed"):
        log_density(seed, side, width=width)


def test_the_bundled_domain():
    assert is_domain("clouds") and is_physical("clouds") and not is_physical("hubble")
    keys = list_keys("clouds")
    assert len(keys) == CLOUDS and keys[0] == "clouds-0001" and keys == sorted(keys)
    images = load_domain("clouds", (3, 32, 32), keys=["clouds-0007", "clouds-0002"])
    assert images.keys == ("clouds-0007", "clouds-0002") and images.values.shape == (2, 3, 32, 32)
    column = cloud(7).reshape(32, 2, 32, 2).mean((1, 3))
    assert np.allclose(images.values[0, 1].numpy(), np.log(column / COLUMN) / np.log(32), atol=1e-6)
    first = load_domain("clouds", (1, 32, 32), limit=1).values
    assert torch.equal(load_images("clouds", (1, 32, 32), limit=1).values, first)
    for reading in (Reading(patch=8), Reading(hdu="1")):
        with pytest.raises(FarfieldError, match="are for files"):
            open_fields("clouds", (3, 32, 32), reading)
    with pytest.raises(FarfieldError, match="hubble: expected physical fields, found a domain of pictures"):
        open_fields("hubble", (3, 32, 32))
