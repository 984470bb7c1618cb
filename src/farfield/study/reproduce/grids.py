"""What experiments on a grid of `farfield transition` share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from farfield.command.reproduce import Compared, Curve, Outcome, Panel
from farfield.command.transition import TransitionResult
from farfield.core.score import Score
from farfield.study.reproduce.plan import Findings, Plan, Step
from farfield.study.reproduce.regimes import kind

DIGITS = ("--widths", "12", "--samples", "128")
PICTURES = ("--widths", "32", "--samples", "128", "--length", "200k")
FULL = ("--widths", "128", "--samples", "10000", "--descriptor", "sscd", "--network", "ddpmpp", "--length", "50M")


def step(plan: Plan, name: str, small: Sequence[str], full: Sequence[str]) -> Step:
    """A grid on digits, or on the images that were given: a few narrow networks of these, or the published scale."""
    if plan.data is None:
        return plan.step(f"{name}/grid", "transition", *DIGITS, *small)
    how = (*PICTURES, *small) if plan.small else (*FULL, *full)
    return plan.step(f"{name}/grid", "transition", "--data", plan.data, *how)


def panel(title: str, along: str, lines: Mapping[str, Iterable[tuple[float, Score | float | None]]]) -> Panel:
    """Our lines by name, without the points that did not come; no published ones were read."""
    ours = []
    for name, points in lines.items():
        known = [(float(x), y if isinstance(y, Score) else Score(y, 0)) for x, y in points if y is not None]
        ours.append(Curve(name=name, x=[x for x, _ in known], y=[y for _, y in known]))
    return Panel(title=title, along=along, published=[], ours=ours)


def outcome(
    found: TransitionResult, paper: str, findings: Findings, panels: Sequence[Panel], rows: Sequence[Compared] = ()
) -> Outcome:
    """With what ours is made of, and the published (``paper``)."""
    side, cell = " × ".join(map(str, found.data.shape)), found.cells[0]
    scale = (
        f"Ours: {found.data.source}, images of {side}, {cell.parameters:,} weights, {cell.images:,} images seen in training, "
        f"{cell.gl[kind(found)].score.n} samples, descriptor {found.descriptor}. Published: {paper}."
    )
    return Outcome(scale=scale, panels=list(panels), rows=list(rows), **vars(findings))
