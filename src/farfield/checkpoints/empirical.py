"""``empirical:DATA``: the optimal denoiser of a data set under a model's name."""

from __future__ import annotations

import re
from pathlib import Path

from farfield.checkpoints.place import EMPIRICAL
from farfield.core.error import FarfieldError
from farfield.data.dataset import Dataset, open_dataset
from farfield.diffusion.denoiser import Denoiser
from farfield.diffusion.empirical import empirical_denoiser
from farfield.diffusion.schedule import ContinuousSchedule


def open_points(name: str, label: int | None = None) -> Dataset:
    """The points of ``empirical:DATA`` or ``empirical:DATA@N``, N drawn by seed 0; at the size they have.

    Args:
        label: only the points of this class.

    Raises:
        FarfieldError: no data, images of several sizes, or no point of that class.
    """
    source = name.removeprefix(EMPIRICAL)
    match = re.fullmatch(r"(.+)@([0-9]+)", source)
    limit = None
    if match and not Path(source).expanduser().exists():
        source, limit = match[1], int(match[2])
    if not source:
        raise FarfieldError(f"model {name!r}: expected data behind the colon, such as empirical:digits")
    points = open_dataset(source, limit=limit, seed=None if limit is None else 0, labels=label is not None)
    if label is None:
        return points
    if points.labels is None:
        raise FarfieldError(f"model {name!r}: a label was given, but {source} has no classes; leave it out")
    chosen = (points.labels == label).nonzero()[:, 0]
    if len(chosen) == 0:
        raise FarfieldError(
            f"model {name!r}: expected a label of its data, 0 to {points.classes - 1}, found {label}; give another"
        )
    return Dataset(tuple(points.keys[i] for i in chosen.tolist()), points.images[chosen])


def load_empirical(name: str, *, label: int | None = None) -> Denoiser:
    """The denoiser, which claims the levels that EDM's networks are trained at."""
    return empirical_denoiser(open_points(name, label).values(), ContinuousSchedule(0.002, 80.0))
