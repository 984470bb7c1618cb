"""That a folder of diffusers or transformers brings no code: these libraries can run what a folder holds or names."""

from __future__ import annotations

import json
from pathlib import Path

from farfield.core.disk import files_below
from farfield.core.error import FarfieldError


def refuse_code(folder: Path) -> None:
    """Refuse a folder with Python in it, or with a configuration that names an attention kernel of the hub.

    Raises:
        FarfieldError: it has some; the message says where.
    """
    brought = [path for path in files_below(folder) if path.suffix == ".py"]
    if brought:
        raise FarfieldError(f"{brought[0]}: code that comes with a model is not run; remove it, or take another folder")
    for path in (path for path in files_below(folder) if path.name == "config.json"):
        try:
            text = path.read_text(encoding="utf-8")
            config = json.loads(text)
        except (OSError, ValueError, RecursionError):
            continue  # whoever reads it says what is wrong with it
        for name, value in _all(config):
            if name.endswith("attn_implementation") and isinstance(value, str) and "/" in value:
                raise FarfieldError(
                    f"{path}: {name} names code on the hub, {value[:80]!r}, which is not run; remove the entry"
                )


def _all(config: object) -> list[tuple[str, object]]:
    """Every entry of a configuration and of those inside it."""
    entries: list[tuple[str, object]] = []
    left = [config]
    while left:
        part = left.pop()
        if isinstance(part, dict):
            entries += part.items()
            left += part.values()
        elif isinstance(part, list):
            left += part
    return entries
