"""A scan of a data set for images that occur more than once, to the bit or nearly: they make any model look a memorizer.

Exact copies have the same decoded pixels. For the rest, images are shrunk to at most SIDE × SIDE, where the distance of
two is the root mean square of their differences in 8-bit levels, and each is compared with the NEIGHBOURS nearest to it.
How near is near depends on the images, so the yardstick is the median distance to the nearest other: a pair counts as
near at no more than a share of it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from farfield.audit.blocks import nearest_in_blocks
from farfield.audit.index import neighbours_among, search_of
from farfield.command.dataset import DatasetScan
from farfield.core.artifact import Features
from farfield.core.runtime import progress
from farfield.core.score import Score
from farfield.data.collection import Collection
from farfield.data.picture import fit
from farfield.data.source import open_collection
from farfield.data.subset import first

SIDE: Final = 16
NEIGHBOURS: Final = 4
LARGE: Final = 50_000
"""Images from which on an index proposes what may be near: to look at all pairs takes minutes, and hours at a million."""
QUANTILES: Final = (0.001, 0.01, 0.05, 0.25, 0.5)


@dataclass(frozen=True)
class Near:
    """Two different images, and their distance in 8-bit levels."""

    first: str
    second: str
    distance: float


@dataclass(frozen=True)
class Scan:
    """What occurs more than once among ``images`` images of a source.

    ``exact`` are groups of keys with the same pixels, ``copies`` how many images they have beyond one each. ``near``
    are pairs at no more than ``threshold``, the nearest first, among one image of each exact group; ``near_groups``
    joins those that share an image. ``quantiles`` are those of the distances to the nearest other image, by share (of a
    search by an index, of the images that it was checked on). ``search`` is how it was looked for; ``recall`` the share of
    nearest others that it found, not known of an exact search.
    ``show`` groups and pairs are printed.
    """

    source: str
    images: int
    exact: tuple[tuple[str, ...], ...]
    near: tuple[Near, ...]
    near_groups: tuple[tuple[str, ...], ...]
    threshold: float
    quantiles: dict[str, float]
    search: str
    recall: Score | None
    show: int

    @property
    def copies(self) -> int:
        return sum(len(group) - 1 for group in self.exact)

    def to_json(self) -> dict[str, Any]:
        return {k: v for k, v in asdict(self).items() if k != "show"} | {"copies": self.copies}

    def __str__(self) -> str:
        nearest = ", ".join(f"{float(share):.1%} up to {distance:.3g}" for share, distance in self.quantiles.items())
        of = f", of {self.recall.n} images" if self.recall else ""
        lines = [
            f"{self.source}: {self.images} images, {self.copies} exact copies in {len(self.exact)} groups",
            *(f"  {' = '.join(group)}" for group in self.exact[: self.show]),
            f"nearest other image, in 8-bit levels{of}: {nearest or 'there is none'}",
            *([f"searched by {self.search}, which found {self.recall} of the nearest"] if self.recall else []),
            f"{len(self.near)} near pairs in {len(self.near_groups)} groups, up to {self.threshold:.3g}",
            *(f"  {pair.first} ~ {pair.second}  {pair.distance:.3g}" for pair in self.near[: self.show]),
        ]
        return "\n".join(lines)


def scan(settings: DatasetScan) -> Scan:
    """Look for exact and near duplicates; of each only a small one is held in memory, 1 KB a channel.

    Images may differ in size.

    Raises:
        FarfieldError: nothing to be read.
    """
    subset = settings.subset
    with open_collection(settings.source, labels=False) as collection:
        keys = first(collection.keys, subset.max_images, subset.shuffled_by, collection.name)
        digests, small = _described(collection, keys, settings.strict, settings.printing.quiet)
    groups: dict[bytes, list[str]] = defaultdict(list)
    for key, digest in digests.items():
        groups[digest].append(key)
    exact = tuple(tuple(group) for group in groups.values() if len(group) > 1)
    indexed = len(small) > LARGE and sys.platform != "darwin" and importlib.util.find_spec("faiss")
    kind = settings.search or ("ivf" if indexed else "exact")
    if search_of(kind, Path()) is None:
        kind = "exact"
    pairs, threshold, quantiles, recall = _near([group[0] for group in groups.values()], small, settings.near, kind)
    members = _joined(pairs)
    return Scan(collection.name, len(digests), exact, pairs, members, threshold, quantiles, kind, recall, settings.show)


def _described(
    collection: Collection, keys: Sequence[str], strict: bool, quiet: bool
) -> tuple[dict[str, bytes], Tensor]:
    """The hash of each image's pixels, and one of each group of equal ones shrunk, in 8-bit levels: ``[groups, d]``."""
    shapes = {shape for _, shape in collection.shapes(keys)}
    channels = max(shape[0] for shape in shapes)
    height, width = (min(SIDE, max(side)) for side in zip(*(shape[1:] for shape in shapes), strict=True))

    def one(key: str, picture: np.ndarray) -> tuple[bytes, Tensor]:
        content = hashlib.sha256(f"{picture.shape} {picture.dtype}".encode() + np.ascontiguousarray(picture).tobytes())
        values = fit(picture, (channels, height, width), f"{collection.name}: {key}", "stretch")
        return content.digest(), values.flatten() * 127.5

    digests: dict[str, bytes] = {}
    seen: set[bytes] = set()
    small = torch.empty(len(keys), channels * height * width)
    with progress("reading", len(keys), quiet=quiet) as advance:
        for key, (digest, values) in collection.each(one, keys, strict=strict, report=advance):
            if digest not in seen:
                small[len(seen)] = values
            seen.add(digest)
            digests[key] = digest
    return digests, small[: len(seen)]


def _near(
    keys: Sequence[str], small: Tensor, near: float, kind: str
) -> tuple[tuple[Near, ...], float, dict[str, float], Score | None]:
    if len(keys) < 2:
        return (), 0.0, {}, None
    k, recall = min(NEIGHBOURS, len(keys) - 1), None
    vectors = Features(tuple(keys), small, "small pixels")
    if kind == "exact":
        distances, others = nearest_in_blocks(vectors, vectors, k, exclude=torch.arange(len(keys)))
        first = distances[:, 0]
    else:
        distances, others, recall, first = neighbours_among(vectors, k, kind)
    scale = small.shape[1] ** 0.5
    distances, shares = distances / scale, torch.tensor(QUANTILES, dtype=torch.float64)
    quantiles = dict(zip(map(str, QUANTILES), (first / scale).quantile(shares).tolist(), strict=True))
    threshold = near * quantiles["0.5"]
    distance_of = {}
    for i, j in (distances <= threshold).nonzero().tolist() if near else ():
        a, b = sorted((i, int(others[i, j])))
        distance_of[a, b] = float(distances[i, j])
    pairs = sorted((Near(keys[a], keys[b], round(d, 4)) for (a, b), d in distance_of.items()), key=lambda p: p.distance)
    return tuple(pairs), threshold, quantiles, recall


def _joined(pairs: Sequence[Near]) -> tuple[tuple[str, ...], ...]:
    """The images that near pairs join, directly or through others."""
    group: dict[str, list[str]] = {}
    for pair in pairs:
        one, other = (group.setdefault(key, [key]) for key in (pair.first, pair.second))
        if one is not other:
            one += other
            group |= dict.fromkeys(other, one)
    return tuple(tuple(members) for members in {id(g): sorted(g) for g in group.values()}.values())
