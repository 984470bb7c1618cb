"""Tables on the terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from farfield.core.terminal import plain

WIDE = 120
"""Columns where standard output is no terminal."""


def show_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows in columns, which break their lines where the terminal is too narrow; no heads where these are empty.

    Text from a foreign file is shown and nothing else: it can neither style nor move the cursor.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else WIDE)
    table = Table(
        box=box.SIMPLE_HEAD if any(heads) else None, show_header=any(heads), pad_edge=False, padding=(0, 2, 0, 0)
    )
    for place, head in enumerate(heads):
        table.add_column(head, style="bold" if place == 0 else None, no_wrap=place == 0, overflow="fold")
    for row in rows:
        table.add_row(*(Text(plain(cell)) for cell in row))
    console.print(table)
