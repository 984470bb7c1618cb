"""Known networks, rebuilt from the weights in a file; these are read as data, as those of models are. Nothing in it is run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor, nn

from farfield.checkpoints.file.script_file import is_script, read_script
from farfield.checkpoints.file.stored import State, states
from farfield.checkpoints.file.tree import open_tree
from farfield.checkpoints.wrapped import bare
from farfield.core import note
from farfield.core.error import FarfieldError

Network = TypeVar("Network", bound=nn.Module)


def open_weights(path: Path) -> tuple[list[State], Mapping[str, float] | None]:
    """The state dicts in a file, outermost first, without the words of wrappers in their names; no tensor is read yet.

    Returns:
        them, and of a TorchScript archive what else its modules keep (`checkpoints.file.script_file.Script`): None says that
        there is no program beside them.

    Raises:
        FarfieldError: no such file, something else, damaged, or it holds what is not data.
    """
    if is_script(path):
        script = read_script(path)
        return [bare(script.state)], bare(script.numbers)
    return [bare(state) for _, state in states(open_tree(path).root)], None


def rebuilt(
    path: Path | str,
    known: Callable[[Mapping[str, Any]], bool],
    build: Callable[[dict[str, Tensor], Mapping[str, float]], Network],
    name: str,
    expected: str,
) -> Network:
    """The network that ``build`` makes of the first state dict in a file whose names are ``known``.

    Args:
        name: of the network, for the line that says that a program was left aside.
        expected: in a file without such names, for the error.

    Raises:
        FarfieldError: as of `open_weights`; no such names, or not such a network.
    """
    held, numbers = open_weights(Path(path))
    state = next((state for state in held if known(state)), None)
    if state is None:
        raise FarfieldError(f"{path}: expected {expected}")
    if numbers is not None:
        note.say(f"{path}: read as the weights of {name}; the program beside them is not run")
    try:
        return build({key: value.load() for key, value in state.items()}, numbers or {})
    except FarfieldError as error:
        raise FarfieldError(f"{path}: {error}") from error
