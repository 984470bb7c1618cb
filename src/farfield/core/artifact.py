"""What a run leaves on disk: keyed arrays as safetensors shards, settings and scores as JSON. Never a pickle.

An artifact is a row per key. A key is a file's stem or a seed; pairing is always by key, never by position. A folder
holds one artifact as ``shard-00000.safetensors``, ``shard-00001.safetensors`` … Each shard carries its own keys and is
put in place by one atomic rename, so a killed job leaves whole shards or nothing. It carries the digest of what it holds,
which is compared whenever it is read; shards of versions before that have none, and are read as they are.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

import torch
from torch import Tensor

from farfield.core.disk import write_bytes as write_bytes
from farfield.core.error import DamagedError, FarfieldError, FarfieldWarning, MachineError
from farfield.core.json_file import parse_json
from farfield.core.json_file import read_json as read_json
from farfield.core.score import Score as Score
from farfield.core.tensor_file import open_tensors

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
        check_unique(self.keys, self.kind)

    def __len__(self) -> int:
        return len(self.keys)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        """The values as NumPy takes them: ``numpy.asarray(images)``."""
        array = self.values.detach().cpu().numpy()
        return array.astype(array.dtype if dtype is None else dtype, copy=bool(copy))

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a row."""
        return tuple(self.values.shape[1:])

    def attributes(self) -> dict[str, Any]:
        """What belongs to the whole artifact rather than to a row; written beside each shard's keys."""
        return {}

    def select(self, keys: Sequence[str]) -> Self:
        """The rows of these keys, in this order."""
        rows = torch.tensor(find_places(self.keys, keys, self.kind), dtype=torch.long)
        return type(self)(tuple(keys), self.values[rows], **self.attributes())

    def renamed(self, keys: Sequence[str]) -> Self:
        """The same rows under other keys."""
        return type(self)(tuple(keys), self.values, **self.attributes())

    def parts(self, rows: int) -> Iterator[Self]:
        """All rows in their order, so many at a time."""
        for start in range(0, len(self), rows):
            part = slice(start, start + rows)
            yield type(self)(self.keys[part], self.values[part], **self.attributes())

    def digest(self) -> str:
        """sha256 over keys, shape, dtype, attributes and bytes: the same rows, whatever file they came from."""
        header = [list(self.keys), list(self.values.shape), str(self.values.dtype)]
        attributes = self.attributes()
        h = hashlib.sha256(json.dumps([*header, attributes] if attributes else header).encode())
        h.update(tensor_bytes(self.values))
        return h.hexdigest()


class Blocks(Protocol):
    """Rows under keys that are read block by block: an artifact, or what is larger than memory."""

    @property
    def keys(self) -> tuple[str, ...]: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    def __len__(self) -> int: ...
    def parts(self, rows: int) -> Iterator[Artifact]: ...


class Keyed(Blocks, Protocol):
    """Blocks whose rows can be chosen, put in order and renamed."""

    def select(self, keys: Sequence[str]) -> Self: ...
    def renamed(self, keys: Sequence[str]) -> Self: ...
    def digest(self) -> str: ...


def check_unique(keys: Sequence[str], kind: str) -> None:
    if len(set(keys)) != len(keys):
        twice = sorted(key for key, n in Counter(keys).items() if n > 1)[:3]
        raise FarfieldError(f"{kind}: keys must be unique, {twice} occur more than once")


def find_places(known: Sequence[str], keys: Sequence[str], kind: str) -> list[int]:
    """Where each of these keys stands among those known."""
    place = {key: i for i, key in enumerate(known)}
    if missing := [key for key in keys if key not in place]:
        raise FarfieldError(f"{kind}: no row for the keys {missing[:3]}; it holds {len(known)} rows")
    return [place[key] for key in keys]


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


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically; ``Score`` and other dataclasses become objects, NaN becomes null."""
    write_bytes(path, (json.dumps(_plain(value), indent=1, allow_nan=False) + "\n").encode())


def _plain(value: Any) -> Any:
    """What JSON has a word for."""
    if hasattr(value, "__dataclass_fields__"):
        return _plain(asdict(value))
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value


def write_kept(path: Path, value: Any) -> None:
    """JSON that a run reads again instead of computing it, with its checksum."""
    value = _plain(value)
    write_json(path, {"sha256": hashlib.sha256(json.dumps(value).encode()).hexdigest(), "value": value})


def read_kept(path: Path) -> Any:
    """What `write_kept` wrote; None where there is nothing, or where it is damaged, which is said."""
    if not path.exists():
        return None
    try:
        record = read_json(path)
        if not isinstance(record, dict) or "sha256" not in record:
            return record  # of a version without checksums
        if hashlib.sha256(json.dumps(record["value"]).encode()).hexdigest() != record["sha256"]:
            raise DamagedError("its checksum differs")
    except (DamagedError, KeyError):
        made_again(path)
        return None
    return record["value"]


def made_again(path: Path, what: str = "damaged") -> None:
    """Say that a piece of a run is not what was written, in one line."""
    warnings.warn(FarfieldWarning(f"{path}: {what}; made again"), stacklevel=3)


class Store(Generic[A]):
    """A folder that holds one artifact as shards: written piece by piece, read as a whole.

    Shard ``i`` always holds the ``i``-th chunk of the key list that the job was given, so an interrupted job that is
    given the same list again redoes only the shards that are missing and ends bit for bit as the unbroken one.

    Args:
        expected: its keys, where they are known: other rows are refused.
    """

    def __init__(self, folder: Path, kind: type[A], expected: Sequence[str] | None = None):
        self.folder = folder
        self.kind = kind
        self.expected = expected

    def _shard(self, index: int) -> Path:
        return self.folder / f"shard-{index:05d}.safetensors"

    def has(self, index: int) -> bool:
        return self._shard(index).exists()

    def whole(self, index: int, keys: Sequence[str]) -> bool:
        """Whether shard ``index`` is there and holds these keys as they were written; that it is there and does not is said."""
        if not self.has(index):
            return False
        if self._shard(index).is_dir():
            raise FarfieldError(f"{self._shard(index)}: a folder where a file belongs; move it away and run again")
        try:
            if self._read(self._shard(index)).keys == tuple(keys):
                return True
            made_again(self._shard(index), "holds other rows")
        except DamagedError:
            made_again(self._shard(index))
        return False

    def trim(self, count: int) -> None:
        """Remove shards beyond the first ``count``, of a job that was divided otherwise."""
        for path in self.shards()[count:]:
            warnings.warn(FarfieldWarning(f"{path}: one shard too many; removed"), stacklevel=2)
            path.unlink()

    def write(self, index: int, artifact: A) -> None:
        """Put shard ``index`` in place with one atomic rename."""
        from safetensors.torch import save

        header = {"kind": artifact.kind, "keys": list(artifact.keys), **artifact.attributes()}
        # One entry: safetensors writes several in an order left to chance.
        metadata = {"farfield": json.dumps({**header, "sha256": artifact.digest()})}
        values = artifact.values.detach().cpu().contiguous()
        write_bytes(self._shard(index), save({"values": values}, metadata=metadata))

    def shards(self) -> list[Path]:
        return sorted(self.folder.glob("shard-*.safetensors"))

    def parts(self) -> Iterator[A]:
        """The artifact shard by shard, in the order of the key list: one is held at a time."""
        return (self._read(path) for path in self.shards())

    def part(self, place: int) -> A:
        """The shard at a place among `shards`."""
        return self._read(self.shards()[place])

    def check(self, keys: Sequence[str]) -> None:
        """Refuse what was read, if it is not what was written."""
        if self.expected is not None and tuple(keys) != tuple(self.expected):
            raise MachineError(f"{self.folder}: holds other rows than were written there; give the same command again")

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
        self.check(keys)
        return self.kind(keys, torch.cat([p.values for p in parts]), **first.attributes())

    def _read(self, path: Path) -> A:
        from safetensors import SafetensorError

        try:
            with open_tensors(path) as f:
                header = parse_json((f.metadata() or {})["farfield"])
                values = f.get_tensor("values")
            kind, keys, digest = header.pop("kind"), tuple(header.pop("keys")), header.pop("sha256", None)
            if kind != self.kind.kind:
                raise FarfieldError(f"it holds {kind!r}, expected {self.kind.kind!r}")
            artifact = self.kind(keys, values, **header)
            if digest not in (None, artifact.digest()):
                raise FarfieldError("its checksum differs")
        except (OSError, SafetensorError, LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise DamagedError(
                f"{path}: not a shard written by farfield, or damaged ({error}); delete it and run the command again"
            ) from error
        return artifact


def save(artifact: Artifact, folder: Path) -> None:
    """Write a whole artifact as one shard."""
    Store(folder, type(artifact)).write(0, artifact)


def load(folder: Path, kind: type[A]) -> A:
    """Read an artifact of a stated kind from its folder."""
    return Store(folder, kind).read()


def chunks(keys: Sequence[str], batch_size: int) -> list[tuple[str, ...]]:
    """The fixed division of a key list into shards of ``batch_size``."""
    if batch_size < 1:
        raise FarfieldError(f"batches of {batch_size}: expected at least 1 at a time")
    return [tuple(keys[i : i + batch_size]) for i in range(0, len(keys), batch_size)]


def file_digest(paths: Iterable[Path]) -> str:
    """sha256 over the contents of files, in sorted order."""
    h = hashlib.sha256()
    for path in sorted(paths):
        with open(path, "rb") as f:
            while block := f.read(1 << 20):
                h.update(block)
    return h.hexdigest()


def tensor_bytes(values: Tensor) -> memoryview:
    """A tensor's bytes, of any dtype, without a copy of what is on the CPU."""
    return values.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
