"""An image file's bytes to pixels, whatever its mode."""

from __future__ import annotations

import io
import re

import numpy as np

from farfield.core.error import FarfieldError

BACKGROUND = (255, 255, 255)
"""What transparent pixels are laid over: white, the page that such drawings are made for."""

PHYSICAL = "physical data need the science loader (`farfield expand --stretch auto`), or rescale them first"


def decode(data: bytes, name: str) -> tuple[np.ndarray, bool]:
    """A file's picture as ``fit`` takes it, and whether Pillow cut its 16-bit colours to 8 bits."""
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(data)) as opened:
        limit = Image.MAX_IMAGE_PIXELS
        if limit and opened.width * opened.height > limit:
            raise OSError(f"{opened.width}×{opened.height} is over the limit of {limit} pixels: shrink it")
        coarse = bool(re.search(r"(RGB[AX]?|LA|CMYK);16", str(opened.tile)))
        opened.load()
        picture = ImageOps.exif_transpose(opened)
    if picture.mode[0] in "IF":  # one channel of 16 or 32 bits, integer or float
        top = 1 if picture.mode == "F" else 65535
        grey = np.asarray(picture).astype(np.float64)[..., None]
        low, high = grey.min(), grey.max()
        if not (low >= 0 and high <= top):  # true for NaN too
            raise FarfieldError(f"{name}: expected values in [0, {top}], found {low:.4g} … {high:.4g}; {PHYSICAL}")
        return (grey * (2 / top) - 1).astype(np.float32), coarse
    if "transparency" in picture.info or picture.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, (*BACKGROUND, 255)), picture)
    mode = "L" if picture.mode in ("1", "L") else "RGB"
    return np.atleast_3d(np.asarray(picture.convert(mode))), coarse
