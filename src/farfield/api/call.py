"""A command as a function: its options by name, arrays and models as they are, and what it finds with what it made.

All of it follows from the command's declaration. An argument or option that is a text on the command line, as a path, a domain or
a model, takes an array (see `data.given`), a denoiser, or what another function returned, as well.
"""

from __future__ import annotations

import contextlib
import inspect
import shutil
import tempfile
import typing
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from farfield.api.listing import Text
from farfield.command.commands import Command
from farfield.command.nearest import nearest, sibling, spellings
from farfield.command.option import Leaf
from farfield.command.result import Result
from farfield.command.settings import Settings, help_of, leaves
from farfield.core.error import FarfieldError, FarfieldNote, FarfieldWarning
from farfield.core.terminal import plain

BY_PLACE: Final = "heldout"
"""An option that may also stand by its place, behind the arguments."""


class OptionError(FarfieldError, TypeError):
    """A name that is no option, or an argument too many or too few."""


def function(command: Command) -> Callable[..., Any]:
    """A command as a function: arguments in their order, options by name; of a run ``out`` and ``quiet`` too.

    Without ``out`` nothing is left on disk once what it returns is gone.
    """
    fields = leaves(command.settings)
    run: dict[str, Any] = {"out": None, "quiet": False} if command.result is not None else {}
    signature = signature_of(fields, run)
    name = command.name.replace(" ", "_").replace("-", "_")

    def called(*arguments: Any, **options: Any) -> Any:
        from farfield.study.perform import perform

        bound = bind(f"farfield.{name}", signature, fields, arguments, options, also=run)
        out, quiet = (bound.pop(word, run[word]) for word in run) if run else (None, False)
        with told(), given(fields, bound) as values:
            if command.result is None:
                found = perform(command, command.settings.of(**values)).result
                return Text(found) if isinstance(found, str) else found
            return _run(command, values, None if out is None else Path(out), bool(quiet))

    called.__name__ = called.__qualname__ = name
    called.__module__ = "farfield"
    called.__doc__ = _described(command, fields)
    called.__signature__ = signature  # type: ignore[attr-defined]
    return called


def bind(
    name: str,
    signature: inspect.Signature,
    fields: tuple[Leaf, ...],
    arguments: tuple[Any, ...],
    options: Mapping[str, Any],
    also: Mapping[str, Any] = {},
) -> dict[str, Any]:
    """Arguments and options by the fields' names; an option may be spelled as on the command line, too.

    Raises:
        OptionError: a name that is none of them, or arguments that do not fit.
    """
    known = {**_spellings(fields), **dict.fromkeys(also, "")}
    if strange := [option for option in options if option not in known]:
        near = nearest(fields, strange[0])
        hint = f"did you mean {near.name}=?" if near else f"it takes {', '.join(signature.parameters) or 'none'}"
        raise OptionError(f"{name}: no option {strange[0]!r}; {hint}")
    places = [p.name for p in signature.parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    if placed := [place for place in places[: len(arguments)] if place in options]:
        raise OptionError(f"{name}: {placed[0]} is given by its place already{_number_of(fields, placed[0])}")
    named = {known[option] or option: value for option, value in options.items()}
    if len(named) < len(options):
        raise OptionError(f"{name}: one option by two names: {', '.join(sorted(options))}")
    try:
        return dict(signature.bind(*arguments, **named).arguments)
    except TypeError as error:
        first = ", ".join(p.name for p in signature.parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD)
        raise OptionError(f"{name}: {error}; expected {name}({first}, …)") from None


@contextlib.contextmanager
def given(fields: tuple[Leaf, ...], bound: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What was given as a declaration takes it: arrays and models by the names that they have meanwhile."""
    from farfield.checkpoints import given as models
    from farfield.data import given as sources

    known = {leaf.name: leaf for leaf in fields}
    with sources.holding() as source, models.holding() as model:

        def named(value: Any, what: str) -> Any:
            kind = known[what].option.names or ""
            several = known[what].item is not None and not sources.is_pictures(value)
            if isinstance(value, list | tuple) and (several or not sources.is_list(value)):
                return tuple(named(one, what) for one in value)
            if sources.is_array(value):
                if kind and "source" not in kind:
                    raise FarfieldError(f"{what}: an array; expected {_expected(kind)}")
                return source(value, what)
            if models.is_model(value):
                if kind and "model" not in kind:
                    raise FarfieldError(f"{what}: a model; expected {_expected(kind)}")
                return model(value)
            if isinstance(value, int | float) and kind:
                raise FarfieldError(f"{what}: {value}; expected {_expected(kind)}{_number_of(fields, what)}")
            folder = getattr(value, "folder", None)  # what another function returned
            return str(folder) if isinstance(folder, Path) else value

        yield {
            name: named(value, name) if _is_text(known[name]) else _plain(value)
            for name, value in bound.items()
            if value is not None or known[name].required
        }


@contextlib.contextmanager
def told() -> Iterator[None]:
    """What is said of data and models in one line each, without the place in our code."""
    usual = warnings.formatwarning

    def formatted(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> str:
        if issubclass(category, FarfieldWarning | FarfieldNote):
            return f"farfield: {plain(str(message))}\n"
        return usual(message, category, *where, **more)

    with warnings.catch_warnings():  # what was said in an earlier call is said again
        warnings.formatwarning = formatted
        try:
            yield
        finally:
            warnings.formatwarning = usual


def _run(command: Command, values: dict[str, Any], out: Path | None, quiet: bool) -> Any:
    from farfield.api.found import Found
    from farfield.study.perform import perform

    if out is None and (form := next((f for f in leaves(command.settings) if f.name == "form"), None)):
        values = {form.name: "shards", **values}  # a file for each picture is for a folder that stays
    settings: Settings = command.settings.of(**values)
    if out is not None:
        result = perform(command, settings, out, quiet=quiet).result
        return Found(command, result, out) if isinstance(result, Result) else result
    place = Path(tempfile.mkdtemp(prefix="farfield-"))
    try:
        result = perform(command, settings, place / "run", quiet=quiet, drawn=False).result
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    if isinstance(result, Result):
        return Found(command, result, place / "run", temporary=place)
    shutil.rmtree(place, ignore_errors=True)
    return result


def signature_of(fields: tuple[Leaf, ...], run: Mapping[str, Any] = {}) -> inspect.Signature:
    """Arguments first, then what may stand behind them by its place, then options by name."""
    places = [leaf for leaf in fields if leaf.argument]
    places += [leaf for leaf in fields if leaf.name == BY_PLACE and not leaf.argument and places]
    rest = sorted((leaf for leaf in fields if leaf not in places), key=lambda leaf: not leaf.required)
    parameters = [_parameter(leaf, inspect.Parameter.POSITIONAL_OR_KEYWORD) for leaf in places]
    parameters += [_parameter(leaf, inspect.Parameter.KEYWORD_ONLY) for leaf in rest]
    for name, default in run.items():
        parameters.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default))
    return inspect.Signature(parameters)


def _number_of(fields: tuple[Leaf, ...], argument: str) -> str:
    """Of an argument whose name is a flag too, as ``--examples`` is of `expand`'s ``count``: what that is called."""
    other = sibling(fields, argument)
    return f"; their number is {other.name}=" if other else ""


def _parameter(leaf: Leaf, kind: Any) -> inspect.Parameter:
    default = inspect.Parameter.empty if leaf.required else leaf.default
    annotation = typing.Optional[leaf.kind] if leaf.optional else leaf.kind  # noqa: UP045
    return inspect.Parameter(leaf.name, kind, default=default, annotation=annotation)


def _spellings(fields: tuple[Leaf, ...]) -> dict[str, str]:
    """The field of every name that an option may be given by: its own, and that of its flag where no other has it."""
    flags = {word: leaf.name for leaf in fields for word in spellings(leaf)}
    return {**flags, **{leaf.name: leaf.name for leaf in fields}}


def _expected(kind: str) -> str:
    """What an option is the name of, in words."""
    words = {
        "source": "images: a path, a domain or an array",
        "model": "a model: a name, or what farfield.load or wrap returns",
    }
    return words.get(kind, "a text")


def _is_text(leaf: Leaf) -> bool:
    """Whether an option is a text on the command line, which may name a source or a model."""
    return leaf.kind in (str, Path) or leaf.item in (str, Path)


def _plain(value: Any) -> Any:
    """Numbers of NumPy and torch as Python's."""
    return value.tolist() if hasattr(value, "tolist") else value


def _described(command: Command, fields: tuple[Leaf, ...]) -> str:
    """The docstring: what the command does, and every option."""
    lines = [help_of(command.settings), "", "Args:"]
    lines += [f"    {leaf.name}: {leaf.option.help}{f' [{leaf.bounds}]' if leaf.bounds else ''}" for leaf in fields]
    if command.result is not None:
        lines += [
            "    out: a folder for the run, continued by the same call; without it nothing is left on disk.",
            "    quiet: no progress bars.",
            "",
            f"Returns:\n    {command.result.__name__} with the arrays of the run, as `farfield.api.found.Found` has them.",
        ]
    return "\n".join(lines)
