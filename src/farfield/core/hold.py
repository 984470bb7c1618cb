"""A folder that one process at a time works in, and that must not go away while it does."""

from __future__ import annotations

import errno
import os
import sys
import time
import weakref
from pathlib import Path
from typing import Final

from farfield.core.error import FarfieldError, MachineError

BEHIND: Final = 1 << 30
"""The byte that Windows locks, far behind a file's end: what it locks no other process can read."""


def lock(handle: int) -> bool | None:
    """Lock an open file or folder for as long as it is open here; False if another has it, None where that cannot be told.

    The system drops the lock of a process that dies, however it dies.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(handle, BEHIND, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        taken = (errno.EACCES, errno.EDEADLK) if sys.platform == "win32" else (errno.EAGAIN, errno.EACCES)
        return False if error.errno in taken else None  # None: a file system without locks
    return True


def wait_for_lock(handle: int) -> None:
    """Lock an open file once no other has it; where that cannot be told, at once."""
    if sys.platform == "win32":
        while lock(handle) is False:
            time.sleep(1)
    else:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX)


class Hold:
    """A run's folder while a process works in it: ``mark`` is a file that is put there once and never replaced.

    ``alone`` locks the mark against other processes. Several holds of one process share a lock, so that a run which is
    still referred to (by the traceback of its error, say) does not lock its own process out.

    Raises:
        FarfieldError: another process works there.
    """

    def __init__(self, mark: Path, alone: bool):
        self.mark = Path(os.path.abspath(mark))
        self.folder = self.mark.parent
        self._place = _place(self.mark)
        self._lock = _lock(self.mark, self._place) if alone else None
        _holds.add(self)

    def check(self) -> None:
        """Raise MachineError if the folder was deleted, or deleted and made anew by another."""
        place = _place(self.mark)
        if place is None or place != (self._place or place):
            raise MachineError(
                f"{self.folder}: was deleted or replaced while a run worked in it; give the same command again"
            )


class _Lock:
    """A file that is open, and locked where that can be."""

    def __init__(self, mark: Path):
        try:
            self.handle = os.open(mark, os.O_RDWR)  # NFS locks no file that is open for reading alone
        except OSError:
            self.handle = os.open(mark, os.O_RDONLY)
        weakref.finalize(self, os.close, self.handle)
        if lock(self.handle) is False:
            raise FarfieldError(
                f"{mark.parent}: another process works in this run; wait until it ends, or choose another folder with -o"
            )


_Place = tuple[int, int] | None
_holds: weakref.WeakSet[Hold] = weakref.WeakSet()
_locks: weakref.WeakValueDictionary[_Place, _Lock] = weakref.WeakValueDictionary()


def check_holds(path: Path) -> None:
    """Before a folder is made at ``path``: raise MachineError if that would bring back a run's folder that was deleted."""
    path = Path(os.path.abspath(path))
    for hold in list(_holds):
        if path.is_relative_to(hold.folder):
            hold.check()


def _lock(mark: Path, place: _Place) -> _Lock:
    held = _locks.get(place)
    if held is None:
        held = _locks[place] = _Lock(mark)
    return held


def _place(path: Path) -> _Place:
    """The file itself, whatever its name."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
