"""The size of an image from the header of its file, without decoding it."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np

from farfield.core.error import FarfieldError

Shape = tuple[int, int, int]
"""Channels, height, width."""

LYING = (5, 6, 7, 8)
"""EXIF orientations that turn a picture on its side."""


def header_shape(file: IO[bytes]) -> Shape:
    """The size that an image file decodes to; raises whatever Pillow raises where its header is damaged."""
    from PIL import Image, ImageOps

    with Image.open(file) as picture:
        width, height = picture.size
        if width != height and picture.getexif().get(0x0112) in LYING:  # a square is one whichever way it lies
            width, height = ImageOps.exif_transpose(picture).size
        grey = picture.mode[0] in "IF" or (picture.mode in ("1", "L") and "transparency" not in picture.info)
        return 1 if grey else 3, height, width


def npz_shape(path: Path) -> Shape:
    """The size of the images in an npz, from the header of their array alone.

    The channels are the last axis or the first (after n): the one of 1 or 3, the last if both are, the shorter if
    neither is.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [n for n in archive.namelist() if n not in ("keys.npy", "objid.npy")]
            with archive.open("images.npy" if "images.npy" in names else names[0]) as file:
                shape = _array_shape(file)
    except Exception as error:  # zlib, zipfile and numpy each have their own
        found = f"found another or a damaged file ({error or type(error).__name__})"
        raise FarfieldError(f"{path}: expected an npz of images, {found}; make it again") from error
    if len(shape) == 3:
        return 1, shape[1], shape[2]
    if len(shape) != 4:
        raise FarfieldError(f"{path}: expected images [n, H, W], [n, H, W, C] or [n, C, H, W], found shape {shape}")
    _, first, middle, last = shape
    leading = last not in (1, 3) and (first in (1, 3) or first < last)
    return (first, middle, last) if leading else (last, first, middle)


def _array_shape(file: IO[bytes]) -> tuple[int, ...]:
    head = io.BytesIO(file.read(1 << 14))
    version = np.lib.format.read_magic(head)
    read: Any = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return tuple(read(head)[0])
