"""Pictures in arrays: npz, npy and HDF5, with their names and classes."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from farfield.core.error import FarfieldError, missing
from farfield.core.note import say
from farfield.data.array_file import load_npy, open_npz, read_header
from farfield.data.budget import TooLarge
from farfield.data.collection import Collection, positions
from farfield.data.decode import PHYSICAL as PHYSICAL
from farfield.data.decode import hint
from farfield.data.field_file import HDF5
from farfield.data.hdf5_file import load
from farfield.data.kind import SIGNED, UNIT, Range, float_range
from farfield.data.labels import Classes, check_array
from farfield.data.picture import some

ENDINGS = (".npz", ".npy", *HDF5)
IMAGES = ("images", "image", "arr_0")
"""Names that images have where there are several arrays; arr_0 with the classes arr_1 is how samples are given out."""
KEYS = ("keys", "objid")
CLASSES = ("labels", "label", "targets", "target", "classes", "class", "y", "ans", "arr_1")
OTHERS = ("unit", "range", "class_names", "provenance")


@dataclass(frozen=True)
class _Arrays:
    """An open file: what is in it by name, and how to get at it."""

    path: Path
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, np.dtype]
    read: Callable[[str], np.ndarray]
    attributes: Mapping[str, Any]
    """Of the array of images, where the format has any: unit, range."""

    def image_name(self) -> str:
        rest = [n for n in self.shapes if n not in (*KEYS, *OTHERS) and not self._is_classes(n)]
        name = next((n for n in IMAGES if n in rest), rest[0] if len(rest) == 1 else None)
        if name is None:
            raise FarfieldError(
                f"{self.path}: expected an array 'images' or a single array, found {sorted(rest)}; rename one"
            )
        return name

    def class_name(self) -> str | None:
        return next((n for n in CLASSES if n in self.shapes and self._is_classes(n)), None)

    def _is_classes(self, name: str) -> bool:
        return name in CLASSES and len([n for n in self.shapes[name] if n != 1]) <= 1

    def text(self, name: str) -> str:
        value = self.attributes.get(name, self.read(name) if name in self.shapes else "")
        return value.decode() if isinstance(value, bytes) else str(value)

    def range(self) -> Range | None:
        value = self.attributes.get("range", self.read("range") if "range" in self.shapes else None)
        if value is None:
            return None
        numbers = tuple(float(v) for v in np.ravel(value))
        if numbers not in (UNIT, SIGNED):
            raise FarfieldError(f"{self.path}: range: expected [0, 1] or [-1, 1], found {list(numbers)}; mend it")
        return numbers


def peek(path: Path) -> tuple[np.dtype, str, Range | None]:
    """Type, unit and stated range of a file's images, without reading them."""
    with _opened(path) as arrays:
        return arrays.dtypes[arrays.image_name()], arrays.text("unit"), arrays.range()


def open_arrays(path: Path, labels: bool = True) -> Collection:
    """The images of an npz, npy or HDF5 file ``[n, H, W]``, ``[n, H, W, C]`` or ``[n, C, H, W]``.

    The channels are the last axis or the first: the one of 1 or 3, the last if both are, the shorter if neither is.
    Rows are named by the array ``keys`` or ``objid`` where that has a different name for each, else by zero-padded
    position (``000123``). Classes are in the first of `CLASSES` that is there, their names in ``class_names``.
    uint8, uint16 and bool fill their range; floats are as `data.kind.float_range` says.

    Raises:
        FarfieldError: no array of images, damaged or pickled ones, or numbers that are no picture's.
    """
    with _opened(path) as arrays:
        name = arrays.image_name()
        images = arrays.read(name)
        given = next((n for n in KEYS if n in arrays.shapes), None)
        keys = arrays.read(given).astype(str).ravel().tolist() if given else []
        of_class = arrays.class_name() if labels else None
        classes = arrays.read(of_class) if of_class else None
        names = arrays.read("class_names").astype(str).ravel().tolist() if "class_names" in arrays.shapes else []
        stated = arrays.range()
    images = _rows(images, path)
    if given and not len(keys) == len(images) == len(set(keys)):
        why = "not a different one for each" if len(keys) == len(images) else f"{len(keys)} for {len(images)} images"
        say(f"{path.name}: its {given} name no images ({why}); they are named by position")
        keys = []
    keys = keys or positions(len(images))
    pictures = _scaled(images, keys, path, stated)
    rows = {key: i for i, key in enumerate(keys)}
    _, height, width, channels = pictures.shape
    key_classes = Classes({}, ())
    if classes is not None:
        key_classes = check_array(classes, keys, f"{path}: {of_class}", names)
    return Collection(
        str(path), tuple(sorted(key_classes.kept(keys))), lambda key: pictures[rows[key]], lambda _: (channels, height, width),
        key_classes.of, key_classes.names,
    )  # fmt: skip


def leading_channels(shape: Sequence[int]) -> bool:
    """Whether the channels of ``[n, a, b, c]`` come first."""
    _, first, _, last = shape
    return last not in (1, 3) and (first in (1, 3) or first < last)


def _rows(images: np.ndarray, path: Path) -> np.ndarray:
    """Images as ``[n, h, w, c]``."""
    shape = tuple(images.shape)
    if images.ndim == 3:
        images = images[..., None]
    elif images.ndim == 4 and leading_channels(shape):
        images = images.transpose(0, 2, 3, 1)
    if images.ndim != 4 or not images.size:
        expected = "images [n, H, W], [n, H, W, C] or [n, C, H, W]"
        raise FarfieldError(f"{path}: expected {expected}, found shape {shape}; save them so")
    return images


def _scaled(images: np.ndarray, keys: Sequence[str], path: Path, stated: Range | None) -> np.ndarray:
    """Pictures of any number type as uint8, or float32 in [-1, 1]."""
    if images.dtype == np.uint8:
        return images
    if images.dtype == bool:
        return images.astype(np.uint8) * np.uint8(255)
    if images.dtype == np.uint16:
        hint(images, 65535, f"{path}: ")
        return (images * (2 / 65535) - 1).astype(np.float32)
    if images.dtype.kind != "f":
        raise FarfieldError(f"{path}: expected uint8, uint16, bool or float images, found {images.dtype}; convert them")
    finite = np.isfinite(images).all(axis=(1, 2, 3))
    if bad := [key for key, good in zip(keys, finite, strict=True) if not good]:
        raise FarfieldError(f"{path}: expected finite values, found NaN or infinity in {some(bad)}; mend or drop them")
    value_range = float_range(images, str(path), stated)
    if value_range is None:
        seen = f"{float(images.min()):.4g} … {float(images.max()):.4g}"
        raise FarfieldError(f"{path}: expected [-1, 1] or [0, 1], found {seen}; {PHYSICAL}")
    images = images.astype(np.float32)
    return (images if value_range == SIGNED else images * 2 - 1).clip(-1, 1)


@contextmanager
def _opened(path: Path) -> Iterator[_Arrays]:
    lower = path.name.lower()
    if lower.endswith(".npz"):
        if not zipfile.is_zipfile(path):
            raise FarfieldError(
                f"{path}: expected an npz (numpy.savez), found another or a damaged file; make it again"
            )
        opening: Callable[[Path], Any] = _npz
    else:
        opening = _npy if lower.endswith(".npy") else _hdf5
    try:
        with opening(path) as arrays:
            yield arrays
    except FarfieldError:
        raise
    except TooLarge as error:
        raise FarfieldError(f"{path}: {error}") from error
    except ImportError as error:
        raise missing(f"{path}: reading it", error.name) from error
    except Exception as error:  # zlib, zipfile, numpy and h5py each have their own
        reason = f"found damaged or object (pickled) ones ({error})"
        raise FarfieldError(f"{path}: expected plain numeric arrays, {reason}; save it again") from error


@contextmanager
def _npz(path: Path) -> Iterator[_Arrays]:
    with open_npz(path) as arrays:
        heads = {name: arrays.header(name) for name in arrays.files}
        yield _Arrays(
            path, {n: h[0] for n, h in heads.items()}, {n: h[1] for n, h in heads.items()}, arrays.__getitem__, {}
        )


@contextmanager
def _npy(path: Path) -> Iterator[_Arrays]:
    with open(path, "rb") as file:
        shape, dtype = read_header(file)
    yield _Arrays(path, {"images": shape}, {"images": dtype}, lambda _: load_npy(path), {})


@contextmanager
def _hdf5(path: Path) -> Iterator[_Arrays]:
    import h5py

    with h5py.File(path, "r") as file:
        datasets: dict[str, Any] = {}
        file.visititems(lambda name, item: datasets.update({name: item}) if isinstance(item, h5py.Dataset) else None)
        shapes = {name: item.shape for name, item in datasets.items()}
        images = {name: item for name, item in datasets.items() if item.ndim >= 3}
        attributes = dict(next(iter(images.values())).attrs) if len(images) == 1 else {}
        unit = next((attributes[n] for n in ("unit", "units", "BUNIT") if n in attributes), "")
        dtypes = {name: item.dtype for name, item in datasets.items()}
        yield _Arrays(path, shapes, dtypes, lambda name: load(path, name, datasets[name]), {**attributes, "unit": unit})
