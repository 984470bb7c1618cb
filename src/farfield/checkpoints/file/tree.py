"""What a file is by its first bytes, and its contents as data."""

from __future__ import annotations

from pathlib import Path

from farfield.checkpoints.file.array_stream import is_arrays, read_arrays
from farfield.checkpoints.file.mapped import Mapped
from farfield.checkpoints.file.restricted_pickle import read_pickle
from farfield.checkpoints.file.safetensors_file import is_safetensors, read_safetensors
from farfield.checkpoints.file.stored import Tree
from farfield.checkpoints.file.torch_file import IN_PICKLE, MAGIC, is_zip, read_old, read_zip

_OTHERS = {
    b"version https://git-lfs": "a Git LFS pointer, which stands for a file that was not fetched (`git lfs pull` fetches it)",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"\x1f\x8b": "a gzip archive",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ": "an xz archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"\x28\xb5\x2f\xfd": "a zstd archive",
    b"\x89HDF": "an HDF5 file",
    b"GGUF": "a GGUF file",
    b"\x7fELF": "a program",
    b"%PDF": "a PDF",
}
"""What begins so is no checkpoint."""

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
        raise file.other(_kind(file.data))
    root, end = read_pickle(file, file.data, IN_PICKLE)
    if root == MAGIC:
        return Tree(path, "torch", read_old(file, file.data))
    if end != len(file.data):
        raise file.damaged(f"{len(file.data) - end} bytes follow its pickle")
    return Tree(path, "pickle", root)


def _kind(data: memoryview) -> str:
    """What a file is that is no checkpoint, as far as its first bytes tell."""
    head = bytes(data[:512])
    for mark, kind in _OTHERS.items():
        if head.startswith(mark):
            return kind
    if head[257:262] == b"ustar":
        return "a tar archive"
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page, often the answer of a server that wanted a login or a confirmation"
    if head[4:8] == b"ftyp":
        return "a video"
    if all(32 <= byte < 127 or byte in b"\t\r\n" for byte in head):
        return f"text ({head[:40].decode()!r} …)"
    return f"nothing that is known here (it begins with {head[:8].hex(' ')})"
