"""Feature vectors that need not fit in memory: in a folder of shards, and brought to unit length as they are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

import torch

from farfield.audit.index import regrouped
from farfield.audit.similarity import unit
from farfield.audit.vectors import Vectors, check_same_descriptor
from farfield.core.artifact import Features, Store, check_unique, find_places
from farfield.core.error import FarfieldError


@final
class StoredFeatures:
    """The features in a folder, of which the keys are held, and a block of rows while it is used.

    Raises:
        FarfieldError: no shards, damaged ones, or shards of different descriptors.
    """

    def __init__(self, store: Store[Features]):
        self.store = store
        keys: list[str] = []
        none: Features | None = None
        for part in store.parts():
            none = Features((), part.values[:0].clone(), part.descriptor) if none is None else none
            check_same_descriptor(none, part)
            keys += part.keys
        if none is None:
            raise FarfieldError(
                f"{store.folder}: expected features (shard-*.safetensors), found none; describe images first"
            )
        self.keys, self.descriptor, self.shape, self._dtype = (
            tuple(keys),
            none.descriptor,
            none.shape,
            none.values.dtype,
        )
        store.check(self.keys)
        check_unique(self.keys, Features.kind)

    def __len__(self) -> int:
        return len(self.keys)

    def parts(self, rows: int) -> Iterator[Features]:
        """All of them in their order, at most so many at a time."""
        for part in regrouped(self.store.parts(), rows):
            yield from part.parts(rows)

    def select(self, keys: Sequence[str]) -> Features:
        """Those of these keys, in this order, in memory."""
        places = torch.tensor(find_places(self.keys, keys, Features.kind), dtype=torch.long)
        values, start = torch.empty((len(places), *self.shape), dtype=self._dtype), 0
        for part in self.store.parts():
            here = (places >= start) & (places < start + len(part))
            values[here] = part.values[places[here] - start]
            start += len(part)
        return Features(tuple(keys), values, self.descriptor)


@final
@dataclass(frozen=True)
class UnitVectors:
    """`audit.similarity.unit` of vectors, block by block."""

    vectors: Vectors

    @property
    def keys(self) -> tuple[str, ...]:
        return self.vectors.keys

    @property
    def shape(self) -> tuple[int, ...]:
        return self.vectors.shape

    @property
    def descriptor(self) -> str:
        return f"{self.vectors.descriptor}/unit"

    def __len__(self) -> int:
        return len(self.vectors)

    def parts(self, rows: int) -> Iterator[Features]:
        return map(unit, self.vectors.parts(rows))

    def select(self, keys: Sequence[str]) -> Features:
        return unit(self.vectors.select(keys))


def in_memory(vectors: Vectors) -> Features:
    """All of them in memory."""
    return vectors if isinstance(vectors, Features) else vectors.select(vectors.keys)
