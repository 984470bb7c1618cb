"""The size that all images of a source have."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from farfield.data.header import Shape
from farfield.data.source import open_collection


def natural_shape(source: str | Path, keys: Sequence[str] | None = None) -> Shape:
    """The (C, H, W) that all images of a source have, so that nothing need be resized; files are not decoded.

    C is 1 where a file is grey without transparency, else 3; arrays have their own. Damaged files are passed over:
    whatever reads them says so.

    Args:
        source: whatever `data.source.open_collection` takes.
        keys: only these images [default: all].

    Raises:
        FarfieldError: two images differ (it names both), or none can be read.
    """
    with open_collection(source, labels=False) as collection:
        return collection.common_shape(keys)
