"""What part of an image is meant: a box, or a picture that is bright there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from farfield.core.error import FarfieldError


def open_mask(given: str, shape: Sequence[int]) -> Tensor:
    """A mask ``[H, W]`` for images ``(C, H, W)``: a box ``x0,y0,x1,y1``, the last two just outside, or a picture's path.

    Raises:
        FarfieldError: neither, of another size, or empty.
    """
    if len(shape) != 3:
        raise FarfieldError(f"samples of shape {tuple(shape)}: expected images [C, H, W] to put a mask on")
    height, width = shape[1:]
    parts = given.split(",")
    if len(parts) == 4 and all(part.strip().lstrip("+-").isdigit() for part in parts):
        x0, y0, x1, y1 = (int(part) for part in parts)
        if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
            raise FarfieldError(
                f"mask {given}: expected 0 <= x0 < x1 <= {width} and 0 <= y0 < y1 <= {height}, a box that is not empty, in "
                "pixels of the model's size, to which pictures are brought first"
            )
        inside = torch.zeros(height, width, dtype=torch.bool)
        inside[y0:y1, x0:x1] = True
        return inside
    inside = _read(Path(given), height, width)
    if not bool(inside.any()):
        raise FarfieldError(f"mask {given}: nothing in it is bright; expected some pixels above 127 of 255")
    return inside


def _read(path: Path, height: int, width: int) -> Tensor:
    """A picture as a mask ``[height, width]``, bright inside."""
    import numpy as np
    from PIL import Image

    if path.exists() and not path.is_file():
        raise FarfieldError(f"mask {path}: expected a box x0,y0,x1,y1 or a picture, found no file")
    try:
        with Image.open(path) as picture:
            values = torch.from_numpy(np.array(picture.convert("L")))
    except Exception as error:  # PIL's readers raise whatever they stumble over
        raise FarfieldError(f"mask {path}: expected a box x0,y0,x1,y1 or a picture, found none ({error})") from error
    if values.shape != (height, width):
        raise FarfieldError(
            f"mask {path}: {values.shape[1]}×{values.shape[0]} pixels; expected {width}×{height}, the model's size, to "
            "which pictures are brought first; cut and scale the mask likewise"
        )
    return values > 127
