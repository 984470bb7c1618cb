"""Arrays given from Python, as sources: each has a name made of its content, and is read by the one door for images.

While `holding` is entered an array lies in a temporary folder, as an npz, or as shards where it is `Images` and may go beyond
[-1, 1]; `data.listing.existing` knows where. The same content has the same name, so that a run is continued when the same
array is given again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from farfield.core.artifact import Images, save
from farfield.core.error import FarfieldError
from farfield.core.note import say
from farfield.data.arrays import leading_channels
from farfield.data.held import HELD

EXPECTED: Final = (
    "expected images [n, H, W, C] of uint8, or [n, C, H, W] of floats in [-1, 1] or [0, 1] (any others are physical "
    "fields)"
)

Hold = Callable[[Any, str], str]
"""Holds an array under what an error calls it, and gives its name as a source."""


def is_array(value: Any) -> bool:
    """Whether a value is one that `holding` takes."""
    return isinstance(value, np.ndarray | torch.Tensor | Images)


@contextlib.contextmanager
def holding() -> Iterator[Hold]:
    """While entered, arrays can be sources; nothing of them is left behind."""
    with contextlib.ExitStack() as stack:

        def hold(value: Any, what: str) -> str:
            array = value if isinstance(value, Images) else checked(value, what)
            name = _name(array)
            if name not in HELD:
                folder = Path(tempfile.mkdtemp(prefix="farfield-"))
                stack.callback(shutil.rmtree, folder, ignore_errors=True)
                if isinstance(array, Images):
                    save(array, folder / name)
                else:
                    np.savez(folder / name, images=array)
                HELD[name] = folder / name
                stack.callback(HELD.pop, name)
            return name

        yield hold


def _name(array: np.ndarray | Images) -> str:
    if isinstance(array, Images):
        return f"array-{array.digest()[:12]}.shards"
    content = hashlib.sha256(json.dumps([array.shape, array.dtype.str]).encode())
    content.update(np.ascontiguousarray(array).data)
    return f"array-{content.hexdigest()[:12]}.npz"


def checked(value: np.ndarray | torch.Tensor, what: str) -> np.ndarray:
    """An array of images as NumPy has it; how it is read is said.

    Three axes are grey images [n, H, W]. Of four, the channels are the last or the first by the rule of `data.arrays`: the one
    of 1 or 3. Where that leaves it open they are last in whole numbers and first in floats, or it is refused.

    Raises:
        FarfieldError: no images, or an array whose channels could be either axis.
    """
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        array: np.ndarray = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    else:
        array = value
    shown = f"{what}: {array.dtype} {list(array.shape)}"
    if array.ndim not in (3, 4) or not array.size or array.dtype.kind not in "fub":
        raise FarfieldError(f"{shown}; {EXPECTED}, or grey ones [n, H, W]")
    if array.ndim == 3 and array.shape[2] in (3, 4) and min(array.shape[:2]) >= 8:
        raise FarfieldError(f"{shown}, one image [H, W, {array.shape[2]}] and not several; give image[None]")
    if array.ndim == 3:
        say(f"{shown}, read as [n, H, W]: n = {len(array)}, grey, {array.shape[1]}×{array.shape[2]}")
        return array
    first = leading_channels(array.shape)
    if (array.shape[1] in (1, 3)) == (array.shape[3] in (1, 3)) and first != (array.dtype.kind == "f"):
        raise FarfieldError(
            f"{shown}, where either axis could be the channels; {EXPECTED}, the channels the shortest axis"
        )
    channels, height, width = array.shape[1:] if first else (array.shape[3], *array.shape[1:3])
    kind = {1: "grey, ", 3: "in colour, "}.get(channels, f"of {channels} channels, ")
    say(f"{shown}, read as [n, {'C, H, W' if first else 'H, W, C'}]: n = {len(array)}, {kind}{height}×{width}")
    return array
