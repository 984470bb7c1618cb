"""Plain aligned tables."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest


def format_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str] = ()) -> str:
    """A title, columns (the first to the left, the others to the right) and notes beneath."""
    widths = [max(map(len, column)) for column in zip_longest(header, *rows, fillvalue="")]
    lines = [_line(row, widths) for row in (header, ["-" * w for w in widths], *rows)]
    return "\n".join([title, *lines, *notes])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [c.rjust(w) if i else c.ljust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))]
    return "  ".join(padded).rstrip()
