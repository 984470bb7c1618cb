"""The one door for images: a path of any known format, a pattern, a run of farfield, or a bundled domain's name."""

from __future__ import annotations

import contextlib
import functools
import io
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from farfield.core.artifact import Images, Store, check_unique
from farfield.core.error import FarfieldError, FarfieldWarning
from farfield.data import arrays, bundled, cifar, hub_dataset, idx, lsun, sketch
from farfield.data.collection import Collection
from farfield.data.decode import decode
from farfield.data.field_file import FITS
from farfield.data.header import Shape, header_shape
from farfield.data.kind import kind_of
from farfield.data.labels import Classes, read_classes
from farfield.data.listing import PICTURES, Listing, existing, is_container, one_file, run_command, survey, take
from farfield.data.picture import some
from farfield.data.place import SKETCH

SAMPLES = "samples"
"""Where a run keeps what it made: shards, or a file per image."""
MAKERS = ("generate", "expand", "prompt", "transfer")
"""Commands whose runs hold samples."""


@contextlib.contextmanager
def open_collection(source: str | Path, *, labels: bool = True) -> Iterator[Collection]:
    """The images of a source, to be read while it is open.

    Taken are: one image file; a folder, with all that lies below it (see `data.listing`), a zip or a pattern such as
    ``'folder/**/*.png'``; npz, npy and HDF5 (see `data.arrays`); the samples of a farfield run; MNIST's idx files (the
    images', with the labels' beside it), the batches of CIFAR-10 and CIFAR-100 (a folder, its tar or one batch;
    ``PATH[test]`` for the test images), LSUN's LMDB folders, data sets of Hugging Face (``hf:NAME`` or
    ``hf:NAME:SPLIT``), a bundled domain by its name, and the pencil drawings of any of these (``sketch:SOURCE``).

    Classes are as `data.labels.read_classes` finds them, or as the format has them; images without one are left out if
    others have one. With ``labels`` False they are neither read nor checked.

    Raises:
        FarfieldError: nothing there, a format that is not known, physical fields, or wrong labels.
    """
    if isinstance(source, str) and source.startswith(SKETCH):
        with open_collection(source.removeprefix(SKETCH), labels=labels) as collection:
            yield sketch.drawn(collection)
        return
    if isinstance(source, str) and source.startswith(hub_dataset.PREFIX):
        yield hub_dataset.open_hub(source, labels)
        return
    source, split = _split(source)
    if domain := bundled.domain_of(source):
        yield _domain(domain, labels)
        return
    path = existing(source)
    if cifar.is_cifar(path):
        yield cifar.open_cifar(path, split or "train", labels)
    elif split:
        raise FarfieldError(f"{source}[{split}]: expected CIFAR batches before [{split}], found none; leave it out")
    elif path.is_dir() and (command := run_command(path)):
        yield from _run(path, command)
    elif _shards(path):
        yield _stored(path)
    elif idx.is_idx(path):
        yield idx.open_idx(path, labels)
    elif lsun.is_lmdb(path):
        with lsun.open_lmdb(path) as collection:
            yield collection
    elif path.name.lower().endswith(arrays.ENDINGS):
        _check_pictures(path)
        yield arrays.open_arrays(path, labels)
    else:
        yield from _files(path, labels)


def _run(path: Path, command: str) -> Iterator[Collection]:
    """What a run of farfield has made."""
    inside = path / SAMPLES
    if command not in MAKERS or not inside.is_dir():
        makers = ", ".join(MAKERS)
        raise FarfieldError(
            f"{path}: a run of farfield {command} without samples; expected images, or a run of {makers}: give a folder in it"
        )
    if _shards(inside):
        yield _stored(inside)
    else:
        yield from _files(inside, labels=False)


def _shards(path: Path) -> bool:
    return path.is_dir() and next(path.glob("shard-*.safetensors"), None) is not None


def _stored(folder: Path) -> Collection:
    """Images in shards; what lies beyond [-1, 1] is kept."""
    store = Store(folder, Images)
    shapes: list[Shape] = []
    keys: list[str] = []
    places: list[tuple[int, int]] = []
    for i, part in enumerate(store.parts()):
        channels, height, width = part.values.shape[1:]
        shapes.append((channels, height, width))
        keys += part.keys
        places += [(i, row) for row in range(len(part))]
    check_unique(keys, Images.kind)
    place = dict(zip(keys, places, strict=True))

    @functools.lru_cache(2)  # pictures are asked for shard after shard
    def shard(i: int) -> torch.Tensor:
        return store.part(i).values

    def picture(key: str) -> np.ndarray:
        i, row = place[key]
        pixels: np.ndarray = shard(i)[row].float().permute(1, 2, 0).numpy()
        return pixels

    return Collection(str(folder), tuple(keys), picture, lambda key: shapes[place[key][0]])


def _files(path: Path, labels: bool) -> Iterator[Collection]:
    if not is_container(path):
        _check_pictures(path)
        with _pictures(one_file(path), labels=False) as collection:
            yield collection
        return
    with survey(path) as files:
        if kind_of(path, files) == "fields":
            raise FarfieldError(f"{path}: expected images, found physical fields; {arrays.PHYSICAL}")
        if not files.of(PICTURES) and files.folder is not None and files.of(arrays.ENDINGS):
            yield _merged(take(files, arrays.ENDINGS), files.folder, labels)
            return
        beside = [name for name in files.shown if name.lower().endswith((*FITS, *arrays.ENDINGS))]
        with _pictures(take(files, PICTURES, beside), labels) as collection:
            yield collection


def _merged(listing: Listing, folder: Path, labels: bool) -> Collection:
    """Several files of arrays as one collection, ``file/row``; ``file`` alone where it holds one image."""
    opened = {key: arrays.open_arrays(folder / file, labels) for key, file in listing.names.items()}
    place = {}
    for stem, part in opened.items():
        for key in part.keys:
            place[stem if len(part.keys) == 1 else f"{stem}/{key}"] = (part, key)
    classes: dict[str, int] = {}
    if all(part.labels and part.class_names == next(iter(opened.values())).class_names for part in opened.values()):
        classes = {key: part.labels[inner] for key, (part, inner) in place.items()}
    return Collection(
        listing.source,
        tuple(sorted(place)),
        lambda key: place[key][0].picture(place[key][1]),
        lambda key: place[key][0].shape(place[key][1]),
        classes,
        next(iter(opened.values())).class_names if classes else (),
    )


def _check_pictures(path: Path) -> None:
    if kind_of(path) == "fields":
        raise FarfieldError(f"{path}: expected images, found physical fields; {arrays.PHYSICAL}")


@contextlib.contextmanager
def _pictures(listing: Listing, labels: bool) -> Iterator[Collection]:
    coarse: list[str] = []
    names = listing.names
    where = str(Path(listing.source))

    def content(key: str) -> bytes:
        with listing.opened(names[key]) as file:
            return file.read()

    def picture(key: str) -> np.ndarray:
        pixels, lossy = decode(content(key), f"{where}: {names[key]}")
        if lossy:
            coarse.append(names[key])
        return pixels

    def shape(key: str) -> tuple[int, int, int]:
        return header_shape(io.BytesIO(content(key)) if listing.folder is None else listing.opened(names[key]))

    classes = read_classes(names, listing.opened, where) if labels else Classes()
    kept = tuple(classes.kept(names))
    yield Collection(where, kept, picture, shape, classes.of, classes.names, names)
    if coarse:
        lost = f"{where}: {len(coarse)} images of 16 bits a colour were read as 8 bits: {some(sorted(coarse))}"
        warnings.warn(FarfieldWarning(f"{lost}; an npz of uint16 or float keeps their precision"), stacklevel=4)


def _domain(name: str, labels: bool) -> Collection:
    if name in bundled.FIELD_DOMAINS:
        size = (1, bundled.CLOUD_SIDE, bundled.CLOUD_SIDE)

        def cloud(key: str) -> np.ndarray:
            pixels: np.ndarray = bundled.load_domain(name, size, keys=[key]).values[0].permute(1, 2, 0).numpy()
            return pixels

        return Collection(name, tuple(bundled.domain_keys(name)), cloud, lambda _: size)
    pictures = bundled.domain_pictures(name)

    def shape(key: str) -> tuple[int, int, int]:
        height, width, channels = pictures[key].shape
        return channels, height, width

    classes = bundled.domain_classes(name) if labels else Classes()
    return Collection(name, tuple(pictures), pictures.__getitem__, shape, classes.of, classes.names)


def _split(source: str | Path) -> tuple[str | Path, str]:
    """A source, and the split that stands in brackets behind it."""
    match = re.fullmatch(r"(.+)\[(train|test)\]", str(source))
    return (match[1], match[2]) if match and not Path(source).expanduser().exists() else (source, "")
