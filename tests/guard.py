"""Opening a file under watch: whatever is done beside reading it is noticed and stopped, and its memory and work are measured."""

from __future__ import annotations

import sys
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from farfield.checkpoints.file.stored import Made, Stored
from farfield.checkpoints.file.tree import open_tree
from farfield.checkpoints.foreign import open_checkpoint
from farfield.core.error import FarfieldError

FORBIDDEN = (
    *(
        "import",
        "exec",
        "compile",
        "os.",
        "subprocess.",
        "socket.",
        "shutil.",
        "ctypes.",
        "marshal.",
        "pickle.",
        "code.",
    ),
    *("function.", "urllib.", "webbrowser.", "tempfile.", "builtins.input", "builtins.breakpoint", "pty.", "http."),
    *("sys.set", "sys.add", "signal."),
)
"""Audit events of Python that reading data does not raise."""

CONSTANT = 12 << 20
"""Bytes that a file may take in memory beside four times its size."""

LINES = 1 << 20
"""Lines of Python that reading a file may take beside 16 times its size."""


class CaughtError(BaseException):
    """Something was about to be done that is not reading."""


@dataclass
class Seen:
    """What happened when a file was opened.

    Attributes:
        said: the message of the refusal; None where it opened.
        done: audit events that reading does not raise.
        peak: bytes of Python's memory, of which the file itself is none.
        lines: how many lines of Python were carried out; 0 where they were not counted.
    """

    said: str | None = None
    done: list[str] = field(default_factory=list)
    peak: int = 0
    lines: int = 0
    seconds: float = 0.0


_watching: list[list[str]] = []


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watching:
        return
    writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
    if writes or event.startswith(FORBIDDEN):
        _watching[-1].append(f"{event} {str(arguments)[:100]}")
        raise CaughtError(event)


@contextmanager
def _watch(done: list[str]) -> Iterator[None]:
    _watching.append(done)
    try:
        yield
    finally:
        _watching.pop()


@contextmanager
def _counting(seen: Seen) -> Iterator[None]:
    """Count the lines carried out; a comprehension has one for each value that it goes through."""

    def count(frame: Any, event: str, argument: Any) -> Any:
        seen.lines += event == "line"
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        yield
    finally:
        sys.settrace(before)


def watched(action: Callable[[], Any], *, memory: bool = True, work: bool = False) -> Seen:
    """Carry out an action; any error but a refusal, or what the watch stops, is raised."""
    seen = Seen()
    if memory:
        tracemalloc.start()
    began = time.process_time()
    try:
        with _counting(seen) if work else nullcontext(), _watch(seen.done):
            action()
    except CaughtError as error:
        seen.said = f"stopped at {error}"
    except FarfieldError as error:
        seen.said = str(error)
    finally:
        seen.seconds = time.process_time() - began
        if memory:
            seen.peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
    return seen


def warm_up(paths: Iterable[Path]) -> None:
    """Open files unwatched, so that all that reading them needs is imported."""
    for path in paths:
        for action in (open_all, understand_all):
            with suppress(FarfieldError):
                action(path)


def open_all(path: Path) -> None:
    """Look into a file, and read every tensor in it."""
    read_all(open_tree(path).root)


def understand_all(path: Path) -> None:
    """Understand a file as a model, and read its weights."""
    open_checkpoint(path).weights()


def read_all(value: Any) -> None:
    """Read every tensor in a tree and let it go."""
    if isinstance(value, Stored):
        assert value.load().shape == value.shape
    elif isinstance(value, Made):
        read_all([value.arguments, value.state, value.items, value.pairs])
    elif isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            read_all(part)


sys.addaudithook(_hook)
