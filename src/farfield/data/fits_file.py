"""FITS: the HDU that holds the image, its numbers unpacked exactly, and the planes that lie beside it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from farfield.core.error import FarfieldError
from farfield.data import budget
from farfield.data.content import Content, Unreadable, check_numbers
from farfield.data.mask import WEIGHTS, Plane

PREFERRED = ("SCI", "IMAGE", "DATA")
"""Names that an HDU of data has where there are others."""
BESIDE = re.compile(
    rf"({'|'.join(WEIGHTS)}|WGT|MASK|DQ|ERR|ERROR|VAR|VAR_\w+|VARIANCE|STAT|UNCERT|NOISE|SIGMA|RMS|CTX|CON|PSF|PSFIMAGE|"
    r"AREA|SAMP|TIME|EXP|EXPTIME|EXPMAP|FLAGS?|SEGM?|SEGMAP|SEGMENTATION|BKG|BACKGROUND)(_?\d+)?"
)
"""Names of HDUs that never are the data."""
FLAGGED = ("JWST", "ROMAN")
"""Telescopes whose DQ has one bit that says bad, DO_NOT_USE, bit 0, and others that do not."""


def read_fits(path: Path, part: str | int | None) -> Content:
    """The HDU ``part`` (a number or EXTNAME), else SCI, IMAGE or DATA, else the first image that is no plane beside one.

    Numbers are ``BZERO + BSCALE * stored`` in float64, and NaN where the stored integer is BLANK, unsigned ones too.
    """
    from astropy.io import fits

    if path.name.lower().endswith(".gz"):
        budget.check_gzip(path)
    # astropy forgets BLANK for unsigned integers, and scales 16 bits in float32
    with fits.open(path, memmap=False, lazy_load_hdus=False, do_not_scale_image_data=True) as hdus:
        images = [i for i, hdu in enumerate(hdus) if hdu.is_image and len(hdu.shape) >= 2 and 0 not in hdu.shape]
        at = _chosen(path, hdus, images, part)
        chosen = hdus[at]
        check_numbers(np.dtype(np.float64), chosen.shape, path.stat().st_size)
        content = Content(_unpacked(chosen).astype(np.float64))
        if chosen.header["BITPIX"] > 0 and isinstance(blank := chosen.header.get("BLANK"), int):
            content.blank(chosen.data == blank, "BLANK")
        content.header = chosen.header.tostring(sep="\n", endcard=False, padding=False)
        content.unit = str(chosen.header.get("BUNIT", "")).strip()
        beside = [i for i in images if i != at]
        version = chosen.header.get("EXTVER", 1)  # the chips of a camera repeat SCI, DQ … with another one
        content.planes = tuple(
            _plane(path, i, hdus[i], hdus[0].header) for i in beside if hdus[i].header.get("EXTVER", 1) == version
        )
        if part is None and (others := [_label(i, hdus[i]) for i in beside if not BESIDE.fullmatch(_name(hdus[i]))]):
            content.notes.append(
                f"HDU {_label(at, chosen)} is read, {', '.join(others)} passed over; --hdu names another"
            )
    return content


def _chosen(path: Path, hdus: Any, images: list[int], part: str | int | None) -> int:
    if part is not None:
        try:
            at = int(hdus.index_of(int(part) if str(part).isdigit() else str(part)))
        except (KeyError, IndexError):
            at = -1
        if at not in images:
            raise FarfieldError(f"{path}: expected an image in HDU {part}, found none; those with one: {images}")
        return at
    plain = [i for i in images if not BESIDE.fullmatch(_name(hdus[i]))]
    if not plain:
        labels = ", ".join(_label(i, h) for i, h in enumerate(hdus))
        other = "; --hdu takes one all the same" if images else ""
        raise Unreadable(f"no HDU with an image; it holds {labels}{other}")
    names = {_name(hdus[i]): i for i in reversed(plain)}
    return next((names[name] for name in PREFERRED if name in names), plain[0])


def _plane(path: Path, at: int, hdu: Any, primary: Any) -> Plane:
    """An HDU beside the data, to be read only where it is needed."""
    bits = {key.removeprefix("MP_"): bit for key, bit in hdu.header.items() if key.startswith("MP_")}
    bits = {name: bit for name, bit in bits.items() if isinstance(bit, int) and 0 <= bit < 64}
    flagged = str(primary.get("TELESCOP", hdu.header.get("TELESCOP", ""))).strip().upper() in FLAGGED
    quality = (0 if flagged else -1) if _name(hdu) == "DQ" else None
    return Plane((hdu.name or str(at), str(at)), lambda: _read_plane(path, at), bits, quality)


def _read_plane(path: Path, at: int) -> np.ndarray:
    from astropy.io import fits

    with fits.open(path, memmap=False, do_not_scale_image_data=True) as hdus:
        check_numbers(np.dtype(np.float64), hdus[at].shape, path.stat().st_size)
        return _unpacked(hdus[at])


def _unpacked(hdu: Any) -> np.ndarray:
    """Integers as they are stored if they mean themselves, else ``BZERO + BSCALE * stored`` in float64."""
    scale, zero = (float(hdu.header.get(name, default)) for name, default in (("BSCALE", 1), ("BZERO", 0)))
    stored = np.asarray(hdu.data)
    return stored if (scale, zero) == (1, 0) else stored * scale + zero


def _name(hdu: Any) -> str:
    return str(hdu.name).strip().upper()


def _label(at: int, hdu: Any) -> str:
    return f"{at} ({hdu.name})" if hdu.name else str(at)
