"""LSUN's LMDB folders: encoded images by an opaque key (needs the package lmdb)."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from farfield.core.error import FarfieldError
from farfield.data.collection import Collection
from farfield.data.decode import decode
from farfield.data.header import Shape, header_shape


def is_lmdb(path: Path) -> bool:
    return (path / "data.mdb").is_file()


@contextlib.contextmanager
def open_lmdb(path: Path) -> Iterator[Collection]:
    """The images of an LMDB folder, in the order of its keys (bytes as Latin-1); read-only, no lock is taken.

    Raises:
        FarfieldError: the package lmdb is not there, or the folder is damaged or empty.
    """
    try:
        import lmdb
    except ImportError as error:
        raise FarfieldError(f"{path}: an LMDB folder needs the package lmdb; `pip install lmdb`") from error
    try:
        store = lmdb.open(str(path), readonly=True, lock=False, readahead=False, create=False)
        with store.begin() as read:
            keys = tuple(bytes(key).decode("latin-1") for key in read.cursor().iternext(values=False))
    except lmdb.Error as error:
        raise FarfieldError(f"{path}: expected an LMDB folder, found damage ({error}); unpack it again") from error
    if not keys:
        raise FarfieldError(f"{path}: expected images, found an empty LMDB folder; unpack it again")

    def content(key: str) -> bytes:
        with store.begin() as read:  # one for each thread
            return bytes(read.get(key.encode("latin-1"), b""))

    def picture(key: str) -> np.ndarray:
        return decode(content(key), f"{path}: {key}")[0]

    def shape(key: str) -> Shape:
        return header_shape(io.BytesIO(content(key)))

    with store:
        yield Collection(str(path), keys, picture, shape)
