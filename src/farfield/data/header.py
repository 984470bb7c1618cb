"""The size of an image from the header of its file, without decoding it."""

from __future__ import annotations

from typing import IO

from farfield.data.tiff_file import MAGIC
from farfield.data.tiff_picture import read_tiff_page

Shape = tuple[int, int, int]
"""Channels, height, width."""

LYING = (5, 6, 7, 8)
"""EXIF orientations that turn a picture on its side."""


def header_shape(file: IO[bytes]) -> Shape:
    """The size that an image file decodes to; raises whatever Pillow raises where its header is damaged."""
    from PIL import Image, ImageOps

    if file.read(4) in MAGIC:
        file.seek(0)
        tiff = read_tiff_page(file.read(), pixels=False)
        if tiff.deep:
            return tiff.shape
    file.seek(0)
    with Image.open(file) as picture:
        width, height = picture.size
        if width != height and picture.getexif().get(0x0112) in LYING:  # a square is one whichever way it lies
            width, height = ImageOps.exif_transpose(picture).size
        grey = picture.mode[0] in "IF" or (picture.mode in ("1", "L") and "transparency" not in picture.info)
        return 1 if grey else 3, height, width
