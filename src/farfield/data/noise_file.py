"""Noise from a file, so that a model begins where another code's model began: an npz or npy of standard normal numbers."""

from __future__ import annotations

import math
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from farfield.core.error import FarfieldError
from farfield.core.note import say
from farfield.core.seeds import LARGEST
from farfield.data.array_file import load_npy, open_npz

NAMES: Final = ("noise", "z", "x_T", "latents", "images", "arr_0")
"""What the array may be called, where there are several."""
KEYS: Final = ("keys", "seeds")
"""What names its rows may be called."""
_NEAR: Final = 0.1
"""So far the mean may be from 0, and the variance from 1."""
_ERRORS: Final = 5.0
"""So many standard errors are no chance."""


@dataclass(frozen=True)
class Noise:
    """Where images begin.

    Attributes:
        values: float32 ``[n, C, H, W]``.
        rows: their places by their seeds.
    """

    values: Tensor
    rows: dict[int, int]

    def of(self, seeds: list[int]) -> Tensor:
        return self.values[[self.rows[seed] for seed in seeds]]


def read_noise(path: Path, shape: tuple[int, ...]) -> Noise:
    """The noise of a file, keyed by its array ``keys`` or ``seeds``, else by position.

    Channels come first, or last, whichever fits; it is said if last.

    Args:
        shape: (C, H, W), of what the network sees.

    Raises:
        FarfieldError: not such a file, another shape, keys that are no different whole numbers, or numbers that are not of mean
            0 and variance 1.
    """
    values, keys = _arrays(path)
    values = _laid_out(values, shape, path)
    if keys is None:
        keys = [str(i) for i in range(len(values))]
        say(f"{path.name}: has no keys; its rows are the seeds 0 to {len(keys) - 1}, in their order")
    seeds = [int(key) for key in keys if re.fullmatch(r"[0-9]{1,19}", key) and int(key) <= LARGEST]
    if len(seeds) != len(values) or len(set(seeds)) < len(seeds):
        raise FarfieldError(
            f"{path}: {len(keys)} keys, of which {len(set(seeds))} are different whole numbers; expected one for each of its "
            f"{len(values)} rows, as they name what is made of it"
        )
    _check_law(values, path)
    return Noise(torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)), {s: i for i, s in enumerate(seeds)})


def _arrays(path: Path) -> tuple[np.ndarray, list[str] | None]:
    """The array, and the names of its rows."""
    if not path.is_file() or path.suffix.lower() not in (".npz", ".npy"):
        raise FarfieldError(f"--noise {path}: expected an .npz or .npy file of noise, found {_found(path)}")
    try:
        if path.suffix.lower() == ".npy":
            return load_npy(path), None
        with open_npz(path) as arrays:
            several = [name for name in arrays.files if len(arrays.header(name)[0]) >= 3]
            name = next((n for n in NAMES if n in several), several[0] if len(several) == 1 else None)
            if name is None:
                raise FarfieldError(
                    f"{path}: expected an array 'noise', or a single one, found {', '.join(sorted(arrays.files)) or 'none'}"
                )
            named = next((n for n in KEYS if n in arrays.files), None)
            return arrays[name], None if named is None else arrays[named].astype(str).ravel().tolist()
    except FarfieldError:
        raise
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise FarfieldError(f"{path}: a damaged file, or one of pickled objects ({error}); save it again") from error


def _found(path: Path) -> str:
    return "a folder" if path.is_dir() else "a file of another kind" if path.exists() else "nothing there"


def _laid_out(values: np.ndarray, shape: tuple[int, ...], path: Path) -> np.ndarray:
    """``[n, C, H, W]``."""
    channels, height, width = shape
    if values.dtype.kind != "f":
        raise FarfieldError(f"{path}: numbers of {values.dtype}; expected floats, of mean 0 and variance 1")
    if values.ndim == 3 and channels == 1:
        values = values[:, None]
    if values.shape[1:] == (channels, height, width) and len(values):
        return values
    if values.shape[1:] == (height, width, channels) and len(values):
        say(f"{path.name}: its channels come last ([n, H, W, C])")
        return values.transpose(0, 3, 1, 2)
    raise FarfieldError(
        f"{path}: an array of {'×'.join(map(str, values.shape))}; expected n×{channels}×{height}×{width} or "
        f"n×{height}×{width}×{channels}, of what this model's network sees"
    )


def _check_law(values: np.ndarray, path: Path) -> None:
    """Refuse what is not standard normal to the second moment; say what is a little off."""
    mean, variance = float(values.mean(dtype=np.float64)), float(values.var(dtype=np.float64))
    if not math.isfinite(mean) or not math.isfinite(variance):
        raise FarfieldError(f"{path}: NaN or infinity in it; mend the file")
    errors = 1 / math.sqrt(values.size), math.sqrt(2 / values.size)
    off = [abs(mean) / errors[0], abs(variance - 1) / errors[1]]
    if max(off) <= _ERRORS:
        return
    said = f"numbers of mean {mean:.3g} and variance {variance:.4g}"
    if abs(mean) > max(_NEAR, _ERRORS * errors[0]) or abs(variance - 1) > max(_NEAR, _ERRORS * errors[1]):
        raise FarfieldError(
            f"{path}: {said}; expected noise of mean 0 and variance 1, before it is multiplied by a noise level: divide "
            "it by that, such as EDM's sigma_max"
        )
    say(f"{path.name}: {said}, not quite standard normal; taken as it is")
