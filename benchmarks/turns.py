"""Several ways of doing one thing, by turns A B A B …, so that neither has the quieter minutes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from farfield.core.runtime import progress


def by_turns(ways: Mapping[str, Callable[[], Any]], repetitions: int, label: str) -> dict[str, list[float]]:
    """Seconds of each turn of each way; a first turn, the warm-up, is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    with progress(label, repetitions + 1) as advance:
        for _ in range(repetitions + 1):
            for name, way in ways.items():
                start = time.perf_counter()
                way()
                seconds[name].append(time.perf_counter() - start)
            advance(1)
    return {name: spent[1:] for name, spent in seconds.items()}


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, Any]:
    """How many times as long theirs take, turn by turn: the median and the range."""
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    return {"ratio": statistics.median(ratios), "ratio_range": [min(ratios), max(ratios)]}
