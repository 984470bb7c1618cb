"""Where downloads lie."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Where downloads lie: the folder of the environment variable FARFIELD_CACHE, or ``~/.cache/farfield``."""
    return Path(os.environ.get("FARFIELD_CACHE") or Path.home() / ".cache" / "farfield")
