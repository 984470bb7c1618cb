"""CIFAR-10 and CIFAR-100 as they are given out: the "python" batches, the "binary" ones, and tars of either.

(https://www.cs.toronto.edu/~kriz/cifar.html.) Pixels are bytes, channel by channel, 3×32×32 an image. A record of a
binary batch is one class (two in CIFAR-100: coarse, fine) and the pixels. A python batch is a pickle; it is read by an
unpickler that can make numbers, text, lists, dicts and arrays of numbers, and nothing else: no name in it is looked up.
"""

from __future__ import annotations

import io
import pickle
import re
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from farfield.core.error import FarfieldError
from farfield.data.collection import Collection, positions
from farfield.data.labels import check_array

SHAPE = (3, 32, 32)
PIXELS = 3 * 32 * 32
BATCHES = {"train": re.compile(r"(data_batch_\d+|train)(\.bin)?"), "test": re.compile(r"(test_batch|test)(\.bin)?")}
TAR = re.compile(r"cifar-100?[-\w]*\.(tar|tar\.gz|tgz)")
MOST = 1 << 30  # bytes of one batch


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
    pixels, classes = [], []
    for name, content in sorted(_batches(path, split), key=lambda batch: (len(batch[0]), batch[0])):
        where = f"{path}: {name}"
        found = _read_binary(content, name, where) if name.endswith(".bin") else _read_python(content, where)
        pixels.append(found[0])
        check_array(found[1], positions(len(found[0])), where)
        classes.append(found[1])
    if not pixels:
        raise FarfieldError(f"{path}: expected {split} batches of CIFAR, found none; unpack it again")
    images = np.concatenate(pixels).reshape(-1, *SHAPE).transpose(0, 2, 3, 1)
    return Collection.of_array(str(path), images, np.concatenate(classes) if labels else None)


def _batches(path: Path, split: str) -> Iterator[tuple[str, bytes]]:
    if path.is_dir():
        files = [p for p in path.iterdir() if _is_batch(p) and BATCHES[split].fullmatch(p.name)]
        yield from ((p.name, p.read_bytes()) for p in files)
    elif TAR.fullmatch(path.name):
        try:
            with tarfile.open(path) as archive:
                for member in archive:
                    name = PurePosixPath(member.name).name
                    if member.isfile() and BATCHES[split].fullmatch(name) and member.size <= MOST:
                        file = archive.extractfile(member)
                        assert file is not None  # it is a regular file
                        yield name, file.read()
        except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
            raise FarfieldError(f"{path}: expected a tar of CIFAR, found damage ({error}); fetch it again") from error
    else:
        yield path.name, path.read_bytes()


def _read_binary(content: bytes, name: str, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Pixels ``[n, 3072]`` and classes: the last byte before the pixels."""
    before = 2 if name in ("train.bin", "test.bin") else 1
    if not content or len(content) % (before + PIXELS):
        found = f"found {len(content)}"
        raise FarfieldError(f"{where}: expected records of {before + PIXELS} bytes, {found}; fetch it again")
    records = np.frombuffer(content, np.uint8).reshape(-1, before + PIXELS)
    return records[:, before:], records[:, before - 1]


def _read_python(content: bytes, where: str) -> tuple[np.ndarray, np.ndarray]:
    try:
        found = _Unpickler(io.BytesIO(content), encoding="latin-1").load()
        batch = {_text(key): value for key, value in found.items()}
        pixels = _numbers(batch["data"])
        classes = _numbers(batch.get("fine_labels", batch.get("labels")))
    except FarfieldError as error:
        raise FarfieldError(f"{where}: {error}") from error
    except Exception as error:  # damaged pickles raise almost anything
        found_instead = f"found another or a damaged file ({error or type(error).__name__})"
        raise FarfieldError(f"{where}: expected a batch of CIFAR, {found_instead}; fetch it again") from error
    if pixels.dtype != np.uint8 or pixels.ndim != 2 or pixels.shape[1] != PIXELS or not len(pixels):
        instead = f"{pixels.dtype} {list(pixels.shape)}"
        raise FarfieldError(f"{where}: expected data as bytes [n, {PIXELS}], found {instead}; fetch it again")
    return pixels, classes


class _Array:
    """Stands for an array while its batch is unpickled; only bytes that numpy reads as numbers become one."""

    def __init__(self) -> None:
        self.value = np.empty(0)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, data = state
        data = data.encode("latin-1") if isinstance(data, str) else data  # Python 2's bytes
        self.value = np.frombuffer(data, dtype.value).reshape(shape, order="F" if fortran else "C")


class _Dtype:
    """Stands for the type of an array."""

    def __init__(self, name: str, *_: Any) -> None:
        if not re.fullmatch(r"[iu][1248]", name):
            raise FarfieldError(f"expected arrays of whole numbers, found {name!r}; convert it to the binary version")
        self.value = np.dtype(name)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.value = self.value.newbyteorder(state[1] if state[1] in ("<", ">") else "=")


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _frombuffer(data: bytes, dtype: _Dtype, shape: tuple[int, ...], order: str) -> _Array:
    array = _Array()
    array.__setstate__((1, shape, dtype, order == "F", data))
    return array


def _encode(text: str, *_: Any) -> bytes:
    return text.encode("latin-1")


class _Unpickler(pickle.Unpickler):
    """Gives these stand-ins for the names that pickled arrays call, and refuses every other name."""

    STAND_INS = {  # noqa: RUF012 — never changed
        "numpy ndarray": _Array,
        "numpy dtype": _Dtype,
        "multiarray _reconstruct": _reconstruct,
        "numeric _frombuffer": _frombuffer,
        "_codecs encode": _encode,
    }

    def find_class(self, module: str, name: str) -> Any:
        short = re.sub(r"^numpy\._?core\.", "", module)
        if f"{short} {name}" not in self.STAND_INS:
            raise FarfieldError(
                f"found {module}.{name}, which a batch of CIFAR has no use for and which might run code; "
                "nothing of it was run: get the file from its authors"
            )
        return self.STAND_INS[f"{short} {name}"]


def _text(key: Any) -> str:
    return key.decode("latin-1") if isinstance(key, bytes) else str(key)


def _numbers(found: Any) -> np.ndarray:
    return found.value if isinstance(found, _Array) else np.array(found)
