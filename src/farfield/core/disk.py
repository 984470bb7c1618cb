"""Files and folders put in place whole or not at all, and what the system answers in words that say what to do."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from farfield.core.error import FarfieldError, MachineError
from farfield.core.hold import check_holds, lock

PREFIX: Final = ".writing-"
"""Of what is not in place yet. Its writer holds it locked, so that what a killed process left is told from it."""

WINDOWS: Final = os.name == "nt"
"""Where no folder can be opened, and no file that is open can be renamed, replaced or removed."""

PAUSES: Final = (
    0.01,
    0.1,
    0.3,
    1.0,
)  # seconds, on Windows, until whoever looks at a file (a scanner, an indexer) lets go of it

LONGEST: Final = 255
"""Bytes of a file's name, on any common file system."""

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_MACHINE: Final = (errno.EROFS, errno.EIO)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """What the system refuses on the way to ``path``, as one line: MachineError where the machine is at fault."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # not the system's
            raise
        check_holds(path)
        reason = f"{_short(path)}: cannot write here ({error.strerror or error})"
        if error.errno in _FULL:
            raise MachineError(f"{reason}; make room and give the same command again, what is done is kept") from error
        if error.errno in _MACHINE:
            raise MachineError(f"{reason}; choose another place, or have this one made writable") from error
        raise FarfieldError(f"{reason}; choose another place") from error


def make_folder(folder: Path) -> None:
    """A folder and those above it, unless it is there; never again the folder of a run that was deleted under it."""
    with writing(folder):
        if not folder.is_dir():
            check_holds(folder)
            folder.mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def beside(path: Path, *, folder: bool = False) -> Iterator[Path]:
    """A temporary file or folder in the folder of ``path``, to be renamed to it; removed at the end if it was not."""
    make_folder(path.parent)
    with writing(path):
        temporary, handle = _begun(path.parent, folder)
        try:
            os.chmod(temporary, 0o755 if folder else 0o644)
            yield temporary
        finally:
            if folder:
                shutil.rmtree(temporary, ignore_errors=True)
            else:
                temporary.unlink(missing_ok=True)
            if handle is not None:
                os.close(handle)


def _begun(parent: Path, folder: bool) -> tuple[Path, int | None]:
    """A new temporary file or folder, locked; made again if another process swept it away before it was locked."""
    while True:
        handle: int | None = None
        if folder:
            temporary = Path(tempfile.mkdtemp(dir=parent, prefix=PREFIX))
            with contextlib.suppress(FileNotFoundError):
                handle = None if WINDOWS else os.open(temporary, os.O_RDONLY)
        else:
            handle, name = tempfile.mkstemp(dir=parent, prefix=PREFIX)
            temporary = Path(name)
            if WINDOWS:
                os.close(handle)
                handle = None
        if (handle is None or lock(handle) is not False) and temporary.exists():
            return temporary, handle
        if handle is not None:
            os.close(handle)


def put(temporary: Path, path: Path) -> None:
    """Rename over, at once or not at all."""
    for pause in PAUSES if WINDOWS else ():
        with contextlib.suppress(PermissionError):
            return os.replace(temporary, path)
        time.sleep(pause)
    os.replace(temporary, path)


def write_bytes(path: Path, content: bytes, *, new: bool = False) -> bool:
    """Write beside, flush to disk, rename over: readers see the old file or the new one, never half of it.

    With ``new`` a file that is there stays, and False is returned: of several processes one wins.
    """
    with beside(path) as temporary:
        with open(temporary, "wb") as f:
            f.write(content)
            f.flush()
            os.fsync(f.fileno())
        if not new:
            put(temporary, path)
            return True
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError:  # a file system without links
            put(temporary, path)
    return True


def sweep(folder: Path, *, below: bool = False) -> None:
    """Remove what killed processes left half written in a folder, or in all folders below; what is still written stays.

    On Windows all of it stays, as nothing tells the two apart there; no reader looks at it.
    """
    if WINDOWS:
        return
    for top, folders, files in os.walk(folder):
        for name in [n for n in (*folders, *files) if n.startswith(PREFIX)]:
            _remove(Path(top, name))
        folders[:] = [n for n in folders if below and not n.startswith(PREFIX)]


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
        try:
            # a file with a second name is in place already, and may be held under that
            if (not path.is_dir() and os.fstat(handle).st_nlink > 1) or lock(handle):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        finally:
            os.close(handle)


def _short(path: Path) -> str:
    """A path that fits on a line, without what is temporary in it."""
    for part in (path, *path.parents):
        if part.name.startswith(PREFIX):
            path = part.parent
    text = str(path)
    return text if len(text) <= 200 else f"{text[:90]}…{text[-90:]}"


def files_below(folder: Path) -> Iterator[Path]:
    """Every file below a folder, sorted, through links to folders too; a folder that is met again is not entered again."""
    seen: set[str] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        folders[:] = [] if real in seen else sorted(folders)
        if real not in seen:
            yield from (path for name in sorted(names) if (path := Path(place, name)).is_file())
        seen.add(real)
