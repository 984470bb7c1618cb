"""Functions carried out in forked children of the tests: processes of their own without the seconds of starting Python.

One thread: what a pool of threads had begun, a fork leaves undone.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

needs_fork = pytest.mark.skipif(
    sys.platform in ("darwin", "win32"), reason="frameworks that are loaded do not stand a fork there"
)


@dataclass(frozen=True)
class Child:
    """One that was begun, and the pipe through which it gives its result."""

    process: int
    pipe: int

    def end(self) -> tuple[int, Any]:
        """Wait for it: its exit code, −n if signal n killed it, and what the function returned."""
        with os.fdopen(self.pipe, "rb") as pipe:
            said = pipe.read()
        code = os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])
        return code, json.loads(said) if said else None


def begin(act: Callable[[], Any]) -> Child:
    """``act()``, which returns JSON values, in a child."""
    read, write = os.pipe()
    process = os.fork()
    if process:
        os.close(write)
        return Child(process, read)
    code = 70
    try:
        with os.fdopen(write, "w") as pipe:
            json.dump(act(), pipe)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)
