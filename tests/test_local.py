"""Copies of parts: a quarter taken from an example is seen where the whole image is new."""

from __future__ import annotations

import pytest
import torch

from farfield.audit.local import SCALES, Parts, scaled, whitened
from farfield.core.error import FarfieldError


def images(n: int, seed: int, shape: tuple[int, ...] = (3, 8, 8)) -> torch.Tensor:
    return torch.randn((n, *shape), generator=torch.Generator().manual_seed(seed))


def test_a_quarter_of_an_example_is_found_in_its_place_only():
    examples, fresh = images(40, 0), images(5, 1)
    parts = Parts.of(examples)
    assert bool((parts.margins(examples[:5]) == 0).all())
    patched, moved = fresh.clone(), fresh.clone()
    patched[:, :, 4:, :4] = examples[7:12, :, 4:, :4]
    moved[:, :, :4, :4] = examples[7:12, :, 4:, :4]
    margins = parts.margins(patched)
    assert margins[:, 3].tolist() == [0.0] * 5 and bool((margins[:, 0] > 0.8).all())
    assert parts.copies(patched).value == 1
    torch.testing.assert_close(parts.margins(moved)[:, 3], parts.margins(fresh)[:, 3])


def test_margins_are_distances_over_thresholds():
    examples, fresh = images(30, 0, (1, 6, 9)), images(8, 1, (1, 6, 9))
    parts = Parts.of(examples)
    corner = (slice(None), slice(None), slice(0, 3), slice(5, 9))  # 9 columns are divided 5 and 4
    a, b = (x[corner].double().flatten(1) for x in (fresh, examples))
    own = torch.cdist(b, b).fill_diagonal_(torch.inf).min(1).values.quantile(0.05)
    torch.testing.assert_close(parts.margins(fresh)[:, 2], torch.cdist(a, b).min(1).values / own, rtol=1e-5, atol=0)


def test_new_images_of_the_same_law_count_as_often_as_independent_quarters_do():
    margins, shares = [], []
    for seed in range(12):
        parts, fresh = Parts.of(images(100, 2 * seed)), images(200, 2 * seed + 1)
        margins.append(parts.margins(fresh))
        shares.append(parts.copies(fresh).value)
    each = float((torch.cat(margins)[:, 1:] <= 1).double().mean())
    assert 0.04 < each < 0.1  # about the quantile, 5 %
    assert sum(shares) / len(shares) == pytest.approx(1 - (1 - each) ** 4, abs=0.02)


def test_where_examples_repeat_each_other_only_equal_parts_are_copies():
    twins = images(6, 0).repeat(2, 1, 1, 1)
    parts = Parts.of(twins)
    assert parts.thresholds == (0.0,) * 5
    assert parts.copies(twins).value == 1 and parts.copies(twins + 1e-3).value == 0


def test_what_has_no_quarters_is_refused():
    with pytest.raises(FarfieldError, match="at least 2 × 2"):
        Parts.of(images(5, 0, (3, 1, 8)))
    with pytest.raises(FarfieldError, match="at least 3"):
        Parts.of(images(2, 0))


def test_what_is_usual_is_the_share_of_examples_that_resemble_another():
    examples = images(60, 0)
    parts = Parts.of(examples)
    margins = []
    for i in range(60):
        others = Parts(tuple(torch.cat([p[:i], p[i + 1 :]]) for p in parts.examples), parts.thresholds, 0.0)
        margins.append(others.margins(examples[i : i + 1])[0])
    assert parts.usual == pytest.approx(float((torch.stack(margins) <= 1).any(1).double().mean()))
    assert 0.05 < parts.usual < 0.35


def copied(examples: torch.Tensor, images: torch.Tensor) -> dict[str, float]:
    shares = Parts.of(examples, grids=list(SCALES.values())).shares(images)
    return {scale: score.value for scale, score in zip(SCALES, shares, strict=True)}


def test_parts_are_counted_at_each_scale_beside_their_rate_of_chance():
    found: dict[str, list[float]] = {scale: [] for scale in SCALES}
    for seed in range(6):
        for scale, value in copied(images(100, 2 * seed), images(100, 2 * seed + 1)).items():
            found[scale].append(value)
    assert all(0.02 < sum(values) / 6 < 0.1 for values in found.values())  # about the quantile, 5 %

    examples, fresh = images(40, 0), images(4, 1)
    new = copied(examples, fresh)
    fresh[:, :, 4:, :4] = examples[7:11, :, 4:, :4]
    patched = copied(examples, fresh)
    assert patched["whole"] == new["whole"]
    for scale in ("quarters", "cells"):  # one of four, and its four cells; the others as they were
        assert max(0.25, new[scale]) <= patched[scale] <= new[scale] + 0.25
    assert copied(examples, examples[:5]) == {"whole": 1, "quarters": 1, "cells": 1}


def test_intervals_take_images_for_the_unit():
    """Twenty images, of which each repeats an example in all of its parts or in none, tell as much as twenty parts do."""
    examples, mixed = images(40, 0), images(20, 1) + 9
    mixed[:10] = examples[:10]
    whole, quarters, cells = Parts.of(examples, grids=(1, 2, 4)).shares(mixed)
    assert (whole.value, whole.n) == (0.5, 20) and whole.low < 0.32 < 0.68 < whole.high
    for score in (quarters, cells):
        assert score.low == pytest.approx(whole.low, abs=0.05) and score.high == pytest.approx(whole.high, abs=0.05)
    none = Parts.of(examples, grids=(1, 2, 4)).shares(images(20, 1) + 9)
    assert [score.value for score in none] == [0, 0, 0] and all(score.high > 0.1 for score in none)


def test_places_that_all_examples_share_tell_nothing():
    examples, fresh = images(40, 0), images(10, 1)
    for part in (examples, fresh):
        part[:, :, :2] = -1  # an empty border, which is no copy of anything
    before = copied(examples, fresh)["cells"]
    fresh[:, :, :2] += 0.01
    assert copied(examples, fresh)["cells"] == before < 0.25


def power_law(n: int, seed: int, slope: float, side: int = 16) -> torch.Tensor:
    """Periodic Gaussian fields of unit variance, of power ~ k^-slope: ``[n, 1, side, side]``."""
    k = torch.fft.fftfreq(side, 1 / side).double()
    waves = torch.hypot(k[:, None], k).clamp(min=1)
    noise = torch.fft.fft2(images(n, seed, (1, side, side)).double())
    fields = torch.fft.ifft2(noise * waves ** (-slope / 2)).real
    return fields / fields.std()


def test_whitened_fields_have_the_same_power_at_every_scale():
    known, other = 1e20 * (5 + power_law(200, 0, 3.0)), 1e20 * (5 + power_law(200, 1, 3.0))
    power = torch.fft.fft2(whitened(known)(other), norm="ortho").abs().square().mean((0, 1))
    assert float(power.mean()) == pytest.approx(1, abs=0.05)
    assert float(power[0, 1:4].mean()) == pytest.approx(1, abs=0.25)
    assert float(power[6:10, 6:10].mean()) == pytest.approx(1, abs=0.1)
    assert float(scaled(known)(known).std()) == pytest.approx(1)
    flat = torch.ones(5, 1, 8, 8)
    assert bool((whitened(flat)(flat + 1) == whitened(flat)(flat + 1)).all())  # no power at all is no division by 0
    torch.testing.assert_close(whitened(known * 3 - 7)(other * 3 - 7), whitened(known)(other))  # in any unit


def test_grain_that_was_taken_from_an_example_shows_in_whitened_fields_only():
    signal, grain = power_law(60, 0, 8.0), 0.1 * images(60, 1, (1, 16, 16)).double()
    examples = signal + grain
    fresh_signal, fresh_grain = power_law(20, 2, 8.0), 0.1 * images(20, 3, (1, 16, 16)).double()
    raw, white = scaled(examples), whitened(examples)

    def whole(change, made):
        return copied(change(examples), change(made))["whole"]

    same_signal, same_grain = signal[:20] + fresh_grain, fresh_signal + grain[:20]
    assert whole(raw, same_signal) == 1 and whole(raw, same_grain) < 0.3
    assert whole(white, same_grain) == 1 and whole(white, same_signal) < 0.5
