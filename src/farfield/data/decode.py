"""The bytes of an image file to a picture, at the depth that the file has, by one rule for every container."""

from __future__ import annotations

import io
import re
import warnings
from typing import Any

import numpy as np

from farfield.core.error import FarfieldError, FarfieldWarning
from farfield.core.note import say
from farfield.data import budget
from farfield.data.tiff_file import MAGIC
from farfield.data.tiff_picture import Tiff, as_picture, read_tiff_page

BACKGROUND = (255, 255, 255)
"""What transparent pixels are laid over: white, the page that such drawings are made for."""
PHYSICAL = "physical data need --stretch (`farfield expand --stretch auto`), or rescale them first"
NARROW = (8, 10, 12, 14)
"""Depths of sensors whose counts are often stored in 16 bits."""


def decode(data: bytes, name: str) -> tuple[np.ndarray, bool]:
    """A file's picture as ``fit`` takes it, and whether its colours of more than 8 bits were cut to 8.

    The picture is ``[h, w, c]``, uint8 or float32 in [-1, 1], upright as EXIF says, over BACKGROUND where transparent. Of
    an animation it is the first frame, of a TIFF the first page, which is said; ``name`` is ``SOURCE: FILE``, and each
    thing is said once a source, whatever the number of files.

    Raises:
        FarfieldError: numbers that are no picture's.
        Exception: whatever a decoder raises where a file is damaged; OSError where it would unpack to too much.
    """
    from PIL import Image, ImageOps

    if data[:4] in MAGIC:
        tiff = read_tiff_page(data)
        _say_of_tiff(tiff, name)
        if tiff.deep:
            return _deep_tiff(tiff, name), False
    with Image.open(io.BytesIO(data)) as opened:
        limit = Image.MAX_IMAGE_PIXELS
        if limit and opened.width * opened.height > limit:
            raise OSError(f"{opened.width}×{opened.height} is over the limit of {limit} pixels: shrink it")
        budget.check(opened.width * opened.height * len(opened.getbands()), len(data))
        if _moves(opened):
            say(f"{_source(name)}: of an animation the first frame is read")
        coarse = is_cut(opened, data)
        opened.load()
        picture = ImageOps.exif_transpose(opened)
    clear = picture.info.get("transparency")
    if picture.mode[0] in "IF":  # one channel of 16 or 32 bits, integer or float
        grey = np.asarray(picture).astype(np.float64)[..., None]
        top = 1 if picture.mode == "F" else 65535
        _check_range(grey, top, name)
        hint(grey, top, name)
        values = np.where(grey == clear, top, grey) if isinstance(clear, int) else grey
        return (values * (2 / top) - 1).astype(np.float32), coarse
    if coarse and isinstance(clear, tuple):
        raise OSError(
            "a transparent colour of 16 bits, which 8 bits cannot tell from others; save it with an alpha channel"
        )
    if clear is not None or picture.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, (*BACKGROUND, 255)), picture)
    mode = "L" if picture.mode in ("1", "L") else "RGB"
    return np.atleast_3d(np.asarray(picture.convert(mode))), coarse


def warn_coarse(source: str) -> None:
    """Say that colours of more than 8 bits were cut; once a source, whatever the number of its pictures."""
    lost = f"{source}: images of more than 8 bits a colour are read as 8 bits"
    warnings.warn(FarfieldWarning(f"{lost}; an npz of uint16 or float keeps their precision"), stacklevel=2)


def _deep_tiff(tiff: Tiff, name: str) -> np.ndarray:
    assert tiff.values is not None
    _check_range(tiff.values, tiff.top, name)
    if tiff.top == 65535:
        hint(tiff.values, tiff.top, name)
    return (as_picture(tiff, BACKGROUND[0] / 255) * 2 - 1).astype(np.float32)


def _say_of_tiff(tiff: Tiff, name: str) -> None:
    if tiff.pages > 1:
        more = "of a TIFF of several pages the first is read, pages 2 … are passed over"
        warnings.warn(FarfieldWarning(f"{_source(name)}: {more}; --stretch auto reads every page"), stacklevel=3)
    if tiff.no_data:
        say(f"{_source(name)}: GDAL_NODATA is not used for pictures; --stretch auto masks it")


def _check_range(values: np.ndarray, top: float, name: str) -> None:
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= top):  # true for NaN too
        raise FarfieldError(f"{name}: expected values in [0, {top:g}], found {low:.4g} … {high:.4g}; {PHYSICAL}")


def hint(values: np.ndarray, top: float, name: str) -> None:
    """Counts of a sensor of fewer bits, which fill a small part of the range, make pictures that are nearly black."""
    high = float(values.max())
    bits = next((bits for bits in NARROW if 0 < high < 2**bits), None)
    if top == 65535 and bits:
        say(
            f"{_source(name)}: 16-bit images whose values stay below {2**bits:,} of 65,535 are read as dark; if they hold "
            f"{bits} bits, multiply them by {2 ** (16 - bits)}, or read them as physical data (--stretch auto)"
        )


def _moves(opened: Any) -> bool:
    """Whether a file is an animation; a photograph's preview (MPO) is none, and pages of a TIFF are told elsewhere."""
    try:
        return opened.format not in ("TIFF", "MPO") and getattr(opened, "is_animated", False)
    except Exception:  # there is a second frame, which is damaged
        return True


def is_cut(opened: Any, data: bytes) -> bool:
    """Whether Pillow, which has no colours of more than 8 bits, cuts those of this file."""
    if len(opened.getbands()) == 1:
        return False
    if opened.format == "JPEG2000":
        at = data.find(b"\xff\x51")  # SIZ, whose components begin at byte 40 with their depth less one
        return at >= 0 and len(data) > at + 40 and data[at + 40] & 0x7F > 7
    if opened.format == "AVIF":
        at = data.find(b"av1C")  # its third byte has high_bitdepth
        return at >= 0 and len(data) > at + 6 and bool(data[at + 6] & 0x40)
    if opened.format == "PPM":
        return any(isinstance(part, int) and part > 255 for tile in opened.tile for part in tile[3])
    return bool(re.search(r"(RGB[AX]?|LA|CMYK);16", str(opened.tile)))


def _source(name: str) -> str:
    return name.partition(": ")[0]
