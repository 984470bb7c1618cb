"""When copies begin, and whether two denoisers are one: curves and laws whose answers are known."""

from __future__ import annotations

import math

import pytest
import torch

from farfield.audit.onset import growth, onset
from farfield.audit.reproducibility import agreement
from farfield.command.score import Generalization
from farfield.command.transition import Losses, Moment, Nearest
from farfield.core.interval import proportion
from farfield.core.score import Score
from farfield.diffusion.exact import EmpiricalDenoiser, GaussianDenoiser
from farfield.study.audit.grid_course import course, law

TIMES = [1000 * 2**k for k in range(8)]


def test_an_onset_lies_between_two_times_on_a_logarithmic_scale():
    rise = [math.log2(t / 1000) for t in TIMES]  # 0, 1, 2 …: linear in ln t
    assert onset(TIMES, rise, 2.5) == pytest.approx(1000 * 2**2.5)
    assert onset(TIMES, rise, 3.0) == pytest.approx(8000)
    assert onset(TIMES, rise, -1.0) == 1000
    assert onset(TIMES, rise, 7.0) is None
    chance = [9.0, *rise[1:]]  # what an untrained network does does not count
    assert onset(TIMES, chance, 2.5) == pytest.approx(1000 * 2**2.5)


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_an_exponent_is_found_and_its_interval_covers_it(power: float):
    sizes = [16, 32, 64, 128, 256]
    exact = growth(sizes, [3.0 * n**power for n in sizes])
    assert exact is not None and exact.value == pytest.approx(power)
    assert exact.low == pytest.approx(power) and exact.high == pytest.approx(power)
    g, covered = torch.Generator().manual_seed(0), 0
    for _ in range(200):
        noise = (0.2 * torch.randn(5, generator=g, dtype=torch.float64)).exp().tolist()
        found = growth(sizes, [n**power * e for n, e in zip(sizes, noise, strict=True)])
        assert found is not None and found.low is not None and found.high is not None
        covered += found.low <= power <= found.high
    assert 178 <= covered <= 200  # 95 % of 200 is 190, and four standard deviations below it 178
    assert growth([16, 16], [1, 2]) is None and growth([16], [1]) is None
    two = growth([16, 64], [1, 4])
    assert two is not None and (two.value, two.low) == (pytest.approx(1.0), None)


def moment(images: int, copied: int, distance: float, training: float, held: float) -> Moment:
    shares = Generalization(
        score=proportion(100 - copied, 100),
        memorized=proportion(copied, 100),
        held_out=Score(0.0, 100, 0.0, 0.03),
        threshold=0.6,
    )
    losses = (Score(value, 100, value - 0.01, value + 0.01) for value in (training, held))
    loss = Losses(training=next(losses), held_out=next(losses), gap=held - training)
    near = Nearest(samples=0.5, held_out=0.5)
    return Moment(images=images, loss=loss, gl={"given": shares}, nearest=near, distance=Score(distance, 100))


def planted(images: int, size: int) -> Moment:
    """Copies rise by 8 of 100 with each doubling after 100 n, the losses part at 50 n, and samples are best after 2000."""
    late = max(0.0, math.log2(images / (100 * size)))
    apart = max(0.0, math.log2(images / (50 * size)))
    return moment(
        images, min(80, round(8 * late)), abs(math.log(images / 2000)), 0.5 - 0.01 * apart, 0.5 + 0.01 * apart
    )


def test_planted_times_are_found_and_so_is_their_law():
    cells = {}
    times = [round(250 * 2 ** (k / 2)) for k in range(24)]
    for size in (16, 32, 64, 128):
        cells[size] = course([planted(t, size) for t in times])
        found = cells[size]
        # 8 of 100 are more than a tenth of the last share
        assert found.copies is not None and 100 * size < found.copies <= 220 * size
        # the intervals are 0.01 to either side: they part one doubling later
        assert found.apart == pytest.approx(100 * size, rel=0.05)
        assert found.best == found.stop == min(times, key=lambda t: abs(math.log(t / 2000)))
    told = law(cells)
    assert told.copies is not None and told.copies.value == pytest.approx(1, abs=0.1)
    assert told.apart is not None and told.apart.value == pytest.approx(1, abs=0.05)
    assert told.best is not None and told.best.value == pytest.approx(0, abs=0.01)


def test_where_copies_begin_before_the_best_it_says_to_stop_earlier():
    rows = [moment(1000, 0, 0.3, 0.5, 0.5), moment(2000, 1, 0.2, 0.5, 0.5), moment(4000, 60, 0.1, 0.1, 0.9)]
    found = course(rows)
    assert (found.best, found.stop) == (4000, 2000) and found.copies is not None and 2000 < found.copies < 4000
    never = course(rows[:2])  # 1 of 100 is no more than real images reach
    assert (never.copies, never.apart, never.stop) == (None, None, 2000)


def test_halves_of_a_gaussian_law_agree_and_halves_of_two_points_do_not():
    g = torch.Generator().manual_seed(0)
    scale = torch.linspace(0.2, 2, 6, dtype=torch.float64)
    law, held = (scale * torch.randn(n, 6, generator=g, dtype=torch.float64) for n in (8000, 400))
    noise = torch.randn(held.shape, generator=g, dtype=torch.float64)
    for sigma in (0.3, 1.0, 3.0):
        level = torch.tensor(sigma, dtype=torch.float64)
        halves = []
        for part in (law[::2], law[1::2]):
            values, vectors = torch.linalg.eigh(part.T.cov())
            halves.append(GaussianDenoiser(part.mean(0), vectors, values))
        first, second = (one(held + sigma * noise, level) for one in halves)
        assert agreement(first, second, held).value > 0.98
        same = agreement(first, first, held)
        assert same.value == 1 and same.low == 1
    points = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    held = points.repeat(20, 1)
    first, second = (EmpiricalDenoiser(point[None])(held, torch.tensor(1.0)) for point in points)
    # each answers its own point: 1 - |p - q|² / ½ |p - q|², in any sample of as many of both
    assert agreement(first, second, held).value == pytest.approx(-1)


def test_errors_that_have_nothing_in_common_are_twice_their_size_apart():
    g = torch.Generator().manual_seed(1)
    clean, a, b = torch.randn(3, 500, 10, generator=g)
    found = agreement(clean + a, clean + b, clean)
    assert found.value == pytest.approx(-1, abs=0.1)
    assert found.low is not None and found.high is not None and found.low < -1 + 0.05 and found.high > -1 - 0.05
