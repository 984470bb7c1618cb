"""What part of an image is meant: boxes, and pictures or arrays that are bright or not 0 there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from farfield.core.error import FarfieldError

ARRAYS = (".npy", ".npz")


def open_mask(given: str, shape: Sequence[int]) -> Tensor:
    """A mask ``[H, W]`` for images ``(C, H, W)``: a box ``x0,y0,x1,y1``, the last two just outside, or a file's path.

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
    path = Path(given)
    array = path.suffix.lower() in ARRAYS and path.is_file()
    inside = _array(path, height, width) if array else _picture(path, height, width)
    if not bool(inside.any()):
        raise FarfieldError(
            f"mask {given}: nothing in it is {'not 0' if array else 'bright; expected some pixels above 127 of 255'}"
        )
    return inside


def _array(path: Path, height: int, width: int) -> Tensor:
    """The one array of a file as a mask ``[height, width]``, not 0 inside."""
    from farfield.data.array_file import only_plane

    values = torch.from_numpy(only_plane(path))
    _check_size(path, values.shape, height, width)
    return values != 0


def _picture(path: Path, height: int, width: int) -> Tensor:
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
    _check_size(path, values.shape, height, width)
    return values > 127


def _check_size(path: Path, found: Sequence[int], height: int, width: int) -> None:
    if tuple(found) != (height, width):
        raise FarfieldError(
            f"mask {path}: {'×'.join(map(str, reversed(found)))} pixels; expected {width}×{height}, the model's size, to "
            "which pictures are brought first; cut and scale the mask likewise"
        )
