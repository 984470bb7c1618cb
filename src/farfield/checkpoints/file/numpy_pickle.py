"""NumPy's arrays, scalars and dtypes in a pickle: arrays of plain numbers become tensors in the file, scalars numbers."""

from __future__ import annotations

import struct
from typing import Any

import torch

from farfield.checkpoints.file.mapped import Mapped
from farfield.checkpoints.file.storage import Storage, are_counts, lay, row_major
from farfield.checkpoints.file.stored import Made, Name, Stored
from farfield.checkpoints.file.vocabulary import Vocabulary

_DTYPES = {
    "b1": (torch.bool, "?"),
    "i1": (torch.int8, "b"),
    "i2": (torch.int16, "h"),
    "i4": (torch.int32, "i"),
    "i8": (torch.int64, "q"),
    "u1": (torch.uint8, "B"),
    "u2": (torch.uint16, "H"),
    "u4": (torch.uint32, "I"),
    "u8": (torch.uint64, "Q"),
    "f2": (torch.float16, "e"),
    "f4": (torch.float32, "f"),
    "f8": (torch.float64, "d"),
}
"""Of NumPy's short names: torch's dtype and the letter of ``struct``."""


def _dtype(file: Mapped, value: Any) -> str:
    """The short name of a dtype of plain little-endian numbers."""
    if isinstance(value, Made) and value.name == "numpy.dtype" and value.arguments and isinstance(value.state, tuple):
        kind, order = value.arguments[0], value.state[1] if len(value.state) > 1 else None
        plain = len(value.state) > 4 and value.state[2:5] == (None, None, None)
        if isinstance(kind, str) and kind in _DTYPES and order in ("<", "|", "=") and plain:
            return kind
    raise file.refused("an array in it is not of plain little-endian numbers")


def _scalar(file: Mapped, arguments: tuple[Any, ...]) -> Any:
    if len(arguments) != 2 or not isinstance(arguments[1], bytes):
        raise file.refused("a number of NumPy in it is made from what is no bytes")
    dtype, letter = _DTYPES[_dtype(file, arguments[0])]
    if len(arguments[1]) != dtype.itemsize:
        raise file.damaged("a number of NumPy in it has another size than its kind")
    return struct.unpack(f"<{letter}", arguments[1])[0]


def _array(file: Mapped, raw: Any, dtype: Any, shape: Any, fortran: bool) -> Stored:
    kind = _DTYPES[_dtype(file, dtype)][0]
    shape = shape if isinstance(shape, tuple) else (shape,)
    if not isinstance(raw, bytes | memoryview) or len(raw) % kind.itemsize or not are_counts(shape):
        raise file.damaged("an array in it has no numbers, not whole ones, or a shape that no array has")
    strides = tuple(reversed(row_major(shape[::-1]))) if fortran else row_major(shape)
    return lay(file, Storage(kind, len(raw) // kind.itemsize, raw), 0, shape, strides)


def _from_buffer(file: Mapped, arguments: tuple[Any, ...]) -> Stored:
    """How protocol 5 writes an array: its bytes, dtype, shape and order."""
    match arguments:
        case (raw, dtype, shape, "C" | "F" as order):
            return _array(file, raw, dtype, shape, order == "F")
    raise file.refused("an array in it is made from what is no array")


def _from_state(file: Mapped, made: Made) -> Stored:
    """How protocols up to 4 write one: an empty array, then its version, shape, dtype, order and bytes."""
    match made.state:
        case (_, shape, dtype, bool() as fortran, raw):
            return _array(file, raw, dtype, shape, fortran)
    raise file.refused("an array in it is made from what is no array")


def _reconstruct(file: Mapped, arguments: tuple[Any, ...]) -> Made:
    if not arguments or arguments[0] != Name("numpy.ndarray"):
        raise file.refused("an array in it is of a kind of its own")
    return Made("numpy.ndarray")


_MODULES = ("numpy.core", "numpy._core")
"""Before and since NumPy 2."""

NUMPY = Vocabulary(
    inert=frozenset({"numpy.ndarray", "numpy.dtype"}),
    calls={
        **{f"{module}.multiarray.scalar": _scalar for module in _MODULES},
        **{f"{module}.multiarray._reconstruct": _reconstruct for module in _MODULES},
        **{f"{module}.numeric._frombuffer": _from_buffer for module in _MODULES},
    },
    builds={"numpy.ndarray": _from_state},
)
"""What NumPy's pickles refer to."""
