r"""The symmetries of a square, for domains that have no up or no left: a galaxy turned is a galaxy.

Every one is a flip (left-right, or none) followed by quarter turns; a set of names generates a group, in which
:math:`(r^j f^a)(r^k f^b) = r^{j + (-1)^a k} f^{a + b}`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from farfield.core.artifact import Images
from farfield.core.error import FarfieldError

ELEMENTS: dict[str, tuple[int, int]] = {
    "identity": (0, 0),
    "rot90": (1, 0),
    "rot180": (2, 0),
    "rot270": (3, 0),
    "flip": (0, 1),
    "transpose": (1, 1),
    "flipud": (2, 1),
    "antitranspose": (3, 1),
}
"""Quarter turns (counter-clockwise) and left-right flips of each, the flip first."""

SAVED = "@"
"""Between the key of an image and the symmetry that was applied to it."""


def parse(text: str) -> tuple[str, ...]:
    """The names in ``rot90,flip``, checked."""
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    unknown = [n for n in names if n not in ELEMENTS or n == "identity"]
    if unknown or not names:
        known = ", ".join(n for n in ELEMENTS if n != "identity")
        raise FarfieldError(f"symmetry {(unknown or [text])[0]!r}: expected some of {known}, with commas between")
    return names


def group(names: Sequence[str]) -> tuple[str, ...]:
    """Everything that these symmetries make together, the identity first: ``rot90`` gives 4, with ``flip`` 8."""
    generators = [ELEMENTS[n] for n in parse(",".join(names))]
    reached, new = {(0, 0)}, {(0, 0)}
    while new:
        new = {((j + (-1) ** a * k) % 4, (a + b) % 2) for j, a in new for k, b in generators} - reached
        reached |= new
    return tuple(name for name, element in ELEMENTS.items() if element in reached)


def apply(values: Tensor, name: str) -> Tensor:
    """One symmetry of images (or of their latents): ``[..., H, W]``.

    Raises:
        FarfieldError: unknown name, or a quarter turn of what is not square.
    """
    if name not in ELEMENTS:
        raise FarfieldError(f"symmetry {name!r}: expected one of {', '.join(ELEMENTS)}")
    turns, flips = ELEMENTS[name]
    height, width = values.shape[-2:]
    if turns % 2 and height != width:
        raise FarfieldError(
            f"symmetry {name}: a quarter turn needs square images, found {height} × {width}; use flip, flipud or rot180"
        )
    return torch.rot90(values.flip(-1) if flips else values, turns, (-2, -1))


def augment(images: Images, names: Sequence[str]) -> Images:
    """The images, and all their symmetric ones under ``key@rot90`` …: the group that ``names`` generate."""
    members = group(names)
    keys = [f"{key}{SAVED}{name}" if name != "identity" else key for name in members for key in images.keys]
    return Images(tuple(keys), torch.cat([apply(images.values, name) for name in members]))
