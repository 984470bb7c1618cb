"""A pickle read as data: nothing in it is imported, nothing in it is called, and what it would make is only written down."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

from farfield.checkpoints.file.mapped import Mapped
from farfield.checkpoints.file.pickle_machine import Machine, Persistent
from farfield.checkpoints.file.pickle_values import Reader
from farfield.checkpoints.file.stored import Made
from farfield.checkpoints.file.vocabulary import Vocabulary

DEPTH = 200
"""How deep data may be nested; EDM's networks reach 40."""

EXPANDED, EXPANDED_BASE = 1_000_000, 50_000
"""How many values data may have if everything that is shared were written out, and a small file besides one for each of its
bytes; EDM's networks have some 50,000, in files of 200 MB."""


def read_pickle(
    file: Mapped, data: memoryview, words: Vocabulary, persistent: Persistent | None = None, at: int = 0
) -> tuple[Any, int]:
    """The value of the pickle that begins at ``data[at]``, and where it ends.

    Args:
        file: whose budget it takes from.
        data: bytes of that file.

    Raises:
        FarfieldError: damaged; a name outside of the vocabulary; anything else that plain data does not need.
    """
    reader = Reader(file, data, at)
    value = Machine(reader, words, persistent).run()
    _measure(file, value)
    return value, reader.at


def _measure(file: Mapped, root: Any) -> None:
    """Refuse data that contains itself, is nested beyond `DEPTH`, or would be beyond `EXPANDED` if written out."""
    most = min(EXPANDED, EXPANDED_BASE + len(file.data))
    sizes: dict[int, tuple[int, int]] = {}  # of what is done, by id: its depth and how many values it has
    path = [_Open(root)]
    above = {id(root)}
    while path:
        here = path[-1]
        for part in here.parts:
            depth, size = (0, 1) if not isinstance(part, dict | list | tuple | Made) else sizes.get(id(part), (-1, 0))
            if depth < 0:
                if id(part) in above:
                    raise file.refused("data in it contains itself")
                file.spend(200)
                path.append(_Open(part))
                above.add(id(part))
                break
            here.depth = max(here.depth, depth + 1)
            here.size += size
        else:
            path.pop()
            above.discard(id(here.value))
            sizes[id(here.value)] = here.depth, here.size
            if path:
                path[-1].depth = max(path[-1].depth, here.depth + 1)
                path[-1].size += here.size
        if len(path) + here.depth > DEPTH or here.size > most:
            raise file.refused("data in it is nested or repeated beyond reason")


class _Open:
    """A value whose parts are being looked at."""

    def __init__(self, value: Any) -> None:
        self.value, self.depth, self.size = value, 0, 1
        self.parts = _parts(value)


def _parts(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        return iter(value.values())
    if isinstance(value, Made):
        return chain(value.arguments, [value.state], value.items, value.pairs.values())
    return iter(value if isinstance(value, list | tuple) else ())
