"""Calibrated thresholds: exact for any law, with intervals that hold as often as they say."""

import pytest
import torch

from farfield.audit.threshold import calibrate
from farfield.core.error import FarfieldError, NonFiniteError


def uniform(n, trials):
    """Similarities whose threshold at rate α is 1 - α."""
    return torch.rand(trials, n, generator=torch.Generator().manual_seed(n), dtype=torch.float64)


@pytest.mark.parametrize(("n", "rate"), [(99, 0.01), (150, 0.01), (500, 0.05), (40, 0.3)])
def test_a_new_image_exceeds_it_no_more_often_than_the_rate(n, rate):
    found = [calibrate(u, rate) for u in uniform(n, 400)]
    exceeded = sum(1 - t.value for t in found) / 400  # of a uniform law
    assert exceeded == pytest.approx(rate, abs=4 * rate**0.5 / n / 20 + 1 / (n + 1)) and exceeded < rate * 1.15


def test_the_intervals_hold_the_truth():
    rate, n = 0.1, 200
    found = [calibrate(u, rate) for u in uniform(n, 1000)]
    threshold = sum(t.low <= 1 - rate <= t.high for t in found) / 1000
    real = sum(t.rate_low <= 1 - t.value <= t.rate_high for t in found) / 1000
    assert 0.94 <= threshold <= 0.985 and 0.93 <= real <= 0.97


def test_by_hand():
    values = torch.arange(1, 100).double() / 100
    found = calibrate(values[torch.randperm(99)], 0.01)
    assert found.value == 0.99 and found.n == 99 and found.rate == 0.01
    assert found.high is None and found.low == 0.96  # P(Bin(99, 0.99) < 96) is 0.018
    assert found.rate_low == pytest.approx(1 - 0.975 ** (1 / 99)) and found.rate_high == pytest.approx(
        1 - 0.025 ** (1 / 99)
    )
    assert calibrate(values, 0.1).value == 0.9 and calibrate(values, 0.5).value == 0.5
    assert calibrate(torch.full((200,), 0.4), 0.05).value == pytest.approx(0.4)


def test_errors():
    with pytest.raises(FarfieldError, match="at least 99"):
        calibrate(torch.rand(98))
    with pytest.raises(FarfieldError, match="at least 9 "):
        calibrate(torch.rand(8), 0.1)
    with pytest.raises(FarfieldError, match="0 similarities: expected at least 19"):
        calibrate(torch.empty(0), 0.05)
    for rate in (0.0, 1.0, -1.0, 5.0):
        with pytest.raises(FarfieldError, match="between 0 and 1"):
            calibrate(torch.rand(200), rate)
    with pytest.raises(NonFiniteError):
        calibrate(torch.full((200,), torch.nan))
