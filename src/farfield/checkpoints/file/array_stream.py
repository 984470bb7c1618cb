"""NumPy arrays in npy format, one after another to the end of the file: what equinox writes of a network's leaves (``.eqx``).

A header is text that says the shape and the kind of number; only plain numbers are taken, and nothing else is in such a file.
"""

from __future__ import annotations

import io
import math
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
    """Shape and kind of the array that begins at a place, and where its numbers begin."""
    stream = io.BytesIO(bytes(file.data[place : place + HEADER]))
    try:
        version = np.lib.format.read_magic(stream)
        reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = reader(stream, max_header_size=HEADER)
    except Exception as error:  # numpy's reader raises whatever it stumbles over
        raise file.damaged(f"no header of an array at byte {place:,} ({str(error)[:80]!a})") from error
    if dtype.str[1:] not in _KINDS or (fortran and len(shape) > 1):
        raise file.other(f"a file of arrays of {dtype.str!a}{' in Fortran order' if fortran else ''}")
    if len(shape) > DIMENSIONS or any(n < 0 for n in shape):
        raise file.damaged(f"an array in it has the shape {shape}")
    return tuple(shape), dtype, place + stream.tell()


def _load(file: Mapped, start: int, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> Tensor:
    count = math.prod(shape)
    numbers = np.frombuffer(file.data, dtype, count, start).reshape(shape)
    return torch.from_numpy(numbers.astype(dtype.newbyteorder("=")))
