"""One file of physical fields to arrays, whatever its format.

FITS (any image HDU; scaled, big-endian and compressed ones too), npy, npz, HDF5, netCDF-4 and TIFF. What is not finite,
and what the file says is no measurement (`data.mask`), is masked: NaN.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from farfield.core.error import FarfieldError, missing
from farfield.data.array_file import read_npy, read_npz
from farfield.data.content import Content
from farfield.data.content import Unreadable as Unreadable
from farfield.data.fits_file import read_fits
from farfield.data.hdf5_file import read_hdf5
from farfield.data.mask import Tally, find_masks
from farfield.data.tiff_file import read_tiff

FITS = (".fits", ".fit", ".fts", ".fits.gz", ".fits.fz")
HDF5 = (".h5", ".hdf5", ".hdf", ".nc")
TIFF = (".tif", ".tiff")
ENDINGS = (*FITS, *HDF5, *TIFF, ".npy", ".npz")

READERS: tuple[tuple[tuple[str, ...], str, Callable[[Path, str | int | None], Content]], ...] = (
    (FITS, "fits", read_fits),
    (HDF5, "hdf5", read_hdf5),
    (TIFF, "tiff", read_tiff),
    ((".npy",), "numpy", read_npy),
    ((".npz",), "numpy", read_npz),
)

Part = dict[str, np.ndarray]


@dataclass(frozen=True)
class FieldFile:
    """What one file holds: fields ``[c, h, w]`` float64 by their name within it ("" for the only one), NaN where masked.

    ``tally`` says how much is masked and why, and what was passed over.
    """

    parts: Part
    kind: str
    unit: str = ""
    header: str = ""
    tally: Tally = field(default_factory=Tally)


def ending(path: Path) -> str:
    """The file's ending if it is one of ENDINGS, else ""."""
    return next((e for e in sorted(ENDINGS, key=len, reverse=True) if path.name.lower().endswith(e)), "")


def read_field_file(path: Path, channels: int, part: str | int | None = None, mask: str | None = None) -> FieldFile:
    """Every field of a file; ``part`` names a FITS HDU (number or EXTNAME), an array of an npz or HDF5 file, or the
    number of a TIFF's series of pages, and ``mask`` says which array masks it (`data.mask`).

    Axes: two are one field. Of three, the first are channels if there are as many as the model's (more than one), the
    last if it is that long or 3 and shorter than the others; otherwise the first axis holds slices, each a field of
    one channel. Of four, the first holds fields and the channels are the axis of 1, 3 or ``channels``. Leading axes of
    length 1 are dropped. In an npz the first axis of three always holds fields, as for images.

    Raises:
        FarfieldError: ``part`` or ``mask`` is not there, or the numbers lie in another file.
        Unreadable: it holds no field, is damaged, or would unpack to more than `data.budget` allows.
    """
    end = ending(path)
    kind, reader = next((kind, reader) for endings, kind, reader in READERS if end in endings)
    tally = Tally()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of header cards that the standard frowns upon
            content = reader(path, part)
            content.blank_rest()
            for where, cause in find_masks(content.values, content.planes, mask, path, tally):
                content.blank(where, cause)
    except (FarfieldError, Unreadable):
        raise
    except ImportError as error:
        raise missing(f"{path}: reading it", error.name) from error
    except Exception as error:  # readers of damaged files raise almost anything
        raise Unreadable(str(error).split("\n")[0].split("<_io")[0].strip(" '\"") or type(error).__name__) from error
    tally.add(Tally(content.values.size, content.gaps, notes=dict.fromkeys(content.notes)))
    return FieldFile(_arrange(content, channels), kind, content.unit, content.header, tally)


def _arrange(content: Content, channels: int) -> Part:
    """Fields by name, by the rule of ``read_field_file``."""
    values, names, rows = content.values, content.names, content.rows
    while not rows and values.ndim > 2 + content.samples and values.shape[0] == 1:
        values = values[0]
    shape, known = values.shape, {1, 3, channels}
    if values.ndim == 2 and not rows:
        return {"": values[None]}
    if content.samples and values.ndim == 3:
        return {"": values}
    if values.ndim == 3 and not rows:
        if channels > 1 and shape[0] == channels:
            return {"": values}
        if shape[2] in known and shape[2] < min(shape[:2]):
            return {"": np.moveaxis(values, 2, 0)}
    if values.ndim == 3:
        stack = values[:, None]
    elif values.ndim == 4 and (content.samples or shape[1] in known or shape[3] in known):
        stack = np.moveaxis(values, 3, 1) if shape[3] in known and not content.samples else values
    else:
        raise Unreadable(
            f"shape {shape}: expected [H, W], a cube [n, H, W], or [n, C, H, W] of 1, 3 or {channels} channels"
        )
    width = 6 if rows else 4
    labels = (
        names
        if names and len(names) == len(stack) == len(set(names))
        else [f"{i:0{width}d}" for i in range(len(stack))]
    )
    return dict(zip(labels, stack, strict=True))
