"""Images of a source as tensors, at a model's size and channels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from farfield.core.artifact import Images
from farfield.data.bundled import FIELD_DOMAINS, domain_of, load_domain
from farfield.data.labels import Classes
from farfield.data.picture import checked_shape, fit, say_fit
from farfield.data.source import open_collection
from farfield.data.subset import choose_keys


def list_keys(source: str | Path, *, strict: bool = False) -> list[str]:
    """The keys of a source, sorted, without decoding an image; ``strict`` decodes each, and a broken one is an error."""
    with open_collection(source, labels=False) as collection:
        if strict:
            for _ in collection.each(lambda key, picture: True, collection.keys, strict=True):
                pass
        return list(collection.keys)


def list_classes(source: str | Path) -> Classes:
    """The classes of a source's images, without decoding one; none where it has none. Errors as of `open_collection`."""
    with open_collection(source) as collection:
        return Classes(dict(collection.labels), collection.class_names)


def load_images(
    source: str | Path,
    shape: Sequence[int],
    *,
    keys: Sequence[str] | None = None,
    limit: int | None = None,
    strict: bool = False,
) -> Images:
    """Images of a source as float32 ``[n, C, H, W]`` in [-1, 1] at the model's ``shape`` (C, H, W).

    Pictures are turned as EXIF says, laid over white where transparent (first frame of an animation), cropped about the
    centre to the model's aspect ratio and resized with antialiasing (Lanczos). Grey is repeated for a model of 3
    channels, RGB becomes ITU-R 601 luminance for a model of 1; other channel counts must match.

    Args:
        source: whatever `data.source.open_collection` takes.
        keys: these, in this order; only what is asked for is decoded.
        limit: only the first so many.
        strict: a damaged image is an error. Otherwise it is left out and named in one FarfieldWarning, unless none is
            left.
    """
    size = checked_shape(shape)
    if (domain := domain_of(source)) in FIELD_DOMAINS:  # averaged as the physical numbers that they are
        return load_domain(str(domain), size, keys=keys, limit=limit)
    sizes: set[tuple[int, ...]] = set()

    with open_collection(source, labels=False) as collection:

        def fitted(key: str, picture: np.ndarray) -> torch.Tensor:
            sizes.add(picture.shape)
            return fit(picture, size, collection.label(key))

        chosen = choose_keys(collection.name, collection.keys, keys, limit)
        values = torch.empty(len(chosen), *size)
        good: list[str] = []
        for key, image in collection.each(fitted, chosen, strict=strict):
            values[len(good)] = image
            good.append(key)
        say_fit(collection.name, sizes, size)
    return Images(tuple(good), values[: len(good)])
