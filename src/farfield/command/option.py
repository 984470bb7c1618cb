"""One option: its help, its flags and its bounds; and how a value of it is read, from a command line or from Python."""

from __future__ import annotations

import math
import os
import types
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from farfield.command.text import as_numbers, as_text, join_words
from farfield.core.error import FarfieldError

LARGEST: Final = 100_000_000
"""Of whole numbers that count something, unless the option says otherwise."""
LARGEST_SEED: Final = 2**62
"""The first of as many seeds."""

Named = Literal["source", "model", "model or source", "descriptor"]
"""What a text can be the name of."""


class Option:
    """What is said of a field of `Settings` beside its type and default.

    Args:
        help: a sentence or two, for the command line and the docs.
        flags: in place of ``--name-of-the-field``, the one to be named in errors last.
        least, most: bounds, which belong to what is allowed.
        above, below: bounds, which do not.
        old: former spellings, understood but not shown.
        key: its name in the request, if not the field's; None keeps it out of the request.
        default: what is taken where None is given, in words.
        metavar: in place of the type's name.
        read: makes a value of a text, given the flag for its errors.
        show: makes the text again.
        rest: takes all words that no other option takes, as they are.
        names: what its text is the name of, to be looked at before anything is loaded.
    """

    def __init__(
        self,
        help: str,
        *flags: str,
        least: float | None = None,
        most: float | None = None,
        above: float | None = None,
        below: float | None = None,
        old: Sequence[str] = (),
        key: str | None = "",
        default: str = "",
        metavar: str = "",
        read: Callable[[str, str], Any] | None = None,
        show: Callable[[Any], str] = as_text,
        rest: bool = False,
        names: Named | None = None,
    ):
        self.help, self.flags, self.old = help, flags, tuple(old)
        self.least, self.most, self.above, self.below = least, most, above, below
        self.key, self.default, self.metavar, self.read, self.show, self.rest = key, default, metavar, read, show, rest
        self.names: Named | None = names


class Argument(Option):
    """An option that has a place on the command line instead of a flag."""


@dataclass(frozen=True)
class Leaf:
    """A field of `Settings` that holds a value: where it is, and what it may be."""

    path: tuple[str, ...]
    kind: Any
    optional: bool
    default: Any
    required: bool
    option: Option
    panel: str = ""

    @property
    def name(self) -> str:
        return self.path[-1]

    @property
    def argument(self) -> bool:
        return isinstance(self.option, Argument)

    @property
    def flags(self) -> tuple[str, ...]:
        """As typer takes them; of a switch that is on, or that may be left open, with the one that turns it off."""
        if self.option.flags:
            return self.option.flags
        word = self.name.replace("_", "-")
        return (f"--{word}/--no-{word}",) if self.kind is bool and self.default is not False else (f"--{word}",)

    @property
    def said(self) -> str:
        """What errors call it."""
        return self.option.metavar or self.name.upper() if self.argument else self.flags[-1].split("/")[0]

    @property
    def choices(self) -> tuple[str, ...]:
        """The words that it may be."""
        kinds = _parts(self.item or self.kind)
        return tuple(word for kind in kinds if typing.get_origin(kind) is Literal for word in typing.get_args(kind))

    @property
    def item(self) -> Any:
        """Of a tuple the type of its items; None of anything else."""
        return typing.get_args(self.kind)[0] if typing.get_origin(self.kind) is tuple else None

    @property
    def repeated(self) -> bool:
        """Whether it may be given several times: texts. Numbers are parted by commas."""
        return self.item is str or typing.get_origin(self.item) is Literal

    @property
    def metavar(self) -> str:
        if self.option.metavar or self.kind is bool:
            return self.option.metavar
        if self.choices and not self._number:
            return "|".join(self.choices)
        names = {int: "NUMBER", float: "NUMBER", Path: "PATH"}
        return names.get(self._number or self.kind, "TEXT") if self.item is None or self.repeated else "NUMBERS"

    @property
    def bounds(self) -> str:
        """In words; nothing where there are none, or where no one comes near them."""
        o = self.option
        words = (("at least", o.least), ("above", o.above), ("at most", o.most), ("below", o.below))
        return " and ".join(
            f"{word} {_number(bound)}" for word, bound in words if bound is not None and bound < LARGEST
        )

    @property
    def words_alone(self) -> bool:
        """Whether it is one of a few words and nothing else."""
        return typing.get_origin(self.kind) is Literal

    @property
    def hint(self) -> str:
        """Bounds and default, as a help ends with them."""
        default = self.option.default
        unsaid = self.default is None or self.default == () or self.default is False
        if not default and not unsaid and not self.argument and self.kind is not bool:
            default = ",".join(self.default) if self.repeated else self.option.show(self.default)
        return "; ".join(part for part in (self.bounds, f"default: {default}" if default else "") if part)

    @property
    def _number(self) -> Any:
        return next((part for part in _parts(self.kind) if part in (int, float)), None)

    def value(self, given: Any) -> Any:
        """What is kept of what was given: a text is read, a number is held to its bounds.

        Raises:
            FarfieldError: it is none of what the option takes.
        """
        if given is None and (self.optional or (self.default is None and not self.required)):
            return None
        if self.option.read is not None and isinstance(given, str):
            return self._within(self.option.read(given, self.said), given)
        if self.kind is bool:
            return given if isinstance(given, bool) else self._refuse(given, "true or false")
        if self.item is None:
            return self._one(given)
        if isinstance(given, str):
            if self.repeated:
                return (self._text(given),)
            given = as_numbers(given, self.said, whole=self.item is int, most=64)
        return tuple(self._one(part) for part in self._tuple(given))

    def _one(self, given: Any) -> Any:
        """A value that is no tuple, or an item of one."""
        number = self.item if self.item in (int, float) else self._number
        words = self.choices
        if words and given in words:
            return given
        if number is None:
            if words:
                self._refuse(given, f"one of {', '.join(words)}")
            kind = self.item or self.kind
            return Path(self._text(given)) if kind is Path else self._text(given)
        expected = "a whole number" if number is int else "a number"
        expected += f", {self.bounds}" if self.bounds else ""
        expected += f", or {', '.join(words)}" if words else ""
        try:
            # a whole number may be written 1e3, and is no 2.7
            value: float = (
                int(given)
                if isinstance(given, int | str) and str(given).strip().lstrip("+-").isdecimal()
                else float(given)
            )
        except (TypeError, ValueError, OverflowError):
            return self._refuse(given, expected)
        if (
            isinstance(given, bool)
            or value != value
            or (number is int and value != math.floor(value) if math.isfinite(value) else number is int)
        ):
            self._refuse(given, expected)
        return self._within(int(value) if number is int else float(value), given)

    def _within(self, value: Any, given: Any) -> Any:
        """A number, or each of several, in its bounds."""
        o = self.option
        for v in value if isinstance(value, tuple | list) else (value,):
            if not isinstance(v, int | float):
                continue
            most = LARGEST if o.most is None and isinstance(v, int) else o.most
            if isinstance(v, int) and abs(v) > LARGEST and o.most is None:
                self._refuse(str(given)[:40], f"a whole number of at most {LARGEST:,}")
            outside = (o.least is not None and v < o.least) or (most is not None and v > most)
            if outside or (o.above is not None and v <= o.above) or (o.below is not None and v >= o.below):
                whole = "a whole number" if isinstance(v, int) else "a number"
                self._refuse(given, f"{whole}, {self.bounds}")
        return value

    def _text(self, given: Any) -> str:
        if not isinstance(given, str | os.PathLike):
            self._refuse(given, "a text")
        return os.fspath(given)

    def _tuple(self, given: Any) -> tuple[Any, ...]:
        if isinstance(given, int | float | str):
            return (given,)
        return tuple(given)

    def _refuse(self, given: Any, expected: str) -> Any:
        raise FarfieldError(
            f"{self.said} {given}: expected {expected}"
            if not isinstance(given, str) or given
            else f"{self.said}: empty; expected {expected}"
        )

    def words(self, value: Any) -> list[str]:
        """What gives this value on a command line; nothing where it is the default."""
        if self.argument or self.option.rest:
            return list(value) if isinstance(value, tuple) else [] if value is None else [self.option.show(value)]
        if value == self.default or value is None:
            return []
        flag = next((f for f in self.flags if f.startswith("--")), self.flags[-1])
        if self.kind is bool:
            on, _, off = flag.partition("/")
            return [on if value else off]
        return join_words(
            flag.split("/")[0], [self.option.show(v) for v in value] if self.repeated else [self.option.show(value)]
        )


def _parts(kind: Any) -> tuple[Any, ...]:
    """The types that a type is any of."""
    return typing.get_args(kind) if typing.get_origin(kind) in (typing.Union, types.UnionType) else (kind,)


def parse_type(hint: Any) -> tuple[Any, bool, Option | None]:
    """The type without None and without what is said of it; whether None is allowed; what is said."""
    option = None
    if typing.get_origin(hint) is typing.Annotated:
        hint, *said = typing.get_args(hint)
        option = next((one for one in said if isinstance(one, Option)), None)
    parts = _parts(hint)
    if type(None) not in parts:
        return hint, False, option
    left = [part for part in parts if part is not type(None)]
    return (left[0] if len(left) == 1 else typing.Union[tuple(left)]), True, option  # noqa: UP007


def _number(bound: float) -> str:
    return f"{bound:,}" if isinstance(bound, int) else f"{bound:g}"
