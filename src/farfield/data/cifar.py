"""CIFAR-10 and CIFAR-100 as they are given out: the "python" batches, the "binary" ones, and tars of either.

(https://www.cs.toronto.edu/~kriz/cifar.html.) Pixels are bytes, channel by channel, 3×32×32 an image. A record of a
binary batch is one class (two in CIFAR-100: coarse, fine) and the pixels. A python batch is a pickle, read in cifar_pickle.
"""

from __future__ import annotations

import gzip
import io
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np

from farfield.core.error import FarfieldError
from farfield.data.cifar_pickle import read_batch
from farfield.data.collection import Collection, positions
from farfield.data.labels import check_array

SHAPE = (3, 32, 32)
PIXELS = 3 * 32 * 32
BATCHES = {"train": re.compile(r"(data_batch_\d+|train)(\.bin)?"), "test": re.compile(r"(test_batch|test)(\.bin)?")}
TAR = re.compile(r"cifar-100?[-\w]*\.(tar|tar\.gz|tgz)")
MOST = 160 << 20  # bytes of the batches of a split; those of both have 148 MiB
IN_TAR, MEMBERS = 2 * MOST, 1000  # bytes of a tar, unpacked, and what is in it; CIFAR's have 178 MiB and 8 members


def is_cifar(path: Path) -> bool:
    """By names: a tar of CIFAR, a folder of batches, or one batch (``train`` and ``test`` beside their ``meta``)."""
    if path.is_dir():
        return any(_is_batch(p) for p in path.iterdir())
    return TAR.fullmatch(path.name) is not None or _is_batch(path)


def _is_batch(path: Path) -> bool:
    if not any(name.fullmatch(path.name) for name in BATCHES.values()) or not path.is_file():
        return False
    return path.name not in ("train", "test") or (path.parent / "meta").is_file()


def open_cifar(path: Path, split: str, labels: bool = True) -> Collection:
    """The images of a split, ``train`` or ``test``, batch after batch; one batch by itself is all of it.

    Classes are CIFAR-10's, and CIFAR-100's fine ones.
    """
    batches = []
    try:
        for name, file, size in _batches(path, split):
            where = f"{path}: {name}"
            pixels, classes = (
                _read_binary(file, name, where) if name.endswith(".bin") else _read_python(file, size, where)
            )
            check_array(classes, positions(len(pixels)), where)
            batches.append((len(name), name, pixels, classes))
    except (FarfieldError, MemoryError):
        raise
    except Exception as error:  # damaged tars raise almost anything
        raise FarfieldError(
            f"{path}: expected a tar of CIFAR, or its batches, found damage ({error}); fetch it again"
        ) from error
    if not batches:
        raise FarfieldError(f"{path}: expected {split} batches of CIFAR, found none; unpack it again")
    batches.sort(key=lambda batch: batch[:2])
    pixels = batches[0][2] if len(batches) == 1 else np.concatenate([batch[2] for batch in batches])
    images = pixels.reshape(-1, *SHAPE).transpose(0, 2, 3, 1)
    return Collection.of_array(str(path), images, np.concatenate([batch[3] for batch in batches]) if labels else None)


def _batches(path: Path, split: str) -> Iterator[tuple[str, IO[bytes], int]]:
    """The batches of a split, open one after the other, with their names and sizes."""
    names: set[str] = set()
    left = MOST
    for name, file, size in (
        _in_tar(path, split) if TAR.fullmatch(path.name) and path.is_file() else _in_folder(path, split)
    ):
        left -= size
        if left < 0:
            raise _too_large(path, f"{MOST - left} bytes")
        if name in names:
            raise FarfieldError(f"{path}: expected each batch once, found {name} twice; unpack the right one")
        names.add(name)
        yield name, file, size


def _in_folder(path: Path, split: str) -> Iterator[tuple[str, IO[bytes], int]]:
    files = [path]
    if path.is_dir():
        files = [p for p in path.iterdir() if _is_batch(p) and BATCHES[split].fullmatch(p.name)]
    for file in files:
        with file.open("rb") as opened:
            yield file.name, opened, file.stat().st_size


def _in_tar(path: Path, split: str) -> Iterator[tuple[str, IO[bytes], int]]:
    with _Unpacked(path) as unpacked, tarfile.open(fileobj=unpacked, mode="r:") as archive:
        for count, member in enumerate(archive):
            if count > MEMBERS or not 0 <= member.size <= IN_TAR - member.offset_data:
                raise _too_large(path, f"{count} members, the last of {member.size} bytes")
            name = PurePosixPath(member.name).name
            if member.isreg() and not member.issparse() and BATCHES[split].fullmatch(name):
                file = archive.extractfile(member)
                assert file is not None  # it is a regular file
                yield name, file, member.size
        unpacked.seek(archive.offset)
        if unpacked.read(512) != bytes(512):
            raise EOFError("it ends without the mark of its end, so that batches may be missing")


class _Unpacked(io.RawIOBase):
    """A tar's bytes, out of gzip if they are in it; whoever reads or goes beyond `IN_TAR` is stopped."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        self.file: Any = gzip.open(path) if packed else path.open("rb")  # noqa: SIM115 — closed in close

    def read(self, size: int = -1) -> bytes:
        if size < 0 or self.file.tell() + size > IN_TAR:
            raise _too_large(self.path, f"{self.file.tell() + size} bytes")
        content: bytes = self.file.read(size)
        return content

    def seek(self, offset: int, whence: int = 0) -> int:
        if whence or not 0 <= offset <= IN_TAR:
            raise _too_large(self.path, f"{offset} bytes")
        at: int = self.file.seek(offset)
        return at

    def tell(self) -> int:
        at: int = self.file.tell()
        return at

    def close(self) -> None:
        self.file.close()
        super().close()


def _too_large(path: Path, excess: str) -> FarfieldError:
    return FarfieldError(
        f"{path}: expected {MOST >> 20} MiB of batches at most, in a tar of {IN_TAR >> 20} MiB and {MEMBERS} members, found "
        f"{excess}; it is not CIFAR"
    )


def _read_binary(file: IO[bytes], name: str, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Pixels ``[n, 3072]`` and classes: the last byte before the pixels."""
    content = file.read()
    before = 2 if name in ("train.bin", "test.bin") else 1
    length = before + PIXELS
    if not content or len(content) % length:
        raise FarfieldError(f"{where}: expected records of {length} bytes, found {len(content)}; fetch it again")
    records = np.frombuffer(content, np.uint8).reshape(-1, length)
    return records[:, before:], records[:, before - 1]


def _read_python(file: IO[bytes], size: int, where: str) -> tuple[np.ndarray, np.ndarray]:
    try:
        batch = read_batch(file, size)
        pixels = _numbers(batch["data"])
        classes = _numbers(batch.get("fine_labels", batch.get("labels")))
    except FarfieldError as error:
        raise FarfieldError(f"{where}: {error}") from error
    except MemoryError:
        raise
    except Exception as error:  # damaged pickles raise almost anything
        found_instead = f"found another or a damaged file ({ascii(str(error))[1:-1][:80] or type(error).__name__})"
        raise FarfieldError(f"{where}: expected a batch of CIFAR, {found_instead}; fetch it again") from error
    if pixels.dtype != np.uint8 or pixels.ndim != 2 or pixels.shape[1] != PIXELS or not len(pixels):
        instead = f"{pixels.dtype} {list(pixels.shape)}"
        raise FarfieldError(f"{where}: expected data as bytes [n, {PIXELS}], found {instead}; fetch it again")
    return pixels, classes


def _numbers(numbers: Any) -> np.ndarray:
    """An array, or a list of whole numbers as one; anything else is none."""
    if isinstance(numbers, list) and all(isinstance(value, int) for value in numbers):
        return np.array(numbers, np.int64)
    return numbers if isinstance(numbers, np.ndarray) else np.zeros(0)
