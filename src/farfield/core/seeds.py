"""Whole numbers as people write them: ``0-63``, ``1,5,9-12``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from farfield.core.error import FarfieldError

MOST = 10_000_000
"""Numbers that one text may name."""
LARGEST = 2**63 - 1
"""What a generator of random numbers takes."""


def parse_numbers(text: str, name: str = "seeds") -> list[int]:
    """The numbers that a text names, in its order.

    Args:
        text: numbers and ranges (both ends belong to them), parted by commas.
        name: what they are, for the errors.

    Raises:
        FarfieldError: something else, a range that runs backwards, or a number twice.
    """
    numbers: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*([0-9]+)\s*(?:-\s*([0-9]+)\s*)?", part)
        if not match:
            raise FarfieldError(f"{name} {text!r}: expected whole numbers of at least 0 such as 0-63 or 1,5,9-12")
        low, high = int(match[1]), int(match[2] or match[1])
        if high < low:
            raise FarfieldError(f"{name} {text!r}: {low}-{high} runs backwards; write {high}-{low}")
        if high > LARGEST or len(numbers) + high - low >= MOST:
            raise FarfieldError(f"{name} {text!r}: expected at most {MOST:,} numbers, each below 2^63; give fewer")
        numbers.extend(range(low, high + 1))
    if len(set(numbers)) < len(numbers):
        twice = Counter(numbers).most_common(1)[0][0]
        raise FarfieldError(f"{name} {text!r}: {twice} occurs more than once; give each once")
    return numbers


def show_numbers(numbers: Sequence[int]) -> str:
    """The shortest such text, with ranges where numbers follow each other."""
    runs: list[list[int]] = []
    for n in numbers:
        if runs and n == runs[-1][1] + 1:
            runs[-1][1] = n
        else:
            runs.append([n, n])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in runs)
