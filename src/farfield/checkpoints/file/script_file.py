"""The weights in a TorchScript archive, as data: of its program nothing is read, compiled or run.

The archive is that of ``torch.save`` with a program beside it (``NAME/code/``). Its ``NAME/data.pkl`` holds the modules as
objects of classes that the program declares, ``__torch__…``; here these are written down, and their tensors and numbers
get the names that ``state_dict`` would give them.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farfield.checkpoints.file.mapped import Mapped
from farfield.checkpoints.file.stored import Made, Stored
from farfield.checkpoints.file.torch_file import IN_TORCH, read_members
from farfield.checkpoints.file.vocabulary import Vocabulary
from farfield.checkpoints.file.zip_directory import zip_members

CONSTANTS = "constants.pkl"


@dataclass(frozen=True)
class Script:
    """What a program of TorchScript computes with.

    Attributes:
        state: its tensors, by their names in a state dict.
        numbers: what else its modules keep, by the same kind of name (``pool.p``); not its program's constants.
    """

    state: dict[str, Stored]
    numbers: dict[str, float]


def is_script(path: Path) -> bool:
    """Whether a file is a TorchScript archive; False for what cannot be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith(f"/{CONSTANTS}") for name in archive.namelist())
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return False


def read_script(path: Path) -> Script:
    """The weights in a TorchScript archive; no tensor is read yet.

    Raises:
        FarfieldError: damaged, or its modules hold what is not data. Nothing of it is run.
    """
    file = Mapped(path)
    members = zip_members(file, file.data, wanted=_is_data)
    tops = [name.partition("/")[0] for name in members if name.endswith("/data.pkl")]
    if len(tops) != 1:
        raise file.damaged(f"a TorchScript archive with {len(tops)} pickles of modules")
    root = read_members(file, members, tops[0], _IN_SCRIPT)
    script = Script({}, {})
    for name, value in _attributes(root, ""):
        file.spend(200 + len(name))
        into: dict[str, Any] = script.state if isinstance(value, Stored) else script.numbers
        if name in into:
            raise file.damaged(f"its modules hold {name[:80]!r} twice")
        into[name] = value
    return script


def _attributes(module: Any, prefix: str) -> Iterator[tuple[str, Stored | float]]:
    """The tensors and numbers of a module and of those inside it."""
    if not isinstance(module, Made) or not isinstance(module.state, dict):
        return
    for name, value in module.state.items():
        if isinstance(value, Made):
            yield from _attributes(value, f"{prefix}{name}.")
        elif isinstance(value, Stored) or type(value) in (int, float):
            yield f"{prefix}{name}", value


def _is_data(name: str) -> bool:
    return name.split("/")[1:] in (["data.pkl"], ["byteorder"]) or name.split("/")[1:2] == ["data"]


def _first(file: Mapped, arguments: tuple[Any, ...]) -> Any:
    """Of ``build_…list`` and of a container with its type: the list, or the container."""
    if not arguments:
        raise file.refused("a list in it is made from nothing")
    return arguments[0]


_IN_SCRIPT = IN_TORCH | Vocabulary(
    calls={
        f"torch.jit._pickle.{name}": _first
        for name in ("build_intlist", "build_doublelist", "build_boollist", "build_tensorlist", "restore_type_tag")
    },
    under=("__torch__.",),
)
"""What the modules of an archive refer to."""
