"""Sets of samples under their seeds, wherever they come from: a run of ours, or anybody's folder of images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from farfield.core.artifact import Images, Store
from farfield.core.error import FarfieldError
from farfield.data.dataset import open_dataset

FOLDER = "samples"
"""Where a run keeps what it made: shards, or a file per image."""


def open_samples(source: str | Path, *, limit: int | None = None) -> Images:
    """Samples as float32 ``[n, C, H, W]``, nominally in [-1, 1], at the size they have.

    Keys that are whole numbers are seeds and lose their leading zeros: the file ``000123.png`` is seed ``123``.

    Args:
        source: the folder of a run with samples (`farfield generate`, `farfield expand`), that folder's ``samples``, or
            whatever `data.source.open_collection` takes.
        limit: only the first so many, which are all that is read.

    Raises:
        FarfieldError: nothing to be read, images of several sizes, or fewer than ``limit``.
    """
    folder = Path(source).expanduser()
    if (folder / "config.json").is_file() and (folder / FOLDER).is_dir():
        folder = folder / FOLDER
        source = folder
    store = Store(folder, Images)
    found = _first(store, limit) if store.shards() else open_dataset(source, limit=limit, labels=False).as_images()
    return Images(seed_keys(found.keys), found.values.float())


def seed_keys(keys: Sequence[str]) -> tuple[str, ...]:
    """Whole numbers without leading zeros; all as they are if two would become one."""
    plain = tuple(str(int(key)) if key.isascii() and key.isdigit() else key for key in keys)
    return plain if len(set(plain)) == len(plain) else tuple(keys)


def _first(store: Store[Images], limit: int | None) -> Images:
    """The first rows of the shards; no more shards are read than have them."""
    if limit is None:
        return store.read()
    keys: tuple[str, ...] = ()
    values = []
    for part in store.parts():
        keys += part.keys
        values.append(part.values)
        if len(keys) >= limit:
            break
    if not 1 <= limit <= len(keys):
        raise FarfieldError(
            f"{store.folder}: expected a subset of 1 to {len(keys)} images, found {limit} asked for; ask for fewer"
        )
    return Images(keys[:limit], torch.cat(values)[:limit])
