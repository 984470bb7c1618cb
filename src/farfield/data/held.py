"""Where arrays that were given from Python lie while a call needs them: sources by a name, as paths are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

NAME: Final = re.compile(r"array-[0-9a-f]{12}\.(npz|shards|list)")
"""Of an array, by its content."""

HELD: Final[dict[str, Path]] = {}
"""Filled and emptied by `data.given.holding` alone."""


def held(source: object) -> Path | None:
    """Where an array that is held now lies; None of any other source."""
    return HELD.get(str(source))


def is_array_name(source: object) -> bool:
    """Whether a name is that of an array, held or not."""
    return NAME.fullmatch(str(source)) is not None
