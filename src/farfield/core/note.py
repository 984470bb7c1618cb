"""What is read, passed over, masked, resized or guessed is said in one line before the run, and kept for its summary."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable, Iterator

from farfield.core.alias import shown
from farfield.core.error import FarfieldNote

_Size = tuple[int, int]


class _Book(list[str]):
    """Lines, and the sizes that pictures had and were brought to."""

    def __init__(self) -> None:
        self.sizes: list[_Size] = []
        self.into: _Size | None = None


_books: list[_Book] = []


def say(line: str) -> None:
    """Say one line: the command line prints it on standard error, and whoever is inside `kept` keeps it.

    Nothing is wrong where this is called (that is a `FarfieldWarning`), but the user could have meant something else.
    """
    line = shown(line)
    if _books and line in _books[-1]:
        return
    for book in _books:
        if line not in book:
            book.append(line)
    warnings.warn(FarfieldNote(line), stacklevel=2)


def said() -> list[str]:
    """What was said inside the innermost `kept` so far."""
    return list(_books[-1]) if _books else []


def fitted(sizes: Iterable[_Size], into: _Size) -> None:
    """Note the heights and widths that pictures have, and those that they are brought to."""
    for book in _books:
        book.sizes, book.into = sorted({*book.sizes, *sizes}), into


def fit() -> str:
    """Of what was noted so far: ``423×423 → 32×32``, ``18×18 to 86×86 → 32×32``, or ``32×32`` where nothing changes."""
    if not _books or _books[-1].into is None or not _books[-1].sizes:
        return ""
    sizes, into = _books[-1].sizes, _books[-1].into
    ends = " to ".join(dict.fromkeys(f"{h}×{w}" for h, w in (min(sizes, key=_area), max(sizes, key=_area))))
    return ends if sizes == [into] else f"{ends} → {into[0]}×{into[1]}"


def _area(size: _Size) -> int:
    return size[0] * size[1]


@contextlib.contextmanager
def kept() -> Iterator[list[str]]:
    """The lines said inside, each once, in their order: a command writes them to its summary.

    ``@kept()`` before a function keeps those of each call.
    """
    book = _Book()
    _books.append(book)
    try:
        yield book
    finally:
        _books[:] = [b for b in _books if b is not book]
