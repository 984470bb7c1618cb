"""A run's folder from outside: what its ``config.json`` says, whether it can be begun in, and in what two requests differ."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from farfield.core.disk import PREFIX
from farfield.core.error import DamagedError, FarfieldError
from farfield.core.json_file import read_json

DIGEST = "_digest"
"""Ends the keys of a request that hold the content of its inputs."""


def configuration(folder: Path) -> dict[str, Any]:
    """What ``config.json`` says; empty where there is none, or none that can be read."""
    try:
        config = read_json(folder / "config.json")
    except DamagedError:
        return {}
    return config if isinstance(config, dict) else {}


def is_free(folder: Path) -> bool:
    """Whether nothing is there, or an empty folder."""
    return not folder.exists() or (folder.is_dir() and all(p.name.startswith(PREFIX) for p in folder.iterdir()))


def check_place(folder: Path) -> None:
    """Refuse what can never be a run's folder.

    Raises:
        FarfieldError: a file, or a folder of something else.
    """
    if folder.is_file():
        raise FarfieldError(f"{folder}: a file; expected a folder for the run, choose another with -o")
    # in this order, as another process may just have begun
    if not (folder / "config.json").exists() and not is_free(folder) and not (folder / "config.json").exists():
        raise FarfieldError(
            f"{folder}: not empty and not a farfield run (no config.json); choose another folder with -o, or empty this one"
        )


def places(base: Path) -> Iterator[Path]:
    """``runs/audit``, ``runs/audit-2``, ``runs/audit-3`` …"""
    yield base
    for number in itertools.count(2):
        yield base.with_name(f"{base.name}-{number}")


def differences(before: Mapping[str, Any], now: Mapping[str, Any], options: Mapping[str, str]) -> str:
    """In one phrase all that differs between two requests, by the names of options; empty where nothing does.

    Args:
        options: what a key's option is called.
    """
    keys = [key for key in {**now, **before} if before.get(key) != now.get(key)]
    if "command" in keys:
        return f"other settings (command was {before.get('command')}, now {now.get('command')})"
    settings = [key for key in keys if not key.endswith(DIGEST)]
    if settings:
        said = (line for key in settings for line in _differ(options.get(key, key), before.get(key), now.get(key)))
        return f"other settings ({'; '.join(said)})"
    names = (f"{key} was {str(before.get(key))[:12]}…, now {str(now.get(key))[:12]}…" for key in keys)
    return f"other data under the same names ({'; '.join(names)})" if keys else ""


def _differ(name: str, before: Any, now: Any) -> Iterator[str]:
    """Of settings within a setting each that differs."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in {**now, **before}:
            if before.get(key) != now.get(key):
                yield from _differ(f"{name} {key}".replace("_", " "), before.get(key), now.get(key))
    else:
        yield f"{name} was {_said(before)}, now {_said(now)}"


def _said(value: Any) -> str:
    text = "not given" if value is None else ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 60 else text[:60] + "…"
