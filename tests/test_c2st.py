"""The classifier two-sample test: chance for one law, at most the Bayes accuracy for two, the same either way round."""

import math

import pytest
import torch

from farfield.audit.c2st import c2st
from farfield.core.error import FarfieldError


def sets(n: int, m: int, d: int, apart: float, seed: int) -> dict[str, torch.Tensor]:
    x = torch.randn(n + m, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    x[n:, 0] += apart
    return {"real": x[:n], "generated": x[n:]}


def test_shifted_gaussians_come_near_the_bayes_accuracy_from_below():
    """Φ(δ/2), the best that any classifier of two Gaussians δ apart can have."""
    best = 0.5 * math.erfc(-2 / math.sqrt(8))
    means = []
    for n in (20, 300):
        found = [c2st(**sets(n, n, 8, 2.0, seed)).accuracy for seed in range(12)]
        means.append(sum(f.value for f in found) / 12)
    assert means[0] < means[1] < best + 0.01 and means[1] == pytest.approx(best, abs=0.02)
    assert sum(f.low <= best <= f.high for f in found) >= 10


@pytest.mark.parametrize(("n", "d"), [(200, 4), (30, 400)])
def test_one_law_is_told_apart_by_chance(n, d):
    found = [c2st(**sets(n, n, d, 0.0, seed)) for seed in range(40)]
    assert sum(f.null.low <= f.accuracy.value <= f.null.high for f in found) >= 33  # of 38 expected
    assert sum(f.accuracy.low <= 0.5 <= f.accuracy.high for f in found) >= 33
    assert sum(f.accuracy.value for f in found) / 40 == pytest.approx(0.5, abs=0.03)
    assert all(abs(f.null.value - 0.5) < 0.03 for f in found)


def test_it_is_the_same_either_way_round_and_in_other_units():
    one = sets(25, 40, 60, 6.0, 0)
    found = c2st(**one)
    assert found.accuracy.n == 25 and found.accuracy.value > found.null.high > 0.5
    turned = c2st(real=one["generated"], generated=one["real"])
    assert turned.accuracy.value == found.accuracy.value  # the null is of other relabellings
    assert turned.accuracy.low == pytest.approx(found.accuracy.low, abs=0.05)
    units = torch.logspace(-6, 6, 60, dtype=torch.float64)
    scaled = c2st(**{name: 3 + part * units for name, part in one.items()})
    assert scaled.accuracy.value == pytest.approx(found.accuracy.value, abs=0.021)  # a tie may fall the other way


def test_what_does_not_vary_is_chance_and_what_differs_in_all_is_certain():
    flat = torch.ones(12, 3)
    assert c2st(real=flat, generated=flat).accuracy.value == 0.5
    found = c2st(real=flat, generated=2 * flat).accuracy
    assert found.value == 1 and found.low > 0.7 and found.high == 1
    with pytest.raises(FarfieldError, match="at least 10 vectors, found 9"):
        c2st(real=flat, generated=flat[:9])
