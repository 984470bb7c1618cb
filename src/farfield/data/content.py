"""What one reader of a format finds in a file of fields: its numbers, and what lies beside them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from farfield.core.error import FarfieldError
from farfield.data import budget
from farfield.data.mask import NAMES, Plane

PICKED = ("images", "data")
"""Names that an array of fields has where there are several."""


class Unreadable(Exception):
    """A file that holds no field; the loader leaves it out with a warning, or stops at it."""


@dataclass
class Content:
    """``values`` are float64, unpacked, NaN where the format says that there is no data.

    ``samples`` says that the axis before the last two is of channels; otherwise the axes are guessed. ``rows`` says that
    the first axis counts fields, named ``names`` where these are different. ``planes`` lie beside; ``gaps`` count the
    values that are no data, by what says so; ``notes`` are lines to be said.
    """

    values: np.ndarray
    unit: str = ""
    header: str = ""
    names: list[str] | None = None
    rows: bool = False
    samples: bool = False
    planes: tuple[Plane, ...] = ()
    gaps: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def blank(self, where: np.ndarray, cause: str) -> None:
        """Make values NaN, and count those that were not yet."""
        where = np.broadcast_to(where, self.values.shape) & ~np.isnan(self.values)
        if n := int(where.sum()):
            self.values[where] = np.nan
            self.gaps[cause] += n

    def blank_rest(self) -> None:
        """Make infinities NaN too, and count what is not finite for no other reason."""
        self.values[np.isinf(self.values)] = np.nan
        if n := int(np.isnan(self.values).sum()) - self.gaps.total():
            self.gaps["not finite"] += n


def check_numbers(dtype: np.dtype, shape: Sequence[int], stored: int) -> None:
    """Before anything is read: real numbers, and no more of them than a file of ``stored`` bytes may give as float64."""
    if dtype.kind not in "fiub" or 0 in shape:
        raise Unreadable(f"holds {dtype} of shape {tuple(shape)}, expected real numbers")
    budget.check(math.prod(shape) * 8, stored)


def pick(path: Path, names: Sequence[str], part: str | int | None) -> str:
    """The name of the array that holds the fields: the one asked for, ``images``, ``data``, or the only one."""
    plain = [n for n in names if n not in NAMES]
    if part is not None and str(part) in names:
        return str(part)
    if part is None and (chosen := next((n for n in PICKED if n in plain), plain[0] if len(plain) == 1 else None)):
        return chosen
    if part is None and not plain:
        raise Unreadable("no array with two axes or more")
    wanted = f"expected an array {part!r}" if part is not None else "expected an array 'images', 'data' or a single one"
    raise FarfieldError(f"{path}: {wanted}, found {plain}; name one with --hdu, or {path.name}[NAME]")
