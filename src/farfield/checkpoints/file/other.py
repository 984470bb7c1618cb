"""What a file is that is no checkpoint which is read here, by its first and last bytes or the names in it, and what helps."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

_WANTED: Final = "expected a pickle of EDM, a file of torch.save, or safetensors"
_UNPACK: Final = "unpack it, and give the file of weights in it"
_TORCH: Final = "give the weights as torch has them (safetensors, or a state dict)"
_SOURCE: Final = "give the weights that it was made of (safetensors, or a state dict)"

_MARKS: Final = {
    b"version https://git-lfs": ("a Git LFS pointer, which stands for a file that was not fetched", "`git lfs pull` fetches it"),
    b"\x89PNG": ("a PNG image", _WANTED),
    b"\xff\xd8\xff": ("a JPEG image", _WANTED),
    b"GIF8": ("a GIF image", _WANTED),
    b"\x1f\x8b": ("a gzip archive", _UNPACK),
    b"BZh": ("a bzip2 archive", _UNPACK),
    b"\xfd7zXZ": ("an xz archive", _UNPACK),
    b"7z\xbc\xaf": ("a 7z archive", _UNPACK),
    b"Rar!": ("a RAR archive", _UNPACK),
    b"\x28\xb5\x2f\xfd": ("a zstd archive", _UNPACK),
    b"\x89HDF": ("an HDF5 file, as Keras keeps weights", _TORCH),
    b"GGUF": ("a GGUF file, of quantised weights", _SOURCE),
    b"ftrt": ("an engine of TensorRT", _SOURCE),
    b"\x7fELF": ("a program", _WANTED),
    b"%PDF": ("a PDF", _WANTED),
}  # fmt: skip
"""What begins so."""
_TENSORFLOW: Final = b"\x57\xfb\x80\x8b\x24\x75\x47\xdb"
"""The end of an index of TensorFlow's checkpoints."""
_PICTURES: Final = {"png", "jpg", "jpeg", "webp", "json", "txt"}
_WEIGHTS: Final = re.compile(r".*\.(ckpt|pth?|pkl|bin|safetensors)", re.IGNORECASE)

Named = tuple[str, str]
"""What something is, and what to do."""


def name_bytes(data: memoryview) -> Named:
    """What a file is that is no checkpoint, as far as its first and last bytes tell."""
    head = bytes(data[:512])
    for mark, kind in _MARKS.items():
        if head.startswith(mark):
            return kind
    if head[257:262] == b"ustar":
        return "a tar archive", _UNPACK
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return (
            "a web page, often the answer of a server that wanted a login or a confirmation",
            "download the file again",
        )
    if head[4:8] == b"ftyp":
        return "a video", _WANTED
    if head[4:8] == b"TFL3":
        return "a model of TensorFlow Lite", _SOURCE
    if bytes(data[-8:]) == _TENSORFLOW:
        return "the index of a TensorFlow checkpoint", _TORCH
    if re.match(rb"\x08[\x01-\x20]\x12[\x01-\x20][\x20-\x7e]+[\x1a\x22\x2a\x3a]", head):
        return "a model of ONNX", _SOURCE
    if re.match(rb"[\x81-\x8f][\xa1-\xbf][\x20-\x7e]+", head):
        return "a message of msgpack, as Flax keeps weights", _TORCH
    if all(32 <= byte < 127 or byte in b"\t\r\n" for byte in head):
        folder = "give the folder that it lies in, or the file of weights" if text.startswith(b"{") else _WANTED
        return f"text ({head[:40].decode()!r} …)", folder
    return f"nothing that is known here (it begins with {head[:8].hex(' ')})", _WANTED


def name_archive(names: Sequence[str]) -> Named:
    """What a zip without the pickle of torch's files is, by the names of its members."""
    files = [name for name in names if not name.endswith("/")]
    endings = {name.rsplit(".", 1)[-1].lower() for name in files}
    inner = {name.partition("/")[2] for name in files}
    if endings and endings <= _PICTURES:
        return "a zip of images", "it is data; expected a model"
    if endings == {"npy"}:
        return "an npz of arrays", _WANTED
    if {"model.weights.h5", "config.json"} <= set(files):
        return "a model of Keras", _TORCH
    if "archive_format" in inner or any(name.endswith("serialized_exported_program.json") for name in files):
        return "a program that torch.export wrote", _TORCH
    if held := next((name for name in files if _WEIGHTS.fullmatch(name)), None):
        return f"a zip archive that holds {held[:80]}", _UNPACK
    return "a zip archive of something else", _WANTED
