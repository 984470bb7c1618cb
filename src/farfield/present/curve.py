"""Curves against the noise level, each point with its interval."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from farfield.core.score import Score
from farfield.present.page import Chart
from farfield.present.plot import PAINT, styled, subplots
from farfield.present.words import as_score

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Line:
    """Points (level, stored Score or number) under one label; ``paint`` is a colour of `plot.PAINT`."""

    label: str
    points: Sequence[tuple[float, Score | Mapping[str, Any] | float | None]]
    paint: str = PAINT.ours
    strength: float = 1.0
    dashed: bool = False


@styled
def curves(panels: Mapping[str, Sequence[Line]], *, columns: int = 3, xlabel: str = "σ") -> Figure | None:
    """A panel under each title; levels on a logarithmic axis. None where there is nothing to draw."""
    found = {title: [line for line in lines if _drawn(line)] for title, lines in panels.items()}
    found = {title: lines for title, lines in found.items() if lines}
    if not found:
        return None
    figure, axes = subplots(len(found), min(columns, len(found)), 2.5)
    handles: dict[str, Any] = {}
    for ax, (title, lines) in zip(axes, found.items(), strict=True):
        places = sorted({place for line in lines for place, _ in _drawn(line)})
        for i, line in enumerate(lines):
            colour, points = line.paint, _drawn(line)
            # side by side, so that intervals at one level can be told apart
            shift = 1.02 ** (i - (len(lines) - 1) / 2)
            xs = [place * shift for place, _ in points]
            (handle,) = ax.plot(
                xs,
                [score.value for _, score in points],
                "--" if line.dashed else "o-",
                color=colour,
                alpha=line.strength,
                linewidth=1.3,
                markersize=4.5,
            )
            handles.setdefault(line.label, handle)
            for x, (_, score) in zip(xs, points, strict=True):
                if score.low is not None and score.high is not None:
                    ax.plot([x, x], [score.low, score.high], color=colour, alpha=0.4 * line.strength, linewidth=2)
        if places[-1] > 3 * places[0]:
            ax.set_xscale("log")
        ax.minorticks_off()
        shown = places[:: max(1, math.ceil(len(places) / 8))]
        ax.set_xticks(shown, labels=[f"{s:.2g}" if s < 100 else f"{s:.0f}" for s in shown])
        ax.set_xlabel(xlabel)
        ax.set_title(title, parse_math=False)
    figure.legend(list(handles.values()), list(handles), loc="outside lower left", ncols=5)
    return figure


def charts(figure: Figure | None, label: str) -> list[Chart]:
    """The figure as a section takes it; none where there was nothing to draw."""
    return [] if figure is None else [Chart(figure, label)]


def _drawn(line: Line) -> list[tuple[float, Score]]:
    return [(place, score) for place, value in line.points if (score := as_score(value))]
