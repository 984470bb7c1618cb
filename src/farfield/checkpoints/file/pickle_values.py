"""The opcodes of a pickle that stand for a value by themselves: numbers, text, bytes; every length is checked before use."""

from __future__ import annotations

import codecs
import pickletools
import re
import struct
from collections.abc import Callable
from typing import Any

from farfield.checkpoints.file.mapped import Mapped

SHORT = 255
"""Bytes longer than this stay in the file, as a `memoryview`."""

LINE = 1024
"""Longest line of the text opcodes, and longest integer, in bytes."""


class Reader:
    """A place in a file's bytes, moving on.

    Attributes:
        file: whose budget is taken from.
        data: bytes of that file.
        at: the place.
    """

    def __init__(self, file: Mapped, data: memoryview, at: int) -> None:
        self.file, self.data, self.at = file, data, at

    def take(self, size: int) -> memoryview:
        """The next bytes, where they are."""
        if size < 0 or size > len(self.data) - self.at:
            raise self.file.damaged(f"its pickle goes on for {size} bytes where {len(self.data) - self.at} are left")
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, form: str) -> Any:
        """The next number, of a form of ``struct``."""
        if self.at + struct.calcsize(form) > len(self.data):
            raise self.file.damaged("its pickle ends in the middle")
        (value,) = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return value

    def line(self) -> bytes:
        """The next line, without its end."""
        line, end, _ = bytes(self.data[self.at : self.at + LINE]).partition(b"\n")
        if not end:
            raise self.file.damaged(f"a line in its pickle is longer than {LINE} bytes or has no end")
        self.at += len(line) + 1
        self.file.spend(64 + 4 * len(line))
        return line

    def decoded(self, raw: bytes | memoryview) -> str:
        """Bytes as the text that they are."""
        try:
            return str(raw, "utf-8")  # strictly: half a character (a lone surrogate) could not be printed
        except UnicodeDecodeError as error:
            raise self.file.damaged("text in its pickle is not UTF-8") from error

    def parsed(self, parse: Callable[[bytes], Any]) -> Any:
        """The next line as what ``parse`` makes of it."""
        line = self.line()
        try:
            return parse(line)
        except ValueError as error:  # UnicodeError is one
            raise self.file.damaged(f"{line[:40]!r} in its pickle is not what its opcode says") from error


Value = Callable[[Reader], Any]


def _constant(value: Any) -> Value:
    return lambda reader: value


def _number(form: str) -> Value:
    return lambda reader: reader.number(form)


def _line(parse: Callable[[bytes], Any]) -> Value:
    return lambda reader: reader.parsed(parse)


def _text(form: str) -> Value:
    def read(reader: Reader) -> str:
        raw = reader.take(reader.number(form))
        reader.file.spend(80 + _width(raw) * len(raw))
        return reader.decoded(raw)

    return read


def _width(raw: memoryview) -> int:
    """Bytes that Python takes for a character of a text: as many as for its widest one."""
    return 4 if re.search(rb"[\xf0-\xff]", raw) else 2 if re.search(rb"[\xc4-\xef]", raw) else 1


def _bytes(form: str) -> Value:
    def read(reader: Reader) -> bytes | memoryview:
        raw = reader.take(reader.number(form))
        reader.file.spend(320)
        return raw if len(raw) > SHORT else bytes(raw)

    return read


def _old_text(form: str) -> Value:
    """A ``str`` of Python 2: text if it can be, bytes if not."""

    def read(reader: Reader) -> str | bytes | memoryview:
        raw = reader.take(reader.number(form))
        reader.file.spend(320 + 4 * len(raw))
        try:
            return str(raw, "utf-8")
        except UnicodeDecodeError:
            return raw if len(raw) > SHORT else bytes(raw)

    return read


def _long(form: str) -> Value:
    def read(reader: Reader) -> int:
        raw = reader.take(reader.number(form))
        if len(raw) > LINE:
            raise reader.file.refused(f"an integer in its pickle is {len(raw)} bytes long")
        reader.file.spend(48 + 2 * len(raw))
        return int.from_bytes(raw, "little", signed=True)

    return read


def _int(line: bytes) -> int:
    return line == b"01" if line in (b"00", b"01") else int(line)  # how protocol 0 writes False and True


def _unicode(line: bytes) -> str:
    text = codecs.raw_unicode_escape_decode(line)[0]
    text.encode()  # raises where half a character is in it
    return text


def _string(line: bytes) -> str:
    if len(line) < 2 or line[0] != line[-1] or line[0] not in b"'\"":
        raise ValueError("no quotes")
    return codecs.escape_decode(line[1:-1])[0].decode()


_BY_NAME: dict[str, Value] = {
    "NONE": _constant(None),
    "NEWTRUE": _constant(True),
    "NEWFALSE": _constant(False),
    "EMPTY_TUPLE": _constant(()),
    "INT": _line(_int),
    "LONG": _line(lambda line: int(line.removesuffix(b"L"))),
    "FLOAT": _line(float),
    "STRING": _line(_string),
    "UNICODE": _line(_unicode),
    "BININT": _number("<i"),
    "BININT1": _number("<B"),
    "BININT2": _number("<H"),
    "BINFLOAT": _number(">d"),
    "LONG1": _long("<B"),
    "LONG4": _long("<i"),
    "SHORT_BINSTRING": _old_text("<B"),
    "BINSTRING": _old_text("<i"),
    "SHORT_BINUNICODE": _text("<B"),
    "BINUNICODE": _text("<I"),
    "BINUNICODE8": _text("<Q"),
    "SHORT_BINBYTES": _bytes("<B"),
    "BINBYTES": _bytes("<I"),
    "BINBYTES8": _bytes("<Q"),
    "BYTEARRAY8": _bytes("<Q"),
}

NAMES = {ord(op.code): op.name for op in pickletools.opcodes}
"""Of every opcode there is, by its code."""

VALUES = {code: _BY_NAME[name] for code, name in NAMES.items() if name in _BY_NAME}
"""What reads the value of an opcode, by its code."""
