"""What is read, passed over, masked, resized or guessed is said in one line before the run, and kept for its summary."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator

from farfield.core.error import FarfieldNote

_books: list[list[str]] = []


def say(line: str) -> None:
    """Say one line: the command line prints it on standard error, and whoever is inside `kept` keeps it.

    Nothing is wrong where this is called (that is a `FarfieldWarning`), but the user could have meant something else.
    """
    for book in _books:
        if line not in book:
            book.append(line)
    warnings.warn(FarfieldNote(line), stacklevel=2)


def said() -> list[str]:
    """What was said inside the innermost `kept` so far."""
    return list(_books[-1]) if _books else []


@contextlib.contextmanager
def kept() -> Iterator[list[str]]:
    """The lines said inside, each once, in their order: a command writes them to its summary.

    ``@kept()`` before a function keeps those of each call.
    """
    book: list[str] = []
    _books.append(book)
    try:
        yield book
    finally:
        _books[:] = [b for b in _books if b is not book]
