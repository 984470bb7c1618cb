"""The members of a zip archive that lie in it as they are: as ``torch.save`` writes them, uncompressed.

Of the format (PKWARE's application note, 4.3) only the directory is read, and every size in it is checked against the file:
a member is a piece of the file, and no piece belongs to two, nor to a member and the directory. What the directory's end
says, and what stands before a member, may not say anything else: another reader might believe it.
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

_UNKNOWNS = 0xFFFF, _UNKNOWN, _UNKNOWN
"""The same of what the archive's end says: how many members, the directory's length, its place."""

_SIZE_BEHIND = 8
"""A flag: the size of a member does not stand before it, but behind it."""

_LONGEST = 1024
"""Bytes of a member's name; that of torch's is the file's, and a number."""


def zip_names(file: Mapped, data: memoryview) -> list[str]:
    """The names in an archive's directory, whatever lies under them.

    Raises:
        FarfieldError: the directory is damaged.
    """
    names = []
    for name, *_ in _entries(file, data, *_directory(file, data)):
        file.spend(100 + 2 * len(name))
        names.append(name)
    return names


def zip_members(file: Mapped, data: memoryview, wanted: Callable[[str], bool] | None = None) -> dict[str, memoryview]:
    """The bytes of every member of an archive by its name, or of those that are wanted; no other is looked at.

    Raises:
        FarfieldError: damaged; compressed; names that lead out of the archive, links, a name or a piece used twice.
    """
    members: dict[str, memoryview] = {}
    count, at, stop = _directory(file, data)
    pieces = [(at, stop)]
    for name, method, mode, size, start in _entries(file, data, count, at, stop):
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
        begin = _begin(file, data, name, start, size)
        if begin + size > len(data):
            raise file.damaged(f"the member {name[:80]!r} of the archive ends beyond its end")
        members[name] = data[begin : begin + size]
        pieces.append((start, begin + size))
    pieces.sort()
    if any(end > start for (_, end), (start, _) in pairwise(pieces)):
        raise file.refused("two members of the archive lie on each other, or one on its directory")
    return members


def _entries(
    file: Mapped, data: memoryview, count: int, at: int, stop: int
) -> Iterator[tuple[str, int, int, int, int]]:
    """Of every entry of the directory: name, method, mode, size, and where its local header is."""
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
    if at != stop:
        raise file.damaged("the archive's directory has more members than it says")


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
    """How many entries the directory has, where it begins, and where it ends: before the archive's end, which is the file's."""
    tail = bytes(data[-min(len(data), 22 + 0xFFFF) :])
    file.spend(steps=len(tail) >> 6)
    at = tail.rfind(_END)
    if at < 0 or at + 22 > len(tail):
        raise file.damaged("the archive has no end")
    end = len(data) - len(tail) + at
    count, length, start, comment = struct.unpack_from("<HIIH", data, end + 10)
    if end + 22 + comment != len(data):
        raise file.damaged("the archive's end is not the end of the file")
    if end >= 20 and bytes(data[end - 20 : end - 16]) == _LOCATOR64:
        (end64,) = struct.unpack_from("<Q", data, end - 12)
        if end64 + 56 > end or bytes(data[end64 : end64 + 4]) != _END64:
            raise file.damaged("the archive's end is not where it should be")
        narrow, end = (count, length, start), end64
        count, length, start = struct.unpack_from("<QQQ", data, end64 + 32)
        if any(a not in (b, unknown) for a, b, unknown in zip(narrow, (count, length, start), _UNKNOWNS, strict=True)):
            raise file.refused("the archive has two directories")
    if start + length != end or count * _Entry.size > length:
        raise file.damaged("the archive's directory does not go up to its end")
    return count, start, start + length


def _begin(file: Mapped, data: memoryview, name: str, start: int, size: int) -> int:
    """Where a member's bytes begin: behind its local header, which must carry the same name, and the same size or none."""
    if start + 30 > len(data) or bytes(data[start : start + 4]) != _LOCAL:
        raise file.damaged(f"the member {name[:80]!r} of the archive is not where it should be")
    flags, packed, unpacked, named, extra = struct.unpack_from("<H10xIIHH", data, start + 6)
    if _text(file, data[start + 30 : start + 30 + named]) != name:
        raise file.refused(f"the member {name[:80]!r} of the archive has another name where it lies")
    if not flags & _SIZE_BEHIND and not {packed, unpacked} <= {size, _UNKNOWN}:
        raise file.refused(f"the member {name[:80]!r} of the archive has another size where it lies")
    return start + 30 + named + extra


def _text(file: Mapped, raw: memoryview) -> str:
    if len(raw) > _LONGEST:
        raise file.refused(f"a member of the archive has a name of {len(raw)} bytes")
    try:
        return str(raw, "utf-8")
    except UnicodeDecodeError as error:
        raise file.damaged("a member of the archive has a name that is not UTF-8") from error
