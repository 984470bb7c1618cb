"""A number with what it is worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Relation = Literal["below", "overlapping", "above"]


@dataclass(frozen=True)
class Score:
    """A measured number with its sample size and interval; ``low``/``high`` are None where no interval applies."""

    value: float
    n: int
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        bounds = "" if self.low is None or self.high is None else f" [{self.low:.3g}, {self.high:.3g}]"
        return f"{self.value:.4g}{bounds} (n = {self.n})"


def relation(first: Score | None, second: Score | None) -> Relation | None:
    """Where the first interval lies, seen from the second; None where one is missing or has no interval."""
    if first is None or second is None:
        return None
    if first.low is None or first.high is None or second.low is None or second.high is None:
        return None
    return "below" if first.high < second.low else "above" if first.low > second.high else "overlapping"
