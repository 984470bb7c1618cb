"""The most memory that a piece of work holds, told by a process that has done nothing else."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any


def alone(module: str, *arguments: str | int) -> Any:
    """The value that ``python -m module`` prints, as JSON, when it is given the arguments as JSON."""
    command = [sys.executable, "-m", module, json.dumps(arguments)]
    answer = subprocess.run(command, cwd=Path(__file__).parents[1], check=True, capture_output=True, text=True)
    return json.loads(answer.stdout)


def peak_bytes() -> int:
    """The most memory this process has held.

    On Linux ru_maxrss is handed down to a child by the process that starts it, and a large parent would hide all that
    the child does; the kernel's own mark for the program, VmHWM, begins anew.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return 1024 * next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
