"""What a training registered with accelerate, beside its network: ``custom_checkpoint_0.pkl``, …, mostly a moving average.

The average is the model then, as in every other format. Nothing of these files is run; those that are no data are left aside, and
that is said.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from farfield.checkpoints.average import is_average, lists
from farfield.checkpoints.file.stored import State, Tree
from farfield.checkpoints.file.tree import open_tree
from farfield.checkpoints.wrapped import networks
from farfield.core.error import FarfieldError
from farfield.core.note import say

CUSTOM: Final = "custom_checkpoint_"
_NETWORKS: Final = re.compile(r"(pytorch_)?model(_\d{1,3})?\.(safetensors|bin)")
"""What accelerate calls the files of networks."""


def customs(folder: Path) -> list[Path]:
    """The files of what was registered, in their order."""
    found = [
        (m[1], p) for p in folder.glob(f"{CUSTOM}*.pkl") if (m := re.fullmatch(rf"{CUSTOM}(\d{{1,3}})\.pkl", p.name))
    ]
    return [path for _, path in sorted(found, key=lambda pair: int(pair[0]))]


def beside(path: Path) -> list[Path]:
    """Those beside a network's file that accelerate wrote."""
    return customs(path.parent) if _NETWORKS.fullmatch(path.name) else []


def with_customs(tree: Tree) -> Tree:
    """The contents of a network's file and, by the names of their files, of those beside it."""
    held = {path.stem: root for path in beside(tree.path) if (root := _root(path)) is not None}
    return replace(tree, root={**tree.root, **held}) if held and isinstance(tree.root, dict) else tree


def average_file(folder: Path) -> Path | None:
    """The file beside ``unet`` in which an average is; None where there is none."""
    return next((path for path in customs(folder) if _averages(_root(path, quiet=True))), None)


def read_average(path: Path, shapes: dict[str, tuple[int, ...]], marks: Sequence[str]) -> State:
    """The average in such a file under the names of the weights that it is of.

    Args:
        shapes: of these weights, in the order of the network's parameters.
        marks: names that the network has.

    Raises:
        FarfieldError: it is of another network.
    """
    root = _root(path)
    for state in networks(root, marks).values():
        if {name: tensor.shape for name, tensor in state.items()} == shapes:
            return state
    for _, tensors in lists(root):
        if [tensor.shape for tensor in tensors] == list(shapes.values()):
            return dict(zip(shapes, tensors, strict=True))
    raise FarfieldError(
        f"{path}: an average that is not of the {len(shapes)} weights beside it, one by one in their order; take the weights "
        "themselves with @net"
    )


def _averages(root: Any) -> bool:
    return any(True for _ in lists(root)) or any(is_average(place) for place in networks(root, ("conv_in.weight",)))


def _root(path: Path, *, quiet: bool = False) -> Any:
    """The contents of such a file; None where it holds what is not data."""
    try:
        return open_tree(path).root
    except FarfieldError as error:
        if not quiet:
            say(f"{path.name}: beside the network, and left aside, as it cannot be read as data ({error})")
        return None
