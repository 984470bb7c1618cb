"""NumPy arrays in npy format, one after another to the end of the file: what equinox writes of a network's leaves (``.eqx``).

A header is text that says the shape and the kind of number; only plain numbers are taken, and nothing else is in such a file.
"""

from __future__ import annotations

import math
import re
from functools import partial

import numpy as np
import torch
from torch import Tensor

from farfield.checkpoints.file.mapped import Mapped
from farfield.checkpoints.file.storage import DIMENSIONS
from farfield.checkpoints.file.stored import Stored

MAGIC = b"\x93NUMPY"
HEADER = 4096
"""Longest header, in bytes; that of an array of numbers has 128."""
_HEADER = re.compile(
    rb"\{'descr': '([<>=|][a-zA-Z]\d{0,4})', 'fortran_order': (True|False), 'shape': \(((?:\d{1,15}, ?)*(?:\d{1,15})?)\), ?\}\s*"
)
_KINDS = {"f2": torch.float16, "f4": torch.float32, "f8": torch.float64, "i4": torch.int32, "i8": torch.int64}


def is_arrays(data: memoryview) -> bool:
    return bytes(data[: len(MAGIC)]) == MAGIC


def read_arrays(file: Mapped) -> list[Stored]:
    """The arrays in their order; their numbers are read when they are asked for.

    Raises:
        FarfieldError: damaged, cut short, or arrays of anything but plain numbers.
    """
    arrays: list[Stored] = []
    place = 0
    while place < len(file.data):
        file.spend(1024, 1)
        shape, dtype, start = _header(file, place)
        place = start + math.prod(shape) * dtype.itemsize
        if place > len(file.data):
            raise file.damaged(f"its array {len(arrays) + 1} should end {place - len(file.data)} bytes later")
        kind = _KINDS[dtype.str[1:]]
        arrays.append(Stored(shape, kind, partial(_load, file, start, shape, dtype)))
    return arrays


def _header(file: Mapped, place: int) -> tuple[tuple[int, ...], np.dtype[np.generic], int]:
    """Shape and kind of the array that begins at a place, and where its numbers begin.

    The header is a Python literal, which NumPy's own reader compiles; here it is matched with the one form that NumPy writes.
    """
    version, long = file.data[place + 6 : place + 8], 4
    if bytes(version) == b"\x01\x00":
        long = 2
    begin = place + len(MAGIC) + 2 + long
    size = int.from_bytes(file.data[begin - long : begin], "little")
    text = bytes(file.data[begin : begin + min(size, HEADER)])
    found = _HEADER.fullmatch(text)
    if not is_arrays(file.data[place:]) or size > HEADER or found is None:
        raise file.damaged(f"no header of an array of numbers at byte {place:,} ({text[:60]!r})")
    kind, order, sizes = (part.decode() for part in found.groups())
    shape = tuple(int(n) for n in sizes.split(",") if n.strip())
    if kind[1:] not in _KINDS or (order == "True" and len(shape) > 1):
        raise file.other(f"a file of arrays of {kind!a}{' in Fortran order' if order == 'True' else ''}")
    if len(shape) > DIMENSIONS:
        raise file.damaged(f"an array in it has {len(shape)} dimensions")
    return shape, np.dtype(kind), begin + size


def _load(file: Mapped, start: int, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> Tensor:
    count = math.prod(shape)
    numbers = np.frombuffer(file.data, dtype, count, start).reshape(shape)
    return torch.from_numpy(numbers.astype(dtype.newbyteorder("=")))
