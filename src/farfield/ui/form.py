"""The form of a command, from its declaration: there is no second list of options, of what they mean or of what they may be."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from farfield.checkpoints.own_name import OWN
from farfield.checkpoints.place import BUNDLED
from farfield.command.commands import Command
from farfield.command.option import Leaf
from farfield.command.settings import Settings, leaves
from farfield.core.disk import WINDOWS
from farfield.core.error import FarfieldError
from farfield.data.place import DOMAINS, FIELD_DOMAINS

LEFT: Final = ("trust", "as_json", "quiet")
"""Options that no page has: --trust runs code, the others say how a terminal shows a result."""
EXACT: Final = 2**53
"""A browser's numbers are exact up to here; a larger one is typed as a text."""
ON: Final = "on"
OFF: Final = "off"


@dataclass(frozen=True)
class Field:
    """One option on a page.

    Attributes:
        kind: a box to tick, a list to choose from, a number, a text, or the name of a source or model.
        value: what stands there at first; an empty text leaves the choice to the command.
        choices: of a name those that come along; others can be typed.
        whole: of a number.
        drops: whether files can be dropped in its place.
        needed: whether it comes first: what the command cannot do without.
    """

    name: str
    label: str
    help: str
    kind: Literal["switch", "choice", "number", "text", "name"]
    value: Any
    panel: str = ""
    choices: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None
    whole: bool = False
    drops: bool = False
    needed: bool = False


def fields(command: Command, first: Mapping[str, Any] = {}) -> tuple[Field, ...]:
    """The options of a command in their order.

    Args:
        first: what stands in a field at first, where that is not the default.
    """
    return tuple(_field(leaf, first.get(leaf.name, leaf.default)) for leaf in _shown(command))


def read(command: Command, given: Mapping[str, Any]) -> Settings:
    """What is in a form, as the command line would have it; what is empty is not given.

    Raises:
        FarfieldError: a value that an option does not take, or a name that would run code.
    """
    values: dict[str, Any] = {}
    for leaf in _shown(command):
        value = given.get(leaf.name)
        if value is None or (isinstance(value, str) and not value.strip()):
            continue
        values[leaf.name] = _read(leaf, value)
    return command.settings.of(**values)


def _shown(command: Command) -> list[Leaf]:
    return [leaf for leaf in leaves(command.settings) if leaf.name not in LEFT]


def _field(leaf: Leaf, value: Any) -> Field:
    """The first kind that suits."""
    o = leaf.option
    make = functools.partial(
        Field,
        leaf.name,
        leaf.name.replace("_", " "),
        o.help + (f" [{leaf.hint}]" if leaf.hint else ""),
        panel=leaf.panel,
        needed=leaf.argument or leaf.required,
    )
    if leaf.kind is bool and not leaf.optional:
        return make("switch", bool(value))
    if leaf.kind is bool:
        return make("choice", "", choices=("", ON, OFF))
    # a browser makes 0 of a number that is left empty
    if leaf.kind in (int, float) and not leaf.optional and o.read is None and (o.most or 0) <= EXACT:
        return make("number", value, least=o.least, most=o.most, whole=leaf.kind is int)
    text = "" if value is None else shlex.join(value) if leaf.repeated else o.show(value)
    if leaf.words_alone:
        return make("choice", text, choices=("", *leaf.choices) if leaf.optional else leaf.choices)
    if o.names in NAMES and leaf.item is None:
        names = NAMES[o.names]
        return make("name", names[0] if leaf.required and not text else text, choices=names, drops=True)
    return make("text", text)


NAMES: Final[Mapping[Any, tuple[str, ...]]] = {
    "model": BUNDLED,
    "source": (*DOMAINS, *FIELD_DOMAINS),
    "model or source": BUNDLED,
}
"""What a name can be without a file."""


def _read(leaf: Leaf, value: Any) -> Any:
    if leaf.kind is bool:
        return value if isinstance(value, bool) else value == ON
    if not isinstance(value, str):
        return value
    value = value.strip()
    try:
        texts = _split(value) if leaf.repeated else (value,)
    except ValueError as error:
        raise FarfieldError(f"{leaf.said} {value}: expected texts with spaces between ({error})") from error
    for text in texts:
        if text.startswith(OWN):
            raise FarfieldError(
                f"{leaf.said} {text}: runs code of yours, which no page does; give it at the command line, or in Python"
            )
    return texts if leaf.repeated else value


def _split(text: str) -> tuple[str, ...]:
    """Texts with spaces between, quoted as for a shell; on Windows a backslash is a part of a path."""
    words = shlex.shlex(text, posix=True, punctuation_chars=False)
    words.whitespace_split, words.commenters = True, ""
    if WINDOWS:
        words.escape = ""
    return tuple(words)
