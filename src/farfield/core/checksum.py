"""Lists of checksums for files that cannot carry one themselves, as ``sha256sum --check`` reads them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from farfield.core.artifact import made_again, write_bytes


def write_sums(path: Path, root: Path, files: Sequence[Path]) -> None:
    """List the files as they are now, by their places below ``root``."""
    write_bytes(path, _sums(root, files))


def sums_hold(path: Path, root: Path, files: Sequence[Path], readable: Callable[[Path], bool]) -> bool:
    """Whether exactly these files are listed, and all are as they were; if all are there and differ, that is said.

    Without a list, as versions before it left them, files are listed as they are if all are ``readable``.
    """
    if not all(file.is_file() for file in files):
        return False
    now = _sums(root, files)
    if not path.is_file():
        if not all(map(readable, files)):
            return False
        write_bytes(path, now)
    elif path.read_bytes() != now:
        made_again(path, "some of the files that it lists are damaged")
        return False
    return True


def _sums(root: Path, files: Sequence[Path]) -> bytes:
    lines = [f"{hashlib.sha256(f.read_bytes()).hexdigest()}  {f.relative_to(root).as_posix()}\n" for f in files]
    return "".join(lines).encode(errors="surrogateescape")
