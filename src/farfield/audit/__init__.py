"""Features of images and what they say: distances between distributions, copies, duplicates.

From Python this room is also the command of its name: ``farfield.audit(subject, train, heldout)``; and
``farfield.audit.copies(samples, training, heldout)`` is `farfield score gl`.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class _Room(ModuleType):
    """The package that can be called. What stands behind a name is looked up in the room above, and not before."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self._of("audit")(*arguments, **options)

    def __getattr__(self, name: str) -> Any:
        if name == "copies":
            return self._of("score gl")
        if name in ("__signature__", "__wrapped__"):
            raise AttributeError(name)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}", name=name)

    def _of(self, command: str) -> Any:
        commands = import_module("farfield.command.commands").COMMANDS
        return import_module("farfield.api.call").function(commands[command])


sys.modules[__name__].__class__ = _Room
