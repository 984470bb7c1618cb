"""A page's table as a CSV file: the numbers themselves, and of a score a column for each of its parts."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from typing import Any, Final

from farfield.core.score import Score
from farfield.present.page import Table
from farfield.present.words import Said, as_score

PARTS: Final = ("low", "high", "n")
"""Of a score, in columns of their own behind that of its value."""
ACTIVE: Final = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet takes a text that begins so for a formula; a key of somebody's file may."""


def as_csv(table: Table) -> bytes:
    """The rows in UTF-8 under the names of the page. A share is from 0 to 1, and what there is not is empty."""
    rows = [[_plain(cell) for cell in row] for row in table.rows]
    wide = [any(len(row) > i and isinstance(row[i], Score) for row in rows) for i in range(len(table.columns))]
    heads = [
        head
        for name, parts in zip(table.columns, wide, strict=True)
        for head in ([name, *(f"{name} {part}" for part in PARTS)] if parts else [name])
    ]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(_said, heads))
    for row in rows:
        writer.writerow(_said(one) for cell, parts in zip(row, wide, strict=True) for one in _split(cell, parts))
    return text.getvalue().encode(errors="replace")


def _plain(cell: Any) -> Any:
    """A cell without its typesetting; None for nothing, and for what is no number."""
    if isinstance(cell, Said):
        cell = cell.of if isinstance(cell.of, Score | int | float | None) else str(cell)
    if isinstance(cell, Mapping | Score):
        return as_score(cell)
    return None if cell == "–" or (isinstance(cell, float) and not math.isfinite(cell)) else cell


def _split(cell: Any, parts: bool) -> list[Any]:
    if not parts:
        return [cell]
    if isinstance(cell, Score):
        return [cell.value, cell.low, cell.high, cell.n or None]
    return [cell, *[None] * len(PARTS)]


def _said(cell: Any) -> Any:
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if not isinstance(cell, str):
        return cell
    text = cell.replace("`", "")
    return f"'{text}" if text.startswith(ACTIVE) else text
