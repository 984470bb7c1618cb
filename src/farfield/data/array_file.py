"""Arrays of numpy: npy and npz, read no further than their headers warrant, and never as pickles."""

from __future__ import annotations

import contextlib
import math
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from farfield.core.error import FarfieldError
from farfield.data import budget
from farfield.data.content import Content, Unreadable, check_numbers, pick
from farfield.data.mask import Plane

KEYS = ("keys", "objid")
"""Arrays of an npz that name its rows."""


class Arrays:
    """The arrays of an npz by name, each checked against the length of the file before it is unpacked."""

    def __init__(self, path: Path) -> None:
        self._archive = zipfile.ZipFile(path)
        self._stored = path.stat().st_size
        self.files = [n.removesuffix(".npy") for n in self._archive.namelist() if n.endswith(".npy")]

    def header(self, name: str) -> tuple[tuple[int, ...], np.dtype]:
        with self._member(name) as file:
            return read_header(file)

    def __getitem__(self, name: str) -> np.ndarray:
        with self._member(name) as file:
            shape, dtype = read_header(file)
            size = math.prod(shape) * dtype.itemsize
            budget.check(size, self._stored)
            budget.check_left(size, self._archive.getinfo(file.name).file_size)
        with self._member(name) as file:
            array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
        return array

    def _member(self, name: str) -> IO[bytes]:
        return self._archive.open(f"{name}.npy")

    def close(self) -> None:
        self._archive.close()


@contextlib.contextmanager
def open_npz(path: Path) -> Iterator[Arrays]:
    """The arrays of an npz, while it is open."""
    arrays = Arrays(path)
    try:
        yield arrays
    finally:
        arrays.close()


def read_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type that an npy stream claims; the stream stands behind them afterwards."""
    version = np.lib.format.read_magic(file)
    read: Any = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype


def load_npy(path: Path) -> np.ndarray:
    """The array of an npy file, which must be as long as its header says."""
    with open(path, "rb") as file:
        shape, dtype = read_header(file)
        budget.check_left(math.prod(shape) * dtype.itemsize, path.stat().st_size - file.tell())
        file.seek(0)
        array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
    return array


def only_plane(path: Path) -> np.ndarray:
    """The one array with two axes of an npy or npz file: a mask or a kernel.

    Raises:
        FarfieldError: none, several, or a damaged file.
    """
    try:
        if path.suffix.lower() == ".npy":
            arrays = [load_npy(path)]
        else:
            with open_npz(path) as file:
                arrays = [file[name] for name in file.files if len(file.header(name)[0]) == 2]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, Unreadable) as error:
        raise FarfieldError(f"{path}: expected an array [h, w], found a file that cannot be read ({error})") from error
    if len(arrays) != 1 or arrays[0].ndim != 2 or arrays[0].dtype.kind not in "biuf":
        found = f"{len(arrays)} of them" if len(arrays) != 1 else f"{arrays[0].shape} of {arrays[0].dtype}"
        raise FarfieldError(f"{path}: expected one array [h, w] of numbers, found {found}")
    return arrays[0]


def read_npy(path: Path, part: str | int | None) -> Content:
    """The one array of an npy file."""
    if part is not None:
        raise FarfieldError(f"{path}: an npy file holds one array, found {part!r} asked for; leave --hdu out")
    with open(path, "rb") as file:
        shape, dtype = read_header(file)
    check_numbers(dtype, shape, path.stat().st_size)
    return Content(load_npy(path).astype(np.float64))


def read_npz(path: Path, part: str | int | None) -> Content:
    """An array of an npz whose first axis counts fields, with its ``keys`` or ``objid``, and ``unit``."""
    with open_npz(path) as arrays:
        label = next((name for name in KEYS if name in arrays.files), None)
        beside = [n for n in arrays.files if n not in (label, "unit")]
        several = [n for n in beside if len(arrays.header(n)[0]) >= 2]  # a redshift a row, provenance … are no fields
        name = pick(path, beside if part is not None else several, part)
        shape, dtype = arrays.header(name)
        check_numbers(dtype, shape, path.stat().st_size)
        values = arrays[name].astype(np.float64)
        planes = tuple(Plane((n,), partial(_reread, path, n)) for n in several if n != name)
        unit = str(arrays["unit"]) if "unit" in arrays.files else ""
        names = arrays[label].astype(str).ravel().tolist() if label else None
    if values.ndim < 2:
        raise Unreadable(f"holds shape {shape}, expected two axes or more")
    return Content(values[None] if values.ndim == 2 else values, unit, "", names, rows=True, planes=planes)


def _reread(path: Path, name: str) -> np.ndarray:
    with open_npz(path) as arrays:
        return arrays[name]
