"""Coverage with random points: right for draws of the truth's own law; it notices draws too narrow, too wide, or beside it."""

from __future__ import annotations

import pytest
import torch

from farfield.audit.tarp import Tarp, tarp, tarp_ranks
from farfield.core.error import FarfieldError


def coverage(width: float, shift: float = 0.0, cases: int = 200, n: int = 9, d: int = 5) -> Tarp:
    """Truths and references of N(0, I), draws of N(shift, width² I)."""
    g = torch.Generator().manual_seed(0)
    truths, references = torch.randn(2, cases, d, generator=g, dtype=torch.float64)
    draws = shift + width * torch.randn(cases, n, d, generator=g, dtype=torch.float64)
    return tarp(tarp_ranks(truths, draws, references + 1), n)


def test_right_draws_lie_on_the_diagonal():
    found = coverage(1.0)
    assert found.credibility == pytest.approx([k / 10 for k in range(1, 10)])
    inside = [low <= c <= high for low, c, high in zip(found.low, found.coverage, found.high, strict=True)]
    assert sum(inside) >= 8 and found.p > 0.1


@pytest.mark.parametrize(("width", "shift"), [(0.3, 0.0), (3.0, 0.0), (1.0, 0.7)])
def test_wrong_draws_do_not(width: float, shift: float):
    assert coverage(width, shift).p < 0.01


def test_ranks_count_the_draws_that_are_nearer():
    draws = torch.tensor([[[0.0], [1.0], [5.0]], [[2.0], [2.0], [2.0]]])
    found = tarp_ranks(torch.tensor([[3.0], [2.0]]), draws, torch.tensor([[0.0], [0.0]]))
    assert found.tolist() == [2, 0]
    two = tarp(found, 3)
    assert two.coverage == [0.5, 0.5, 1.0] and two.n == 2
    assert two.low[0] == 0.0 and two.high[2] == 1.0


def test_of_few_cases_no_wrong_can_be_told_for_sure():
    assert tarp(torch.tensor([0, 3]), 3).p > 0.1


def test_what_cannot_be_ranked_is_refused():
    with pytest.raises(FarfieldError, match="at least 2 ranks"):
        tarp(torch.tensor([1]), 3)
    with pytest.raises(FarfieldError, match=r"expected draws \[J, n, d\]"):
        tarp_ranks(torch.zeros(2, 3), torch.zeros(2, 4, 2), torch.zeros(2, 3))
