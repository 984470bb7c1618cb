"""The intervals of `core.interval`: against scipy's Student, by how often they cover, and at the edges."""

import math
import subprocess
import sys

import pytest
import torch
from scipy import stats

from benchmarks.average_precision import micro_average_precision
from farfield.core.artifact import Features, Score
from farfield.core.error import FarfieldError
from farfield.core.interval import Z95, bootstrap, expanded, mean_score, proportion, student
from farfield.manifold.trace import mean_of

NORMAL = "normal"
EXPONENTIAL = "exponential"


def _drawn(law: str, n: int, seed: int) -> torch.Tensor:
    """Values of mean 1, float64."""
    g = torch.Generator().manual_seed(seed)
    if law == NORMAL:
        return 1 + torch.randn(n, generator=g, dtype=torch.float64)
    return -torch.rand(n, generator=g, dtype=torch.float64).log()


def _covered(scores: list[Score]) -> float:
    return sum(s.low <= 1 <= s.high for s in scores) / len(scores)


@pytest.mark.parametrize("n", [2, 3, 8, 30, 1000])
def test_the_interval_of_a_mean_is_scipys(n):
    values = _drawn(EXPONENTIAL, n, n)
    low, high = stats.t.interval(0.95, n - 1, loc=values.mean(), scale=values.std() / math.sqrt(n))
    score = mean_score(values)
    assert (score.value, score.n) == (float(values.mean()), n)
    assert (score.low, score.high) == pytest.approx((low, high), rel=1e-12)
    estimate = mean_of(values).score()
    assert (estimate.low, estimate.high) == pytest.approx((low, high), rel=1e-12)


def test_at_eight_values_it_is_a_fifth_wider_than_the_normal_laws_and_for_many_the_same():
    assert student(8) / Z95 == pytest.approx(1 / 0.829, abs=0.001)  # the normal law's was 17 % too short
    assert student(2) == pytest.approx(12.7062, abs=1e-4)
    assert student(10**7) == pytest.approx(Z95, rel=1e-6)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_student_covers_the_mean_of_eight_normal_values_in_19_of_20(seed):
    n, repetitions = 8, 4000
    values = _drawn(NORMAL, n * repetitions, seed).reshape(repetitions, n)
    scores = [mean_score(v) for v in values]
    normal = [
        Score(s.value, n, *(s.value + e * (s.high - s.value) * Z95 / student(n) for e in (-1, 1))) for s in scores
    ]
    error = 3 * math.sqrt(0.95 * 0.05 / repetitions)
    assert abs(_covered(scores) - 0.95) < error
    assert _covered(normal) < 0.95 - 2 * error  # what the normal law covers: 0.909


def test_of_eight_exponential_values_it_covers_what_student_does_and_more_than_the_percentiles_did():
    n, repetitions = 8, 1500
    values = [_drawn(EXPONENTIAL, n, seed) for seed in range(repetitions)]
    ours = _covered([mean_score(v) for v in values])
    assert abs(ours - 0.893) < 0.025  # 20 000 repetitions: 0.893; skewness takes what is left
    rows = torch.randint(n, (400, n), generator=torch.Generator().manual_seed(0))
    plain, wide = (
        [v[rows].mean(1).quantile(q) for v in values] for q in (torch.tensor([0.025, 0.975]).double(), expanded(n))
    )
    percentile, hesterberg = (_covered([Score(1.0, n, *map(float, q)) for q in ends]) for ends in (plain, wide))
    assert percentile < 0.87 and hesterberg > percentile + 0.04 and abs(hesterberg - ours) < 0.025


@pytest.mark.parametrize("n", [4, 8, 30])
def test_the_expanded_percentiles_of_a_mean_are_as_wide_as_students_interval(n):
    level = float(expanded(n)[1])
    # a bootstrap's mean has the variance of the n values, not of n - 1
    assert stats.norm.ppf(level) * math.sqrt((n - 1) / n) == pytest.approx(stats.t.ppf(0.975, n - 1), rel=1e-9)
    values = _drawn(NORMAL, 400, 0)
    assert bootstrap(lambda rows: float(values[rows].mean()), 400, resamples=4000) == pytest.approx(
        (mean_score(values).low, mean_score(values).high), abs=0.1 * float(values.std()) / 20
    )


def test_for_many_rows_the_expanded_percentile_is_the_percentile():
    assert expanded(10**6).tolist() == pytest.approx([0.025, 0.975], abs=1e-6)


def test_two_sets_are_drawn_apart_and_the_smaller_one_widens():
    seen = []
    ends = bootstrap(lambda a, b: float(seen.append((len(a), len(b))) or a.double().mean() - b.double().mean()), 5, 9)
    assert set(seen) == {(5, 9)} and len(seen) == 1000 and ends[0] < ends[1]
    assert ends == bootstrap(lambda a, b: float(a.double().mean() - b.double().mean()), 5, 9)  # of the seed alone


def test_one_value_has_no_interval():
    assert mean_score(torch.tensor([3.0])) == Score(3.0, 1)
    assert bootstrap(lambda rows: 1.0, 1) == (None, None)
    one = Features(("a", "b"), torch.eye(2), "test")
    score = micro_average_precision(one, one, torch.tensor([0, 1]), torch.zeros(2, dtype=torch.long))
    assert (score.value, score.low, score.high) == (1.0, None, None)


def test_values_that_do_not_vary_have_an_interval_without_width_and_a_bound_cuts_one_off():
    assert mean_score(torch.full((4,), 2.0)) == Score(2.0, 4, 2.0, 2.0)
    score = mean_score(torch.tensor([0.0, 0.0, 1.0]), 0.0, 1.0)
    assert (score.low, score.high) == (0.0, 1.0)
    assert mean_score(torch.tensor([0.0, 0.0, 1.0])).low < 0


def test_too_few_draws_are_refused():
    with pytest.raises(FarfieldError, match="39 resamples"):
        bootstrap(lambda rows: 0.0, 5, resamples=39)


def test_wilson_is_the_published_interval():
    score = proportion(0, 10)  # Brown, Cai and DasGupta 2001: (0, 0.278)
    assert (score.low, score.high) == pytest.approx((0, 0.2775), abs=1e-4)


def test_a_score_needs_the_standard_library_alone():
    code = "import sys, farfield.core.score; assert not {'torch', 'numpy', 'scipy', 'safetensors'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
