"""Safetensors files of any name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safetensors import safe_open


def open_tensors(path: Path) -> safe_open:
    """A file as `safetensors.safe_open` has it, which opens none whose path is not UTF-8: such a one by its descriptor."""
    from safetensors import safe_open

    try:
        str(path).encode()
    except UnicodeEncodeError:
        handle = os.open(path, os.O_RDONLY)
        try:
            return safe_open(f"/dev/fd/{handle}", framework="pt")
        finally:
            os.close(handle)
    return safe_open(path, framework="pt")
