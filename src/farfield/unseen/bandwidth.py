"""Up to which noise level latents may be disturbed and still decode into the examples' domain."""

from __future__ import annotations

from collections.abc import Sequence

from farfield.core.artifact import Score
from farfield.core.error import FarfieldError


def recommended_level(levels: Sequence[float], captured: Sequence[Score], floor: Score) -> float | None:
    """The highest level that still keeps the domain, as all levels below it do; None where not even the lowest does.

    A level keeps the domain while its share of captured images cannot be told from the floor, the share of real examples
    that the classifier takes for the training domain: the two intervals overlap.

    Args:
        levels: any order.
        captured: the share at each level, with its interval.
    """
    if len(levels) != len(captured) or not levels:
        raise FarfieldError(f"bandwidth: expected a share for each level, found {len(captured)} for {len(levels)}")
    if floor.high is None or any(s.low is None for s in captured):
        raise FarfieldError("bandwidth: expected shares with intervals")
    best = None
    for level, share in sorted(zip(levels, captured, strict=True), key=lambda row: row[0]):
        if share.low is None or share.low > floor.high:
            break
        best = level
    return best
