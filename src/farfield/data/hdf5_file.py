"""HDF5 and netCDF-4: one array of the file itself, unpacked and masked by the CF conventions."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from farfield.core.error import FarfieldError
from farfield.data import budget
from farfield.data.content import Content, Unreadable, check_numbers, pick
from farfield.data.mask import Plane

UNITS = ("unit", "units", "BUNIT")


def read_hdf5(path: Path, part: str | int | None) -> Content:
    """The array ``part``, else ``images``, ``data``, or the only one of two axes or more.

    By the CF conventions (cfconventions.org, 2.5 and 8.1; the netCDF User Guide's appendix A): ``_FillValue``,
    ``missing_value``, ``valid_min``, ``valid_max`` and ``valid_range`` say where there is no data, in packed values, and
    the value is ``stored * scale_factor + add_offset``; ``_Unsigned`` says how integers are meant.

    Raises:
        FarfieldError: the array lies in another file (external storage, a virtual data set): nothing is read but what
            is named.
    """
    import h5py

    with h5py.File(path, "r") as file:
        datasets: dict[str, Any] = {}
        file.visititems(lambda name, item: datasets.update({name: item}) if isinstance(item, h5py.Dataset) else None)
        names = [name for name, item in datasets.items() if item.ndim >= 2]
        elsewhere: list[str] = []
        file.visititems_links(
            lambda name, link: elsewhere.append(name) if isinstance(link, h5py.ExternalLink) else None
        )
        if (part is None and not names and elsewhere) or str(part) in elsewhere:
            raise _foreign(path, str(part or elsewhere[0]), "an external link")
        name = pick(path, names, part)
        chosen = datasets[name]
        content = _unpacked(_numbers(path, name, chosen), chosen.attrs)
        unit = next((chosen.attrs[n] for n in UNITS if n in chosen.attrs), "")
        content.unit = unit.decode() if isinstance(unit, bytes) else str(unit)
        content.planes = tuple(Plane((n,), partial(_reread, path, n)) for n in names if n != name)
    return content


def load(path: Path, name: str, chosen: Any) -> np.ndarray:
    """An open data set as an array, if it lies in the file itself and unpacks to no more than it may."""
    if chosen.external is not None:
        raise _foreign(path, name, "external storage")
    if chosen.is_virtual:
        raise _foreign(path, name, "a virtual data set")
    budget.check(chosen.nbytes, path.stat().st_size)
    return np.asarray(chosen)


def _numbers(path: Path, name: str, chosen: Any) -> np.ndarray:
    check_numbers(chosen.dtype, chosen.shape, path.stat().st_size)
    return load(path, name, chosen)


def _reread(path: Path, name: str) -> np.ndarray:
    import h5py

    with h5py.File(path, "r") as file:
        return _numbers(path, name, file[name])


def _foreign(path: Path, name: str, how: str) -> FarfieldError:
    return FarfieldError(
        f"{path}: {name} is {how}, which would read another file; expected the numbers in this one: copy them into it"
    )


def _unpacked(stored: np.ndarray, attributes: Any) -> Content:
    signed = stored.dtype
    if stored.dtype.kind == "i" and _text(attributes.get("_Unsigned")).lower() == "true":
        stored = stored.view(signed.str.replace("i", "u"))

    def given(name: str) -> list[Any]:
        """The numbers of an attribute, as they would be stored."""
        try:
            values = np.ravel(np.asarray(attributes.get(name, [])))
            values = values if values.dtype.kind in "fiu" else values.astype(np.float64)
        except ValueError:  # a text
            return []
        if stored.dtype != signed and values.dtype.kind == "i":
            values = values.astype(signed).view(stored.dtype)
        return [stored.dtype.type(v) if stored.dtype.kind == "f" else v.item() for v in values]

    scale, offset = (_one(attributes, name, default) for name, default in (("scale_factor", 1), ("add_offset", 0)))
    content = Content(stored.astype(np.float64))
    if (scale, offset) != (1, 0):
        content.values = content.values * scale + offset
        content.notes.append("packed numbers are unpacked (scale_factor, add_offset)")
    for name in ("_FillValue", "missing_value"):
        for value in given(name):
            content.blank(stored == value, name)
    limits = given("valid_range")
    lows, highs = limits[:1] or given("valid_min"), limits[1:2] or given("valid_max")
    for name, bounds, beyond in (("valid_min", lows, np.less), ("valid_max", highs, np.greater)):
        for bound in bounds:
            # limits of another type than the packed numbers are of the unpacked ones (netCDF User Guide)
            of_values = stored.dtype.kind in "iu" and isinstance(bound, float) and (scale, offset) != (1, 0)
            content.blank(beyond(content.values if of_values else stored, bound), name)
    return content


def _one(attributes: Any, name: str, default: float) -> float:
    value = np.ravel(np.asarray(attributes.get(name, default)))
    if value.size != 1 or value.dtype.kind not in "fiu" or not np.isfinite(value[0]):
        raise Unreadable(f"its {name} is {attributes.get(name)!r}, expected one number")
    return float(value[0])


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
