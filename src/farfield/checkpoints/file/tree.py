"""What a file is by its first bytes, and its contents as data."""

from __future__ import annotations

from pathlib import Path

from farfield.checkpoints.file.array_stream import is_arrays, read_arrays
from farfield.checkpoints.file.mapped import Mapped
from farfield.checkpoints.file.other import name_bytes
from farfield.checkpoints.file.restricted_pickle import read_pickle
from farfield.checkpoints.file.safetensors_file import is_safetensors, read_safetensors
from farfield.checkpoints.file.stored import Tree
from farfield.checkpoints.file.torch_file import IN_PICKLE, MAGIC, is_zip, read_old, read_zip

_TEXT_PICKLE = b"(}])lcNI"
"""What pickles of protocols 0 and 1, which do not name it, begin with."""


def open_tree(path: Path) -> Tree:
    """The contents of a bare pickle, a file of ``torch.save`` (both formats), safetensors, or arrays one after another.

    No tensor is read yet.

    Raises:
        FarfieldError: no such file, something else, damaged, or it holds what is not data. Nothing of it is run.
    """
    file = Mapped(path)
    if is_zip(file.data):
        return Tree(path, "torch", read_zip(file, file.data))
    if is_arrays(file.data):
        arrays = read_arrays(file)
        if len(arrays) < 2:
            raise file.other("a NumPy array")
        return Tree(path, "arrays", arrays)
    if is_safetensors(file.data):
        return Tree(path, "safetensors", read_safetensors(file))
    if file.data[0] != 0x80 and not (file.data[0] in _TEXT_PICKLE and file.data[-1] == ord(".")):
        raise file.other(*name_bytes(file.data))
    root, end = read_pickle(file, file.data, IN_PICKLE)
    if root == MAGIC:
        return Tree(path, "torch", read_old(file, file.data))
    if end != len(file.data):
        raise file.damaged(f"{len(file.data) - end} bytes follow its pickle")
    return Tree(path, "pickle", root)
