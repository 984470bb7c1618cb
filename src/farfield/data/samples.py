"""Sets of samples under their seeds, wherever they come from: a run of ours, or anybody's folder of images."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from farfield.core.artifact import Images
from farfield.data.image_set import ImageSet
from farfield.data.picture import fit_stored
from farfield.data.source import open_collection
from farfield.data.subset import first


def open_samples(source: str | Path, *, limit: int | None = None) -> Images:
    """`open_image_set`, read as a whole: float32 ``[n, C, H, W]``, nominally in [-1, 1]."""
    return open_image_set(source, limit=limit).images()


def open_image_set(source: str | Path, *, limit: int | None = None) -> ImageSet:
    """Samples at the size they have; only their keys are held in memory.

    Keys that are whole numbers are seeds and lose their leading zeros: the file ``000123.png`` is seed ``123``, and so is
    ``000000/000123.png`` in EDM's folders of a thousand.

    Args:
        source: whatever `data.source.open_collection` takes; of a run of farfield, what it made.
        limit: only the first so many, which are all that is read.

    Raises:
        FarfieldError: nothing to be read, images of several sizes, or fewer than ``limit``.
    """
    with open_collection(source, labels=False) as collection:
        keys = first(collection.keys, limit, None, collection.name)
        size = collection.common_shape(keys)
        rows = collection.each(lambda key, picture: fit_stored(picture, size, collection.label(key)), keys)
        images = ImageSet.of(rows)
    return images.renamed(seed_keys(images.keys))


def seed_keys(keys: Sequence[str]) -> tuple[str, ...]:
    """Whole numbers without leading zeros; all as they are if two would become one."""
    plain = tuple(_seed(key) for key in keys)
    return plain if len(set(plain)) == len(plain) else tuple(keys)


def _seed(key: str) -> str:
    match = re.fullmatch(r"(?:([0-9]{6})/)?([0-9]+)", key)
    if match is None or (match[1] and int(match[1]) != int(match[2]) // 1000 * 1000):
        return key
    return str(int(match[2]))
