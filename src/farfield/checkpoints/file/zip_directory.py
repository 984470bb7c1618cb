"""The members of a zip archive that lie in it as they are: as ``torch.save`` writes them, uncompressed.

Of the format (PKWARE's application note, 4.3) only the directory is read, and every size in it is checked against the file:
a member is a piece of the file, and no piece belongs to two.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from itertools import pairwise

from farfield.checkpoints.file.mapped import Mapped

_END, _END64, _LOCATOR64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_ENTRY, _LOCAL = b"PK\x01\x02", b"PK\x03\x04"
_UNKNOWN = 0xFFFFFFFF
"""A size that stands elsewhere, in 64 bits."""


def zip_members(file: Mapped, data: memoryview, wanted: Callable[[str], bool] | None = None) -> dict[str, memoryview]:
    """The bytes of every member of an archive by its name, or of those that are wanted; no other is looked at.

    Raises:
        FarfieldError: damaged; compressed; names that lead out of the archive, links, a name or a piece used twice.
    """
    members: dict[str, memoryview] = {}
    pieces: list[tuple[int, int]] = []
    for name, method, mode, size, start in _entries(file, data):
        file.spend(400 + 5 * len(name))
        if wanted is not None and not wanted(name):
            continue
        if name.startswith("/") or ".." in name.split("/") or "\\" in name or "\0" in name:
            raise file.refused(f"a member of the archive is called {name[:80]!r}, which leads out of it")
        if mode >> 12 == 0o12:
            raise file.refused(f"the member {name[:80]!r} of the archive is a link")
        if name in members:
            raise file.refused(f"the archive has two members called {name[:80]!r}")
        if method:
            raise file.refused(f"the member {name[:80]!r} of the archive is compressed, which those of torch never are")
        begin = _begin(file, data, name, start)
        if begin + size > len(data):
            raise file.damaged(f"the member {name[:80]!r} of the archive ends beyond its end")
        members[name] = data[begin : begin + size]
        pieces.append((start, begin + size))
    pieces.sort()
    if any(end > start for (_, end), (start, _) in pairwise(pieces)):
        raise file.refused("two members of the archive lie on each other")
    return members


def _entries(file: Mapped, data: memoryview) -> Iterator[tuple[str, int, int, int, int]]:
    """Of every entry of the directory: name, method, mode, size, and where its local header is."""
    count, length, at = _directory(file, data)
    if at + length > len(data) or count * _Entry.size > length:
        raise file.damaged("the archive's directory lies beyond its end")
    stop = at + length
    for _ in range(count):
        if at + _Entry.size > stop:
            raise file.damaged("the archive's directory has fewer members than it says")
        mark, flags, method, packed, size, named, extra, comment, outside, start = _Entry.unpack_from(data, at)
        if mark != _ENTRY or at + _Entry.size + named + extra + comment > stop:
            raise file.damaged("the archive's directory is not where it should be")
        if flags & 1:
            raise file.refused("the archive is encrypted")
        at += _Entry.size
        name = _text(file, data[at : at + named])
        wide = _wide(data[at + named : at + named + extra])
        size, packed, start = (next(wide, value) if value == _UNKNOWN else value for value in (size, packed, start))
        if not method and packed != size:
            raise file.damaged(f"the member {name[:80]!r} of the archive has two sizes")
        at += named + extra + comment
        yield name, method, outside >> 16, size, start


_Entry = struct.Struct("<4s4xHH8xIIHHH4xII")
"""Of the directory: mark, flags, method, both sizes, lengths of name, extra and comment, mode, where the member is."""


def _wide(extra: memoryview) -> Iterator[int]:
    """The sizes in 64 bits among an entry's extra fields (the one numbered 1)."""
    while len(extra) >= 4:
        number, length = struct.unpack_from("<HH", extra)
        if number == 1:
            part = extra[4 : 4 + length]
            yield from (value for (value,) in struct.iter_unpack("<Q", part[: len(part) // 8 * 8]))
        extra = extra[4 + length :]


def _directory(file: Mapped, data: memoryview) -> tuple[int, int, int]:
    """How many entries the directory has, its length, and where it begins."""
    tail = bytes(data[-min(len(data), 22 + 0xFFFF) :])
    at = tail.rfind(_END)
    if at < 0 or at + 22 > len(tail):
        raise file.damaged("the archive has no end")
    end = len(data) - len(tail) + at
    count, length, start = struct.unpack_from("<HII", data, end + 10)
    if end >= 20 and bytes(data[end - 20 : end - 16]) == _LOCATOR64:
        (end64,) = struct.unpack_from("<Q", data, end - 12)
        if end64 + 56 > len(data) or bytes(data[end64 : end64 + 4]) != _END64:
            raise file.damaged("the archive's end is not where it should be")
        count, length, start = struct.unpack_from("<QQQ", data, end64 + 32)
    return count, length, start


def _begin(file: Mapped, data: memoryview, name: str, start: int) -> int:
    """Where a member's bytes begin: behind its local header, which must carry the same name."""
    if start + 30 > len(data) or bytes(data[start : start + 4]) != _LOCAL:
        raise file.damaged(f"the member {name[:80]!r} of the archive is not where it should be")
    named, extra = struct.unpack_from("<HH", data, start + 26)
    if _text(file, data[start + 30 : start + 30 + named]) != name:
        raise file.refused(f"the member {name[:80]!r} of the archive has another name where it lies")
    return start + 30 + named + extra


def _text(file: Mapped, raw: memoryview) -> str:
    try:
        return str(raw, "utf-8")
    except UnicodeDecodeError as error:
        raise file.damaged("a member of the archive has a name that is not UTF-8") from error
