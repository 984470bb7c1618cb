"""Names of models that are no file: denoisers that are held (`checkpoints.given`), and the user's own factories."""

from __future__ import annotations

from typing import Any, Final

OWN: Final = "py:"
"""Before ``package.module:function``, whose name runs it."""

WAYS: Final = (
    "a network of your own: in Python farfield.wrap(module, shape, betas=…), in a command py:package.module:function, a function "
    "of yours that returns that (docs/own-network.md)"
)
"""What a refusal of an unknown file offers."""

HELD: Final[dict[str, Any]] = {}
"""Denoisers with their digests, by name; filled and emptied by `checkpoints.given.holding` alone."""


def is_given(name: str) -> bool:
    """Whether a name is that of a denoiser which is held, or of a factory."""
    return name.startswith(OWN) or name in HELD
