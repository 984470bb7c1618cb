"""What a page is made of: sections with words, charts, pictures and tables, whatever command they report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL import Image


@dataclass(frozen=True)
class Table:
    """Rows under column names; the first cell of a row is its heading.

    A cell is text, a number, None, or a Score, stored or not. ``chosen`` are the rows to mark; a ``folded`` table opens at its
    title; ``note`` stands beneath.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    title: str = ""
    chosen: Sequence[int] = ()
    folded: bool = False
    note: str = ""


@dataclass(frozen=True)
class Picture:
    """A picture with its caption; ``name`` is its file in ``grids/``, which says where it shows ``generated`` images.

    ``colour`` is that of its set in charts: ours, real or base.
    """

    name: str
    image: Image.Image
    title: str
    note: str = ""
    alt: str = ""
    generated: bool = True
    colour: str = ""


@dataclass(frozen=True)
class Chart:
    """A figure, and what a reader who does not see it is told."""

    figure: Figure
    label: str


def charts(figure: Figure | None, label: str) -> list[Chart]:
    """The figure as a section takes it; none where there was nothing to draw."""
    return [] if figure is None else [Chart(figure, label)]


@dataclass(frozen=True)
class Section:
    """A heading and what stands beneath it, in this order; ``details`` are pairs (heading, text) that fold away; pictures
    ``side`` by side stand before the others."""

    anchor: str
    title: str
    lead: str = ""
    paragraphs: Sequence[str] = ()
    charts: Sequence[Chart] = ()
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    details: Sequence[tuple[str, str]] = ()
    side: Sequence[Picture] = ()


@dataclass(frozen=True)
class Content:
    """All of a page but its frame: the two names of its title, the facts beneath them, the verdict, what to hold against
    it, the numbers to see first (title, value, interval or extreme, what to compare with), and the sections.

    The verdict's first sentence can be repeated alone: it heads the page and is all that a terminal shows, but for ``lines``,
    a table beneath it. A first section with pictures stands above the numbers. ``opens`` is another page in the folder, where
    that is the one to be opened first.
    """

    model: str
    domain: str
    facts: Sequence[str]
    verdict: Sequence[str]
    caveats: Sequence[str]
    key_numbers: Sequence[tuple[str, str, str, str]]
    sections: Sequence[Section]
    lines: Sequence[str] = ()
    opens: str = "report.html"

    @property
    def said(self) -> list[str]:
        """What a terminal shows."""
        return [*self.verdict[:1], *self.lines]


def model_name(summary: Mapping[str, Any]) -> str:
    """The model of a run, whether its summary has the name alone or a description."""
    model = summary.get("model")
    return str(model.get("name") if isinstance(model, Mapping) else model or "model")
