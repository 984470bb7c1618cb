"""Measures of physical fields against closed forms, loops, scipy, and their own level under equal laws."""

import json
import math

import numpy as np
import pytest
import torch
from scipy import stats

from farfield.audit.field import LEVELS, MOMENTS, compare_fields, moments, pixel_distances
from farfield.audit.spectrum import mode_power, power_spectrum, radial_profile
from farfield.core.artifact import Score, read_json, write_json
from farfield.core.error import FarfieldError, NonFiniteError


def white(n, *shape, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, *(shape or (1, 16, 16)), generator=g, dtype=torch.float64)


def power_law(n, slope, side=64, seed=0):
    """Periodic Gaussian fields whose modes have exactly the mean power \\|k\\|^-slope."""
    f = torch.fft.fftfreq(side, 1 / side, dtype=torch.float64)
    k = torch.hypot(f[:, None], f)
    k[0, 0] = 1
    return torch.fft.ifft2(torch.fft.fft2(white(n, 1, side, side, seed=seed)) * k ** (-slope / 2)).real


@pytest.mark.parametrize("window", [None, "hann"])
def test_white_noise_is_flat_at_its_variance(window):
    k, power = power_spectrum(3 * white(3000, 1, 16, 16), window)
    assert k.tolist() == list(range(1, 9))
    # without the first shell under a window, from which removing the mean takes
    assert power.mean(0)[0, 1:].tolist() == pytest.approx([9.0] * 7, rel=0.02)


@pytest.mark.parametrize("shape", [(2, 9, 9), (1, 8, 12), (1, 11, 6)])
def test_parseval(shape):
    x = 2 + white(5, *shape)
    assert mode_power(x, None).mean((-2, -1)) == pytest.approx(x.var((-2, -1), correction=0), rel=1e-12)


@pytest.mark.parametrize("shape", [(7, 7), (8, 8), (6, 9)])
@pytest.mark.parametrize("window", [None, "hann"])
def test_spectrum_is_what_loops_over_numpys_transform_give(shape, window):
    x = white(1, 1, *shape, seed=3) + 5
    image, (height, width) = x[0, 0].numpy(), shape
    taper = np.ones(shape)
    if window:
        taper = np.array(
            [
                [0.25 * (1 - np.cos(2 * np.pi * (i + 0.5) / height)) * (1 - np.cos(2 * np.pi * (j + 0.5) / width))
                 for j in range(width)]
                for i in range(height)
            ]
        )  # fmt: skip
    side, sums = min(shape), {}
    tapered = taper * (image - (taper * image).sum() / taper.sum())
    for a in range(-(height // 2), (height + 1) // 2):
        for b in range(-(width // 2), (width + 1) // 2):
            phase = np.exp(-2j * np.pi * (a * np.arange(height)[:, None] / height + b * np.arange(width) / width))
            power = abs((tapered * phase).sum()) ** 2 / (taper**2).sum()
            k = math.hypot(a / height, b / width) * side
            sums.setdefault(math.floor(k + 0.5), []).append(power)
    expected = [np.mean(sums[k]) for k in range(1, side // 2 + 1)]
    assert power_spectrum(x, window)[1][0, 0].tolist() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(("slope", "window"), [(3.0, None), (3.0, "hann"), (1.5, None)])
def test_a_power_law_keeps_its_slope(slope, window):
    k, power = power_spectrum(power_law(200, slope), window)
    inside = slice(3, 24)
    found = np.polyfit(k[inside].log(), power.mean(0)[0, inside].log(), 1)[0]
    assert found == pytest.approx(-slope, abs=0.06)


def test_a_sine_sits_in_its_shell():
    x = torch.sin(2 * torch.pi * 5 * torch.arange(32, dtype=torch.float64) / 32).expand(1, 1, 32, 32)
    for field in (x, x.mT):
        power = power_spectrum(field, None)[1][0, 0]
        assert power.argmax() == 4
        # two modes of 32² · ¼ each, in a shell of 32
        modes = sum(4.5 <= math.hypot(a, b) < 5.5 for a in range(-16, 16) for b in range(-16, 16))
        assert power[4] == pytest.approx(2 * 32 * 32 / 4 / modes, rel=1e-12)
        assert power[torch.arange(16) != 4].abs().max() < 1e-20


def test_waves_are_counted_per_shorter_side():
    """A square wave pattern cut twice as wide has its power at the same k."""
    y = torch.sin(2 * torch.pi * 3 * torch.arange(16, dtype=torch.float64) / 16)
    for shape in ((16, 16), (16, 32)):
        assert power_spectrum(y[:, None].expand(1, 1, *shape), None)[1][0, 0].argmax() == 2


def test_a_periodic_field_may_be_rolled_and_turned():
    x = white(3, 2, 12, 12)
    power = power_spectrum(x, None)[1]
    assert power_spectrum(x.roll((3, 5), (-2, -1)) + 7, None)[1] == pytest.approx(power, rel=1e-12)
    assert power_spectrum(x.rot90(dims=(-2, -1)), "hann")[1] == pytest.approx(power_spectrum(x)[1], rel=1e-12)


def test_the_window_removes_the_jump_across_edges():
    """A ramp has no small scales but for its edges."""
    x = torch.linspace(0, 1, 64, dtype=torch.float64).expand(1, 1, 64, 64)
    bare, tapered = power_spectrum(x, None)[1][0, 0], power_spectrum(x)[1][0, 0]
    assert (tapered[10:] / bare[10:]).max() < 1e-4


def test_masked_noise_keeps_its_level():
    x = white(2000)
    x[:, :, 3:7, :] = torch.nan
    # the mean that is removed is one of fewer pixels: it takes from one shell more than it does of a whole field
    assert power_spectrum(x)[1].mean(0)[0, 2:].tolist() == pytest.approx([1.0] * 6, rel=0.03)
    assert moments(x)["variance"].mean() == pytest.approx(1 - 1 / 192, rel=0.01)


@pytest.mark.parametrize("shape", [(16, 16), (9, 9), (8, 13)])
def test_profile_of_a_radial_function(shape):
    y, x = (torch.arange(s, dtype=torch.float64) - (s - 1) / 2 for s in shape)
    distance = torch.hypot(y[:, None], x)
    r, profile = radial_profile(torch.stack([distance, 5 - 2 * distance])[None])
    assert profile[0, 0] == pytest.approx(r, rel=1e-12) and profile[0, 1] == pytest.approx(5 - 2 * r, rel=1e-12)
    rings = [[d for d in distance.flatten().tolist() if j <= d < j + 1] for j in range(math.ceil(min(shape) / 2))]
    assert r.tolist() == pytest.approx([np.mean(ring) for ring in rings if ring], rel=1e-12)
    masked = torch.where(distance < 2, torch.nan, distance)[None, None]
    found = radial_profile(masked)[1][0, 0]
    assert found[:2].isnan().all() and found[2:] == pytest.approx(r[2:], rel=1e-12)


def test_moments_are_scipys():
    x = white(4, 2, 9, 7).exp() + 100
    x[1, 0, 2, 3] = torch.nan
    flat = x.flatten(2).numpy()
    witness = {
        "mean": np.nanmean(flat, -1),
        "variance": np.nanvar(flat, -1),
        "skewness": stats.skew(flat, -1, nan_policy="omit"),
        "kurtosis": stats.kurtosis(flat, -1, nan_policy="omit"),
    }
    found = moments(x)
    assert list(found) == list(MOMENTS)
    for name, values in witness.items():
        assert found[name].numpy() == pytest.approx(np.asarray(values), rel=1e-9)
    constant = moments(torch.full((1, 1, 5, 5), 0.1))
    assert constant["variance"] == pytest.approx(0, abs=1e-15) and constant["skewness"].isnan().all()


def test_pixel_distances_are_scipys():
    x, y = white(6, 1, 5, 5).flatten(1), white(4, 1, 5, 5, seed=1).flatten(1).mul(1.3).round(decimals=1) + 0.4
    wasserstein, ks = pixel_distances(x, y)
    expected = stats.wasserstein_distance(x.flatten(), y.flatten()) / y.numpy().std()
    assert wasserstein == pytest.approx(expected, rel=1e-12)
    assert ks == pytest.approx(stats.ks_2samp(x.flatten(), y.flatten()).statistic, abs=1e-12)
    assert pixel_distances(y + 3 * y.std(correction=0), y)[0] == pytest.approx(3, rel=1e-12)


def test_every_field_weighs_the_same_however_much_is_masked():
    x, y = white(3, 1, 4, 4).flatten(1), white(3, 1, 4, 4, seed=1).flatten(1)
    x[0, :12] = torch.nan
    weights = torch.where(x.isnan(), 0, 1 / (~x.isnan()).sum(1, keepdim=True))
    expected = stats.wasserstein_distance(x.nan_to_num().flatten(), y.flatten(), weights.flatten()) / y.numpy().std()
    assert pixel_distances(x, y)[0] == pytest.approx(expected, rel=1e-12)


def test_a_factor_shows_as_its_square():
    x = white(12, 1, 16, 16).exp()
    found = compare_fields(generated=1.5 * x, real=x)
    assert [s.value for s in found["spectrum"]["ratio"]] == pytest.approx([2.25] * 8, rel=1e-12)
    assert found["spectrum"]["worst"]["value"] == pytest.approx(1.25) and found["spectrum"]["resolved"] == [2, 8]
    assert [s.value for s in found["log_spectrum"]["ratio"]] == pytest.approx([1.0] * 8, rel=1e-12)
    assert [s.value for s in found["profile"]["ratio"]] == pytest.approx([1.5] * 8, rel=1e-12)
    factors = {"mean": 1.5, "variance": 2.25, "skewness": 1, "kurtosis": 1}
    for name, factor in factors.items():
        each = found["moments"][name]
        assert each["generated"].value == pytest.approx(factor * each["real"].value, rel=1e-9)
    quantiles = found["pixels"]["quantiles"]
    expected = np.quantile(x.numpy(), LEVELS, method="inverted_cdf")
    assert [s.value for s in quantiles["real"]] == pytest.approx(expected.tolist(), rel=1e-12)
    assert [s.value for s in quantiles["generated"]] == pytest.approx((1.5 * expected).tolist(), rel=1e-12)


def test_pooled_moments_and_their_spread():
    x = white(8, 1, 6, 6).exp() * torch.arange(1, 9).view(-1, 1, 1, 1)
    found = compare_fields(generated=x, real=x)["moments"]
    pixels = x.flatten().numpy()
    witness = (pixels.mean(), pixels.var(), stats.skew(pixels), stats.kurtosis(pixels))
    assert [found[m]["real"].value for m in MOMENTS] == pytest.approx(witness, rel=1e-9)
    each = moments(x)["mean"]
    assert found["mean"]["per_field"]["generated"] == pytest.approx(
        {"mean": float(each.mean()), "sd": float(each.std())}
    )
    # the bootstrap's interval of a mean is that of Student's t, but for chance and a whole number of fields drawn
    half = stats.t.ppf(0.975, 7) * float(each.std()) / math.sqrt(8)
    assert found["mean"]["real"].high - found["mean"]["real"].low == pytest.approx(2 * half, rel=0.2)


def test_intervals_and_chance_hold_their_level_under_equal_laws():
    """Steep fields, whose few large scales differ much from one to the next."""
    pool = power_law(200 * 40, 2.5, side=10).view(200, 2, 20, 1, 10, 10)
    covered, above = [], []
    for repetition, (x, y) in enumerate(pool):
        found = compare_fields(generated=x, real=y, seed=repetition, repetitions=150, window=None)
        covered.append([s.low <= 1 <= s.high for s in found["spectrum"]["ratio"]])
        pixels = found["pixels"]
        distances = [(found["spectrum"]["worst"], found["spectrum"]["worst"]["chance"])]
        distances += [(vars(pixels[name]), pixels["chance"][name]) for name in ("wasserstein", "ks")]
        above.append([score["value"] > chance for score, chance in distances])
    # 200 repetitions give 0.95 ± 0.03 (2 sd) and 0.05 ± 0.03; the bootstrap's own 150 add a little
    assert np.mean(covered, 0).min() > 0.9 and 0.93 < np.mean(covered) < 0.985
    assert np.mean(above, 0).max() < 0.11


def test_a_difference_is_found_and_said_where_it_is():
    x, y = power_law(60, 2.0, side=32), power_law(60, 2.0, side=32, seed=1)
    power = torch.fft.fft2(x)
    f = torch.fft.fftfreq(32, 1 / 32)
    shell = (torch.hypot(f[:, None], f) + 0.5).floor() == 6
    x = torch.fft.ifft2(torch.where(shell, 1.5 * power, power)).real
    found = compare_fields(generated=x, real=y, window=None)["spectrum"]
    worst = found["worst"]
    assert worst["k"] == 6 and worst["value"] > worst["chance"] and worst["low"] < 1.25 < worst["high"]
    assert found["ratio"][5].low < 2.25 < found["ratio"][5].high and found["ratio"][9].high < 1.4


def test_the_result_is_json_and_depends_on_the_seed_alone(tmp_path):
    x, y = white(5, 2, 8, 8), white(6, 2, 8, 8, seed=1)
    x[0, 0, :2] = torch.nan
    found = compare_fields(generated=x, real=y, seed=4)
    write_json(tmp_path / "a.json", found)
    write_json(tmp_path / "b.json", compare_fields(generated=x, real=y, seed=4))
    assert (tmp_path / "a.json").read_text() == (tmp_path / "b.json").read_text()
    stored = read_json(tmp_path / "a.json")
    assert len(stored["channels"]) == 2 and stored["n"] == {"generated": 5, "real": 6} and stored["shape"] == [2, 8, 8]
    assert stored["channels"][1]["spectrum"]["ratio"][0]["n"] == 5 and "NaN" not in json.dumps(stored)
    other = compare_fields(generated=x, real=y, seed=5)["channels"][1]["spectrum"]["ratio"][2]
    assert other.value == found["channels"][1]["spectrum"]["ratio"][2].value and other != found["channels"][1]
    alone = compare_fields(generated=x[:, 1:], real=y[:, 1:], seed=4)
    assert alone["pixels"]["ks"] == found["channels"][1]["pixels"]["ks"] and isinstance(alone["pixels"]["ks"], Score)


def test_no_ratio_of_what_is_not_there():
    """Fields without small scales, generated fields that are constant, and profiles about 0."""
    smooth = torch.cos(2 * torch.pi * torch.arange(16, dtype=torch.float64) / 16) * white(9, 1, 1, 1)
    smooth = smooth.expand(9, 1, 16, 16)
    found = compare_fields(generated=smooth, real=smooth, window=None)
    assert found["spectrum"]["ratio"][0].value == pytest.approx(1) and found["spectrum"]["ratio"][3] is None
    assert found["spectrum"]["worst"]["value"] == pytest.approx(0, abs=1e-12)
    flat = compare_fields(generated=torch.ones(4, 1, 16, 16), real=white(9), window=None)
    assert flat["spectrum"]["worst"]["value"] == 1 and flat["spectrum"]["ratio"][2].value == 0
    assert None in compare_fields(generated=white(9), real=white(9, seed=2))["profile"]["ratio"]


@pytest.mark.parametrize(
    ("x", "y", "error", "match"),
    [
        (white(4), white(1), FarfieldError, "real: expected at least 2"),
        (white(4), white(4, 1, 8, 8), FarfieldError, "one shape"),
        (white(4), torch.arange(4.0).view(4, 1, 1, 1).expand(4, 1, 16, 16), FarfieldError, "is constant"),
        (white(4) / 0, white(4), NonFiniteError, "generated: expected finite"),
        (white(4), white(4).where(torch.arange(4).view(4, 1, 1, 1) > 0, torch.nan), FarfieldError, "of field 0 is masked"),
        (white(4)[0], white(4), FarfieldError, r"\[n, C, H, W\]"),
    ],
)  # fmt: skip
def test_bad_input_is_named(x, y, error, match):
    with pytest.raises(error, match=match):
        compare_fields(generated=x, real=y)


def test_an_unknown_window_is_refused():
    with pytest.raises(FarfieldError, match="'hamming': expected 'hann'"):
        power_spectrum(white(2), window="hamming")
