"""The border between two domains against the closed forms of two Gaussians; the rule of the bandwidth."""

from __future__ import annotations

import math

import pytest
import torch

from farfield.core.artifact import Score
from farfield.core.error import FarfieldError
from farfield.core.interval import proportion
from farfield.unseen.bandwidth import recommended_level
from farfield.unseen.interference import Border


def phi(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2))


def domains(n: int, m: int, distance: float, d: int = 10, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Draws of N(0, I) and of N(distance · e, I), the offset spread over all coordinates."""
    g = torch.Generator().manual_seed(seed)
    a, b = (torch.randn(k, d, generator=g, dtype=torch.float64) for k in (n, m))
    return a, b + distance / math.sqrt(d)


def test_two_gaussians_are_told_apart_as_well_as_they_can_be():
    a, b = domains(1500, 1500, 2.0)
    border = Border.fit(a, b)
    best = phi(-1.0)
    sd = math.sqrt(best * (1 - best) / 1500)
    assert abs(border.examples.captured / 1500 - best) < 4 * sd + 0.01
    assert abs(1 - border.training.captured / 1500 - best) < 4 * sd + 0.01


def test_one_gaussian_cannot_be_told_from_itself_however_many_dimensions():
    a, b = domains(60, 60, 0.0, d=400)
    border = Border.fit(a, b)
    right = 60 - border.examples.captured + border.training.captured
    assert abs(right / 120 - 0.5) < 4 * 0.5 / math.sqrt(120)


def test_an_example_that_comes_back_unchanged_is_judged_as_a_real_one():
    a, b = domains(40, 30, 3.0, d=60)
    border = Border.fit(a, b)
    again = border.judge(a[[7, 3, 39]], [7, 3, 39])
    torch.testing.assert_close(again.probability, border.examples.probability[[7, 3, 39]])
    torch.testing.assert_close(again.drift, border.examples.drift[[7, 3, 39]])
    # a classifier that has seen the example would be surer
    assert border.judge(a).probability.mean() < border.examples.probability.mean()


def test_drift_is_0_at_the_examples_mean_and_1_at_the_training_domains():
    a, b = domains(50, 80, 2.0)
    border = Border.fit(a, b)
    for t in (0.0, 0.3, 1.0, 1.5):
        at = torch.lerp(a.mean(0), b.mean(0), t)
        assert float(border.judge(at[None]).drift) == pytest.approx(t, abs=1e-10)
    assert float(border.examples.drift.mean()) == pytest.approx(0, abs=1e-10)


def test_probabilities_mean_what_they_say():
    """Of fresh draws judged near p, a share near p is of the training domain; the posterior itself is a closed form."""
    a, b = domains(1500, 1500, 1.5)
    border = Border.fit(a, b)
    fresh_a, fresh_b = domains(4000, 4000, 1.5, seed=1)
    fresh = torch.cat([fresh_a, fresh_b])
    truth = torch.sigmoid(1.5 * fresh.sum(1) / math.sqrt(10) - 1.5**2 / 2)
    found = border.judge(fresh).probability
    assert float((found - truth).abs().mean()) < 0.03


def test_units_of_the_features_do_not_matter():
    a, b = domains(40, 30, 2.0)
    scale = torch.logspace(-2, 2, 10, dtype=torch.float64)
    plain, other = Border.fit(a, b), Border.fit(a * scale + 5, b * scale + 5)
    torch.testing.assert_close(plain.examples.probability, other.examples.probability, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(plain.training.drift, other.training.drift, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        (torch.randn(7, 3), torch.randn(9, 3), "at least 8 images of the examples"),
        (torch.randn(9, 3), torch.randn(0, 3), "at least 8 images of the training domain"),
        (torch.randn(9, 3), torch.randn(9, 4), "features of 3 and 4 numbers"),
        (torch.randn(9, 3), torch.full((9, 3), torch.nan), "finite features of the training domain"),
    ],
)
def test_bad_features_are_refused(a, b, said):
    with pytest.raises(FarfieldError, match=said):
        Border.fit(a, b)


@pytest.mark.parametrize(
    ("hits", "expected"),
    [([1, 0, 2, 15, 20], 10.0), ([0, 0, 0, 0, 0], 80.0), ([19, 0, 0, 0, 0], None), ([0, 18, 0, 20, 20], 2.0)],
)
def test_the_highest_level_is_the_last_before_the_domain_is_lost(hits, expected):
    levels = [2.0, 5.0, 10.0, 20.0, 80.0]
    shares, floor = [proportion(h, 20) for h in hits], proportion(2, 40)
    assert recommended_level(levels, shares, floor) == expected
    assert recommended_level(levels[::-1], shares[::-1], floor) == expected


def test_a_bandwidth_needs_intervals_and_a_share_for_each_level():
    with pytest.raises(FarfieldError, match="with intervals"):
        recommended_level([1.0], [Score(0.1, 10)], proportion(0, 10))
    with pytest.raises(FarfieldError, match="found 0 for 1"):
        recommended_level([1.0], [], proportion(0, 10))
