"""The last resort: whatever ends a command is one line and an exit code, 2 for bad input and 1 where the machine failed."""

from __future__ import annotations

import errno
import traceback
from pathlib import Path
from typing import Final

from farfield.core.error import FarfieldError, MachineError
from farfield.core.memory import is_of_memory

DEBUG: Final = "FARFIELD_DEBUG"
"""Set in the environment, an error that nobody foresaw shows where it came from."""

_INPUT: Final = (errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL)
"""Of the errors of the operating system those that another name mends; with all others the machine is in trouble."""


def failure(error: Exception) -> tuple[str, int]:
    """What to say of an error, and the exit code."""
    if isinstance(error, FarfieldError):
        return str(error), 1 if isinstance(error, MachineError) else 2
    if is_of_memory(error):
        return (
            f"out of memory ({_first(error)}); give a smaller --batch-size where the command has one, fewer or smaller images, "
            "or take a machine with more",
            1,
        )
    if isinstance(error, RuntimeError) and "home directory" in str(error):
        return "a path begins with ~, but no home folder is known for it (HOME); write the path out", 2
    if isinstance(error, OSError) and error.errno is not None:
        where = " and ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
        return (
            f"{where + ': ' if where else ''}{error.strerror}; {_advice(error.errno)}",
            2 if error.errno in _INPUT else 1,
        )
    return (
        f"unexpected: {type(error).__name__} in {_place(error)}: {_first(error)}; what is done is kept (run with {DEBUG}=1 for "
        "the traceback)",
        1,
    )


def _advice(number: int) -> str:
    if number in (errno.ENOSPC, errno.EDQUOT):
        return "make room and give the same command again, or choose another folder"
    if number in (errno.EROFS, errno.EACCES, errno.EPERM):
        return "choose another folder, or get the right to use this one"
    if number in _INPUT:
        return "check the name"
    return "see to it, and give the same command again to continue"


def _place(error: Exception) -> str:
    """The last line of ours that the error went through."""
    home = str(Path(__file__).parents[1])
    ours = [step for step in traceback.extract_tb(error.__traceback__) if step.filename.startswith(home)]
    return f"{Path(ours[-1].filename).relative_to(home)}:{ours[-1].lineno}" if ours else "a library"


def _first(error: Exception) -> str:
    """The beginning of what it says, on one line."""
    said = " ".join(str(error).split())
    return said if len(said) <= 200 else said[:200] + " …"
