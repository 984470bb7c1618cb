"""Sets that must have nothing in common: what is judged, what judges, and what was learnt from."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from farfield.core.error import FarfieldError, FarfieldWarning
from farfield.data.picture import some

MOST = 0.1
"""A larger share in common is no accident: it is refused."""


def apart(
    keys: Sequence[str], values: Tensor, others: Sequence[Tensor], where: str, other: str, why: str | None
) -> list[int]:
    """The rows of a set that are in none of the others, to the bit, as both are at one size.

    Up to `MOST` of them are left out with a warning.

    Args:
        keys: of the rows.
        values: ``[n, C, H, W]``, of the same type and range as the others.
        others: sets of images or fields.
        where, other: what to call the two.
        why: what was expected, to end an error with; None where both come from one source, and any number is left out.

    Raises:
        FarfieldError: more than that are.
    """
    seen = {digest(row) for part in others for row in part}
    good = [i for i, row in enumerate(values) if digest(row) not in seen]
    twice = sorted(set(range(len(values))) - set(good))
    if not twice:
        return good
    named = f"{len(twice)} of its {len(values)} images are among {other} ({some([keys[i] for i in twice])})"
    if why is not None and len(twice) > MOST * len(values):
        raise FarfieldError(f"{where}: {named}; expected {why}")
    warnings.warn(FarfieldWarning(f"{where}: {named}; left out"), stacklevel=3)
    return good


def digest(row: Tensor) -> bytes:
    """Of an image's or field's values; all NaN are the same one."""
    return hashlib.sha256(torch.nan_to_num(row, nan=float("inf")).contiguous().numpy().tobytes()).digest()
