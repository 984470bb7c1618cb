"""All that is printed. Text of files and their names is shown and nothing else: it can neither style nor move the cursor."""

from __future__ import annotations

import io
import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Final

WIDE: Final = 120
"""Columns of a table where standard output is no terminal."""


def plain(text: str) -> str:
    """A text with its control characters, and others that are seen only by what they do, written out.

    Line breaks stay, and spaces of any width (as pages have them before %) are spaces.
    """

    def shown(c: str) -> str:
        if c.isprintable() or c == "\n":
            return c
        return " " if unicodedata.category(c) == "Zs" else c.encode("unicode_escape").decode()

    return "".join(map(shown, text))


def echo(text: object) -> None:
    """Print a result on standard output."""
    print(plain(str(text)))


def tell(text: object) -> None:
    """Print one line about the work on standard error, and at once."""
    print(plain(str(text)).replace("\n", "\\n"), file=sys.stderr, flush=True)


def link(path: Path) -> str:
    """A path to print last: what a terminal makes a link of, and elsewhere what a script can use."""
    return path.absolute().as_uri() if sys.stdout.isatty() else str(path)


def browse(path: Path) -> None:
    """Open a page in the user's browser."""
    import webbrowser

    webbrowser.open(path.absolute().as_uri())


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows in columns, which break their lines where the terminal is too narrow; no heads where these are empty."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    text = io.StringIO()
    style = box.SIMPLE_HEAD if any(heads) else None
    shown = Table(box=style, show_header=any(heads), pad_edge=False, padding=(0, 2, 0, 0))
    for place, head in enumerate(heads):
        shown.add_column(head, no_wrap=place == 0, overflow="fold")
    for row in rows:
        shown.add_row(*(Text(plain(cell)) for cell in row))
    Console(file=text, width=None if sys.stdout.isatty() else WIDE).print(shown)
    return text.getvalue().removesuffix("\n")
