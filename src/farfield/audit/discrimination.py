"""Can a reader tell made pictures from real ones? Answers to "real or made?", held against the truth."""

from __future__ import annotations

from collections.abc import Mapping

from farfield.command.blind import Answered, Kind
from farfield.core.error import FarfieldError
from farfield.core.interval import exact_proportion


def discriminate(truth: Mapping[str, Kind], answers: Mapping[str, Kind]) -> Answered:
    """The share of answers that are right, and of each kind the share that was taken for real, with exact intervals.

    With as many real pictures as made ones, who cannot tell them apart is right half of the time, whatever word he prefers:
    the share is (hits + 1 − false alarms) / 2. Who answers each by a coin is right in Bin(n, ½) of them; who takes
    care to say both words equally often, in hypergeometrically many, whose variance is n / (n − 1) of that.

    Args:
        truth: of each picture, half of them real.
        answers: to every picture.

    Raises:
        FarfieldError: answers to other pictures, or to some of them only; another share of real ones.
    """
    if truth.keys() != answers.keys():
        raise FarfieldError(
            f"{len(answers)} answers: expected one to each of the {len(truth)} pictures, and to no other"
        )
    taken = {kind: [answers[k] == "real" for k, is_ in truth.items() if is_ == kind] for kind in ("real", "made")}
    half = len(taken["real"])
    if not half or 2 * half != len(truth):
        raise FarfieldError(f"{half} real pictures of {len(truth)}: expected half of them, so that chance is one half")
    hits, alarms = sum(taken["real"]), sum(taken["made"])
    right = exact_proportion(hits + half - alarms, 2 * half)
    low, high = right.low or 0.0, 1.0 if right.high is None else right.high
    return Answered(
        right=right,
        real=exact_proportion(hits, half),
        made=exact_proportion(alarms, half),
        verdict="told" if low > 0.5 else "reversed" if high < 0.5 else "not told",
        answers=dict(answers),
    )
