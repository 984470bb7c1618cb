"""A "python" batch of CIFAR: a pickle whose few opcodes and names are read as data; nothing in it is called or looked up.

Such a batch is a dictionary of a few texts, lists of numbers and of file names, and one array of bytes, as cPickle of Python 2
or pickle of Python 3 wrote them. Its numbers are most of it, so that a file of n bytes has n/256 opcodes at most; as each makes
one small value, or copies what is charged, time and memory are linear in n.
"""

from __future__ import annotations

import pickletools
import re
from typing import IO, Any

import numpy as np

from farfield.core.error import FarfieldError

FEW, EACH = 2000, 256
"""A batch has so many opcodes at most, and one more for so many of its bytes: an image has 3072, and some 5 opcodes."""

_NUMBERS = {"INT", "LONG", "BININT", "BININT1", "BININT2", "LONG1", "NONE", "NEWTRUE", "NEWFALSE", "EMPTY_TUPLE"}
_TEXTS = {"STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
_BYTES = {"BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"}
_VALUES = _NUMBERS | _TEXTS | _BYTES
_CONSTANTS = {"NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_MARK = object()


def read_batch(file: IO[bytes], size: int) -> dict[str, Any]:
    """What a batch of so many bytes holds: texts, lists, and arrays of whole numbers.

    Raises:
        FarfieldError: it holds something else.
        Exception: almost any, of one that is damaged.
    """
    batch = _Reader(size).run(_Within(file, size))
    if not isinstance(batch, dict):
        raise FarfieldError(f"expected a batch of CIFAR, found a {type(batch).__name__}; fetch it again")
    return {name: value.value if isinstance(value, _Array) else value for name, value in batch.items()}


class _Within:
    """A file of so many bytes: to ask for more, as lengths in it may, takes no memory."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self.file, self.size, self.readline = file, size, file.readline

    def read(self, size: int) -> bytes:
        return self.file.read(min(size, self.size))


class _Name(str):
    """A name that a batch refers to, which is one of `_NAMES`."""


class _Dtype:
    """The type of an array."""

    def __init__(self, name: str, *_: Any) -> None:
        if not re.fullmatch(r"[iu][1248]", _of(str, name)):
            raise FarfieldError(
                f"expected arrays of whole numbers, found {name[:20]!r}; convert it to the binary version"
            )
        self.value = np.dtype(name)


class _Array:
    """An array, of one element until its state is there."""

    value = np.empty(0)


_NAMES = frozenset(("numpy ndarray", "numpy dtype", "multiarray _reconstruct", "numeric _frombuffer", "_codecs encode"))


class _Reader:
    """A stack and a memo; what is copied is taken from ``left``, which is the length of the batch at first."""

    def __init__(self, size: int) -> None:
        self.stack: list[Any] = []
        self.memo: dict[str, Any] = {}  # by text, since numbers could be chosen that collide
        self.left, self.opcodes = size, FEW + size // EACH

    def run(self, file: Any) -> Any:
        for done, (opcode, value, _) in enumerate(pickletools.genops(file)):
            if done > self.opcodes:
                raise FarfieldError("expected a batch of CIFAR, found far more in it than its images need")
            self.step(opcode.name, value)
        (result,) = self.stack
        return result

    def step(self, name: str, value: Any) -> None:
        stack = self.stack
        if name in _VALUES:
            stack.append(_CONSTANTS.get(name, value))
            return
        match name:
            case "PROTO" | "FRAME" | "STOP":
                pass
            case "MARK":
                stack.append(_MARK)
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self.memo[str(value)] = stack[-1]
            case "MEMOIZE":
                self.memo[str(len(self.memo))] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(self.memo[str(value)])
            case "EMPTY_LIST" | "EMPTY_DICT":
                stack.append([] if name == "EMPTY_LIST" else {})
            case "LIST" | "TUPLE":
                values = self.marked()
                stack.append(values if name == "LIST" else tuple(values))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack[-int(name[-1]) :] = [tuple(stack[-int(name[-1]) :])]
            case "APPEND" | "APPENDS":
                values = self.marked() if name == "APPENDS" else [stack.pop()]
                _of(list, stack[-1]).extend(values)
            case "DICT" | "SETITEMS" | "SETITEM":
                values = [stack.pop(-2), stack.pop()] if name == "SETITEM" else self.marked()
                if name == "DICT":
                    stack.append({})
                for key, item in zip(values[::2], values[1::2], strict=True):
                    _of(dict, stack[-1])[_text(key)] = item
            case "GLOBAL":
                stack.append(_named(*value.split(" ", 1)))
            case "STACK_GLOBAL":
                stack.append(_named(stack.pop(-2), stack.pop()))
            case "REDUCE":
                stack.append(self.called(stack.pop(-2), stack.pop()))
            case "BUILD":
                self.build(stack.pop(-2), stack.pop())
            case _:
                raise FarfieldError(_unfit(f"the opcode {name}"))

    def marked(self) -> list[Any]:
        """What is on the stack above the last mark."""
        at = len(self.stack) - 1
        while self.stack[at] is not _MARK:
            at -= 1
        values = self.stack[at + 1 :]
        del self.stack[at:]
        return values

    def called(self, name: Any, arguments: tuple[Any, ...]) -> Any:
        match str(_of(_Name, name)).rpartition(" ")[2], arguments:
            case "_reconstruct", _:
                return _Array()
            case "dtype", (kind, *_):
                return _Dtype(kind)
            case "encode", (str() as text, *_):
                return self.encoded(text)
            case "_frombuffer", (data, dtype, shape, order):
                array = _Array()
                array.value = np.frombuffer(data, dtype.value).reshape(shape, order=order)
                return array
        raise FarfieldError(_unfit(f"{name} without its arguments"))

    def build(self, target: Any, state: tuple[Any, ...]) -> None:
        if isinstance(target, _Dtype):
            target.value = target.value.newbyteorder(state[1] if state[1] in ("<", ">") else "=")
        else:
            _, shape, dtype, fortran, data = state
            data = self.encoded(data) if isinstance(data, str) else data  # Python 2's bytes
            array = np.frombuffer(data, dtype.value)
            _of(_Array, target).value = array.reshape(shape, order="F" if fortran else "C")
        self.stack.append(target)

    def encoded(self, text: str) -> bytes:
        """The bytes that were written as text; no more of them than there are in the batch."""
        self.left -= len(text)
        if self.left < 0:
            raise FarfieldError("expected a batch of CIFAR, found bytes that are repeated beyond its size")
        return text.encode("latin-1")


def _of(kind: type, value: Any) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"a {type(value).__name__} where a {kind.__name__} should be")
    return value


def _text(key: Any) -> str:
    """A key of the dictionary: bytes, if Python 2 wrote it."""
    key = key.decode("latin-1") if isinstance(key, bytes) else key
    if not isinstance(key, str) or len(key) > 100:
        raise TypeError("a key that is no name")
    return key


def _named(module: Any, name: Any) -> _Name:
    short = re.sub(r"^numpy\._?core\.", "", _of(str, module)[:80])
    if (full_name := f"{short} {_of(str, name)[:80]}") not in _NAMES:
        raise FarfieldError(_unfit(f"{module[:80]}.{name[:80]}"))
    return _Name(full_name)


def _unfit(what: str) -> str:
    return (
        f"found {ascii(what)[1:-1]}, which a batch of CIFAR has no use for and which might run code; nothing of it was run: "
        "get the file from its authors"
    )
