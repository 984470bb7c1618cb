"""What stands behind ``farfield.NAME``: a command's function, or one of `farfield.api.model`."""

from __future__ import annotations

import difflib
import importlib
from typing import Any, Final

from farfield.api.call import function
from farfield.command.commands import COMMANDS

OURS: Final = ("decode", "load", "models", "open_images", "wrap")
"""Of `farfield.api.model`: what is no command."""

_BY_NAME: Final = {name.replace(" ", "_").replace("-", "_"): command for name, command in COMMANDS.items()}
"""Commands by the names of their functions: ``score_rp``, ``train_descriptor``."""


def find(name: str) -> Any:
    """The function of this name.

    Raises:
        AttributeError: there is none; with what is near.
    """
    if name == "audit":  # the room of that name can be called
        return importlib.import_module("farfield.audit")
    if name in OURS:
        return getattr(importlib.import_module("farfield.api.model"), name)
    if name in _BY_NAME:
        return function(_BY_NAME[name])
    near = difflib.get_close_matches(name, [*OURS, *_BY_NAME], 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise AttributeError(f"module 'farfield' has no attribute {name!r}{hint}", name=name)
