"""LSUN's LMDB folders: encoded images by an opaque key (needs the package lmdb)."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import numpy as np

from farfield.core.error import FarfieldError, missing
from farfield.data import lmdb_child
from farfield.data.collection import Collection
from farfield.data.decode import decode, warn_coarse
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
        import lmdb  # noqa: F401
    except ImportError as error:
        raise missing(f"{path}: an LMDB folder", "lmdb") from error
    with Reader(path) as reader:
        keys = tuple(key.decode("latin-1") for key in reader.every_key())
        if not keys:
            raise FarfieldError(f"{path}: expected images, found an empty LMDB folder; unpack it again")

        def picture(key: str) -> np.ndarray:
            pixels, coarse = decode(reader.value(key.encode("latin-1")), f"{path}: {key}")
            if coarse:
                warn_coarse(str(path))
            return pixels

        def shape(key: str) -> Shape:
            return header_shape(io.BytesIO(reader.value(key.encode("latin-1"))))

        yield Collection(str(path), keys, picture, shape)


class Reader:
    """What `data.lmdb_child` reads of a folder, for several threads; damage ends that process and is an error here."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()
        self._child = subprocess.Popen(
            [sys.executable, "-P", lmdb_child.__file__, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self._child.stdin and self._child.stdout and self._child.stderr
        self._asked, self._answers, self._said = self._child.stdin, self._child.stdout, self._child.stderr

    def every_key(self) -> Iterator[bytes]:
        """All keys; to be asked for once, before any value."""
        while (key := self._next()) is not None:
            yield key

    def value(self, key: bytes) -> bytes:
        with self._lock:
            with contextlib.suppress(BrokenPipeError):
                lmdb_child.send(self._asked, key)
                self._asked.flush()
            return self._next() or b""

    def _next(self) -> bytes | None:
        try:
            return lmdb_child.receive(self._answers)
        except EOFError:
            code = self._child.wait()
            reason = self._said.read().decode("utf-8", "replace").strip() or f"its reader ended with {code}"
        raise FarfieldError(f"{self._path}: expected an LMDB folder, found damage ({reason}); unpack it again")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.kill()  # it only reads
        self._child.wait()
        for stream in (self._asked, self._answers, self._said):
            with contextlib.suppress(BrokenPipeError):
                stream.close()
