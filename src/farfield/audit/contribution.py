"""What a frozen network adds to samples: one judgement from paired differences to the same seeds made without it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from farfield.command.contribution import NetworkAdds
from farfield.core.score import Score
from farfield.present.words import score

Verdict = Literal["adds", "nothing", "harms", "divided"]


def contribution(distance: Mapping[str, Score], *, held: bool) -> NetworkAdds | None:
    """The verdict: ``adds`` where the samples are nearer with the network in one descriptor at least and farther in none.

    Args:
        distance: by descriptor, `audit.distribution.kernel_difference`.
        held: whether it is to held-out images, or else to the examples.

    Returns:
        None where no distance was measured.
    """
    if not distance:
        return None
    nearer = [name for name, by in distance.items() if by.low is not None and by.low > 0]
    farther = [name for name, by in distance.items() if by.high is not None and by.high < 0]
    verdict: Verdict = "divided" if nearer and farther else "adds" if nearer else "harms" if farther else "nothing"
    others = [name for name in distance if name not in nearer + farther]
    whom = "held-out images" if held else "the examples themselves"
    n = min(by.n for by in distance.values())
    beside = f"beside the same seeds without it, their kernel distance to {whom} is"
    said = {
        "adds": f"The frozen network adds to the samples: {beside} lower by {_by(distance, nearer)}",
        "harms": f"The frozen network harms the samples: {beside} higher by {_by(distance, farther, -1)}",
        "divided": f"The frozen network adds to the samples in one descriptor and harms them in another: {beside} lower by "
        f"{_by(distance, nearer)}, and higher by {_by(distance, farther, -1)}",
        "nothing": f"The frozen network adds nothing to the samples that {n} of them can show: {beside} lower by "
        f"{_by(distance, others)}",
    }[verdict]
    if others and verdict != "nothing":
        said += f"; no difference shows in {' and '.join(others)}"
    return NetworkAdds(verdict=verdict, distance=dict(distance), says=f"{said}.")


def _by(distance: Mapping[str, Score], names: Sequence[str], sign: int = 1) -> str:
    """By what it is lower, or with sign −1 higher, in each of these descriptors."""
    return " and ".join(f"{score(_signed(distance[name], sign))} in {name}" for name in names)


def _signed(by: Score, sign: int) -> Score:
    if sign > 0 or by.low is None or by.high is None:
        return Score(sign * by.value, by.n, by.low, by.high)
    return Score(-by.value, by.n, -by.high, -by.low)
