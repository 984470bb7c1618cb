"""JSON of anybody's hand: what is no plain JSON is one line, however it is torn, nested or encoded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from farfield.core.error import DamagedError

DEEPEST: Final = 100
"""Lists and objects within each other; what reads them on calls itself at each."""


def parse_json(content: bytes | str) -> Any:
    """The value of a JSON text in UTF-8, UTF-16 or UTF-32.

    Raises:
        ValueError: it is torn, not text, deeper than DEEPEST, or holds NaN, infinity or a whole number of thousands of digits.
    """
    try:
        value = json.loads(content, parse_constant=_refuse)
    except RecursionError:
        raise ValueError(f"nested deeper than {DEEPEST} times") from None
    level = [value]
    for _ in range(DEEPEST):
        level = [inner for outer in level if isinstance(outer, dict | list) for inner in _inside(outer)]
        if not level:
            return value
    raise ValueError(f"nested deeper than {DEEPEST} times")


def read_json(path: Path, advice: str = "restore it, or delete it and give the command again") -> Any:
    """The value of a JSON file.

    Args:
        advice: what to do where it is damaged.

    Raises:
        DamagedError: no such file, or its content is none of `parse_json`.
    """
    try:
        return parse_json(path.read_bytes())
    except OSError as error:
        raise DamagedError(
            f"{path}: expected a JSON file, which cannot be read ({error.strerror}); give the command that makes it"
        ) from error
    except ValueError as error:
        raise DamagedError(f"{path}: expected JSON, found damage ({error}); {advice}") from error


def _inside(outer: dict[str, Any] | list[Any]) -> Any:
    return outer.values() if isinstance(outer, dict) else outer


def _refuse(name: str) -> float:
    raise ValueError(f"the number {name}")
