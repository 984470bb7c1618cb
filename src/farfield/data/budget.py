"""How much a file may unpack to: a file of kilobytes that claims gigabytes is refused before it is read.

The limit is RATIO times the file's own length, and RATIO times FLOOR for any file; data at rest on disk never come near
it. The environment variable FARFIELD_UNPACK_GIB raises it for data that do.
"""

from __future__ import annotations

import gzip
import os
from pathlib import Path

from farfield.core.error import FarfieldError

RATIO = 128
"""Bytes that one byte of a file may unpack to; binary pictures in a good compression come to 120."""
FLOOR = 1 << 19
"""Length in bytes below which a file counts as this long: 64 MiB may come of any."""
VARIABLE = "FARFIELD_UNPACK_GIB"


class TooLarge(OSError):
    """A file that would unpack to more than it may."""


def allowed(stored: int) -> int:
    """The most bytes that a file of ``stored`` bytes may unpack to."""
    raised = os.environ.get(VARIABLE, "0")
    try:
        least = round(float(raised) * 2**30)
    except (ValueError, OverflowError) as error:
        raise FarfieldError(f"{VARIABLE} is {raised!r}: expected a number of GiB, such as 4") from error
    return max(least, RATIO * max(stored, FLOOR))


def check(unpacked: int, stored: int, whole: bool = True) -> None:
    """Raise `TooLarge` where ``unpacked`` bytes (so far, if not ``whole``) are more than ``stored`` bytes may give."""
    if unpacked > (most := allowed(stored)):
        excess = f"unpacks to {_size(unpacked)}{'' if whole else ' and more'} from {_size(stored)}"
        wanted = f"{VARIABLE}={-(-unpacked // 2**30)}" if whole else f"{VARIABLE}, in GiB,"
        raise TooLarge(f"{excess}, expected at most {_size(most)}; {wanted} allows it")


def check_gzip(path: Path) -> None:
    """`check` a gzipped file by unpacking it once, a little at a time, keeping nothing."""
    with gzip.open(path) as file:
        total, stored = 0, path.stat().st_size
        while part := len(file.read(1 << 20)):
            total += part
            check(total, stored, whole=False)


def check_left(claimed: int, left: int) -> None:
    """Raise where a header claims more bytes than follow it."""
    if claimed > left:
        raise OSError(f"its header promises {_size(claimed)}, {_size(left)} follow")


def _size(n: int) -> str:
    for unit, shift in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if n >= 1 << shift:
            return f"{n / (1 << shift):,.4g} {unit}"
    return f"{n} bytes"
