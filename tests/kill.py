"""A command killed at any change that it makes on disk: the only moments that what comes after can tell apart.

A forked child runs the command and ends itself by SIGKILL just before its k-th change of the files below a folder, so no
clock decides where, and nothing of Python's clearing up is done. A fork has all modules loaded.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from fork import begin
from tiny import farfield

CHANGES = ("os.mkdir", "os.rmdir", "os.remove", "os.rename", "os.link", "os.symlink", "os.truncate")
"""Audit events of what changes a folder; beside them ``open``, where it makes a file."""
BESIDE = ".writing-"
"""Names that no reader looks at begin so."""


@dataclass(frozen=True)
class Ended:
    """How a child came to its end.

    Attributes:
        changes: how often it changed the folder.
        torn: files that it wrote to under their own names, where a kill would leave a half.
    """

    code: int
    err: str
    changes: int
    torn: Sequence[str] = ()


def killed(folder: Path, arguments: Sequence[Any], at: int) -> Ended:
    """``farfield ARGUMENTS`` in a forked child, killed just before its change ``at`` below a folder (counted from 1)."""
    code, said = begin(lambda: asdict(carried_out(folder, arguments, at))).end()
    return Ended(code, "", at) if code == -signal.SIGKILL else Ended(**said)


def carried_out(folder: Path, arguments: Sequence[Any], kill_at: int | None = None) -> Ended:
    """``farfield ARGUMENTS`` in this process, which is killed just before change ``kill_at`` below a folder."""
    _install()
    top, changes, torn = os.path.realpath(folder), 0, []

    def watch(event: str, given: tuple[Any, ...]) -> None:
        nonlocal changes
        if not (event in CHANGES or (event == "open" and _makes(*given[1:]))):
            return
        path = os.path.realpath(os.fsdecode(given[0])) if isinstance(given[0], str | bytes | os.PathLike) else ""
        if not path.startswith(top + os.sep):
            return
        changes += 1
        if changes == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if event == "open" and BESIDE not in path[len(top) :]:
            torn.append(path[len(top) + 1 :])

    _watching.append(watch)
    try:
        outcome = farfield(*arguments)
        return Ended(outcome.code, outcome.err[-4000:], changes, torn)
    except Exception:
        return Ended(-1, traceback.format_exc()[-4000:], changes, torn)
    finally:
        _watching.remove(watch)


_watching: list[Callable[[str, tuple[Any, ...]], None]] = []


@cache
def _install() -> None:
    """Once: a hook stays for good."""

    def hook(event: str, given: tuple[Any, ...]) -> None:
        for watch in _watching:
            watch(event, given)

    sys.addaudithook(hook)


def _makes(mode: str | None, flags: int) -> bool:
    """Whether opening so makes or empties a file, or adds to it; one that is opened to be locked stays as it is."""
    return bool(set(mode or "") & set("wax")) or bool(flags & (os.O_CREAT | os.O_TRUNC | os.O_APPEND))
