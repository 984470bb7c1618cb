"""What experiments on a grid of `farfield transition` share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from farfield.command.reproduce import Curve, Outcome
from farfield.command.transition import CellScores, TransitionResult
from farfield.core.score import Score
from farfield.study.reproduce.plan import Plan, Step
from farfield.study.reproduce.regimes import kind

DIGITS = ("--widths", "12", "--samples", "128")
PICTURES = ("--widths", "32", "--samples", "128", "--length", "200k")
FULL = ("--widths", "128", "--samples", "10000", "--descriptor", "sscd", "--network", "ddpmpp", "--length", "50M")


def step(plan: Plan, name: str, small: tuple[str, ...], full: tuple[str, ...]) -> Step:
    """A grid on digits, or on the images that were given: a few narrow networks of these, or the published scale."""
    if plan.data is None:
        return plan.step(f"{name}/grid", "transition", *DIGITS, *small)
    how = (*PICTURES, *small) if plan.small else (*FULL, *full)
    return plan.step(f"{name}/grid", "transition", "--data", plan.data, *how)


def curve(name: str, cells: Iterable[CellScores], y: Callable[[CellScores], Score | float]) -> Curve:
    """A number of each cell over its size."""
    points = [(float(cell.size), y(cell)) for cell in cells]
    return Curve(name=name, x=[x for x, _ in points], y=[v if isinstance(v, Score) else Score(v, 0) for _, v in points])


def outcome(found: TransitionResult, published: str, findings: Iterable[tuple[bool, str]], **parts: Any) -> Outcome:
    """Sentences by whether they come out as published."""
    told = list(findings)
    side, cell = " × ".join(map(str, found.data.shape)), found.cells[0]
    return Outcome(
        scale=f"Ours: {found.data.source}, images of {side}, {cell.parameters:,} weights, {cell.images:,} images seen in "
        f"training, {cell.gl[kind(found)].score.n} samples, descriptor {found.descriptor}. Published: {published}.",
        agrees=[line for agrees, line in told if agrees],
        differs=[line for agrees, line in told if not agrees],
        **parts,
    )
