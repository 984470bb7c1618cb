"""All that is printed. Text of files and their names is shown and nothing else: it can neither style nor move the cursor."""

from __future__ import annotations

import sys
import unicodedata


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
