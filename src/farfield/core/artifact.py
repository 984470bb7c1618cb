"""What a run leaves on disk: keyed arrays as safetensors shards, settings and scores as JSON. Never a pickle.

An artifact is a row per key. A key is a file's stem or a seed; pairing is always by key, never by position. A folder
holds one artifact as ``shard-00000.safetensors``, ``shard-00001.safetensors`` … Each shard carries its own keys and is
put in place by one atomic rename, so a killed job leaves whole shards or nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import torch
from torch import Tensor

from farfield.core.error import FarfieldError
from farfield.core.json_file import parse_json
from farfield.core.json_file import read_json as read_json

A = TypeVar("A", bound="Artifact")


@dataclass(frozen=True)
class Artifact:
    """Abstract: rows ``values[i]`` named by ``keys[i]``. Final kinds add what their rows mean."""

    keys: tuple[str, ...]
    values: Tensor

    kind: ClassVar[str] = ""

    def __post_init__(self) -> None:
        if len(self.keys) != len(self.values):
            raise FarfieldError(f"{self.kind}: {len(self.keys)} keys for {len(self.values)} rows")
        if len(set(self.keys)) != len(self.keys):
            twice = sorted({k for k in self.keys if self.keys.count(k) > 1})[:3]
            raise FarfieldError(f"{self.kind}: keys must be unique, {twice} occur more than once")

    def __len__(self) -> int:
        return len(self.keys)

    def attributes(self) -> dict[str, Any]:
        """What belongs to the whole artifact rather than to a row; written beside each shard's keys."""
        return {}

    def select(self, keys: Sequence[str]) -> Self:
        """The rows of these keys, in this order."""
        place = {k: i for i, k in enumerate(self.keys)}
        missing = [k for k in keys if k not in place]
        if missing:
            raise FarfieldError(f"{self.kind}: no row for the keys {missing[:3]}; it holds {len(self)} rows")
        rows = torch.tensor([place[k] for k in keys], dtype=torch.long)
        return type(self)(tuple(keys), self.values[rows], **self.attributes())

    def digest(self) -> str:
        """sha256 over keys, shape, dtype and bytes: the same rows give the same digest, whatever file they came from."""
        h = hashlib.sha256(json.dumps([list(self.keys), list(self.values.shape), str(self.values.dtype)]).encode())
        h.update(self.values.detach().cpu().contiguous().numpy().tobytes())
        return h.hexdigest()


@dataclass(frozen=True)
class Images(Artifact):
    """Images ``[n, C, H, W]``, nominally in [-1, 1]; never clipped before an image file is written."""

    kind: ClassVar[str] = "images"


@dataclass(frozen=True)
class Latents(Artifact):
    """Unit-variance latents ``z = x / sqrt(1 + sigma²)``, ``[n, ...]``, all at one noise level ``sigma``."""

    sigma: float = 0.0
    kind: ClassVar[str] = "latents"

    def attributes(self) -> dict[str, Any]:
        return {"sigma": self.sigma}


@dataclass(frozen=True)
class Features(Artifact):
    """Descriptor vectors ``[n, d]``; features of different descriptors are never compared."""

    descriptor: str = ""
    kind: ClassVar[str] = "features"

    def attributes(self) -> dict[str, Any]:
        return {"descriptor": self.descriptor}


@dataclass(frozen=True)
class Score:
    """A measured number with its sample size and interval; ``low``/``high`` are None where no interval applies."""

    value: float
    n: int
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        bounds = "" if self.low is None or self.high is None else f" [{self.low:.3g}, {self.high:.3g}]"
        return f"{self.value:.4g}{bounds} (n = {self.n})"


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically; ``Score`` and other dataclasses become objects, NaN becomes null."""

    def plain(v: Any) -> Any:
        if hasattr(v, "__dataclass_fields__"):
            return plain(asdict(v))
        if isinstance(v, dict):
            return {str(k): plain(w) for k, w in v.items()}
        if isinstance(v, list | tuple):
            return [plain(w) for w in v]
        if isinstance(v, Path):
            return str(v)
        if isinstance(v, float) and (v != v or v in (float("inf"), float("-inf"))):
            return None
        return v

    write_bytes(path, (json.dumps(plain(value), indent=1, allow_nan=False) + "\n").encode())


class Store(Generic[A]):
    """A folder that holds one artifact as shards: written piece by piece, read as a whole.

    Shard ``i`` always holds the ``i``-th chunk of the key list that the job was given, so an interrupted job that is
    given the same list again redoes only the shards that are missing and ends bit for bit as the unbroken one.
    """

    def __init__(self, folder: Path, kind: type[A]):
        self.folder = folder
        self.kind = kind

    def _shard(self, index: int) -> Path:
        return self.folder / f"shard-{index:05d}.safetensors"

    def has(self, index: int) -> bool:
        return self._shard(index).exists()

    def write(self, index: int, artifact: A) -> None:
        """Put shard ``index`` in place with one atomic rename."""
        from safetensors.torch import save

        header = {"kind": artifact.kind, "keys": list(artifact.keys), **artifact.attributes()}
        # One entry: safetensors writes several in an order left to chance.
        metadata = {"farfield": json.dumps(header)}
        values = artifact.values.detach().cpu().contiguous()
        write_bytes(self._shard(index), save({"values": values}, metadata=metadata))

    def shards(self) -> list[Path]:
        return sorted(self.folder.glob("shard-*.safetensors"))

    def parts(self) -> Iterator[A]:
        """The artifact shard by shard, in the order of the key list: one is held at a time."""
        return (self._read(path) for path in self.shards())

    def read(self) -> A:
        """All shards as one artifact, in the order of the key list."""
        parts = list(self.parts())
        if not parts:
            raise FarfieldError(
                f"{self.folder}: expected {self.kind.kind} (shard-*.safetensors), found none; run the command that "
                "makes them"
            )
        first = parts[0]
        if any(p.attributes() != first.attributes() for p in parts):
            raise FarfieldError(
                f"{self.folder}: its shards disagree about {sorted(first.attributes())}; delete the folder and run "
                "again"
            )
        keys = tuple(k for p in parts for k in p.keys)
        return self.kind(keys, torch.cat([p.values for p in parts]), **first.attributes())

    def _read(self, path: Path) -> A:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt") as f:
                header = parse_json((f.metadata() or {})["farfield"])
                values = f.get_tensor("values")
            kind, keys = header.pop("kind"), tuple(header.pop("keys"))
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise FarfieldError(
                f"{path}: not a shard written by farfield, or damaged ({error}); delete it and run the command again"
            ) from error
        if kind != self.kind.kind:
            raise FarfieldError(f"{path}: holds {kind!r}, expected {self.kind.kind!r}")
        return self.kind(keys, values, **header)


def save(artifact: Artifact, folder: Path) -> None:
    """Write a whole artifact as one shard."""
    Store(folder, type(artifact)).write(0, artifact)


def load(folder: Path, kind: type[A]) -> A:
    """Read an artifact of a stated kind from its folder."""
    return Store(folder, kind).read()


def chunks(keys: Sequence[str], size: int) -> list[tuple[str, ...]]:
    """The fixed division of a key list into shards of ``size``."""
    return [tuple(keys[i : i + size]) for i in range(0, len(keys), size)]


def file_digest(paths: Iterable[Path]) -> str:
    """sha256 over the contents of files, in sorted order."""
    h = hashlib.sha256()
    for path in sorted(paths):
        with open(path, "rb") as f:
            while block := f.read(1 << 20):
                h.update(block)
    return h.hexdigest()


def write_bytes(path: Path, content: bytes) -> None:
    """Write beside, flush to disk, rename over: readers see the old file or the new one, never half of it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".writing-", suffix=path.name)
    except OSError as error:
        raise FarfieldError(
            f"{path.parent}: cannot write here ({error.strerror}); choose another output folder with -o"
        ) from error
    try:
        with os.fdopen(handle, "wb") as f:
            f.write(content)
            f.flush()
            os.fsync(f.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
