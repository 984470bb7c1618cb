"""TIFF as physical fields: its numbers unpacked and masked by what GDAL and the standard write beside them."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from farfield.core.error import FarfieldError
from farfield.data.content import Content, Unreadable, check_numbers
from farfield.data.mask import Plane

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
ORIENTATION, NODATA, GDAL_METADATA = 274, 42113, 42112
TRANSPARENCY_MASK, WHITE_IS_ZERO = 4, 0
ELSEWHERE = "imagecodecs"
"""The library to which tifffile leaves some compressions, as its errors say; Pillow has them for one sample a pixel."""
ITEM = re.compile(r"<Item\b([^>]*)>([^<]*)</Item>")


@contextlib.contextmanager
def open_tiff(file: Path | IO[bytes]) -> Iterator[Any]:
    """A TIFF by itself: where its metadata name other files (OME, Micro-Manager), those are not opened."""
    import tifffile

    logging.getLogger("tifffile").addHandler(logging.NullHandler())  # what it says of damage is said in the error
    with tifffile.TiffFile(file, _multifile=False, is_ndtiff=False, is_mmstack=False) as opened:
        yield opened


def read_tiff(path: Path, part: str | int | None) -> Content:
    """The series of pages ``part`` (a number from 0), the first if not given.

    Where a pixel has samples, they are the channels. Numbers are ``stored * scale + offset`` of GDAL's metadata, and
    NaN where they equal its GDAL_NODATA (https://gdal.org, GTiff driver). A picture that its file turns is turned.
    """
    if part is not None and not str(part).isdigit():
        raise FarfieldError(f"{path}: a TIFF has no array {part!r}; expected the number of a series of pages, from 0")
    with open_tiff(path) as opened:
        every = [s for s in opened.series if not (s.keyframe.is_mask or s.keyframe.is_reduced)]
        if int(part or 0) >= len(every):
            raise FarfieldError(
                f"{path}: expected a series of pages {part}, found {len(every)} of them, counted from 0"
            )
        series, page = every[int(part or 0)], every[int(part or 0)].keyframe
        check_numbers(series.dtype, series.shape, path.stat().st_size)
        samples = "S" in series.axes
        stored = _array(path, series, page)
        if samples:
            stored = np.moveaxis(stored, series.axes.index("S"), -3)
        content = Content(stored.astype(np.float64), samples=samples)
        _unpack(content, stored, page)
        content.values = upright(content.values, tag(page, ORIENTATION, 1))
        if part is None and len(every) > 1:
            content.notes.append(
                f"the first series of pages is read, {len(every) - 1} of other sizes passed over; --hdu names one"
            )
        masks = [i for i, p in enumerate(opened.pages) if int(p.photometric) == TRANSPARENCY_MASK]
        if len(masks) == 1:
            content.planes = (Plane(("transparency mask",), lambda: _read_page(path, masks[0]), inside=True),)
    return content


def _array(path: Path, series: Any, page: Any) -> np.ndarray:
    try:
        array: np.ndarray = series.asarray()
    except (ValueError, NotImplementedError) as error:
        if ELSEWHERE not in str(error):
            raise
        if page.samplesperpixel > 1 or int(page.photometric) == WHITE_IS_ZERO or page.bitspersample not in (8, 16, 32):
            raise Unreadable(f"{error}; save it uncompressed or with deflate") from error
        from PIL import Image

        planes = []
        with Image.open(path) as picture:
            for at in [p.index for p in series.pages]:
                picture.seek(at)
                planes.append(np.asarray(picture))
        array = np.stack(planes).reshape(series.shape)
    return array


def _unpack(content: Content, stored: np.ndarray, page: Any) -> None:
    """GDAL's scale and offset, one or one for each sample, and its value for no data."""
    packing: dict[str, dict[int, float]] = {"scale": {}, "offset": {}}
    for attributes, text in ITEM.findall(str(tag(page, GDAL_METADATA, ""))):
        given = dict(re.findall(r'(\w+)="([^"]*)"', attributes))
        if given.get("role") in packing:
            packing[given["role"]][int(given.get("sample", 0))] = float(text)
    if packing["scale"] or packing["offset"]:
        count = stored.shape[-3] if content.samples else 1
        scale, offset = (
            np.array([packing[role].get(i, packing[role].get(0, default)) for i in range(count)])[:, None, None]
            for role, default in (("scale", 1.0), ("offset", 0.0))
        )
        packed = content.values
        content.values = packed * scale + offset if content.samples else packed * scale[0] + offset[0]
        content.notes.append("packed numbers are unpacked (GDAL's scale and offset)")
    try:
        gap = float(str(tag(page, NODATA, "nan")).strip(" \0"))
    except ValueError:
        return
    content.blank(stored == (stored.dtype.type(gap) if stored.dtype.kind == "f" else gap), f"GDAL_NODATA {gap:g}")


def _read_page(path: Path, at: int) -> np.ndarray:
    with open_tiff(path) as opened:
        page = opened.pages[at]
        check_numbers(page.dtype, page.shape, path.stat().st_size)
        return upright(page.asarray(), tag(page, ORIENTATION, 1))


def upright(array: np.ndarray, orientation: int) -> np.ndarray:
    """An array ``[…, h, w]`` turned and mirrored as the tag Orientation says (TIFF 6.0, p. 36)."""
    if orientation in (5, 6, 7, 8):
        array = np.swapaxes(array, -1, -2)
    if orientation in (3, 4, 7, 8):
        array = np.flip(array, -2)
    return np.flip(array, -1) if orientation in (2, 3, 6, 7) else array


def tag(page: Any, code: int, default: Any) -> Any:
    entry = page.tags.get(code)
    return default if entry is None else entry.value
