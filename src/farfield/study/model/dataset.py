"""Data sets from one format to another: a subset, a size, EDM's layout or an npz."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from farfield.command.dataset import DatasetConvert
from farfield.core.error import FarfieldError
from farfield.core.runtime import progress
from farfield.data.collection import Collection
from farfield.data.header import Shape
from farfield.data.picture import fit_stored
from farfield.data.source import open_collection
from farfield.data.subset import first
from farfield.data.write import format_of, write_dataset


@dataclass(frozen=True)
class Converted:
    """What was written: how many images of which (C, H, W), and in how many classes (0 without labels)."""

    out: str
    images: int
    shape: Shape
    classes: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        classes = f"{self.classes} classes" if self.classes else "no classes"
        return f"{self.out}: {self.images} images of {'×'.join(map(str, self.shape))}, {classes}"


def convert(settings: DatasetConvert) -> Converted:
    """Write a source's images, with their classes, as a folder or zip in EDM's layout or as an npz.

    Images keep the order of their keys; with a seed they are shuffled. A subset is drawn at random, with seed 0 if none is
    given, and nested: image k of the smaller is image k of the larger. EDM's layout numbers the images, an
    npz keeps their keys. The same source and options give the same bytes. A folder and a zip are written image by
    image, so that they may be larger than memory.

    Without ``channels`` images have those that all have; with ``resize``, 3 where some are in colour.

    Raises:
        FarfieldError: a wrong option, source or class; ``out`` is there and differs. Nothing is written then.
    """
    source, out, format = settings.source, settings.out, settings.format or format_of(settings.out)
    inside = Path(source).resolve() in (out.resolve(), *out.resolve().parents)
    if inside and format == "folder" and Path(source).is_dir():
        raise FarfieldError(f"{out}: lies in the source, and would be read as part of it; choose another place")
    with open_collection(source, labels=settings.labels) as collection:
        keys = first(collection.keys, settings.subset.max_images, settings.subset.shuffled_by, collection.name)
        shape = _shape(collection, keys, settings.resize, settings.channels)

        def rows() -> Iterator[tuple[str, Tensor]]:
            with progress("converting", len(keys), quiet=settings.printing.quiet) as advance:
                yield from collection.each(
                    lambda key, picture: fit_stored(picture, shape, collection.label(key), settings.resize_mode),
                    keys,
                    strict=settings.strict,
                    report=advance,
                )

        n = write_dataset(out, rows(), collection.labels, format, collection.class_names)
        classes = len({collection.labels[key] for key in keys}) if collection.labels else 0
    return Converted(str(out), n, shape, classes)


def _shape(collection: Collection, keys: Sequence[str], size: Sequence[int] | None, channels: int | None) -> Shape:
    """The size to bring images to: what is asked for, and for the rest what their headers say."""
    if size is None and channels is None:
        return collection.common_shape(keys)
    if size is None:
        size = _common_size(collection, keys)
    if channels is None:
        kinds = {c for _, (c, _, _) in collection.shapes(keys)}
        if len(kinds) > 1 and kinds != {1, 3}:
            raise FarfieldError(f"{collection.name}: expected grey or RGB images, found {sorted(kinds)} channels")
        channels = max(kinds)
    return channels, size[0], size[-1]


def _common_size(collection: Collection, keys: Sequence[str]) -> tuple[int, int]:
    """The height and width of all images, whatever their channels."""
    sizes: dict[tuple[int, int], str] = {}
    for key, (_, height, width) in collection.shapes(keys):
        sizes.setdefault((height, width), key)
    if len(sizes) > 1:
        one, other = (f"{h}×{w} ({key})" for (h, w), key in list(sizes.items())[:2])
        raise FarfieldError(f"{collection.name}: expected images of one size, found {one} and {other}; give --resize")
    return next(iter(sizes))
