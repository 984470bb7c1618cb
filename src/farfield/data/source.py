"""The one door for sources that are read one image at a time: a path of any known format, or a domain's name."""

from __future__ import annotations

import contextlib
import posixpath
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np

from farfield.core.error import FarfieldError, FarfieldWarning
from farfield.data import bundled, cifar, hub_dataset, idx, lsun
from farfield.data import labels as classes
from farfield.data.collection import Collection
from farfield.data.header import header_shape, npz_shape
from farfield.data.image import decode, existing, image_files, npz_pictures
from farfield.data.picture import some


@contextlib.contextmanager
def open_collection(source: str | Path, *, labels: bool = True) -> Iterator[Collection]:
    """The images of a source, to be read while it is open.

    Besides what `data.bundled.open_images` takes: MNIST's idx files (the images', with the labels' beside it), the
    batches of CIFAR-10 and CIFAR-100 (a folder, its tar or one batch; ``PATH[test]`` for the test images), LSUN's LMDB
    folders, and data sets of Hugging Face (``hf:NAME`` or ``hf:NAME:SPLIT``).

    Classes come from a dataset.json, from the array ``labels`` of an npz, from folders side by side (numbered in the
    order of their names), or as the format has them. With ``labels`` False they are neither read nor checked.

    Raises:
        FarfieldError: nothing there, a format that is not known, or wrong labels.
    """
    if isinstance(source, str) and source.startswith(hub_dataset.PREFIX):
        yield hub_dataset.open_hub(source, labels)
        return
    source, split = _split(source)
    if bundled.means_domain(source):
        yield _domain(str(source), labels)
        return
    path = existing(source)
    if cifar.is_cifar(path):
        yield cifar.open_cifar(path, split or "train", labels)
    elif split:
        raise FarfieldError(f"{source}[{split}]: expected CIFAR batches before [{split}], found none; leave it out")
    elif idx.is_idx(path):
        yield idx.open_idx(path, labels)
    elif lsun.is_lmdb(path):
        with lsun.open_lmdb(path) as found:
            yield found
    elif path.suffix.lower() == ".npz":
        yield _npz(path, labels)
    else:
        with _pictures(path, labels) as found:
            yield found


@contextlib.contextmanager
def _pictures(path: Path, labels: bool) -> Iterator[Collection]:
    coarse: list[str] = []
    with image_files(path) as (names, opened):

        def picture(key: str) -> np.ndarray:
            with opened(names[key]) as file:
                found, lossy = decode(file.read(), f"{path}: {names[key]}")
            if lossy:
                coarse.append(names[key])
            return found

        def shape(key: str) -> tuple[int, int, int]:
            with opened(names[key]) as file:
                return header_shape(file)

        container = path.is_dir() or zipfile.is_zipfile(path)
        found = _labels(path, names, opened) if labels and container else {}
        yield Collection(str(path), tuple(names), picture, shape, found)
    if coarse:
        lost = f"{path}: {len(coarse)} images of 16 bits a colour were read as 8 bits: {some(sorted(coarse))}"
        warnings.warn(FarfieldWarning(f"{lost}; an npz of uint16 or float keeps their precision"), stacklevel=4)


def _labels(path: Path, names: dict[str, str], opened: Callable[[str], IO[bytes]]) -> dict[str, int]:
    """From a dataset.json in the images' common folder or above it, else from class folders."""
    top = PurePosixPath(posixpath.commonpath([posixpath.dirname(name) for name in names.values()]))
    for folder in (top, *top.parents):
        prefix = "" if folder == PurePosixPath() else f"{folder}/"
        name = prefix + classes.FILE
        try:
            with opened(name) as file:
                content = file.read()
        except (KeyError, FileNotFoundError):
            continue
        relative = {key: n.removeprefix(prefix) for key, n in names.items()}
        return classes.parse_labels(content, f"{path}: {name}", relative)
    return classes.folder_labels(names)


def _npz(path: Path, labels: bool) -> Collection:
    size = npz_shape(path)
    rows, pictures = npz_pictures(path, size[0])
    found: dict[str, int] = {}
    if labels:
        with np.load(path, allow_pickle=False) as arrays:
            given = arrays["labels"] if "labels" in arrays.files else None
        if given is not None:
            checked = classes.check_array(given, len(pictures), f"{path}: labels").tolist()
            found = {key: checked[row] for key, row in rows.items()}
    return Collection(str(path), tuple(sorted(rows)), lambda key: pictures[rows[key]], lambda _: size, found)


def _domain(name: str, labels: bool) -> Collection:
    if name in bundled.FIELD_DOMAINS:
        size = (1, bundled.CLOUD_SIDE, bundled.CLOUD_SIDE)

        def cloud(key: str) -> np.ndarray:
            return bundled.load_domain(name, size, keys=[key]).values[0].permute(1, 2, 0).numpy()

        return Collection(name, tuple(bundled.source_keys(name)), cloud, lambda _: size)
    pictures = bundled.domain_pictures(name)

    def shape(key: str) -> tuple[int, int, int]:
        height, width, channels = pictures[key].shape
        return channels, height, width

    return Collection(name, tuple(pictures), pictures.__getitem__, shape, bundled.domain_labels(name) if labels else {})


def _split(source: str | Path) -> tuple[str | Path, str]:
    """A source, and the split that stands in brackets behind it."""
    match = re.fullmatch(r"(.+)\[(train|test)\]", str(source))
    return (match[1], match[2]) if match and not Path(source).expanduser().exists() else (source, "")
