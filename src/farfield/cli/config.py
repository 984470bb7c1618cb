"""``--config FILE``: options from a TOML file, as if they stood on the command line before those that do."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from farfield.command.commands import Command, read_line
from farfield.command.nearest import hint, spellings
from farfield.command.option import Leaf
from farfield.command.settings import leaves
from farfield.core.error import FarfieldError

FLAG = "--config"
OF_A_RUN = ("out", "quiet", "json", "dry_run", "open")
"""What every command with a run folder takes besides its settings, but for the file itself."""


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

    Options of a group may stand in a table of its name (``[sampler]``) or outside of any. What every run takes besides is
    written as its option is: ``out``, ``quiet``.

    Raises:
        FarfieldError: no such file, not TOML, a key that is no option, or a value that it does not take.
    """
    try:
        content: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FarfieldError(f"{FLAG} {path}: expected a TOML file, which cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise FarfieldError(
            f"{FLAG} {path}: expected TOML, such as steps = 12 in a line, found something else ({error})"
        ) from error
    words: list[tuple[bool, list[str]]] = []
    seen: dict[str, str] = {}
    for key, fields, value in _entries(path, command, content):
        name = key.rpartition(".")[2].replace("-", "_")
        if name in OF_A_RUN:
            words.append((True, _of_a_run(name, value, f"{FLAG} {path}: {key}")))
            continue
        meant = [leaf for leaf in fields if name in spellings(leaf)]
        if not meant:
            said = f"{key} is no option of `farfield {command.name}`{hint(fields, name)}"
            raise FarfieldError(f"{FLAG} {path}: {said}; see its --help")
        try:
            leaf, given = _taken(meant, tuple(value) if isinstance(value, list) else value)
        except FarfieldError as error:
            raise FarfieldError(f"{FLAG} {path}: {error}") from error
        if leaf.name in seen:
            raise FarfieldError(f"{FLAG} {path}: {seen[leaf.name]} and {key}: one option twice; leave one out")
        seen[leaf.name] = key
        words.append((not leaf.argument, leaf.words(given)))
    return [word for _, said in sorted(words, key=lambda pair: pair[0]) for word in said]


def _taken(meant: Sequence[Leaf], value: Any) -> tuple[Leaf, Any]:
    """The option that takes a value, and the value as it does: ``examples`` of `expand` are images, or how many.

    Raises:
        FarfieldError: none takes it; as the first says it.
    """
    first: FarfieldError | None = None
    for leaf in meant:
        try:
            return leaf, leaf.value(value)
        except FarfieldError as error:
            first = first or error
    raise first or FarfieldError("no option")


def _entries(path: Path, command: Command, content: dict[str, Any]) -> Iterator[tuple[str, list[Leaf], Any]]:
    """Each key of a file, its table's name before it; the options that it may be; its value."""
    every = list(leaves(command.settings))
    groups = dict.fromkeys(group for leaf in every for group in leaf.path[:-1])

    def entries(table: dict[str, Any], before: str, fields: list[Leaf]) -> Iterator[tuple[str, list[Leaf], Any]]:
        for key, value in table.items():
            if not isinstance(value, dict):
                yield before + key, fields, value
                continue
            inside = [leaf for leaf in fields if key.replace("-", "_") in leaf.path[:-1]]
            if not inside:
                known = ", ".join(f"[{group}]" for group in groups) or "none"
                raise FarfieldError(
                    f"{FLAG} {path}: [{before}{key}] is no group of options of `farfield {command.name}`, which has {known}; put "
                    "the options outside of tables"
                )
            yield from entries(value, f"{before}{key}.", inside)

    yield from entries(content, "", every)


def _of_a_run(name: str, value: Any, said: str) -> list[str]:
    """The words of an option that is none of the command's settings.

    Raises:
        FarfieldError: a value that it does not take.
    """
    if name == "out":
        if not isinstance(value, str) or not value:
            raise FarfieldError(f'{said} {value}: expected a folder, such as out = "runs/mine"')
        return ["--out", value]
    if not isinstance(value, bool):
        raise FarfieldError(f"{said} {value}: expected true or false")
    return [f"--{name.replace('_', '-')}"] * value
