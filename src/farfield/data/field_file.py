"""One file of physical fields to arrays, and fields to FITS and npz: the only place that knows these formats.

FITS (any image HDU; scaled, big-endian and compressed ones too), npy, npz, HDF5 and TIFF. Whatever is not finite is
masked, and so is what the file's own mask (an array or extension ``mask``, not 0 where masked) covers: NaN.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from farfield.core.artifact import write_bytes
from farfield.core.error import FarfieldError

FITS = (".fits", ".fit", ".fts", ".fits.gz", ".fits.fz")
HDF5 = (".h5", ".hdf5", ".hdf")
TIFF = (".tif", ".tiff")
ENDINGS = (*FITS, *HDF5, *TIFF, ".npy", ".npz")

Part = dict[str, np.ndarray]


class Unreadable(Exception):
    """A file that holds no field; the loader leaves it out with a warning, or stops at it."""


@dataclass(frozen=True)
class FieldFile:
    """What one file holds: fields ``[c, h, w]`` float64 by their name within it ("" for the only one)."""

    parts: Part
    kind: str
    unit: str = ""
    header: str = ""


def ending(path: Path) -> str:
    """The file's ending if it is one of ENDINGS, else ""."""
    return next((e for e in sorted(ENDINGS, key=len, reverse=True) if path.name.lower().endswith(e)), "")


def read_field_file(path: Path, channels: int, part: str | int | None = None) -> FieldFile:
    """Every field of a file; ``part`` names a FITS HDU (number or EXTNAME) or an array of an npz or HDF5 file.

    Axes: two are one field. Of three, the first are channels if there are as many as the model's (more than one), the
    last if it is that long or 3 and shorter than the others; otherwise the first axis holds slices, each a field of
    one channel. Of four, the first holds fields and the channels are the axis of 1, 3 or ``channels``. Leading axes of
    length 1 are dropped. In an npz the first axis of three always holds fields, as for images.
    """
    end = ending(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of header cards that the standard frowns upon
            if end in FITS:
                array, mask, header, unit, names = *_fits(path, part), None
            elif end in HDF5:
                array, mask, header, unit, names = *_hdf5(path, part), None
            elif end == ".npz":
                array, mask, unit, names = _npz(path, part)
                header = ""
            else:
                array = _tiff(path) if end in TIFF else np.load(path, allow_pickle=False)
                mask, header, unit, names = None, "", "", None
    except (FarfieldError, Unreadable):
        raise
    except ImportError as error:
        raise FarfieldError(
            f"{path}: reading it needs {error.name}, which is not installed: pip install 'farfield[astro]'"
        ) from error
    except Exception as error:  # readers of damaged files raise almost anything
        raise Unreadable(str(error).split("\n")[0].split("<_io")[0].strip(" '\"") or type(error).__name__) from error
    if array.dtype.kind not in "fiub" or not array.size:
        raise Unreadable(f"holds {array.dtype} of shape {array.shape}, expected real numbers")
    kind = {**dict.fromkeys(FITS, "fits"), **dict.fromkeys(HDF5, "hdf5"), **dict.fromkeys(TIFF, "tiff")}.get(
        end, "numpy"
    )
    values = array.astype(np.float64)  # native byte order with it
    values[~np.isfinite(values)] = np.nan
    if mask is not None:
        if np.shape(mask) != array.shape:
            raise FarfieldError(
                f"{path}: its mask has shape {np.shape(mask)}, the data {array.shape}; expected the same"
            )
        values[np.asarray(mask) != 0] = np.nan
    return FieldFile(_arrange(values, channels, names, rows=end == ".npz"), kind, unit, header)


def _arrange(values: np.ndarray, channels: int, names: Sequence[str] | None, rows: bool) -> Part:
    """Fields by name, by the rule of ``read_field_file``."""
    while not rows and values.ndim > 2 and values.shape[0] == 1:
        values = values[0]
    shape, known = values.shape, {1, 3, channels}
    if values.ndim == 2 and not rows:
        return {"": values[None]}
    if values.ndim == 3 and not rows:
        if channels > 1 and shape[0] == channels:
            return {"": values}
        if shape[2] in known and shape[2] < min(shape[:2]):
            return {"": np.moveaxis(values, 2, 0)}
    if values.ndim == 3:
        stack = values[:, None]
    elif values.ndim == 4 and (shape[1] in known or shape[3] in known):
        stack = np.moveaxis(values, 3, 1) if shape[3] in known else values
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


def _fits(path: Path, part: str | int | None) -> tuple[np.ndarray, np.ndarray | None, str, str]:
    from astropy.io import fits

    with fits.open(path, memmap=False, lazy_load_hdus=False) as hdus:
        images = [i for i, hdu in enumerate(hdus) if hdu.is_image and len(hdu.shape) >= 2 and 0 not in hdu.shape]
        plain = [i for i in images if hdus[i].name.upper() != "MASK"]
        if part is None and not plain:
            found = ", ".join(f"{i} {type(h).__name__}" for i, h in enumerate(hdus))
            raise Unreadable(f"no HDU with an image; it holds {found}")
        try:
            at = plain[0] if part is None else hdus.index_of(int(part) if str(part).isdigit() else str(part))
            chosen = hdus[at]
        except (KeyError, IndexError):
            at = -1
        if at not in images:
            raise FarfieldError(f"{path}: expected an image in HDU {part}, found none; those with one: {images}")
        masks = [hdus[i].data for i in images if hdus[i].name.upper() == "MASK" and i != at]
        header = chosen.header
        text = header.tostring(sep="\n", endcard=False, padding=False)
        return np.asarray(chosen.data), masks[0] if masks else None, text, str(header.get("BUNIT", "")).strip()


def _hdf5(path: Path, part: str | int | None) -> tuple[np.ndarray, np.ndarray | None, str, str]:
    import h5py

    with h5py.File(path, "r") as file:
        found: dict[str, Any] = {}
        file.visititems(lambda name, item: found.update({name: item}) if isinstance(item, h5py.Dataset) else None)
        chosen = found[_pick(path, [n for n, d in found.items() if d.ndim >= 2], part)]
        mask = found.get("mask") if chosen.name != "/mask" else None
        unit = next((chosen.attrs[name] for name in ("unit", "units", "BUNIT") if name in chosen.attrs), "")
        unit = unit.decode() if isinstance(unit, bytes) else str(unit)
        return np.asarray(chosen), None if mask is None else np.asarray(mask), "", unit


def _npz(path: Path, part: str | int | None) -> tuple[np.ndarray, np.ndarray | None, str, list[str] | None]:
    with np.load(path, allow_pickle=False) as arrays:
        label = next((name for name in ("keys", "objid") if name in arrays.files), None)
        array = arrays[_pick(path, [name for name in arrays.files if name not in (label, "unit")], part)]
        mask = arrays["mask"] if "mask" in arrays.files and part != "mask" else None
        if array.ndim == 2:
            array, mask = array[None], mask if mask is None else mask[None]
        unit = str(arrays["unit"]) if "unit" in arrays.files else ""
        return array, mask, unit, arrays[label].astype(str).ravel().tolist() if label else None


def _pick(path: Path, names: Sequence[str], part: str | int | None) -> str:
    plain = [n for n in names if n != "mask"]
    if part is not None and str(part) in names:
        return str(part)
    if part is None and (
        chosen := next((n for n in ("images", "data") if n in plain), plain[0] if len(plain) == 1 else None)
    ):
        return chosen
    if part is None and not plain:
        raise Unreadable("no array with two axes or more")
    found = f"expected an array {part!r}" if part is not None else "expected an array 'images', 'data' or a single one"
    raise FarfieldError(f"{path}: {found}, found {plain}; name one with --hdu, or {path.name}[NAME]")


def _tiff(path: Path) -> np.ndarray:
    import tifffile

    try:
        found: np.ndarray = tifffile.imread(path)
    except ValueError:  # compressions that tifffile leaves to another library
        from PIL import Image

        with Image.open(path) as picture:
            found = np.asarray(picture)
    return found


def write_fits(
    path: Path,
    values: np.ndarray,
    template: str,
    keywords: dict[str, tuple[Any, str]],
    history: Sequence[str],
    scale: float = 1.0,
) -> None:
    """One field ``[C, h, w]`` (2-D if C is 1) as FITS, float64, with a template's header (``FieldFile.header``).

    Kept is what the header says of instrument, unit and sky; dropped are the cards that describe the template's own
    numbers (BITPIX, BSCALE, BLANK, checksums) or further axes. ``scale`` is the template's pixels per pixel of the
    field: CDELT and CD grow by it, and CRPIX is put in the middle. No date is written: the same field gives the same
    bytes.
    """
    from astropy.io import fits

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        header = fits.Header.fromstring(template, sep="\n") if template else fits.Header()
        kept = fits.Header([card for card in header.cards if not _OWN.match(card.keyword)])
        for axis, side in ((1, values.shape[-1]), (2, values.shape[-2])):
            if f"CRPIX{axis}" in kept:
                kept[f"CRPIX{axis}"] = (side + 1) / 2
        for name in list(kept):
            if _PIXEL.match(name) and isinstance(kept[name], float | int):
                kept[name] = kept[name] * scale
        for name, (value, comment) in keywords.items():
            kept[name] = (_ascii(value) if isinstance(value, str) else value, comment)
        for line in history:
            kept.add_history(_ascii(line))
        hdu = fits.PrimaryHDU(np.ascontiguousarray(values[0] if len(values) == 1 else values, np.float64), kept)
        buffer = io.BytesIO()
        hdu.writeto(buffer, output_verify="silentfix+ignore")
    write_bytes(path, buffer.getvalue())


def _ascii(text: str) -> str:
    """What a FITS card can hold; file names need not be."""
    return "".join(c if " " <= c <= "~" else "?" for c in text)


_OWN = re.compile(
    r"(SIMPLE|XTENSION|BITPIX|NAXIS\d*|EXTEND|PCOUNT|GCOUNT|GROUPS|BSCALE|BZERO|BLANK|CHECKSUM|DATASUM|EXTNAME|EXTVER|"
    r"EXTLEVEL|INHERIT|WCSAXES|DATAMIN|DATAMAX|END|Z(IMAGE|CMPTYPE|BITPIX|NAXIS\d*|TILE\d+|NAME\d+|VAL\d+|QUANTIZ|DITHER0)|"
    r"(CTYPE|CRVAL|CRPIX|CDELT|CUNIT|CROTA)[3-9]|(CD|PC)(0*[3-9]_0*\d|0*\d_0*[3-9]))$"
)
_PIXEL = re.compile(r"(CDELT[12]|CD[12]_[12])$")


def write_npz(path: Path, keys: Sequence[str], values: np.ndarray, unit: str = "") -> None:
    """Fields ``[n, C, h, w]`` with their keys, as this module reads them; the same fields give the same bytes."""
    buffer = io.BytesIO()
    arrays = {"images": values, "keys": np.array(list(keys), dtype=str)}
    np.savez(buffer, **arrays, **({"unit": np.array(unit)} if unit else {}))  # type: ignore[arg-type]
    write_bytes(path, buffer.getvalue())
