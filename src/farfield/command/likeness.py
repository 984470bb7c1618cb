"""Which descriptor tells images apart, for every command that compares them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from farfield.core.error import FarfieldError

TRUST: Final = "trust:"
"""Before a descriptor's file, which is then run."""


def trusted(descriptors: Sequence[str], files: Sequence[str] | None) -> list[str]:
    """The descriptors as `audit.named` knows them: those whose file is named by --trust with ``trust:`` before it.

    Raises:
        FarfieldError: a file that is none of the descriptors.
    """
    if strange := [file for file in files or () if file not in descriptors]:
        raise FarfieldError(f"--trust {strange[0]}: expected the file of a --descriptor, as it is given there")
    return [TRUST + name if name in (files or ()) else name for name in descriptors]
