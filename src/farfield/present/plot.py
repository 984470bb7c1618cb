"""Charts: what a run measured in, matplotlib figures out.

Nothing here keeps state: figures are plain ``Figure`` objects, never pyplot's. Charts are drawn in the colours of
`PAINT`; `themed` hands these to the page as CSS variables, so that one chart serves light and dark paper.
"""

from __future__ import annotations

import functools
import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from farfield.command.measures import BySet, Measures, SearchedLevel
from farfield.core.score import Score
from farfield.present.words import SETS, as_score, level, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Paint:
    """Okabe and Ito's blue and vermilion, told apart by every kind of colour vision, and greys."""

    real: str = "#0072b2"
    ours: str = "#d55e00"
    base: str = "#7d8590"
    ink: str = "#1d2126"
    muted: str = "#6b737c"
    line: str = "#d9dadb"


PAINT = Paint()

SET_PAINT = {"real": PAINT.real, "samples": PAINT.ours, "control": PAINT.ink, "base": PAINT.base}
STYLE: Any = {
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.labelsize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": PAINT.line,
    "axes.labelcolor": PAINT.muted,
    "axes.titlecolor": PAINT.ink,
    "xtick.color": PAINT.line,
    "ytick.color": PAINT.line,
    "xtick.labelcolor": PAINT.muted,
    "ytick.labelcolor": PAINT.muted,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "text.color": PAINT.ink,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "farfield",  # ids from contents, not from chance: the same run gives the same bytes
}


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Draw in `STYLE`, whatever the settings around are, and leave those as they were."""

    @functools.wraps(draw)
    def styled(*args: P.args, **kwargs: P.kwargs) -> R:
        import matplotlib

        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return styled


@styled
def svg(figure: Figure) -> str:
    """A chart as an SVG file in the colours of `PAINT`: words stay words, and the same chart has the same bytes."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return re.sub(r"\s*<metadata>.*?</metadata>", "", buffer.getvalue(), flags=re.DOTALL)


@styled
def pdf(figure: Figure) -> bytes:
    """A chart as a PDF file of the same bytes each time; its fonts are TrueType, as printers ask, which takes their time."""
    import matplotlib

    buffer = io.BytesIO()
    with matplotlib.rc_context({"pdf.fonttype": 42}):
        figure.savefig(buffer, format="pdf", transparent=True, metadata={"CreationDate": None})
    return buffer.getvalue()


def themed(svg: str) -> str:
    """The ``<svg>`` element of a file for a page: no reference outwards, and colours as CSS variables."""
    text = re.sub(
        r' xmlns(:\w+)?="[^"]*"', "", svg[svg.index("<svg") :], count=2
    )  # known, and they look like addresses
    names = {colour: name for name, colour in vars(PAINT).items()}

    def painted(tag: re.Match[str]) -> str:
        return re.sub(
            "|".join(names),
            lambda colour: f"var(--{names[colour[0].lower()]}, {colour[0]})",
            tag[0],
            flags=re.IGNORECASE,
        )

    return re.sub(r"<[a-z][^<>]*>", painted, text)  # tags only: a label may say anything


@styled
def histograms(geometry: Mapping[str, Any]) -> Figure | None:
    """Lengths, distances and angles of latents: examples against samples, with the Gaussian expectation ± sd.

    Args:
        geometry: as ``geometry.json`` has it; None when it holds no number to draw.
    """
    import numpy as np

    panels = {
        "norm": "length",
        "distance": "distance in pairs",
        "angle": "angle in pairs, from the origin (°)",
        "triangle": "angle in triangles (°)",
    }
    data = {
        name: {
            s: np.array([v for v in (geometry.get(s) or {}).get(name) or [] if v is not None], float)
            for s in ("examples", "samples")
        }
        for name in panels
    }
    drawn = [name for name in panels if any(v.size for v in data[name].values())]
    if not drawn:
        return None
    expected = geometry.get("expected") or {}
    figure, axes = subplots(len(drawn), 4, 2.35)
    for ax, name in zip(axes, drawn, strict=True):
        middle, sd = expected.get(name), expected.get(f"{name}_sd")
        everything = np.concatenate([*data[name].values(), [] if middle is None else [middle]])
        low, high = float(everything.min()), float(everything.max())
        pad = 0.04 * (high - low) or 0.02 * abs(high) or 0.5
        edges = np.linspace(low - pad, high + pad, 31)
        for which, colour in (("examples", PAINT.real), ("samples", PAINT.ours)):
            if (values := data[name][which]).size:
                outline(ax, values, edges, colour, "examples" if which == "examples" else "new latents")
        if middle is not None:
            if sd:
                ax.axvspan(
                    max(middle - sd, edges[0]), min(middle + sd, edges[-1]), color=PAINT.muted, alpha=0.16, linewidth=0
                )
            ax.axvline(
                middle,
                color=PAINT.ink,
                linewidth=1.1,
                linestyle=(0, (4, 2)),
                label="independent Gaussian draws (band: ± 1 sd)",
            )
        ax.set_title(panels[name])
        ax.set_xlim(edges[0], edges[-1])
        few_ticks(ax, 4)
    legend(figure, axes)
    return figure


@styled
def measures(measures: Mapping[str, BySet]) -> Figure | None:
    """The kernel distance of each set with its interval, one panel a descriptor; None when nothing was measured."""
    rows = {
        d: [(s, score) for s in SETS if (score := as_score(sets.get(s, Measures()).kernel_distance))]
        for d, sets in measures.items()
    }
    rows = {d: scores for d, scores in rows.items() if scores}
    if not rows:
        return None
    figure, axes = subplots(len(rows), min(len(rows), 2), 0.75 + 0.33 * max(map(len, rows.values())))
    for ax, (descriptor, scores) in zip(axes, rows.items(), strict=True):
        for place, (which, score) in enumerate(scores):
            dot(ax, score, place, SET_PAINT[which], upright=False)
        ends = [abs(b) for _, s in scores for b in (s.value, s.low, s.high) if b is not None]
        finest = max(_half_width(scores[0][1]), 1e-3 * max(ends)) or 1.0
        # sets that differ by orders of magnitude: linear around 0, where the floor lies, and logarithmic beyond
        if max(ends) > 20 * finest:
            ax.set_xscale("symlog", linthresh=10 ** math.floor(math.log10(2 * finest)))
            ax.xaxis.set_major_formatter(lambda v, _: number(v, 1) if v else "0")
        else:
            few_ticks(ax, 5)
        ax.axvline(0, color=PAINT.line, linewidth=1, zorder=0)
        named_rows(ax, [SETS[s] for s, _ in scores])
        ax.set_title(descriptor, parse_math=False)
        ax.margins(x=0.06)
    return figure


@styled
def sigma_search(rows: Sequence[SearchedLevel]) -> Figure | None:
    """What was found at each level against it, the chosen one marked; None where one level alone was taken."""
    rows = sorted((row for row in rows if row.discrepancy is not None), key=lambda row: row.sigma)
    if not rows:
        return None
    figure, axes = subplots(2, 2, 2.2)
    sigmas = [row.sigma for row in rows]
    for ax, name in zip(axes, ("discrepancy", "copies"), strict=True):
        points = [(row.sigma, Score(getattr(row, name), 0)) for row in rows]
        dotted(ax, points, [PAINT.ours if row.chosen else PAINT.base for row in rows])
        if sigmas[-1] > 3 * sigmas[0]:
            ax.set_xscale("log")
        ticks(ax, sigmas, [level(sigma) for sigma in sigmas])
        ax.set_xlabel("σ")
        ax.set_title(name)
    return figure


def subplots(count: int, columns: int, height: float) -> tuple[Figure, list[Axes]]:
    """A figure as wide as the page with so many equal panels, each ``height`` inches."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    lines = math.ceil(count / columns)
    figure = Figure(figsize=(11, height * lines + 0.35), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.08))
    return figure, [figure.add_subplot(lines, columns, i + 1) for i in range(count)]


def dot(ax: Axes, score: Score, place: float, colour: str, *, upright: bool) -> None:
    """A value on its interval."""
    low, high = score.low, score.high
    if low is not None and high is not None:
        ends, cap = ([place, place], [low, high]), "projecting" if upright else "round"
        ax.plot(*(ends if upright else ends[::-1]), color=colour, linewidth=2.2, alpha=0.55, solid_capstyle=cap)
    point = ([place], [score.value])
    ax.plot(*(point if upright else point[::-1]), "o", color=colour, markersize=6, zorder=3)


def dotted(ax: Axes, points: Sequence[tuple[float, Score]], colours: Sequence[str]) -> None:
    """Values on their intervals, joined by a grey line."""
    ax.plot([x for x, _ in points], [s.value for _, s in points], color=PAINT.base, linewidth=1.2, zorder=1)
    for (x, score), colour in zip(points, colours, strict=True):
        dot(ax, score, x, colour, upright=True)


def outline(ax: Axes, values: Any, edges: Any, colour: str, label: str) -> None:
    """A histogram of shares, so that sets of different size can be laid over each other."""
    import numpy as np

    heights = np.histogram(values, edges)[0] / values.size
    ax.stairs(heights, edges, fill=True, color=colour, alpha=0.16)
    ax.stairs(heights, edges, color=colour, linewidth=1.4, label=label)
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)


def ticks(ax: Axes, places: Sequence[float], labels: Sequence[str], **style: Any) -> None:
    """Ticks at these places alone."""
    ax.minorticks_off()
    ax.set_xticks(places, labels=labels, **style)


def named_rows(ax: Axes, names: Sequence[str]) -> None:
    """A row under each name, from the top."""
    ax.set_yticks(range(len(names)), labels=names, parse_math=False)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set_ylim(len(names) - 0.5, -0.5)


def legend(figure: Figure, axes: Sequence[Axes], columns: int = 3) -> None:
    """One legend for all panels."""
    handles = {label: h for ax in axes for h, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(list(handles.values()), list(handles), loc="outside lower left", ncols=columns)


def _half_width(score: Score) -> float:
    low, high = score.low, score.high
    return float(abs(score.value) if low is None or high is None else (high - low) / 2)


def few_ticks(ax: Axes, most: int) -> None:
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(most, steps=[1, 2, 5, 10]))
