"""Some layers of a network by patterns of their names, so that training changes these and no others."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Final

from farfield.core.error import FarfieldError

LISTED: Final = 24
"""Names that an error lists, at most."""


def chosen(names: Sequence[str], patterns: Sequence[str]) -> list[str]:
    """The parameters that a pattern names: one itself, or all of a layer. ``*`` stands for anything, as in file names.

    Args:
        names: of all parameters, such as ``unet.mid_block.resnets.0.conv1.weight``.
        patterns: ``unet.mid_block``, ``*.norm*``.

    Returns:
        those of any pattern, in the order of ``names``.

    Raises:
        FarfieldError: a pattern that names none; what there is to be named.
    """
    found: set[str] = set()
    for pattern in patterns:
        hits = {name for name in names if fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")}
        if not hits:
            raise FarfieldError(
                f"--layers {pattern}: expected the name of a layer, or a pattern such as '*{names[0].rpartition('.')[0]}*'; "
                f"there are {', '.join(layers(names))}"
            )
        found |= hits
    return [name for name in names if name in found]


def layers(names: Sequence[str]) -> list[str]:
    """The layers that parameters belong to, as deep in their names as `LISTED` of them allow."""
    cut: list[str] = []
    parents = [name.rpartition(".")[0] or name for name in names]
    for depth in range(1, max(name.count(".") for name in parents) + 2):
        deeper = list(dict.fromkeys(".".join(name.split(".")[:depth]) for name in parents))
        if cut and len(deeper) > LISTED:
            break
        cut = deeper
    return cut[:LISTED] + ["…"] * (len(cut) > LISTED)
