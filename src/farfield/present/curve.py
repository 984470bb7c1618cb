"""Curves against the noise level, each point with its interval."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from farfield.core.score import Score
from farfield.present.plot import PAINT, legend, styled, subplots, ticks
from farfield.present.words import as_score

if TYPE_CHECKING:
    from matplotlib.axes import Axes
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
    drawn = {title: known for title, lines in panels.items() if (known := [one for one in lines if _known(one.points)])}
    if not drawn:
        return None
    figure, axes = subplots(len(drawn), min(columns, len(drawn)), 2.5)
    for ax, (title, lines) in zip(axes, drawn.items(), strict=True):
        places = sorted({place for one in lines for place, _ in _known(one.points)})
        for i, one in enumerate(lines):
            # side by side, so that intervals at one level can be told apart
            points = [(place * 1.02 ** (i - (len(lines) - 1) / 2), score) for place, score in one.points]
            style: Any = {"alpha": one.strength, "linewidth": 1.3, "markersize": 4.5}
            line(ax, points, one.paint, one.label, dashed=one.dashed, bar=2, **style)
        if places[-1] > 3 * places[0] > 0:
            ax.set_xscale("log")
        shown = places[:: max(1, math.ceil(len(places) / 8))]
        ticks(ax, shown, [f"{s:.2g}" if s < 100 else f"{s:.0f}" for s in shown])
        ax.set_xlabel(xlabel)
        ax.set_title(title, parse_math=False)
    legend(figure, axes, 5)
    return figure


def line(
    ax: Axes,
    points: Iterable[tuple[float, Any]],
    colour: str,
    label: str | None = None,
    *,
    dashed: bool = False,
    alpha: float = 1.0,
    bar: float = 2.2,
    band: bool = False,
    **style: Any,
) -> None:
    """A line through the values that are known, with their intervals unless it is dashed: bars so wide, or a ``band``."""
    known = _known(points)
    style = {"marker": "" if dashed else "o", "linestyle": "--" if dashed else "-", **style}
    ax.plot([x for x, _ in known], [s.value for _, s in known], color=colour, alpha=alpha, label=label, **style)
    ends = [(x, s.low, s.high) for x, s in known if s.low is not None and s.high is not None and not dashed]
    if band and ends:
        places, lows, highs = zip(*ends, strict=True)
        ax.fill_between(places, lows, highs, color=colour, alpha=0.16, linewidth=0)
    for x, low, high in () if band else ends:
        ax.plot([x, x], [low, high], color=colour, alpha=0.4 * alpha, linewidth=bar)


def _known(points: Iterable[tuple[float, Any]]) -> list[tuple[float, Score]]:
    return [(place, score) for place, value in points if (score := as_score(value))]
