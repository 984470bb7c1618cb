"""``python -m benchmarks.frontier DOCUMENT STEM``: the tables of `benchmarks.controls` in a document, drawn.

One picture a descriptor, STEM-copy.png and so on, one panel a table: how near each method comes to held-out images against how
often it repeats its examples.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from farfield.present.frontier import COLOURS, MARKERS, titled
from farfield.present.plot import PAINT, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REAL = "real against real"
HEAD = re.compile(r"^\*\*(.+?)\*\*.*?, (?:\w+:)?([a-z]+\d*-\d+)\b.* \d+ examples,.*\n\n((?:\|.*\n)+)", re.MULTILINE)
NUMBER = re.compile(r"-?[\d.]+")
COLUMNS = 4


@dataclass(frozen=True)
class Table:
    """A domain under a model: the kernel distance by descriptor and the share of copies, in per cent, of every method."""

    title: str
    distances: dict[str, dict[str, float]]
    copies: dict[str, float]


def tables(document: str) -> Iterator[Table]:
    """Those under a bold title, with kernel distances by descriptor, and copies at several scales, of which the most is taken."""
    for title, model, body in HEAD.findall(document):
        head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in body.splitlines())
        places = {found[1]: i for i, name in enumerate(head) if (found := re.fullmatch(r"KID \((\w+)\)", name))}
        yield Table(
            f"{title}\n{model}",
            {name: {row[0]: _number(row[i]) for row in rows} for name, i in places.items()},
            {row[0]: max(_number(share) for share in row[-1].split(",")) for row in rows},
        )


def _number(text: str) -> float:
    found = NUMBER.match(text.strip())
    return float(found[0]) if found else math.nan


@styled
def draw(found: list[Table], descriptor: str) -> Figure:
    """Lines are where real images lie; what makes new images of the domain lies where they cross."""
    from matplotlib.figure import Figure

    rows = math.ceil((len(found) + 1) / COLUMNS)
    figure = Figure(figsize=(2.5 * COLUMNS, 2.2 * rows), layout="constrained")
    panels = figure.subplots(rows, COLUMNS, squeeze=False).flat
    names: dict[str, None] = {}
    for ax, table in zip(panels, found, strict=False):
        distances = table.distances[descriptor]
        ax.axhline(distances[REAL], color=PAINT.real, linewidth=0.8)
        ax.axvline(table.copies[REAL], color=PAINT.real, linewidth=0.8)
        for method, value in distances.items():
            if method != REAL:
                name = method.partition(",")[0]
                names[name] = None
                paint = COLOURS.get(name, PAINT.muted)
                ax.plot(table.copies[method], value, MARKERS.get(name, "o"), color=paint, markersize=5, clip_on=False)
        ax.set_xscale("asinh", linear_width=5)
        ax.set_xticks([0, 5, 20, 75], ["0", "5", "20", "75"])
        ax.set_xlim(-0.5, 90)
        ax.set_yscale("asinh", linear_width=max(distances.values()) / 50)
        ax.set_yticks([0, max(distances.values())], ["0", f"{max(distances.values()):.2g}"])
        ax.minorticks_off()
        ax.set_title(table.title, fontsize=8.5)
    for ax in panels[len(found) :]:
        ax.set_axis_off()
    for name in names:
        panels[-1].plot([], [], MARKERS.get(name, "o"), color=COLOURS.get(name, PAINT.muted), label=titled(name))
    panels[-1].plot([], [], color=PAINT.real, label=titled("real"))
    panels[-1].legend(loc="center", fontsize=8)
    figure.supxlabel("copies of examples, % (the scale with most)", fontsize=9)
    figure.supylabel(f"kernel distance to held-out images ({descriptor})", fontsize=9)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.frontier", description=__doc__)
    parser.add_argument("document", type=Path)
    parser.add_argument("stem")
    given = parser.parse_args()
    found = list(tables(given.document.read_text()))
    for descriptor in dict.fromkeys(name for table in found for name in table.distances):
        draw(found, descriptor).savefig(f"{given.stem}-{descriptor}.png", dpi=110)


if __name__ == "__main__":
    main()
