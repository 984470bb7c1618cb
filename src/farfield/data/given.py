"""Arrays given from Python, as sources: each has a name made of its content, and is read by the one door for images.

While `holding` is entered an array lies in a temporary folder, as an npz, or as shards where it is `Images` and may go beyond
[-1, 1]; a list of pictures of several sizes lies there as a folder. `data.listing.existing` knows where. The same content has
the same name, so that a run is continued when the same array is given again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from farfield.core.alias import ALIASES
from farfield.core.artifact import Images, save
from farfield.core.error import FarfieldError
from farfield.core.note import say
from farfield.data.arrays import leading_channels
from farfield.data.collection import positions
from farfield.data.held import HELD
from farfield.data.kind import float_range

EXPECTED: Final = (
    "expected images [n, H, W, C] of uint8, or [n, C, H, W] of floats in [-1, 1] or [0, 1] (any others are physical "
    "fields)"
)

Hold = Callable[[Any, str], str]
"""Holds an array under what an error calls it, and gives its name as a source."""


def is_array(value: Any) -> bool:
    """Whether a value is one that `holding` takes: an array, or a list of them, which are pictures then."""
    return isinstance(value, Images) or _is_plain(value) or is_list(value)


def is_list(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(map(_is_plain, value))


def is_pictures(value: Any) -> bool:
    """Whether a list of arrays is one of pictures and can be none of sets: [H, W], or [H, W, C] of colours."""
    return is_list(value) and all(array.ndim == 2 or _is_picture(array.shape) for array in value)


def _is_plain(value: Any) -> bool:
    return isinstance(value, np.ndarray | torch.Tensor)


def _is_picture(shape: Sequence[int]) -> bool:
    """Whether three axes are those of one picture in colour, rather than of grey ones [n, H, W]."""
    return len(shape) == 3 and shape[2] in (3, 4) and min(shape[:2]) >= 8


@contextlib.contextmanager
def holding() -> Iterator[Hold]:
    """While entered, arrays can be sources; nothing of them is left behind, and where they lay is said nowhere."""
    with contextlib.ExitStack() as stack:

        def hold(value: Any, what: str) -> str:
            array = (
                value if isinstance(value, Images) else listed(value, what) if is_list(value) else checked(value, what)
            )
            name = _name(array)
            if name not in HELD:
                folder = Path(tempfile.mkdtemp(prefix="farfield-"))
                stack.callback(shutil.rmtree, folder, ignore_errors=True)
                if isinstance(array, Images):
                    save(array, folder / name)
                elif isinstance(array, list):
                    _save_each(array, folder / name, what)
                else:
                    np.savez(folder / name, images=array)
                HELD[name] = folder / name
                stack.callback(HELD.pop, name)
                said = f"the array{'s' * isinstance(array, list)} given as {what}"
                for one in (str(folder / name), name):
                    ALIASES[one] = said
                    stack.callback(ALIASES.pop, one)
            return name

        yield hold


def _name(array: np.ndarray | Images | list[np.ndarray]) -> str:
    if isinstance(array, Images):
        return f"array-{array.digest()[:12]}.shards"
    parts = array if isinstance(array, list) else [array]
    content = hashlib.sha256()
    for part in parts:
        content.update(json.dumps([part.shape, part.dtype.str]).encode())
        content.update(np.ascontiguousarray(part).data)
    return f"array-{content.hexdigest()[:12]}.{'list' if isinstance(array, list) else 'npz'}"


def _save_each(arrays: list[np.ndarray], folder: Path, what: str) -> None:
    """Pictures of several sizes as files of a folder; floats with the range that all of them together have."""
    folder.mkdir()
    stated: dict[str, Any] = {}
    if arrays[0].dtype.kind == "f":
        found = float_range(np.concatenate([array.ravel() for array in arrays]), what)
        stated = {} if found is None else {"range": np.array(found)}
    for key, array in zip(positions(len(arrays)), arrays, strict=True):
        np.savez(folder / key, images=array[None], **stated)


def listed(value: Sequence[np.ndarray | torch.Tensor], what: str) -> np.ndarray | list[np.ndarray]:
    """A list of pictures: one array where all are of one shape, and else one each.

    Raises:
        FarfieldError: what is no picture, or whole numbers and floats side by side.
    """
    arrays = [_numpy(one) for one in value]
    for i, array in enumerate(arrays):
        if array.ndim not in (2, 3) or not array.size or array.dtype.kind not in "fub":
            raise FarfieldError(
                f"{what}[{i}]: {array.dtype} {list(array.shape)}; expected a list of pictures, each [H, W], [H, W, C] of uint8 "
                "or [C, H, W] of floats; sets are put together by numpy.concatenate"
            )
    if len({array.dtype.kind for array in arrays}) > 1:
        of = " and ".join(sorted({str(array.dtype) for array in arrays}))
        raise FarfieldError(f"{what}: a list of {of}, which fill different ranges; bring them to one")
    if len({array.shape for array in arrays}) == 1:
        return checked(np.stack(arrays), what)
    sides = [
        min(array.shape[:2] if array.ndim == 2 else _sides(array, f"{what}[{i}]")) for i, array in enumerate(arrays)
    ]
    say(
        f"{what}: a list of {len(arrays)} arrays, read as pictures of several sizes (shorter sides {min(sides)} to {max(sides)})"
    )
    return arrays


def _sides(array: np.ndarray, what: str) -> tuple[int, int]:
    """Height and width of a picture of three axes."""
    first = _channels_first((1, *array.shape), array.dtype, f"{what}: {array.dtype} {list(array.shape)}")
    return array.shape[1:] if first else array.shape[:2]


def _numpy(value: np.ndarray | torch.Tensor) -> np.ndarray:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        array: np.ndarray = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
        return array
    return value


def checked(value: np.ndarray | torch.Tensor, what: str) -> np.ndarray:
    """An array of images as NumPy has it; how it is read is said.

    Three axes are grey images [n, H, W]. Of four, the channels are the last or the first by the rule of `data.arrays`: the one
    of 1 or 3. Where that leaves it open they are last in whole numbers and first in floats, or it is refused.

    Raises:
        FarfieldError: no images, or an array whose channels could be either axis.
    """
    array = _numpy(value)
    shown = f"{what}: {array.dtype} {list(array.shape)}"
    if array.ndim not in (3, 4) or not array.size or array.dtype.kind not in "fub":
        raise FarfieldError(f"{shown}; {EXPECTED}, or grey ones [n, H, W]")
    if _is_picture(array.shape):
        raise FarfieldError(f"{shown}, one image [H, W, {array.shape[2]}] and not several; give image[None]")
    if array.ndim == 3:
        say(f"{shown}, read as [n, H, W]: n = {len(array)}, grey, {array.shape[1]}×{array.shape[2]}")
        return array
    first = _channels_first(array.shape, array.dtype, shown)
    channels, height, width = array.shape[1:] if first else (array.shape[3], *array.shape[1:3])
    kind = {1: "grey, ", 3: "in colour, "}.get(channels, f"of {channels} channels, ")
    say(f"{shown}, read as [n, {'C, H, W' if first else 'H, W, C'}]: n = {len(array)}, {kind}{height}×{width}")
    return array


def _channels_first(shape: Sequence[int], dtype: np.dtype, shown: str) -> bool:
    """Whether the channels of ``[n, a, b, c]`` come first.

    Raises:
        FarfieldError: they could be either axis.
    """
    first = leading_channels(shape)
    if (shape[1] in (1, 3)) == (shape[3] in (1, 3)) and first != (dtype.kind == "f"):
        raise FarfieldError(
            f"{shown}, where either axis could be the channels; {EXPECTED}, the channels the shortest axis"
        )
    return first
