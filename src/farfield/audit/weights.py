"""Weights of a known network in a file, read as data: state dicts, safetensors, and TorchScript archives alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from farfield.checkpoints.file.script_file import is_script, read_script
from farfield.checkpoints.file.stored import Stored, states
from farfield.checkpoints.file.tree import open_tree
from farfield.core import note


@dataclass(frozen=True)
class Weights:
    """What a file holds of a network.

    Attributes:
        path: of the file.
        states: its state dicts, outermost first.
        numbers: what else a TorchScript archive keeps, see `checkpoints.file.script_file.Script`.
        program: whether a program of TorchScript lies beside them, of which nothing is run.
    """

    path: Path
    states: tuple[Mapping[str, Stored], ...]
    numbers: Mapping[str, float]
    program: bool

    def find(self, known: Callable[[Mapping[str, object]], bool], name: str) -> dict[str, Tensor] | None:
        """The first state dict with the names of a network, in memory; None if there is none."""
        state = next((state for state in self.states if known(state)), None)
        if state is None:
            return None
        if self.program:
            note.say(f"{self.path}: read as the weights of {name}; the program beside them is not run")
        return {key: value.load() for key, value in state.items()}


def read_weights(path: Path) -> Weights:
    """The weights in a file; no tensor is read yet, and nothing in the file is run.

    Raises:
        FarfieldError: no such file, something else, damaged, or it holds what is not data.
    """
    if is_script(path):
        script = read_script(path)
        return Weights(path, (script.state,), script.numbers, program=True)
    found = tuple(state for _, state in states(open_tree(path).root))
    return Weights(path, found, {}, program=False)
