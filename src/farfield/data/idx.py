"""MNIST's files: arrays of big-endian numbers behind a header that says their type and size, plain or gzipped.

    0, 0, type, number of axes, then the length of each axis (32 bits, big-endian), then the numbers

(http://yann.lecun.com/exdb/mnist; EMNIST, KMNIST and Fashion-MNIST use it too.)
"""

from __future__ import annotations

import gzip
import math
import re
import zlib
from pathlib import Path

import numpy as np

from farfield.core.error import FarfieldError
from farfield.data.budget import check_gzip
from farfield.data.collection import Collection

NAME = re.compile(r".*[-.]idx[13]-ubyte(\.gz)?")
TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def is_idx(path: Path) -> bool:
    """By the name of the file; a folder of such files is an error that names them."""
    if path.is_dir():
        files = sorted(p.name for p in path.iterdir() if NAME.fullmatch(p.name) and "images" in p.name)
        if files:
            raise FarfieldError(f"{path}: expected one set, found the idx files {', '.join(files)}; give one of them")
    return path.is_file() and NAME.fullmatch(path.name) is not None


def open_idx(path: Path, labels: bool = True) -> Collection:
    """Images ``[n, h, w]`` of bytes, and the classes of the file beside it whose name says labels for images."""
    images = read_idx(path)
    if images.ndim != 3 or images.dtype != np.uint8 or not images.size:
        seen = f"{images.dtype} {list(images.shape)}"
        raise FarfieldError(f"{path}: expected images, bytes [n, h, w], found {seen}; give the file of the images")
    beside = _labels_file(path) if labels else None
    classes = read_idx(beside) if beside else None
    return Collection.of_array(str(path), images[..., None], classes, str(beside))


def read_idx(path: Path) -> np.ndarray:
    """The array of one file."""
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            check_gzip(path)
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise FarfieldError(f"{path}: cannot be read ({error}); fetch it again") from error
    axes = content[3] if len(content) > 3 else 0
    start = 4 + 4 * axes
    if content[:2] != b"\0\0" or len(content) < start or content[2] not in TYPES:
        raise FarfieldError(f"{path}: expected an idx file, found another or a damaged one; fetch it again")
    shape = tuple(int(n) for n in np.frombuffer(content, ">u4", axes, 4))
    dtype = np.dtype(TYPES[content[2]])
    if len(content) - start != math.prod(shape) * dtype.itemsize:
        wanted = f"{math.prod(shape) * dtype.itemsize} bytes of numbers for {list(shape)}"
        raise FarfieldError(f"{path}: expected {wanted}, found {len(content) - start}; fetch it again")
    return np.frombuffer(content, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))


def _labels_file(path: Path) -> Path | None:
    name = path.name.removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1")
    candidates = (path.with_name(n) for n in (name, name + ".gz") if n != path.name)
    return next((p for p in candidates if p.is_file()), None)
