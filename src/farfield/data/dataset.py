"""A whole data set in memory, as training reads it: 8 bits a value where the source has no more, and its classes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from farfield.core.artifact import Images
from farfield.core.error import FarfieldError
from farfield.data.labels import matched
from farfield.data.picture import checked_shape, fit_stored, from_uint8, say_fit
from farfield.data.source import open_collection
from farfield.data.subset import first


@dataclass(frozen=True)
class Dataset:
    """Images ``[n, C, H, W]``, uint8 or float32 in [-1, 1], by key, with classes ``[n]`` (int64) where there are any.

    ``class_names`` are those of classes 0, 1, 2 …, where they have names.
    """

    keys: tuple[str, ...]
    images: Tensor
    labels: Tensor | None = None
    class_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        counts = {len(self.keys), len(self.images), len(self.keys if self.labels is None else self.labels)}
        if len(counts) > 1 or len(set(self.keys)) < len(self.keys):
            raise FarfieldError(
                f"data set: expected a different key and a class for each image, found {sorted(counts)}"
            )

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def shape(self) -> tuple[int, int, int]:
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    @property
    def classes(self) -> int:
        """How many classes there are: as many as have names, else the highest and one more; 0 without labels."""
        if self.labels is None:
            return 0
        return len(self.class_names) or int(self.labels.max()) + 1

    def values(self, index: Tensor | slice = slice(None)) -> Tensor:
        """Images as float32 in [-1, 1], ``[len(index), C, H, W]``."""
        return from_uint8(self.images[index])

    def as_images(self) -> Images:
        return Images(self.keys, self.values())

    def subset(self, n: int, seed: int | None = None) -> Dataset:
        """The first n, or with a seed n drawn at random; that of n holds that of n/2, in the same order."""
        place = {key: i for i, key in enumerate(self.keys)}
        keys = first(self.keys, n, seed, "data set")
        rows = torch.tensor([place[key] for key in keys])
        return self.rows(rows)

    def rows(self, index: Tensor) -> Dataset:
        """The images of these rows, with their classes."""
        keys = tuple(self.keys[i] for i in index.tolist())
        labels = None if self.labels is None else self.labels[index]
        return Dataset(keys, self.images[index], labels, self.class_names)

    def with_classes_of(self, names: Sequence[str], where: str, other: str) -> Dataset:
        """Its classes as ``other`` numbers them, by their names (see `data.labels.matched`)."""
        if self.labels is None:
            return self
        labels = matched(self.labels.tolist(), self.class_names, names, where, other)
        return replace(self, labels=torch.tensor(labels), class_names=tuple(names) or self.class_names)

    def digest(self) -> str:
        """sha256 over keys, images and classes: the same rows give the same digest, whatever file they came from."""
        content = hashlib.sha256(Images(self.keys, self.images).digest().encode())
        if self.labels is not None:
            content.update(self.labels.numpy().tobytes())
            content.update("\0".join(self.class_names).encode("utf-8", "surrogateescape"))
        return content.hexdigest()


def open_dataset(
    source: str | Path,
    *,
    shape: Sequence[int] | None = None,
    limit: int | None = None,
    seed: int | None = None,
    labels: bool = True,
    strict: bool = False,
) -> Dataset:
    """The images of a source in the order of their keys, brought to a size by the rules of `load_images`.

    Args:
        source: whatever `data.source.open_collection` takes.
        shape: (C, H, W) [default: what all images have].
        limit: only the first so many, or with ``seed`` so many drawn at random (nested in ``limit``).
        labels: read the classes, where there are any; False where they are wrong or not wanted.
        strict: a damaged image is an error instead of being left out.

    Raises:
        FarfieldError: images of several sizes without ``shape``, wrong classes, or nothing to be read.
    """
    with open_collection(source, labels=labels) as collection:
        keys = first(collection.keys, limit, seed, collection.name)
        size = collection.common_shape(keys) if shape is None else checked_shape(shape)
        images = torch.empty(len(keys), *size, dtype=torch.uint8)
        good: list[str] = []
        sizes: set[tuple[int, ...]] = set()

        def fitted(key: str, picture: np.ndarray) -> Tensor:
            sizes.add(picture.shape)
            return fit_stored(picture, size, collection.label(key))

        for key, image in collection.each(fitted, keys, strict=strict):
            if image.dtype != images.dtype:  # 8 bits no longer do
                images, image = from_uint8(images), from_uint8(image)
            images[len(good)] = image
            good.append(key)
        say_fit(collection.name, sizes, size)
    classes = torch.tensor([collection.labels[key] for key in good]) if collection.labels else None
    return Dataset(tuple(good), images[: len(good)], classes, collection.class_names if collection.labels else ())
