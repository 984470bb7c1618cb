"""What is said in place of a path that tells a reader nothing, as of an array from Python that lies in a temporary folder."""

from __future__ import annotations

from typing import Final

ALIASES: Final[dict[str, str]] = {}
"""Paths and names, and what is said instead, while they are in use."""


def shown(text: str) -> str:
    """A text for a reader: the longest names first, as one may be part of another."""
    for name in sorted(ALIASES, key=len, reverse=True):
        text = text.replace(name, ALIASES[name])
    return text
