"""What may be the key of a dictionary in a file, and what it may cost to set it."""

from __future__ import annotations

from typing import Any

from farfield.checkpoints.file.stored import Name

LONGEST = 1024
"""Characters of a key. Equal ones are compared to their end each time that one is set; those of networks have some 100."""


def is_key(value: Any) -> bool:
    """Whether a value is hashed and compared fast."""
    if isinstance(value, tuple):
        return len(value) <= 16 and all(is_key(part) and not isinstance(part, tuple) for part in value)
    if isinstance(value, int):
        return abs(value) < 1 << 60
    if isinstance(value, str | bytes):
        return len(value) <= LONGEST
    return value is None or isinstance(value, float | Name)


def collisions(key: Any, among: int) -> int:
    """Steps that it may take to set a key in a dictionary of so many, where somebody chose all of them to collide.

    Nobody can choose text so, or bytes, whose hashes differ from process to process. Unlike numbers have unlike hashes, but can
    be made to come by the same places, a few nanoseconds each; tuples can have one hash, and are compared.
    """
    return among if isinstance(key, tuple) else among >> 4 if isinstance(key, int | float) else 0
