"""``--config FILE``: options from a TOML file, as if they stood on the command line before those that do."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from farfield.command.commands import Command, read_line
from farfield.command.option import Leaf
from farfield.command.settings import leaves
from farfield.core.error import FarfieldError

FLAG = "--config"


def expanded(words: Sequence[str]) -> list[str]:
    """The words of a command line with what its file says in the file's place; a word that comes later wins."""
    place = next((i for i, word in enumerate(words) if word.split("=")[0] == FLAG), None)
    if place is None or "--" in words[:place]:
        return list(words)
    left = list(words)
    _, equals, name = left.pop(place).partition("=")
    if not equals:
        if place >= len(left):
            raise FarfieldError(f"{FLAG}: expected a file after it")
        name = left.pop(place)
    command, rest = read_line(left)
    return [*command.name.split(), *_words(Path(name), command), *rest]


def _words(path: Path, command: Command) -> list[str]:
    """What gives the values of a file, arguments first.

    Raises:
        FarfieldError: no such file, not TOML, or a key that is no option.
    """
    try:
        content: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FarfieldError(f"{FLAG} {path}: expected a TOML file, which cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise FarfieldError(
            f"{FLAG} {path}: expected TOML, such as steps = 12 in a line, found something else ({error})"
        ) from error
    known: dict[str, Leaf] = {}
    for one in leaves(command.settings):
        flags = [flag.lstrip("-") for both in one.flags for flag in both.split("/")[:1]]
        known |= dict.fromkeys([one.name, *(flag.replace("-", "_") for flag in flags)], one)
    words: list[tuple[bool, list[str]]] = []
    for key, value in content.items():
        if (name := key.replace("-", "_")) not in known:
            raise FarfieldError(f"{FLAG} {path}: {key} is no option of `farfield {command.name}`; see its --help")
        leaf = known[name]
        given = leaf.value(tuple(value) if isinstance(value, list) else value)
        words.append((not leaf.argument, leaf.words(given)))
    return [word for _, said in sorted(words, key=lambda pair: pair[0]) for word in said]
