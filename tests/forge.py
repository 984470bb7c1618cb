"""Checkpoints with any content, written by hand: what no library would write."""

from __future__ import annotations

import io
import pickle
import struct
import warnings
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from edm_files import Saved, saved_model

MAGIC = 0x1950A86A20F9469CFC6C
"""The number that old torch files begin with, as everybody's do."""


@dataclass(frozen=True)
class Global:
    """A reference to a name."""

    module: str
    name: str


@dataclass(eq=False)
class Call:
    """A call, and perhaps a state for what comes of it; with ``new`` it is the making of an object."""

    what: Any
    arguments: Any = ()
    state: Any = None
    new: bool = False


@dataclass(eq=False)
class Raw:
    """Opcodes as they are."""

    code: bytes


@dataclass(eq=False)
class Outside:
    """What a persistent id stands for."""

    told: Any


class _Writer(pickle._Pickler):
    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def persistent_id(self, value: Any) -> Any:
        return value.told if isinstance(value, Outside) else None

    def save_global_of(self, value: Global) -> None:
        self.write(b"c" + f"{value.module}\n{value.name}\n".encode())

    def save_call(self, value: Call) -> None:
        self.save(value.what)
        self.save(value.arguments)
        self.write(b"\x81" if value.new else b"R")
        if value.state is not None:
            self.save(value.state)
            self.write(b"b")

    def save_raw(self, value: Raw) -> None:
        self.write(value.code)

    def save_saved(self, value: Saved) -> None:
        meta = {
            "type": "class",
            "version": 6,
            "module_src": value.source,
            "class_name": value.title,
            "state": value.state,
        }
        self.save_call(Call(Global("torch_utils.persistence", "_reconstruct_persistent_obj"), (meta,)))

    dispatch[Global], dispatch[Call], dispatch[Raw], dispatch[Saved] = save_global_of, save_call, save_raw, save_saved


def pickled(value: Any, protocol: int = 2) -> bytes:
    """A pickle of plain values, tensors and the kinds above."""
    out = io.BytesIO()
    _Writer(out, protocol).dump(value)
    return out.getvalue()


def zipped(members: list[tuple[str, bytes]], method: int = zipfile.ZIP_STORED, mode: int = 0o100644) -> bytes:
    """An archive, whatever its members are called."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that are there twice
        for name, content in members:
            info = zipfile.ZipInfo(name)
            info.external_attr, info.compress_type = mode << 16, method
            archive.writestr(info, content)
    return out.getvalue()


def torch_zip(root: Any, storages: dict[str, bytes] | None = None, **archive: Any) -> bytes:
    """A new torch file."""
    pieces = [(f"archive/data/{key}", content) for key, content in (storages or {}).items()]
    members = [
        ("archive/data.pkl", pickled(root)),
        ("archive/byteorder", b"little"),
        *pieces,
        ("archive/version", b"3\n"),
    ]
    return zipped(members, **archive)


def torch_old(root: Any, storages: list[tuple[str, int, bytes]] | None = None, keys: Any = None) -> bytes:
    """An old torch file; ``storages`` are keys, counts and bytes, ``keys`` what it says their keys are."""
    storages = storages or []
    keys = [key for key, _, _ in storages] if keys is None else keys
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    pieces = b"".join(struct.pack("<q", count) + content for _, count, content in storages)
    return b"".join(map(pickled, (MAGIC, 1001, system, root, keys))) + pieces


def loaded(content: Any) -> Call:
    """What a bare pickle holds in place of a storage; bytes in it are bytes, of whatever protocol."""
    if isinstance(content, bytes):
        content = Raw(b"B" + struct.pack("<I", len(content)) + content)
    return Call(Global("torch.storage", "_load_from_bytes"), (content,))


def storage(count: Any, key: Any = "0", kind: Any = None, told: tuple[Any, ...] = ()) -> Outside:
    """The persistent id of a storage."""
    return Outside(("storage", kind or Global("torch", "FloatStorage"), key, "cpu", count, *told))


def tensor(on: Any, size: Any, stride: Any, offset: Any = 0) -> Call:
    """A tensor on a storage."""
    return Call(Global("torch._utils", "_rebuild_tensor_v2"), (on, offset, size, stride, False, OrderedDict()))


def edm(**wrong: Any) -> Saved:
    """A small network as EDM's snapshots hold it; ``wrong`` attributes replace the right ones."""
    from farfield.networks.song_unet import SongUNet

    config = {"img_resolution": 8, "in_channels": 1, "out_channels": 1, "model_channels": 8}
    config |= {"channel_mult": [1], "num_blocks": 1, "attn_resolutions": []}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        saved = saved_model("EDMPrecond", SongUNet(**config), config, sigma_data=0.5)
    saved.state |= wrong
    return saved
