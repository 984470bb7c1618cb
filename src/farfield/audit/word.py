"""The words for descriptors. Looked at before anything heavy is imported."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from farfield.command.likeness import TRUST
from farfield.core.error import FarfieldError

WORDS: Final = ("pixels", "model", "copy", "sscd", "inception", "dinov2", "clip")


def look(spec: str) -> None:
    """Refuse a descriptor that is neither a word nor a file.

    Raises:
        FarfieldError: an unknown word, or a file that is not there.
    """
    if spec.partition(":")[0] not in WORDS and not Path(spec.removeprefix(TRUST)).is_file():
        raise FarfieldError(f"descriptor {spec!r}: expected {', '.join(WORDS)} or the path of a file; no such file")
