"""Files of ``torch.save``, both formats, and the storages that bare pickles hold: read without torch's unpickler.

New (since torch 1.6): a zip with the pickle ``NAME/data.pkl``, whose persistent ids name storages ``NAME/data/KEY``. Old: five
pickles one after the other (magic number, protocol, system, the object, the storages' keys), then for each key its count and
its numbers. A bare pickle of a tensor holds such an old file, as the argument of ``torch.storage._load_from_bytes``.
"""

from __future__ import annotations

import struct
from functools import partial
from typing import Any

import torch

from farfield.checkpoints.file.key import is_key
from farfield.checkpoints.file.mapped import Mapped
from farfield.checkpoints.file.numpy_pickle import NUMPY
from farfield.checkpoints.file.other import name_archive
from farfield.checkpoints.file.restricted_pickle import read_pickle
from farfield.checkpoints.file.storage import LARGEST, Storage, lay
from farfield.checkpoints.file.stored import Name, Stored
from farfield.checkpoints.file.vocabulary import PLAIN, Vocabulary
from farfield.checkpoints.file.zip_directory import zip_members, zip_names

MAGIC = 0x1950A86A20F9469CFC6C
"""The first pickle of an old file."""

_LETTERS = {
    "Float": torch.float32,
    "Double": torch.float64,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
    "ComplexFloat": torch.complex64,
    "ComplexDouble": torch.complex128,
}
_STORAGES = {
    **{f"torch.{place}{kind}Storage": dtype for kind, dtype in _LETTERS.items() for place in ("", "cuda.")},
    "torch.storage.UntypedStorage": torch.uint8,
    "torch.storage._UntypedStorage": torch.uint8,
}


def _tensor(file: Mapped, arguments: tuple[Any, ...]) -> Stored:
    """Storage, offset, size and stride; then whether it had a gradient, hooks, and flags of views that are never stored."""
    if not 4 <= len(arguments) <= 7 or (len(arguments) == 7 and arguments[6]):
        raise file.refused("a tensor in it is made from what is no tensor")
    return lay(file, *arguments[:4])


def _tensor_of_bytes(file: Mapped, arguments: tuple[Any, ...]) -> Stored:
    """The same with a dtype, on a storage of bytes: dtypes that came after the storages with a name."""
    if not 7 <= len(arguments) <= 8 or not isinstance(arguments[6], torch.dtype) or any(arguments[7:]):
        raise file.refused("a tensor in it is made from what is no tensor")
    storage, offset, shape, strides = arguments[:4]
    return lay(file, storage, offset, shape, strides, arguments[6])


def _parameter(file: Mapped, arguments: tuple[Any, ...]) -> Stored:
    if not arguments or not isinstance(arguments[0], Stored):
        raise file.refused("a parameter in it is made from what is no tensor")
    return arguments[0]


_TENSORS = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_of_bytes,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
}


def _of_kind(file: Mapped, arguments: tuple[Any, ...]) -> Stored:
    """A tensor with attributes: what makes it, its class, the arguments, and the attributes."""
    match arguments:
        case (Name(maker), Name("torch.Tensor" | "torch.nn.parameter.Parameter"), tuple() as given, _) if (
            maker in _TENSORS
        ):
            return _TENSORS[maker](file, given)
    raise file.refused("a tensor in it is of a kind of its own")


def _from_bytes(file: Mapped, arguments: tuple[Any, ...]) -> Storage:
    """The storage that a bare pickle holds, in a file of its own."""
    match arguments:
        case (bytes() | memoryview() as raw,):
            view = memoryview(raw)
            root = (read_zip if is_zip(view) else read_old)(file, view, _STORED)
            if isinstance(root, Storage):
                return root
    raise file.refused("a storage in it is no storage")


_STORED = Vocabulary(inert=frozenset(_STORAGES))
"""What a storage by itself refers to."""

IN_TORCH = PLAIN | NUMPY | _STORED
IN_TORCH |= Vocabulary(
    inert=frozenset({"torch.Tensor", "torch.nn.parameter.Parameter"}),
    calls={**_TENSORS, "torch._tensor._rebuild_from_type_v2": _of_kind},
)
"""What the files of ``torch.save`` refer to."""

IN_PICKLE = IN_TORCH | Vocabulary(calls={"torch.storage._load_from_bytes": _from_bytes})
"""What bare pickles of networks refer to."""


def is_zip(data: memoryview) -> bool:
    """Whether it begins as a zip archive does."""
    return bytes(data[:4]) in (b"PK\x03\x04", b"PK\x05\x06")


def read_zip(file: Mapped, data: memoryview, words: Vocabulary = IN_TORCH) -> Any:
    """What a new file holds.

    Raises:
        FarfieldError: no such file, damaged, or it holds what is not data.
    """
    names = zip_names(file, data)
    if any(name.split("/")[1:] == ["constants.pkl"] or name.split("/")[1:2] == ["code"] for name in names):
        raise file.other(
            "a program of TorchScript", "give the weights alone; a descriptor's program is given as --descriptor"
        )
    if not any(name.split("/")[1:] == ["data.pkl"] for name in names):
        raise file.other(*name_archive(names))
    members = zip_members(file, data)
    pickles = [name for name in members if name.split("/")[1:] == ["data.pkl"]]
    if len(pickles) != 1:
        raise file.other(*name_archive(names))
    top = pickles[0].partition("/")[0]
    return read_members(file, members, top, words)


def read_members(file: Mapped, members: dict[str, memoryview], top: str, words: Vocabulary) -> Any:
    """What ``top/data.pkl`` in an archive holds, whose storages are ``top/data/KEY``.

    Raises:
        FarfieldError: damaged, or it holds what is not data.
    """
    order = members.get(f"{top}/byteorder", memoryview(b"little"))
    if bytes(order[:16]) != b"little":
        raise file.other("a torch file of a big-endian machine")

    pieces = {name[len(f"{top}/data/") :]: piece for name, piece in members.items() if name.startswith(f"{top}/data/")}

    def storage(dtype: torch.dtype, key: str, count: int) -> Storage:
        piece = pieces.get(key)
        if piece is None or len(piece) != count * dtype.itemsize:
            have = "no bytes" if piece is None else f"{len(piece)} bytes"
            raise file.damaged(f"storage {key[:40]!r} of {count} numbers has {have} in the archive")
        return Storage(dtype, count, piece)

    raw = members[f"{top}/data.pkl"]
    root, end = read_pickle(file, raw, words, partial(_persistent, file, storage))
    if end != len(raw):
        raise file.damaged("something follows the pickle in the archive")
    return root


def read_old(file: Mapped, data: memoryview, words: Vocabulary = IN_TORCH) -> Any:
    """What an old file holds.

    Raises:
        FarfieldError: damaged, or it holds what is not data.
    """
    nothing = Vocabulary()
    magic, at = read_pickle(file, data, nothing)
    if magic != MAGIC:
        raise file.damaged("its first pickle is not the number that torch's files begin with")
    _, at = read_pickle(file, data, nothing, at=at)
    system, at = read_pickle(file, data, nothing, at=at)
    if isinstance(system, dict) and system.get("little_endian") is False:
        raise file.other("a torch file of a big-endian machine")
    storages: dict[str, Storage] = {}

    def storage(dtype: torch.dtype, key: str, count: int) -> Storage:
        known = storages.setdefault(key, Storage(dtype, count, None))
        if (known.dtype, known.count) != (dtype, count):
            raise file.damaged(f"storage {key[:40]!r} has two sizes")
        return known

    root, at = read_pickle(file, data, words, partial(_persistent, file, storage), at)
    keys, at = read_pickle(file, data, nothing, at=at)
    if not isinstance(keys, list) or len(keys) != len(storages):
        raise file.damaged("its storages are not those that its tensors lie on")
    for key in keys:
        known = storages.pop(key, None) if isinstance(key, str) else None
        if known is None:
            raise file.damaged("its storages are not those that its tensors lie on")
        size = known.count * known.dtype.itemsize
        if at + 8 + size > len(data) or struct.unpack_from("<q", data, at) != (known.count,):
            raise file.damaged(f"storage {key[:40]!r} of {known.count} numbers is not there as a whole")
        known.data = data[at + 8 : at + 8 + size]
        at += 8 + size
    if at != len(data):
        raise file.damaged(f"{len(data) - at} bytes follow its last storage")
    return root


def _persistent(file: Mapped, storage: Any, persistent_id: Any) -> Storage:
    """The storage of a persistent id: kind, key, where it was, how many numbers; in old files None for no view."""
    match persistent_id:
        case ("storage", Name(kind), str() as key, str(), int() as count, *view) if kind in _STORAGES and is_key(key):
            if 0 <= count < LARGEST and view in ([], [None]):
                file.spend(256)
                return storage(_STORAGES[kind], key, count)
    raise file.refused("its pickle refers to something outside of it that is no storage")
