"""Domains that come inside scikit-image, scikit-learn and farfield, so that everything runs without a network."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import torch

from farfield.core.artifact import Images
from farfield.core.error import FarfieldError
from farfield.data import clouds, science
from farfield.data.labels import Classes
from farfield.data.picture import LUMINANCE, checked_shape, fit_all, say_fit
from farfield.data.place import DOMAINS as DOMAINS
from farfield.data.place import FIELD_DOMAINS as FIELD_DOMAINS
from farfield.data.place import PREFIX as PREFIX
from farfield.data.place import domain_of as domain_of
from farfield.data.place import is_domain as is_domain
from farfield.data.science import Fields
from farfield.data.subset import choose_keys

CLOUDS = 600  # how many there are; cloud k depends on k alone
CLOUD_SIDE = 64
CLOUD_RANGE = 32.0  # where clouds are asked for as images: this times the mean column is 1, the mean over this -1

HALO = 28.0  # grey levels above the sky at which a galaxy ends, after smoothing
BLUR = 2.0  # pixels of smoothing: joins the clumps of one galaxy
MARGIN = 1.6  # side of a cut over the galaxy's longer side
SMALLEST = 18  # pixels: the least side of a cut
OVERLAP = 0.2  # most intersection over union of two cuts


def domain_keys(name: str) -> list[str]:
    """The keys of a domain, in order."""
    if name in FIELD_DOMAINS:
        return [f"{name}-{i:04d}" for i in range(1, CLOUDS + 1)]
    return list(domain_pictures(name))


def load_domain(
    name: str,
    shape: Sequence[int],
    *,
    keys: Sequence[str] | None = None,
    limit: int | None = None,
) -> Images:
    """Images of a bundled domain as float32 ``[n, C, H, W]`` in [-1, 1], resized by the rules of ``load_images``.

    Clouds are shown on a logarithmic scale whose ends are CLOUD_RANGE times the mean column and the mean over that.
    """
    if name in FIELD_DOMAINS:
        fields = cloud_fields(choose_keys(name, domain_keys(name), keys, limit), shape)
        values = (fields.values / clouds.COLUMN).log() / float(np.log(CLOUD_RANGE))
        return Images(fields.keys, values.clamp(-1, 1).float().repeat(1, shape[0], 1, 1))
    pictures = domain_pictures(name)
    return fit_all({key: pictures[key] for key in choose_keys(name, pictures, keys, limit)}, shape, name)


def cloud_fields(keys: Sequence[str], shape: Sequence[int]) -> Fields:
    """The clouds of these keys as fields, at a model's size."""
    _, height, width = checked_shape(shape)

    def one(key: str) -> np.ndarray:
        return science.fit_field(clouds.cloud(int(key.rpartition("-")[2]), CLOUD_SIDE)[None], height, width)

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        rows = np.stack(list(pool.map(one, keys)))
    say_fit("clouds", [(CLOUD_SIDE, CLOUD_SIDE, 1)], shape, "averaged")
    scale = CLOUD_SIDE / max(height, width)
    return Fields(tuple(keys), torch.from_numpy(rows), clouds.UNIT, "numpy", scale=scale)


@cache
def domain_pictures(name: str) -> dict[str, np.ndarray]:
    """Every picture ``[h, w, c]`` of a domain by its key, uint8 or float32 in [-1, 1]."""
    import skimage.data

    data: Any = skimage.data  # it states no types
    sources: dict[str, Callable[[], list[np.ndarray]]] = {
        "hubble": lambda: _galaxies(data.hubble_deep_field()),
        # 1411 = 17 · 83; beyond the round picture of the eye all is black
        "retina": lambda: [w for w in _windows(data.retina(), 83) if w.max(axis=2).min() > 40],
        "ihc": lambda: _windows(data.immunohistochemistry(), 32),
        "brick": lambda: _windows(data.brick(), 32),
        "grass": lambda: _windows(data.grass(), 32),
        "gravel": lambda: _windows(data.gravel(), 32),
        "faces": lambda: list(data.lfw_subset()[:100, ..., None].astype(np.float32) * 2 - 1),  # the rest are none
        "digits": lambda: list(_digits()),
    }
    if name not in sources:
        raise FarfieldError(f"{name}: expected one of the bundled domains {', '.join(DOMAINS)}; check the name")
    return {f"{name}-{i:04d}": picture for i, picture in enumerate(sources[name](), start=1)}


def domain_classes(name: str) -> Classes:
    """The classes of a domain that has any: digits."""
    if name != "digits":
        return Classes()
    from sklearn.datasets import load_digits

    of = dict(zip(domain_pictures(name), load_digits().target.tolist(), strict=True))
    return Classes(of, tuple(str(digit) for digit in range(10)))


def _digits() -> np.ndarray:
    from sklearn.datasets import load_digits

    images: np.ndarray = load_digits().images
    return images[..., None].astype(np.float32) / 8 - 1  # ink 0 … 16


def _windows(picture: np.ndarray, side: int) -> list[np.ndarray]:
    """The picture cut into squares that do not overlap, row by row; a remainder at the right and below is left out."""
    picture = np.atleast_3d(picture)
    rows, columns = range(0, picture.shape[0] - side + 1, side), range(0, picture.shape[1] - side + 1, side)
    return [picture[y : y + side, x : x + side] for y in rows for x in columns]


def _galaxies(picture: np.ndarray) -> list[np.ndarray]:
    return [picture[y : y + side, x : x + side] for y, x, side in _galaxy_boxes(picture)]


def _galaxy_boxes(picture: np.ndarray) -> list[tuple[int, int, int]]:
    """Square cuts (top, left, side) about the objects of a sky picture ``[h, w, 3]``, brightest object first.

    An object is a connected region that stands HALO above the sky. Left out are specks, objects too near the border
    to stand in the middle of a cut, and cuts of what a brighter object's cut already has in its middle.
    """
    from scipy import ndimage

    smooth = ndimage.gaussian_filter(picture @ LUMINANCE.astype(np.float64), BLUR)
    excess = smooth - np.median(smooth)
    labels, n = ndimage.label(excess > HALO)
    flux = ndimage.sum_labels(excess, labels, range(1, n + 1))
    area = ndimage.sum_labels(np.ones_like(excess), labels, range(1, n + 1))
    extents = ndimage.find_objects(labels)
    boxes: list[tuple[int, int, int]] = []
    for i in np.argsort(-flux, kind="stable"):
        rows, columns = extents[i]
        side = max(SMALLEST, round(MARGIN * max(rows.stop - rows.start, columns.stop - columns.start)))
        centred = (rows.start + rows.stop - side) // 2, (columns.start + columns.stop - side) // 2
        top, left = (min(max(at, 0), size - side) for at, size in zip(centred, picture.shape, strict=False))
        shift = max(abs(top - centred[0]), abs(left - centred[1]))
        box = (top, left, side)
        if area[i] >= 12 and shift <= 0.08 * side and not any(_same(box, other) for other in boxes):
            boxes.append(box)
    return boxes


def _same(box: tuple[int, int, int], brighter: tuple[int, int, int]) -> bool:
    """Whether two cuts overlap by more than OVERLAP, or one is centred on the other's object (knots, stars' spikes)."""
    away = max(abs(box[i] + box[2] / 2 - brighter[i] - brighter[2] / 2) for i in (0, 1))
    return _overlap(box, brighter) > OVERLAP or away < brighter[2] / MARGIN / 2


def _overlap(a: tuple[int, int, int], b: tuple[int, int, int]) -> float:
    """Intersection over union of two squares (top, left, side)."""
    height, width = (max(0, min(a[i] + a[2], b[i] + b[2]) - max(a[i], b[i])) for i in (0, 1))
    return height * width / (a[2] ** 2 + b[2] ** 2 - height * width)
