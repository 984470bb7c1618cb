"""farfield in a browser: forms made of the commands' declarations, and runs that the command line continues.

From Python this room is also the command of its name: ``farfield.ui()``.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _Room(ModuleType):
    """The package that can be called."""

    def __call__(self, **options: Any) -> Any:
        from farfield.api.call import function
        from farfield.command.commands import COMMANDS

        return function(COMMANDS["ui"])(**options)


sys.modules[__name__].__class__ = _Room
