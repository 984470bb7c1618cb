"""The frontier of a comparison: how near each method comes to held-out images, against how often it repeats its examples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from farfield.command.compare import CONTROLS, FROZEN, TUNED, ComparedDomain, Count
from farfield.command.measures import Novelty
from farfield.core.score import Score
from farfield.present.plot import PAINT, few_ticks, legend, styled, subplots
from farfield.present.verdict import distance
from farfield.present.words import as_score, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLES = {
    "real": "real images",
    "ours": "frozen, ours",
    "patchwork": "frozen, patchwork",
    "published": "frozen, published",
    "described": "frozen, as the paper says",
    "geometric": "frozen, geometric",
    "gaussian": "frozen, Gaussian",
    "wiener": "no model, Wiener filter",
    "patches": "no model, patches",
    "pixels": "no model, pictures mixed",
    "augment": "no model, augmented",
    "examples": "the examples themselves",
    "full": "tuned, all weights",
    "lora": "tuned, low rank",
    "norm": "tuned, norms and biases",
    "release": "tuned, as published",
    "base": "the model's own",
}
COLOURS = {
    "ours": PAINT.ours,
    "full": "#009e73",
    "lora": "#56b4e9",
    "norm": "#e69f00",
    "release": "#cc79a7",
    **dict.fromkeys(CONTROLS, PAINT.ink),
    "examples": PAINT.ink,
}
"""Of the other frozen methods, and of samples made elsewhere: grey."""
MARKERS = {
    name: marker
    for names, markers in (((*CONTROLS, "examples"), "sv^DX"), (FROZEN, "opv^sD"), (TUNED, "oooo"))
    for name, marker in zip(names, markers, strict=True)
}


def titled(name: str) -> str:
    """What a method is called; samples made elsewhere by their name."""
    return TITLES.get(name, name)


@styled
def frontier(domain: ComparedDomain, row: Count) -> Figure | None:
    """Kernel distance against the share of copies, a panel a descriptor; None where no method has both.

    Lines are where real images lie. What makes new images of the domain lies where they cross; below and to the right is what
    comes near by repeating.
    """
    panels: dict[str, dict[str, tuple[Score, Score]]] = {}
    for descriptor in domain.real:
        for name, entry in row.methods.items():
            near = distance(entry.measures, descriptor)
            copies = as_score(entry.novelty.get(descriptor, Novelty()).copies or None)
            if near and copies:
                panels.setdefault(descriptor, {})[name] = copies, near
    if not panels:
        return None
    figure, axes = subplots(len(panels), min(len(panels), 2), 3.6)
    for ax, (descriptor, points) in zip(axes, panels.items(), strict=True):
        for i, (name, (copies, near)) in enumerate(points.items()):
            style: Any = {"color": COLOURS.get(name, PAINT.muted), "alpha": 0.4, "linewidth": 1.4}
            if copies.low is not None and copies.high is not None:
                ax.plot([100 * copies.low, 100 * copies.high], [near.value] * 2, **style)
            if near.low is not None and near.high is not None:
                ax.plot([100 * copies.value] * 2, [near.low, near.high], **style)
            marker = MARKERS.get(name, "P*hp<>"[i % 6])
            place, colour = ([100 * copies.value], [near.value]), COLOURS.get(name, PAINT.muted)
            look: Any = {"markersize": 7, "zorder": 4} if name == "ours" else {"markersize": 5.5, "zorder": 3}
            ax.plot(*place, marker, color=colour, label=titled(name), **look)
        floor = next(
            (n.copies_floor for e in row.methods.values() if (n := e.novelty.get(descriptor)) and n.copies_floor), None
        )
        _bound(ax, distance(domain.real, descriptor), 1, upright=False)
        _bound(ax, floor, 100, upright=True)
        values = [near.value for _, near in points.values()]
        least = max(0.02, 0.02 * min((abs(v) for v in values if v), default=1.0))
        if max(map(abs, values)) > 20 * least:  # linear around 0, where real images lie, and logarithmic beyond
            ax.set_yscale("symlog", linthresh=least)
            ax.yaxis.set_major_formatter(lambda v, _: number(v, 1) if v else "0")
        ax.set_xlim(left=-2)
        few_ticks(ax, 6)
        ax.set_xlabel("copies of an example (%)")
        ax.set_ylabel("kernel distance")
        ax.set_title(f"{descriptor} features", parse_math=False)
    legend(figure, axes, 4)
    return figure


def _bound(ax: Axes, score: Score | None, factor: float, *, upright: bool) -> None:
    """A line where real images lie, on its interval."""
    if score is None:
        return
    line, band = (ax.axvline, ax.axvspan) if upright else (ax.axhline, ax.axhspan)
    line(factor * score.value, color=PAINT.real, linewidth=1.2, linestyle=(0, (4, 2)), label=TITLES["real"])
    if score.low is not None and score.high is not None:
        band(factor * score.low, factor * score.high, color=PAINT.real, alpha=0.12, linewidth=0)
