"""TIFF as pictures of more than 8 bits: what Pillow cuts to 8 bits, shows as its negative or cannot read."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from farfield.data import budget
from farfield.data.tiff_file import ELSEWHERE, NODATA, ORIENTATION, WHITE_IS_ZERO, open_tiff, tag, upright

RGB, BLACK_IS_ZERO, SEPARATED = 2, 1, 5
SIGNIFICANT = re.compile(r'SignificantBits="(\d+)"')


@dataclass(frozen=True)
class Tiff:
    """What a TIFF holds besides its first page, and that page if it is ``deep``.

    ``channels`` are those of the picture that comes of it; ``values`` are ``[h, w, samples]`` as stored, upright.
    """

    shape: tuple[int, int, int]
    deep: bool
    pages: int
    top: float
    no_data: str = ""
    values: np.ndarray | None = None
    alpha: str = ""
    photometric: int = BLACK_IS_ZERO


def read_tiff_page(data: bytes, pixels: bool = True) -> Tiff:
    """The first page; with ``pixels`` its values too where it is deep.

    Deep is what has more than 8 bits a sample, signs, or floats. ``top`` is the white of its numbers: ``2^bits - 1`` with
    OME's SignificantBits for bits where they are given, 65,535 for 32 bits, 1 for floats.

    Raises:
        OSError: colours of more than 8 bits in a form that nothing here reads rightly.
    """
    with open_tiff(io.BytesIO(data)) as opened:
        page = opened.pages[0]
        pages = sum(1 for p in opened.pages if not (p.is_reduced or p.is_mask))
        height, width, samples = page.imagelength, page.imagewidth, page.samplesperpixel
        if tag(page, ORIENTATION, 1) >= 5:
            height, width = width, height
        kind, bits = page.dtype.kind if page.dtype else "u", page.bitspersample
        deep = kind != "b" and (kind != "u" or bits > 8)
        alpha = _alpha(page)
        coloured = samples - bool(alpha)
        top = 1.0 if kind == "f" else 65535.0 if bits > 16 else 2.0 ** (bits - (kind == "i")) - 1
        if match := SIGNIFICANT.search(page.description[: 1 << 16]):
            top = min(top, 2.0 ** int(match[1]) - 1)
        channels = 3 if int(page.photometric) in (RGB, SEPARATED) else coloured
        shape = (channels, height, width)
        plain = Tiff(shape, deep, pages, top, str(tag(page, NODATA, "")), None, alpha, int(page.photometric))
        if not deep or not pixels:
            return plain
        budget.check(height * width * samples * 4, len(data))
        return Tiff(shape, True, pages, top, plain.no_data, _values(page, data), alpha, int(page.photometric))


def as_picture(tiff: Tiff, background: float) -> np.ndarray:
    """A deep page as ``[h, w, c]``, float64 in units of its white, laid over ``background`` where transparent."""
    assert tiff.values is not None
    values = tiff.values.astype(np.float64) / tiff.top
    if tiff.photometric == WHITE_IS_ZERO:
        values[..., : tiff.shape[0]] = 1 - values[..., : tiff.shape[0]]
    if tiff.alpha:
        values, opacity = values[..., :-1], values[..., -1:]
        values = (values if tiff.alpha == "associated" else values * opacity) + background * (1 - opacity)
    if tiff.photometric == SEPARATED:  # cyan, magenta, yellow and black inks
        values = (1 - values[..., :3]) * (1 - values[..., 3:4])
    return values[..., :3] if tiff.photometric == RGB else values


def _values(page: Any, data: bytes) -> np.ndarray:
    if int(page.photometric) not in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, SEPARATED):
        raise OSError(f"{page.bitspersample} bits of {page.photometric.name}; save it as RGB")
    try:
        values: np.ndarray = page.asarray()
    except (ValueError, NotImplementedError) as error:
        if ELSEWHERE not in str(error):
            raise
        if page.samplesperpixel > 1:
            raise OSError(f"{error}; save it uncompressed or with deflate") from error
        from PIL import Image

        with Image.open(io.BytesIO(data)) as opened:
            values = np.asarray(opened)
    if "S" not in page.axes:
        values = values[..., None]
    elif page.axes.index("S") == 0:
        values = np.moveaxis(values, 0, -1)
    turned = upright(np.moveaxis(values, -1, 0), tag(page, ORIENTATION, 1))
    return np.moveaxis(turned, 0, -1)


def _alpha(page: Any) -> str:
    """How the last sample is transparency: "associated" (multiplied in), "unassociated", or "" where it is none."""
    kinds = [int(kind) for kind in page.extrasamples]
    return {1: "associated", 2: "unassociated"}.get(kinds[-1], "") if kinds else ""
