"""What a foreign file holds, without the file's code: names, plain values, and tensors that are read when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor


@dataclass(frozen=True)
class Name:
    """A name that a pickle refers to, ``module.qualified_name``; it is never imported."""

    name: str


@dataclass
class Made:
    """An object that a pickle would have made by calling something; here it is only written down.

    Attributes:
        name: ``module.qualified_name`` of what would have been called.
        arguments: of that call.
        state: what the object would have been given afterwards (its ``__dict__``, mostly); None without.
        items: what would have been appended to it.
        pairs: what would have been set in it, as in a dictionary.
    """

    name: str
    arguments: tuple[Any, ...] = ()
    state: Any = None
    items: list[Any] = field(default_factory=list)
    pairs: dict[Any, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Stored:
    """A tensor in a file: its shape and dtype are known (and fit into the file), its numbers are read by ``load``."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    read: Callable[[], Tensor] = field(repr=False, compare=False)

    def load(self) -> Tensor:
        """The tensor, in memory of its own, contiguous, of the stored dtype."""
        return self.read()


State = Mapping[str, Stored]
"""A state dict whose tensors are still in the file."""


@dataclass(frozen=True)
class Tree:
    """The contents of a file: dictionaries, lists, tuples, plain values, `Name`, `Made` and `Stored`.

    Attributes:
        kind: ``pickle`` (bare, as EDM's), ``torch`` (what ``torch.save`` writes), ``safetensors`` or ``arrays``
            (of NumPy, a list).
    """

    path: Path
    kind: Literal["pickle", "torch", "safetensors", "arrays"]
    root: Any


def states(root: Any, depth: int = 4, seen: set[int] | None = None) -> Iterator[tuple[str, dict[str, Stored]]]:
    """Every state dict in a tree, outermost first, with where it stands: ``ema``, ``4``, ``model.state_dict``, "" (the root).

    One that stands at several places comes once.
    """
    seen = set() if seen is None else seen
    if isinstance(root, dict) and id(root) not in seen:
        seen.add(id(root))
        tensors = {k: v for k, v in root.items() if isinstance(k, str) and isinstance(v, Stored)}
        if tensors:
            yield "", tensors
    if depth == 0:
        return
    inner = root.items() if isinstance(root, dict) else enumerate(root) if isinstance(root, list | tuple) else ()
    for key, value in inner:
        for place, state in states(value, depth - 1, seen):
            yield ".".join(part for part in (str(key), place) if part), state
