"""safetensors files: names, shapes and numbers, which cannot carry anything else."""

from __future__ import annotations

import struct
from functools import partial

import torch
from torch import Tensor

from farfield.checkpoints.file.mapped import Mapped
from farfield.checkpoints.file.storage import DIMENSIONS
from farfield.checkpoints.file.stored import Stored
from farfield.core.tensor_file import open_tensors

HEADER = 2 << 20
"""Longest header, in bytes; that of a network of 10,000 tensors has 1 MB."""

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


def is_safetensors(data: memoryview) -> bool:
    """Whether it begins as such a file does: the length of a JSON object, and the object."""
    return len(data) > 9 and bytes(data[8:9]) == b"{" and struct.unpack_from("<Q", data)[0] < 1 << 40


def read_safetensors(file: Mapped) -> dict[str, Stored]:
    """The tensors of a file by their names.

    Raises:
        FarfieldError: damaged, or of numbers that no network here has.
    """
    from safetensors import SafetensorError

    (length,) = struct.unpack_from("<Q", file.data)
    if length > min(len(file.data) - 8, HEADER):
        raise file.damaged(
            f"its header should be {length} bytes long, where {len(file.data)} are there and {HEADER} allowed"
        )
    try:
        opened = open_tensors(file.path)
        names = opened.keys()
        file.spend(1024 * len(names))
        slices = {name: opened.get_slice(name) for name in names}
    except (SafetensorError, OSError) as error:
        raise file.damaged(f"its header does not describe it ({str(error)[:120]!a})") from error
    tensors: dict[str, Stored] = {}
    for name, piece in slices.items():
        kind = piece.get_dtype()
        if len(piece.get_shape()) > DIMENSIONS:
            raise file.damaged(f"a tensor in it has {len(piece.get_shape())} dimensions")
        if kind not in _DTYPES:
            raise file.other(f"a safetensors file of {kind} numbers")
        tensors[name] = Stored(tuple(piece.get_shape()), _DTYPES[kind], partial(_load, opened, name))
    return tensors


def _load(opened: object, name: str) -> Tensor:
    tensor: Tensor = opened.get_tensor(name)  # type: ignore[attr-defined]
    if tensor.dtype == torch.bool:
        return tensor.view(torch.uint8) != 0  # a truth is any byte but 0
    return tensor.clone()  # of its own, not a view of the file
