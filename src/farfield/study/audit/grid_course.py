"""A training over time: when it is at its best, when it begins to copy, and how that grows with the number of images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

from farfield.audit.onset import growth, onset
from farfield.command.transition import Course, Law, Moment
from farfield.core.score import Score


def course(moments: Sequence[Moment]) -> Course:
    """When a training is at its best, when it begins to copy, and where to stop."""
    times, kind = [m.images for m in moments], next(iter(moments[-1].gl))
    copies = [m.gl[kind].memorized.value for m in moments]
    last = moments[-1].gl[kind]
    floor = last.held_out.high if last.held_out and last.held_out.high is not None else 0.0
    begin = onset(times, copies, max(copies[-1] / 10, floor))
    apart = [_end(m.loss.held_out.low, m.loss.held_out) - _end(m.loss.training.high, m.loss.training) for m in moments]
    before = [m for m in moments if begin is None or m.images < begin] or moments[:1]
    return Course(
        moments=list(moments),
        best=min(moments, key=_distance).images,
        copies=begin,
        apart=onset(times, apart, 0.0),
        stop=min(before, key=_distance).images,
    )


def law(courses: Mapping[int, Course]) -> Law:
    """How times grow with the sizes that they are given by; of those that came after the first snapshot."""

    def of(thing: Literal["best", "copies", "apart"]) -> Score | None:
        known = {size: (getattr(one, thing), one.moments[0].images) for size, one in courses.items()}
        later = {size: float(time) for size, (time, first) in known.items() if time is not None and time > first}
        return growth(list(later), list(later.values()))

    return Law(best=of("best"), copies=of("copies"), apart=of("apart"))


def _distance(moment: Moment) -> float:
    return math.inf if moment.distance is None else moment.distance.value


def _end(end: float | None, score: Score) -> float:
    return score.value if end is None else end
