"""Nearest neighbours among more vectors than memory holds: shard by shard, exactly or through indexes kept on disk.

Approximate indexes (faiss: inverted lists, or a graph) propose candidates; distances are always exact, in float64, so what
can be wrong is that a nearer image was missed. How often that happens is measured beside an exact search.
"""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor

from farfield.audit.search import QUERIES, SPARE, Neighbours, nearest, rank, unit_scale
from farfield.audit.vectors import check_same_descriptor, matrix
from farfield.core import note
from farfield.core.artifact import Features, Score, write_bytes
from farfield.core.error import FarfieldError, missing
from farfield.core.interval import proportion
from farfield.core.runtime import generator

KINDS: Final = ("ivf", "hnsw")
SHARD: Final = 1 << 17  # rows that are held and indexed at a time
CHECKED: Final = 500  # queries that are searched exactly as well
LINKS: Final = 32  # of a vector in the graph
PROBED: Final = 1 / 16  # share of the lists that are searched
TRAINED: Final = 64  # vectors of a cell that its mean is found from, at least
LISTS: Final = 32  # of them, where a set is searched for what is near to its own
VISITED: Final = 128  # vectors that a walk through the graph keeps


@dataclass(frozen=True)
class Approximate:
    """A search that does not look at every vector.

    ``kind``: ``ivf``, the lists of the nearest of about 4 √m cells of k-means, or ``hnsw``, a walk through a graph of
    neighbours. ``folder`` keeps the indexes, named by the content of what they index: a later search reads them.
    """

    kind: str
    folder: Path

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise FarfieldError(f"search {self.kind!r}: expected {' or '.join(KINDS)}; the exact search needs no index")


def search_of(kind: str, folder: Path) -> Approximate | None:
    """The search of a kind; None for the exact one, which on macOS is all there is, and that is said.

    There torch and faiss each load an OpenMP library of their own, and two in one process stop it or compute wrongly.

    Raises:
        FarfieldError: no such kind, or faiss is not installed.
    """
    if kind == "exact":
        return None
    search = Approximate(kind, folder)
    if sys.platform == "darwin":
        note.say(f"--search {kind}: on macOS the OpenMP libraries of faiss and torch clash; searched exactly instead")
        return None
    if importlib.util.find_spec("faiss") is None:
        raise missing(f"--search {kind}", "faiss-cpu")
    return search


def neighbours_in_shards(
    queries: Features,
    shards: Iterable[Features],
    search: Approximate | None = None,
    checked: int = CHECKED,
    seed: int = 0,
) -> tuple[Neighbours, Score | None]:
    """Each query's nearest reference in Euclidean distance, among shards of which one is held at a time.

    Args:
        queries: ``[n, d]``.
        shards: the references, see `regrouped`; keys are unique among all.
        search: exact, if not given.
        checked: how many queries, drawn with ``seed``, are searched exactly as well.

    Returns:
        The neighbours, ``index`` counting the rows of all shards, and the recall: the share of checked queries whose
        nearest reference was found, with Wilson's interval; None for an exact search.

    Raises:
        FarfieldError: no references, features that cannot be compared, or a damaged index.
    """
    x = matrix(queries, "queries").cpu()
    drawn = torch.randperm(len(x), generator=generator(seed, "recall"))[:checked]
    distance, truth = (
        torch.full((len(x),), torch.inf, dtype=torch.float64),
        torch.full((len(drawn),), torch.inf).double(),
    )
    index, keys, rows = torch.zeros(len(x), dtype=torch.long), [""] * len(x), 0
    for shard in shards:
        check_same_descriptor(queries, shard)
        if search is None:
            shard_distance, places = (part[:, 0] for part in nearest(x, shard))
        else:
            shard_distance, places = _approximate(x, shard, search)
            truth = torch.minimum(truth, nearest(x[drawn], shard)[0][:, 0])
        for i in (shard_distance < distance).nonzero()[:, 0].tolist():
            distance[i], index[i], keys[i] = shard_distance[i], rows + places[i], shard.keys[int(places[i])]
        rows += len(shard)
    if rows == 0:
        raise FarfieldError("references: expected at least one shard of features, found none; describe images first")
    recall = None if search is None else proportion(int((distance[drawn] <= truth).sum()), len(drawn))
    return Neighbours(queries.keys, tuple(keys), index, distance, rows), recall


class Among(NamedTuple):
    """What `neighbours_among` found.

    Attributes:
        distance: ``[n, k]``, infinite where too few were found.
        rows: of them, ``[n, k]``.
        recall: the share of checked vectors whose nearest other was found, with Wilson's interval.
        checked: the distances of these to their nearest other, ``[checked]``: nothing is missed there.
    """

    distance: Tensor
    rows: Tensor
    recall: Score
    checked: Tensor


def neighbours_among(vectors: Features, k: int, kind: str, *, checked: int = CHECKED, seed: int = 0) -> Among:
    """Each vector's k nearest others, among candidates of an index that is not kept.

    Of inverted lists LISTS are searched, however many there are: that finds what is near, in about :math:`n^{3/2}` steps.

    Raises:
        FarfieldError: features that cannot be searched.
    """
    y = matrix(vectors).cpu()
    index, scale = _built(y, kind), unit_scale(y)
    _set(index, kind, LISTS)
    rows, distances, places = torch.arange(len(y)), [], []
    for own in rows.split(QUERIES):
        _, found = index.search((y[own] * scale).float().contiguous().numpy(), min(1 + k + SPARE, len(y)))
        candidates = torch.from_numpy(found)
        at = torch.where(candidates < 0, own[:, None], candidates).sort(1).values
        squares, best = rank(y[own], y, at, k, own)
        distances.append(squares.sqrt())
        places.append(best)
    distance = torch.cat(distances)
    drawn = torch.randperm(len(y), generator=generator(seed, "recall"))[:checked]
    truth = nearest(y[drawn], y, 2)[0][:, 1]  # the nearest of all is itself, or its equal
    recall = proportion(int((distance[drawn, 0] <= truth).sum()), len(drawn))
    return Among(distance, torch.cat(places), recall, truth)


def regrouped(shards: Iterable[Features], rows: int = SHARD) -> Iterator[Features]:
    """The same rows in shards of at least so many, but the last: small shards are indexed and searched together."""
    held: list[Features] = []
    for shard in shards:
        held.append(shard)
        if sum(map(len, held)) >= rows:
            yield _joined(held)
            held = []
    if held:
        yield _joined(held)


def _joined(shards: list[Features]) -> Features:
    for shard in shards:
        check_same_descriptor(shards[0], shard)
    keys = tuple(key for shard in shards for key in shard.keys)
    return Features(keys, torch.cat([shard.values for shard in shards]), shards[0].descriptor)


def _approximate(x: Tensor, shard: Features, search: Approximate) -> tuple[Tensor, Tensor]:
    """Distance and place of the nearest of the candidates that the index proposes."""
    y = matrix(shard, "references").cpu()
    index = _opened(shard, search)
    distances, places, scale = [], [], unit_scale(y)
    for part in x.split(QUERIES):
        _, candidates = index.search((part * scale).float().contiguous().numpy(), min(1 + SPARE, len(y)))
        at = torch.from_numpy(candidates).clamp(min=0).sort(1).values  # -1 where fewer were found: try the first
        squares, best = rank(part, y, at, 1)
        distances.append(squares[:, 0].sqrt())
        places.append(best[:, 0])
    return torch.cat(distances), torch.cat(places)


def _opened(shard: Features, search: Approximate) -> Any:
    """The index of a shard: from disk if it is there, else made and put there."""
    import faiss

    path = search.folder / f"{search.kind}-{shard.digest()[:16]}.faiss"
    if not path.exists():
        write_bytes(path, faiss.serialize_index(_built(matrix(shard), search.kind)).tobytes())
    try:
        index: Any = faiss.read_index(str(path))
    except RuntimeError as error:
        raise FarfieldError(
            f"{path}: expected a faiss index, found a damaged one; delete it and search again"
        ) from error
    _set(index, search.kind)
    return index


def _set(index: Any, kind: str, lists: int | None = None) -> None:
    """How much of an index is searched: so many lists, or PROBED of all of them."""
    if kind == "ivf":
        index.nprobe = max(1, round(PROBED * index.nlist)) if lists is None else lists
    else:
        index.hnsw.efSearch = VISITED


def _built(y: Tensor, kind: str) -> Any:
    import faiss

    (size, length), scale = y.shape, unit_scale(y)
    index: Any

    def scaled(rows: Tensor) -> Any:
        return (rows.cpu() * scale).float().contiguous().numpy()

    if kind == "ivf":
        cells = max(1, min(round(4 * math.sqrt(size)), size // 39))  # fewer vectors a cell are too few for its mean
        index = faiss.IndexIVFFlat(faiss.IndexFlatL2(length), length, cells)
        index.cp.min_points_per_centroid = 1  # of few vectors faiss would print a warning
        index.train(scaled(y[:: max(1, size // (TRAINED * cells))]))
    else:
        index = faiss.IndexHNSWFlat(length, LINKS)
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(threads if kind == "ivf" else 1)  # several grow another graph each time
    try:
        for rows in y.split(QUERIES):  # scaled, all would be held a third time
            index.add(scaled(rows))
    finally:
        faiss.omp_set_num_threads(threads)
    return index
