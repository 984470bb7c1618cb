"""Which of the networks in a file is the moving average, and averages that are kept as a list of tensors without names.

An average goes before the network that it is of: it is the model in every published result. Where a file holds several that
could be meant, none is taken unasked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from farfield.checkpoints import flow
from farfield.checkpoints.file.stored import State, Stored, Tree
from farfield.checkpoints.kind import ONE_STEP
from farfield.checkpoints.recognised import UnreadError
from farfield.checkpoints.wrapped import networks
from farfield.core.error import FarfieldError

_WORDS: Final = ("ema", "swa", "shadow", "averag", "avg")
"""What places of averages are called, or parts of that."""
_OTHERWISE: Final = ("online", "current", "raw", "schema")
"""What stands beside an average, even below its name: ``online_model`` of ema-pytorch, Lightning's ``current_model_state``."""
_GENERATOR: Final = re.compile(r"(^|[._])(generator|discriminator|G_ema|G|D|fake_score|real_score)([._]|$)")
"""Where one-step generators are kept, and what they are trained with."""
_DEPTH: Final = 5
"""How deep lists are looked for."""


def is_average(place: str) -> bool:
    """Whether a place in a file (``ema``, ``model_ema.module``, ``callbacks.EMA.shadow``) is that of a moving average."""
    words = re.split(r"[^a-z]+", place.lower())
    return any(mark in word for word in words for mark in _WORDS) and not any(word in _OTHERWISE for word in words)


def choose(tree: Tree, marks: Sequence[str], part: str | None, constants: Sequence[str] = ()) -> tuple[State, str, str]:
    """The network that is asked for, what it is called there, and its place.

    Args:
        marks: names of its weights, as of `checkpoints.wrapped.networks`.
        part: ``ema``, ``net``, or a place in the file; if not given the average, or else the only network.
        constants: names of what is not trained, and so may be left out of an average.

    Raises:
        FarfieldError: a one-step generator, no such part, several that are meant as well, or an average whose tensors are not
            this network's.
    """
    held: dict[str, State] = {**networks(tree.root, marks), **dict(flow.averages(tree, marks))}
    averages = [place for place in held if is_average(place)]
    if not averages and isinstance(tree.root, list | tuple) and len(held) > 1:
        averages = [list(held)[-1]]  # DDIM's training states: network, optimizer, epoch, step, moving average
    others = [place for place in held if place not in averages]
    bare = {} if averages else dict(lists(tree.root))
    ordered = {} if tree.kind == "safetensors" else bare  # which sorts its names
    fitting = {place: found for place, tensors in ordered.items() if (found := _named(tensors, held, constants))}
    averages += fitting
    named: dict[str, str] = {}
    for name, places in (("ema", averages), ("net", others)):
        named |= {name: places[0]} if len(places) == 1 else {place: place for place in places}
    if bare and not fitting and part in (None, "ema"):
        place, tensors = next(iter(bare.items()))
        why = (
            "and safetensors keeps no order to name them by"
            if ordered != bare
            else ("which are not in the order and shapes of the network's")
        )
        raise FarfieldError(
            f"{tree.path}: its moving average {place} is {len(tensors)} tensors without names, {why}; give a file that names "
            "them, or take what was averaged with @net"
        )
    first = "ema" if averages else "net"
    chosen = first if part is None else part
    if chosen not in named:
        what = "several networks" if part is None else f"no network {part!r}"
        raise FarfieldError(f"{tree.path}: {what}; it holds {', '.join(named)}: choose one as FILE@NAME")
    place = named[chosen]
    if place in held and not held[place]:
        raise FarfieldError(
            f"{tree.path}: averages beside its weights, but not as many, or not of their shapes or in their order; expected one "
            "of each weight; @net takes the weights themselves"
        )
    if _GENERATOR.search(place):
        raise UnreadError(tree.path, ONE_STEP, [] if place not in held else held[place].values())
    return held[place] if place in held else fitting[place], chosen, place


def _named(tensors: Sequence[Stored], held: Mapping[str, State], constants: Sequence[str]) -> State | None:
    """A list of tensors under the names of the network whose parameters they are, one by one; None where they are of none."""
    shapes = [tensor.shape for tensor in tensors]
    for state in held.values():
        for names in (list(state), [name for name in state if name not in constants]):
            if [state[name].shape for name in names] == shapes:
                return {**state, **dict(zip(names, tensors, strict=True))}
    return None


def lists(value: Any, place: tuple[str, ...] = ()) -> Iterator[tuple[str, Sequence[Stored]]]:
    """The lists of tensors that are moving averages by their places: ``ema.shadow_params`` of torch_ema and diffusers, …"""
    if isinstance(value, dict):
        if len(place) < _DEPTH:
            for key, inner in value.items():
                yield from lists(inner, (*place, str(key)))
    elif isinstance(value, list | tuple) and value:
        if all(isinstance(part, Stored) for part in value):
            if is_average(where := ".".join(place)):
                yield where, value
        elif len(place) < _DEPTH:
            for key, inner in enumerate(value):
                if isinstance(inner, dict):
                    yield from lists(inner, (*place, str(key)))
