"""All that a command takes, as one frozen declaration; groups of options that several commands share are declared once too.

    @dataclass(frozen=True)
    class Rank(Settings):
        \"\"\"How many directions does a denoiser keep?\"\"\"

        model: Model
        points: Annotated[int, Option("How many points.", least=1)] = 16
        device: Device = Device()

A field is an option by its annotation, or a group whose fields are options of the command. The order of the fields is that of
the request in ``config.json``.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
import shlex
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self

from farfield.command.option import Leaf, Option, parse_type
from farfield.core.error import FarfieldError


class _LeftOut:
    def __bool__(self) -> bool:
        return False


WINGS: Final = ("New domain", "Audit", "Geometry", "Models", "Data", "Runs")
"""What commands are for, in the order of ``farfield --help``."""

LEFT_OUT: Final[Any] = _LeftOut()
"""In place of a value: the request has no such key, and the summary none where a field holds this as its default."""

GRID: Final = "spread"
"""In every request with a solver, the grid of levels that it walks: those before it had another, and are not continued."""


@dataclass(frozen=True)
class Settings:
    """Abstract: what a command, or a group of options, is declared as. A bad value is refused where one is made."""

    panel: ClassVar[str] = ""
    """The heading of a group's options in ``--help``."""
    wing: ClassVar[str] = ""
    """Of a command: the heading in ``farfield --help`` that it stands under, one of WINGS."""
    epilog: ClassVar[tuple[str, ...]] = ()
    """Of a command: examples, shown beneath its help."""
    in_request: ClassVar[bool] = True
    """Whether a group's options are keys of the request; if not, its command gives it what it makes of them."""

    def __post_init__(self) -> None:
        for leaf in leaves(type(self)):
            if len(leaf.path) == 1:
                object.__setattr__(self, leaf.name, leaf.value(getattr(self, leaf.name)))
        self.check()

    @classmethod
    def command(cls) -> str:
        """The name of the command: of ``ScoreGl`` ``score gl``."""
        return " ".join(re.findall(r"[A-Z][a-z]*", cls.__name__)).lower()

    def check(self) -> None:
        """Refuse values that do not go together; each by itself is read and within its bounds."""

    @classmethod
    def of(cls, **given: Any) -> Self:
        """From the options of all groups, by name.

        Raises:
            FarfieldError: a value that an option does not take, or a required one that is missing.
            TypeError: a name that is no option.
        """
        if strange := set(given) - {leaf.name for leaf in leaves(cls)}:
            raise TypeError(f"{cls.__name__}: no option {sorted(strange)[0]!r}")
        if missing := [leaf.said for leaf in leaves(cls) if leaf.required and leaf.name not in given]:
            raise FarfieldError(f"{missing[0]}: missing; see `farfield {cls.command()} --help`")
        return _make(cls, given)

    @property
    def only_makes(self) -> bool:
        """Whether the command only makes images, and measures none against what it was made from: there rounding would show."""
        return False

    def values(self) -> dict[tuple[str, ...], Any]:
        """Every option's value, by its place."""
        return {leaf.path: functools.reduce(getattr, leaf.path, self) for leaf in leaves(type(self))}

    def but(self, **options: Any) -> Self:
        """The same, with other values of these options."""
        return type(self).of(**{path[-1]: value for path, value in self.values().items()} | options)

    @property
    def dtype_asked(self) -> str | None:
        """The value of ``--dtype``; None of a command without it."""
        return next((value for path, value in self.values().items() if path[-1] == "dtype"), None)

    def request(self, **resolved: Any) -> dict[str, Any]:
        """What changes the result, for ``config.json``.

        Args:
            resolved: by key, what a value became once the data or the model were known; `LEFT_OUT` where it says nothing.
        """
        request: dict[str, Any] = {}
        for leaf in leaves(type(self)):
            group = functools.reduce(getattr, leaf.path[:-1], self)
            key = leaf.name if leaf.option.key == "" else leaf.option.key
            if group.in_request and key is not None:
                request[key] = getattr(group, leaf.name)
        request = {key: value for key, value in {**request, **resolved}.items() if value is not LEFT_OUT}
        return {**request, "grid": GRID} if "solver" in request else request

    def words(self) -> list[str]:
        """The command line's words after the command: arguments, then what differs from its default."""
        known = [(leaf, functools.reduce(getattr, leaf.path, self)) for leaf in leaves(type(self))]
        known.sort(key=lambda pair: 0 if pair[0].argument else 2 if pair[0].option.rest else 1)
        return [word for leaf, value in known for word in leaf.words(value)]

    @classmethod
    def parse(cls, words: Sequence[str]) -> dict[str, Any]:
        """Arguments and options by name as `of` takes them, from the words of a command line: `words` reversed.

        Raises:
            FarfieldError: a word that is no option, or an option without its value.
        """
        known = {f"--{leaf.name.replace('_', '-')}": (leaf, True) for leaf in leaves(cls) if not leaf.argument}
        for leaf in leaves(cls):
            for flag in (*leaf.flags, *leaf.option.old):
                known |= {one: (leaf, i == 0) for i, one in enumerate(flag.split("/"))}
        places = [leaf for leaf in leaves(cls) if leaf.argument]
        rest = next((leaf for leaf in leaves(cls) if leaf.option.rest), None)
        given: dict[str, Any] = {}
        left = list(words)
        while left:
            flag, equals, text = (word := left.pop(0)).partition("=")
            if flag not in known:
                if places and not word.startswith("-"):
                    leaf, text = places[0] if places[0].item else places.pop(0), word
                elif rest:
                    leaf, text = rest, word
                else:
                    from farfield.command.nearest import hint  # which knows all commands

                    raise FarfieldError(f"{flag}: no option of `farfield {cls.command()}`{hint(leaves(cls), flag)}")
            else:
                leaf, on = known[flag]
                if leaf.kind is bool:
                    given[leaf.name] = on
                    continue
                if not equals and not left:
                    raise FarfieldError(f"{flag}: expected a value after it")
                text = text if equals else left.pop(0)
            several = leaf.repeated or (leaf.item is not None and (leaf.argument or leaf.option.rest))
            given[leaf.name] = (*given.get(leaf.name, ()), text) if several else text
        return given


_known: dict[Any, tuple[Leaf, ...]] = {}


def leaves(cls: type[Settings]) -> tuple[Leaf, ...]:
    """The options of a declaration, those of its groups in their places."""
    if cls not in _known:
        _known[cls] = tuple(_leaves(cls, (), None))
    return _known[cls]


def _leaves(cls: type[Settings], above: tuple[str, ...], instance: Settings | None) -> list[Leaf]:
    hints, made = typing.get_type_hints(cls, include_extras=True), []
    for field in dataclasses.fields(cls):
        kind, optional, option = parse_type(hints[field.name])
        required = instance is None and field.default is dataclasses.MISSING
        default = None if required else field.default if instance is None else getattr(instance, field.name)
        path = (*above, field.name)
        if isinstance(kind, type) and issubclass(kind, Settings):
            made += _leaves(kind, path, default if isinstance(default, Settings) else None)
        else:
            made.append(Leaf(path, kind, optional, default, required, option or Option(""), cls.panel if above else ""))
    names = [leaf.name for leaf in made]
    if twice := {name for name in names if names.count(name) > 1}:
        raise TypeError(f"{cls.__name__}: two options are named {sorted(twice)[0]}")
    return made


def _make(cls: type[Any], given: Mapping[str, Any], default: Settings | None = None) -> Any:
    hints, values = typing.get_type_hints(cls, include_extras=True), {}
    for field in dataclasses.fields(cls):
        kind, _, _ = parse_type(hints[field.name])
        before = getattr(default, field.name) if default is not None else field.default
        if isinstance(kind, type) and issubclass(kind, Settings):
            values[field.name] = _make(kind, given, None if before is dataclasses.MISSING else before)
        elif field.name in given:
            values[field.name] = given[field.name]
        elif before is not dataclasses.MISSING:
            values[field.name] = before
    return cls(**values)


def help_of(cls: type[Settings]) -> str:
    """What a command does: its docstring."""
    return inspect.cleandoc(cls.__doc__ or "")


def command_line(settings: Settings, *more: str) -> str:
    """The line that gives these settings, quoted for a shell."""
    return shlex.join(["farfield", *settings.command().split(), *settings.words(), *more])
