"""Whether a state dict is that of the network which some of its names and shapes tell: all of them, and none besides."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from farfield.checkpoints.assembly import first_line
from farfield.checkpoints.file.stored import State, Stored
from farfield.core.error import FarfieldError
from farfield.networks.build import from_config


def shape(state: State, name: str, dimensions: int, path: Path) -> tuple[int, ...]:
    """That of a weight which such a network has.

    Raises:
        FarfieldError: there is none, or of another number of dimensions.
    """
    weight = state.get(name)
    if weight is None or len(weight.shape) != dimensions or 0 in weight.shape:
        what = "none" if weight is None else f"shape {weight.shape}"
        raise FarfieldError(f"{path}: expected a weight {name} of {dimensions} dimensions, found {what}")
    return weight.shape


def prove(config: dict[str, Any], state: State, path: Path, code: str) -> None:
    """See that a network has exactly the names and shapes of a state dict; no number is read, and no memory taken.

    Args:
        code: whose network it is, for messages.

    Raises:
        FarfieldError: it has not, or cannot be.
    """
    fits(lambda: from_config(config), {name: t.shape for name, t in state.items()}, {}, path, f"the network of {code}")
    for name, tensor in state.items():
        if not tensor.dtype.is_floating_point:
            raise FarfieldError(f"{path}: {name} is of {tensor.dtype}, quantized; expected real numbers")


def fits(
    build: Callable[[], nn.Module],
    there: Mapping[str, tuple[int, ...]],
    names: Mapping[str, str],
    path: Path,
    what: str,
) -> None:
    """See that a network, made without memory, has exactly these names and shapes.

    Args:
        there: shapes by the network's names.
        names: what the file calls them, where that is otherwise.
        what: whose network it is, for messages.

    Raises:
        FarfieldError: it has not, or cannot be.
    """
    try:
        with torch.device("meta"):
            network = build()
    except (FarfieldError, RuntimeError, ArithmeticError, TypeError, ValueError) as error:
        raise FarfieldError(f"{path}: its weights are those of no network that can be ({first_line(error)})") from error
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    for name in sorted(expected.keys() | there.keys()):
        if there.get(name) != expected.get(name):
            found = f"of shape {there[name]}" if name in there else "missing"
            raise FarfieldError(
                f"{path}: {names.get(name, name)[:100]} is {found}; expected {expected.get(name, 'no such weight')} in {what} "
                "that the other names and shapes tell; damaged, or a variant that is not read here"
            )


def renamed(state: State, rename: Callable[[str], str], path: Path) -> dict[str, str]:
    """What each weight is called elsewhere: the file's name by the other.

    Raises:
        FarfieldError: two would become one.
    """
    names: dict[str, str] = {}
    for name in state:
        if (there := rename(name)) in names:
            raise FarfieldError(f"{path}: {names[there][:100]} and {name[:100]} are the same weight; damaged")
        names[there] = name
    return names


def counted(state: State) -> tuple[int, torch.dtype]:
    """How many numbers there are, and the dtype of most of them."""
    counts = Counter[torch.dtype]()
    for tensor in state.values():
        counts[tensor.dtype] += math.prod(tensor.shape)
    return counts.total(), counts.most_common(1)[0][0]


def bounded(stored: Mapping[str, Stored], size: int, least: int, said: str) -> None:
    """See that tensors can be those of a network that a file says it is, before it is laid out.

    Args:
        size: of the file in bytes.
        least: so many tensors such a network has at least.
        said: of the network, for messages.

    Raises:
        FarfieldError: they are larger than the file, or fewer.
    """
    if sum(math.prod(tensor.shape) * tensor.dtype.itemsize for tensor in stored.values()) > size:
        raise FarfieldError("its tensors are larger than the file; it is damaged, or made to harm")
    if least > len(stored):
        raise FarfieldError(f"{len(stored)} tensors; expected more in {said}")


def shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    """Of all that a network's state dict holds."""
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


def agree(want: Mapping[str, tuple[int, ...]], stored: Mapping[str, Stored]) -> None:
    """See that tensors are those of a network that a file says it is.

    Raises:
        FarfieldError: one is missing, of another shape, or of no network such as this.
    """
    have = {name: tensor.shape for name, tensor in stored.items()}
    if wrong := sorted(name for name in want.keys() | have.keys() if want.get(name) != have.get(name)):
        first = wrong[0]
        raise FarfieldError(
            f"{len(wrong)} of its tensors are not those of the network that it says it is: {first[:80]} is "
            f"{have.get(first, 'missing')}, expected {want.get(first, 'none of that name')}"
        )
