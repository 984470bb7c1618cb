"""The page of `farfield reproduce`: each published experiment beside ours."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from farfield.command.reproduce import Curve, Experiment, Panel, ReproduceResult
from farfield.present.curve import Line, curves
from farfield.present.page import Content, Section, Table, charts
from farfield.present.plot import PAINT
from farfield.present.words import count, number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAINTS = (PAINT.real, PAINT.ours, PAINT.ink, PAINT.base)


def content(folder: Path, summary: ReproduceResult) -> Content:
    """All of the page, from what the run left on disk."""
    done = summary.experiments
    agree = sum(len(one.outcome.agrees) for one in done)
    differ = sum(len(one.outcome.differs) for one in done)
    names = ", ".join(one.name for one in done)
    return Content(
        count(len(done), "experiment"),
        "published and here",
        [names, "in small" if summary.small else "at the published scale", summary.data or "bundled data"],
        [
            f"{count(agree, 'published finding')} {'comes' if agree == 1 else 'come'} out again in "
            f"{count(len(done), 'experiment')} ({names}); {number(differ)} {'does' if differ == 1 else 'do'} not."
        ],
        [
            "Published numbers are our own digitisation, to about 0.02, and dashed in the charts. They stand for other data, "
            "networks and training lengths, as each section says: shapes can be compared, heights hardly.",
        ],
        [(one.name, f"{len(one.outcome.agrees)} of {_found(one)}", "", "findings as published") for one in done],
        [_section(one) for one in done],
        lines=[
            f"{one.name}: {line}"
            for one in done
            if one.name in summary.asked
            for line in (*one.outcome.agrees, *one.outcome.differs)
        ],
    )


def _found(one: Experiment) -> int:
    return len(one.outcome.agrees) + len(one.outcome.differs)


def _section(one: Experiment) -> Section:
    outcome = one.outcome
    said = [
        *(f"As published: {line}" for line in outcome.agrees),
        *(f"Not as published: {line}" for line in outcome.differs),
    ]
    tables = [
        Table(
            ["", "published", "here"], [[row.name, row.published, row.ours] for row in outcome.rows], "Numbers",
            folded=len(outcome.rows) > 12,
        ),
        *(_numbers(panel) for panel in outcome.panels),
    ]  # fmt: skip
    drawn = [one for panel in outcome.panels for one in charts(chart(panel), f"{panel.title}, published and here")]
    return Section(
        one.name,
        one.name,
        f"{one.published[:1].upper()}{one.published[1:]}. {outcome.scale}",
        said,
        drawn,
        tables=[table for table in tables if table.rows],
        details=[("Commands", "\n".join(one.commands))],
    )


def chart(panel: Panel) -> Figure | None:
    """The published lines, dashed, and ours."""
    lines = [*_lines(panel.published, "published", dashed=True), *_lines(panel.ours, "here", dashed=False)]
    return curves({panel.title: lines}, columns=1, xlabel=panel.along)


def _lines(found: Iterable[Curve], whose: str, *, dashed: bool) -> list[Line]:
    return [
        Line(f"{whose}, {curve.name}", list(zip(curve.x, curve.y, strict=True)), PAINTS[i % len(PAINTS)], dashed=dashed)
        for i, curve in enumerate(found)
    ]


def _numbers(panel: Panel) -> Table:
    """All points of a chart."""
    rows = [
        [f"{whose}, {curve.name}", number(x), y]
        for whose, found in (("published", panel.published), ("here", panel.ours))
        for curve in found
        for x, y in zip(curve.x, curve.y, strict=True)
    ]
    return Table(["line", panel.along, "value"], rows, panel.title, folded=True)
