"""Values as people write them on a command line: ``0.1,1,10``, ``500k``, ``0-63``; and back."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, Final

from farfield.core.error import FarfieldError
from farfield.core.json_file import parse_json
from farfield.core.seeds import parse_numbers, show_numbers

_UNITS: Final = {"": 1, "k": 1_000, "m": 1_000_000}
MOST_IMAGES: Final = 10**15


def as_numbers(text: str, name: str, *, whole: bool = False, most: int = 64) -> tuple[float, ...]:
    """Numbers with commas between; ``none`` is none of them.

    Raises:
        FarfieldError: something else, or more than ``most``.
    """
    if text.strip() == "none":
        return ()
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if (
        not 1 <= len(values) <= most
        or not all(map(math.isfinite, values))
        or (whole and any(v != int(v) for v in values))
    ):
        kind = "whole numbers" if whole else "numbers"
        raise FarfieldError(f"{name} {text!r}: expected {kind} with commas between")
    return tuple(int(v) if whole else v for v in values)


def as_count(text: str, name: str) -> int:
    """A number of images: ``20000``, ``500k``, ``0.5M``.

    Raises:
        FarfieldError: something else, or less than 1.
    """
    match = re.fullmatch(r"(\d+(?:\.\d*)?)([kKmM]?)", text.strip())
    amount = float(match[1]) * _UNITS[match[2].lower()] if match else 0.0
    number = round(amount) if amount < MOST_IMAGES else 0
    if number < 1:
        raise FarfieldError(f"{name} {text!r}: expected a number of images such as 20000, 500k or 0.5M")
    return number


def as_counts(text: str, name: str) -> tuple[int, ...]:
    """Several, with commas between; ``none`` is none of them."""
    return () if text.strip() == "none" else tuple(as_count(part, name) for part in text.split(","))


def as_decibels(text: str, name: str) -> float:
    """A PSNR: ``40dB``, ``40``."""
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*(dB)?\s*", text, re.IGNORECASE)
    if not match:
        raise FarfieldError(f"{name} {text!r}: expected a PSNR such as 40dB")
    return float(match[1])


def as_device(text: str, name: str) -> str:
    """The name of a device; whether this machine has it, only torch knows.

    Raises:
        FarfieldError: something else.
    """
    if not re.fullmatch(r"auto|(cpu|cuda|mps)(:\d+)?", text):
        raise FarfieldError(f"device {text!r}: expected auto, cpu, cuda, cuda:N or mps")
    return text


def as_range(text: str, name: str) -> tuple[int, ...]:
    """Whole numbers and ranges of them: ``0-63``, ``1,5,9-12``."""
    return tuple(parse_numbers(text, name))


def as_labels(text: str, name: str) -> tuple[int, ...]:
    """Classes as `as_range` has them, or -1: none of them."""
    return (-1,) if text.strip() == "-1" else as_range(text, name)


def show_range(numbers: Sequence[int]) -> str:
    return show_numbers(numbers)


def as_pairs(texts: Sequence[str], name: str) -> dict[str, Any]:
    """``NAME=VALUE`` …; numbers, true and false become what they are.

    Raises:
        FarfieldError: something else.
    """
    pairs: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.strip() or not value.strip():
            raise FarfieldError(f"{name} {text!r}: expected NAME=VALUE, such as schedule=linear")
        try:
            pairs[key.strip()] = parse_json(value)
        except ValueError:
            pairs[key.strip()] = value.strip()
    return pairs


def as_text(value: Any) -> str:
    """A value as `as_numbers` and the like read it again."""
    if isinstance(value, tuple | list):
        return ",".join(map(as_text, value)) if value else "none"
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value else repr(value)
    return str(value)


def join_words(flag: str, texts: Sequence[str]) -> list[str]:
    """A flag with each of its texts; one word where the text would be taken for a flag itself."""
    return [word for text in texts for word in ([f"{flag}={text}"] if text.startswith("-") else [flag, text])]
