"""Copies of parts: a quarter taken from an example is seen where the whole image is new."""

from __future__ import annotations

import pytest
import torch

from farfield.audit.local import Parts
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
