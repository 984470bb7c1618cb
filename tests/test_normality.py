import math

import numpy as np
import pytest
import torch
from scipy.stats import binom

from farfield.core.error import FarfieldError
from farfield.unseen.normality import _shapiro_francia, _spectrum, normality

ISOTROPIC = [
    "radius",
    "spectrum",
    "sphericity",
    "spatial correlation",
    "channel correlation",
    "marginal kurtosis",
    "marginal skewness",
]
ANY = ["projections", "principal projections"]


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def checks(z, **options):
    return {c.name: c for c in normality(z, **options)}


def rejections(draw, repetitions, names):
    """How often each check rejects at 5 %."""
    found = dict.fromkeys(names, 0)
    for seed in range(repetitions):
        for name, check in checks(draw(seed), draws=39, seed=seed).items():
            if name in found:
                found[name] += check.p_value <= 0.05
    return found


@pytest.mark.parametrize(
    ("n", "shape", "repetitions"), [(50, (2, 4, 4), 60), (200, (2, 4, 4), 20), (1000, (2, 2, 2), 10)]
)
def test_the_level_is_kept_on_isotropic_gaussians(n, shape, repetitions):
    """At 5 % no check rejects more often than a binomial count of that share does once in 10,000."""
    found = rejections(lambda seed: 3 + 1.7 * normal(n, *shape, seed=seed), repetitions, ISOTROPIC + ANY)
    assert max(found.values()) <= binom.ppf(1 - 1e-4, repetitions, 0.05), found
    assert sum(found.values()) > 0  # a check that never rejects checks nothing


def test_the_level_is_kept_where_dimensions_outnumber_latents():
    found = rejections(lambda seed: normal(50, 3, 32, 32, seed=seed), 12, ISOTROPIC + ANY)
    assert max(found.values()) <= binom.ppf(1 - 1e-4, 12, 0.05), found


@pytest.mark.parametrize(("n", "d"), [(50, 8), (50, 200), (200, 20)])
def test_projections_keep_their_level_on_any_gaussian(n, d):
    mix = normal(d, d, seed=7) * torch.logspace(0, -3, d, dtype=torch.float64)
    found = rejections(lambda seed: normal(n, d, seed=seed) @ mix.T, 25, ANY)
    assert max(found.values()) <= binom.ppf(1 - 1e-4, 25, 0.05), found
    assert (
        checks(normal(n, d) @ mix.T)["sphericity"].p_value < 0.02
    )  # it is not isotropic, and the other family says so


def test_the_spectrum_null_is_that_of_drawn_latents():
    """Bidiagonal nulls against eigenvalues of real draws; the largest near Marchenko and Pastur's edge."""
    n, d = 40, 120
    stack = normal(600, n, d)
    stack = stack - stack.mean(1, keepdim=True)
    values = torch.linalg.eigvalsh(stack @ stack.mT)
    edge = d * values[:, -1] / values.sum(1)
    spread = d * values.square().sum(1) / values.sum(1) ** 2 - 1
    for check, direct in zip(_spectrum(stack[0], 600, np.random.default_rng(0)), (edge, spread), strict=True):
        assert check.expected == pytest.approx(float(direct.mean()), abs=5 * float(direct.std()) / math.sqrt(300))
        assert check.high - check.low == pytest.approx(float(direct.quantile(0.975) - direct.quantile(0.025)), rel=0.2)
    assert float(edge.mean()) == pytest.approx((1 + math.sqrt(d / (n - 1))) ** 2, rel=0.05)


def test_nulls_are_those_of_drawn_latents():
    """Mean and 95 % band of each closed or reduced null, against the same statistics of whole drawn sets."""
    drawn = [checks(normal(12, 2, 4, 5, seed=s), draws=39) for s in range(100)]
    for name, check in checks(normal(12, 2, 4, 5), draws=1000).items():
        values = np.array([d[name].statistic for d in drawn])
        assert values.mean() == pytest.approx(check.expected, abs=4.5 * values.std() / math.sqrt(len(values))), name
        outside = int(((values < check.low) | (values > check.high)).sum())
        assert outside <= binom.ppf(1 - 1e-4, len(values), 0.06), name


def test_each_deviation_is_named_by_its_check():
    n = 100
    white = normal(n, 3, 16, 16)
    tails = white * (3 / normal(n, 3, seed=1).square().sum(1)).sqrt()[:, None, None, None]
    found = checks(tails)
    assert max(found[k].p_value for k in ("radius", "projections")) < 0.02
    assert "vary too much" in found["radius"].says and "not normal" in found["projections"].says

    coordinates = torch.distributions.Laplace(0.0, 1.0).icdf(torch.special.ndtr(white).clamp(1e-12, 1 - 1e-12))
    found = checks(coordinates)["marginal kurtosis"]
    assert found.p_value < 1e-6 and "heavy tails" in found.says
    assert found.statistic == pytest.approx(3.0, abs=0.6)  # Laplace's, seen in a hundred points

    found = checks(white.exp())["marginal skewness"]
    assert found.p_value < 1e-6 and "skewed" in found.says

    blurred = (white + white.roll(1, -1)) / math.sqrt(2)  # horizontal neighbours correlate by a half, vertical ones not
    found = checks(blurred)["spatial correlation"]
    assert found.p_value < 0.02 and found.says.startswith("neighbouring pixels are correlated: 0.25")

    tinted = white.clone()
    tinted[:, 2] = 0.6 * white[:, 0] + 0.8 * white[:, 2]
    found = checks(tinted)["channel correlation"]
    assert found.p_value < 0.02 and found.says.startswith("channels 0 and 2 are correlated")
    assert found.statistic == pytest.approx(0.6, abs=0.02)

    clusters = white.clone()
    clusters[: n // 2, 0] += 1.0
    found = checks(clusters)
    assert max(found[k].p_value for k in ("spectrum", "sphericity", "principal projections")) < 0.02
    assert "one direction stands out" in found["spectrum"].says
    assert "largest variance are not normal" in found["principal projections"].says

    spiked = white.clone()
    spiked[:, 0] += normal(n, 1, 1, seed=3)  # a strong direction, but a Gaussian one
    found = checks(spiked)
    assert found["spectrum"].p_value < 0.02
    assert min(found[k].p_value for k in ANY) > 0.01


def test_answers_hang_on_neither_shift_nor_scale_nor_batch_axis():
    z = normal(40, 3, 6, 5)
    first, moved = checks(z, seed=4), checks(5 + 0.1 * z, seed=4)
    for name, check in first.items():
        assert moved[name].statistic == pytest.approx(check.statistic, rel=1e-9, abs=1e-12)
        assert (moved[name].p_value, check.low <= check.expected <= check.high) == (pytest.approx(check.p_value), True)
    shuffled = checks(z.flip(0), seed=4)
    for name in [*ISOTROPIC, "projections"]:
        assert shuffled[name].statistic == pytest.approx(first[name].statistic, rel=1e-9, abs=1e-12)
    assert list(checks(z.flatten(1))) == [n for n in ISOTROPIC if "correlation" not in n] + ANY
    assert normality(z, seed=4) == normality(z, seed=4)


def test_w_prime_is_the_squared_correlation_with_normal_scores():
    from scipy.stats import norm, pearsonr

    x = normal(3, 30)
    scores = norm.ppf((np.arange(1, 31) - 0.375) / 30.25)
    for row, value in zip(x, _shapiro_francia(x), strict=True):
        assert float(value) == pytest.approx(pearsonr(np.sort(row.numpy()), scores)[0] ** 2)


def test_a_thousand_latents_of_a_cifar_model_are_tested():
    assert len(checks(normal(1000, 3, 32, 32).float())) == 9


@pytest.mark.parametrize(
    ("z", "says"),
    [
        (torch.zeros(7, 3, 4, 4), "at least 8"),
        (torch.zeros(20), "expected latents"),
        (torch.full((20, 5), torch.nan), "NaN"),
        (torch.full((20, 5), 0.3), "all the same"),
    ],
)
def test_bad_input_is_named(z, says):
    with pytest.raises(FarfieldError, match=says):
        normality(z)


def test_too_few_draws_are_refused():
    with pytest.raises(FarfieldError, match="39"):
        normality(normal(20, 5), draws=10)
