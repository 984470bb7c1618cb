"""Pictures or physical fields: one rule for every container, the same in every command, and said where it is a guess.

FITS, and whatever states a unit, hold fields. Whole numbers of 8 or 16 bits without a sign, and truth values, fill their
range and are pictures. Floats are pictures where all lie in [0, 1], or in [-1, 1] and some near -1; otherwise they are
physical numbers. ``--stretch`` reads anything as fields.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Literal

import numpy as np

from farfield.core.error import FarfieldError
from farfield.core.note import say
from farfield.data.field_file import ENDINGS as FIELDS
from farfield.data.field_file import FITS, TIFF, read_field_file
from farfield.data.listing import PICTURES, Survey, survey
from farfield.data.tiff_file import open_tiff

Kind = Literal["pictures", "fields"]
Range = tuple[float, float]

UNIT, SIGNED = (0.0, 1.0), (-1.0, 1.0)
NEAR = -0.5
"""Floats that go below zero but not below this could be either: [-1, 1], or [0, 1] with what a resize overshoots."""


def float_range(values: np.ndarray, where: str, stated: Range | None = None) -> Range | None:
    """The range that float pictures fill, `UNIT` or `SIGNED`; None for physical numbers. What is not finite is ignored.

    Rounding is granted at both ends of either range: 1e-6, and 1e-3 of 16-bit floats.

    Args:
        stated: what the file itself says.

    Raises:
        FarfieldError: the least value is between `NEAR` and 0, and the greatest at most 1.
    """
    finite = values[np.isfinite(values)]
    if not finite.size:
        return UNIT
    slack = 1e-3 if values.dtype == np.float16 else 1e-6
    low, high = float(finite.min()), float(finite.max())
    if stated is not None:
        if low < stated[0] - slack or high > stated[1] + slack:
            raise FarfieldError(
                f"{where}: its `range` says {stated[0]:g} to {stated[1]:g}, found {low:.4g} … {high:.4g}; mend one of them"
            )
        return stated
    if high > 1 + slack or low < -1 - slack:
        return None
    if low >= -slack:
        return UNIT
    if low <= NEAR:
        return SIGNED
    raise FarfieldError(
        f"{where}: floats from {low:.4g} to {high:.4g} can be pictures in [-1, 1], or in [0, 1] with overshoot; clip them "
        "to [0, 1], save them as uint8, add an array `range` of two numbers to the npz, or give --stretch for physical fields"
    )


def kind_of(path: Path, files: Survey | None = None) -> Kind:
    """What a path holds; a folder, zip or pattern by its files.

    Raises:
        FarfieldError: both kinds lie side by side, or numbers that could be either.
    """
    if files is None and not path.is_file():
        with survey(path) as opened:
            return kind_of(path, opened)
    if files is None:
        return _agreed(str(path), {path.name: judge(path)})
    if files.folder is None:  # files in a zip are read as pictures
        return "pictures"
    plain = [n for n in files.of(PICTURES) if not n.lower().endswith(TIFF)]
    judged = {n: judge(files.path(n)) for n in dict.fromkeys((*files.of(FIELDS), *files.of(TIFF)))}
    physical = [n for n, (kind, _) in judged.items() if kind == "fields"]
    pictures = plain or [n for n in judged if n not in physical]
    few = max(1, (len(pictures) + len(physical)) // 100)
    if len(physical) <= few < len(pictures) or not physical:
        return _agreed(
            files.source, {n: pair for n, pair in judged.items() if pair[0] == "pictures"} if not plain else {}
        )
    if len(pictures) <= few < len(physical) or not pictures:
        return "fields"
    ends = [Path(names[0]).suffix for names in (physical, pictures)]
    raise FarfieldError(
        f"{files.source}: holds {len(physical)} {ends[0]} and {len(pictures)} {ends[1]}, two kinds of data; give "
        f"'{files.source}/**/*{ends[0]}' or '{files.source}/**/*{ends[1]}'"
        if ends[0] != ends[1]
        else f"{files.source}: {physical[0]} holds physical numbers, {pictures[0]} a picture's; give --stretch to read all as "
        "physical fields, or divide the folder"
    )


def judge(path: Path) -> tuple[Kind, Range | None]:
    """What one file holds, and the range where that was told by its floats.

    A file that cannot be read counts as pictures: their reader says what is wrong.
    """
    lower = path.name.lower()
    if lower.endswith(FITS):
        return "fields", None
    if not lower.endswith(FIELDS):
        return "pictures", None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dtype, unit, stated = _peek(path)
            if unit:
                return "fields", None
            if dtype in (np.uint8, np.uint16, np.bool_) or dtype.kind not in "fiu":
                return "pictures", None
            parts = read_field_file(path, 3).parts
    except Exception:
        return "pictures", None
    values = [v[np.isfinite(v)] for v in parts.values()]
    ends = np.array([end(v) for v in values if v.size for end in (np.min, np.max)])
    if not ends.size:
        return "pictures", None
    whole = dtype.kind in "iu" or (
        stated is None and ends.max() > 2 and all(bool((v == np.rint(v)).all()) for v in values)
    )
    if whole:
        if ends.min() >= 0 and ends.max() <= 255:
            raise FarfieldError(
                f"{path}: {dtype} from {ends.min():g} to {ends.max():g} can be pictures or counts; save pictures as uint8, "
                "or give --stretch for physical fields"
            )
        return "fields", None  # of whole numbers
    if lower.endswith(TIFF) and ends.min() < 0:  # maps of a signed quantity; pictures as TIFF are in [0, 1]
        return "fields", None
    value_range = float_range(ends.astype(dtype), str(path), stated)
    return ("fields", None) if value_range is None else ("pictures", value_range)


def _agreed(source: str, judged: dict[str, tuple[Kind, Range | None]]) -> Kind:
    """The kind that all files are of, and a line where it was told by their floats."""
    kinds = {kind for kind, _ in judged.values()}
    if kinds == {"fields"}:
        return "fields"
    ranges = {n: value_range for n, (_, value_range) in judged.items() if value_range is not None}
    if len(set(ranges.values())) > 1:
        first, other = (next(n for n, r in ranges.items() if r == value_range) for value_range in (UNIT, SIGNED))
        raise FarfieldError(
            f"{source}: floats of {first} are in [0, 1], those of {other} in [-1, 1]; bring them to one range, or give "
            "--stretch for physical fields"
        )
    if ranges:
        low, high = next(iter(ranges.values()))
        say(f"{source}: floats are read as pictures in [{low:g}, {high:g}]; --stretch reads them as physical fields")
    return "pictures"


def _peek(path: Path) -> tuple[np.dtype, str, Range | None]:
    """The type of a file's array, its unit and the range that it states, without reading the numbers."""
    lower = path.name.lower()
    if lower.endswith(TIFF):
        with open_tiff(path) as opened:
            return np.dtype(opened.series[0].dtype), "", None
    from farfield.data.arrays import peek

    return peek(path)
