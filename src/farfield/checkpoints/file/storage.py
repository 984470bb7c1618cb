"""A tensor's numbers in a file: that they are there is checked at once, they are read when they are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from farfield.checkpoints.file.mapped import Mapped
from farfield.checkpoints.file.stored import Stored

LARGEST = 1 << 48
"""No number in a tensor's shape, strides or offset is larger."""

DIMENSIONS = 32


@dataclass
class Storage:
    """A run of numbers in a file, on which tensors lie.

    Attributes:
        dtype: of its numbers; uint8 where it is a run of bytes.
        count: how many numbers.
        data: their bytes; None while the part of the file where they stand is still to be read.
    """

    dtype: torch.dtype
    count: int
    data: memoryview | bytes | None


def row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides of a contiguous tensor, in numbers."""
    strides = [1]
    for size in reversed(shape[1:]):
        strides.append(strides[-1] * max(size, 1))
    return tuple(reversed(strides[: len(shape)]))


def lay(file: Mapped, storage: Any, offset: Any, shape: Any, strides: Any, dtype: torch.dtype | None = None) -> Stored:
    """The tensor of that shape on a storage, ``offset`` numbers into it; nothing is read or allocated yet.

    Args:
        strides: in numbers.
        dtype: of the tensor, where the storage is a run of bytes.

    Raises:
        FarfieldError: the tensor does not lie within the storage.
    """
    if not isinstance(storage, Storage):
        raise file.refused("a tensor in it lies on what is no storage")
    dtype = dtype or storage.dtype
    count = storage.count * storage.dtype.itemsize // dtype.itemsize
    if not (are_counts(shape) and are_counts(strides) and are_counts((offset,)) and len(shape) == len(strides)):
        raise file.damaged("a tensor in it has a shape, strides or an offset that no tensor has")
    size = prod(shape)
    if prod(max(n, 1) for n in shape) >= LARGEST:
        raise file.damaged(f"a tensor of shape {list(shape)} in it is larger than any")
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if size and last >= count:
        raise file.damaged(f"a tensor of shape {list(shape)} in it reaches beyond the {count} numbers that it lies on")
    spread = (last + 1 - offset) * dtype.itemsize if size else 0  # all of which is read
    file.spend(640 + size * dtype.itemsize, spread >> 6)

    def read() -> Tensor:
        assert storage.data is not None
        if size == 0:
            return torch.empty(shape, dtype=dtype)
        raw = storage.data[offset * dtype.itemsize : (last + 1) * dtype.itemsize]
        flat = torch.frombuffer(bytearray(raw), dtype=torch.uint8 if dtype == torch.bool else dtype)
        tensor = flat.as_strided(shape, strides).contiguous()
        return tensor != 0 if dtype == torch.bool else tensor  # a truth is any byte but 0

    return Stored(shape, dtype, read)


def are_counts(values: Any) -> bool:
    """Whether these can be a tensor's shape or strides."""
    return (
        isinstance(values, tuple)
        and len(values) <= DIMENSIONS
        and all(type(value) is int and 0 <= value < LARGEST for value in values)
    )
