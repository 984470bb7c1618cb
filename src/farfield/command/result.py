"""What a command leaves, typed: ``summary.json`` is written from it and read into it again.

A field's name is its key. A field without a default is always written, null where it is None; one with a default is left out
where it holds that. What a field means is said beside its type:
``Annotated[Score, "share of copies; `audit.memorization.novelty`"]``.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Self, TypeVar, dataclass_transform

from farfield.core.error import FarfieldError
from farfield.core.score import Score

R = TypeVar("R")


_REQUIRED: Final = object()


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Result:
    """Abstract: what a command found, or a part of it. Fields by annotation, given by name, never changed.

    No ``@dataclass``: that makes code for each class whenever it is imported, which ``farfield --help`` would wait for.
    """

    def __init__(self, **values: Any) -> None:
        for name, default in fields_of(type(self)).items():
            value = values.pop(name, default)
            if value is _REQUIRED:
                raise TypeError(f"{type(self).__name__}: {name} is missing")
            object.__setattr__(self, name, value)
        if values:
            raise TypeError(f"{type(self).__name__}: no field {next(iter(values))}")

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__}.{name}: a result is not changed")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"

    def but(self, **changes: Any) -> Self:
        """The same with other values of some fields."""
        return type(self)(**{**vars(self), **changes})


def _is_part(kind: Any) -> bool:
    """Whether a type is a result, or a plain dataclass in one."""
    return isinstance(kind, type) and (issubclass(kind, Result) or dataclasses.is_dataclass(kind))


def fields_of(kind: type) -> dict[str, Any]:
    """The fields of a part in their order, those of its bases first, with their defaults; `_REQUIRED` without one."""
    names = [name for base in reversed(kind.__mro__) for name in vars(base).get("__annotations__", {})]
    return {name: getattr(kind, name, _REQUIRED) for name in names}


def to_json(value: Any) -> Any:
    """A result as JSON has words for it; numbers that are none are null."""
    if isinstance(value, Result):
        defaults = fields_of(type(value))
        held = {name: getattr(value, name) for name in defaults}
        return {
            name: to_json(v) for name, v in held.items() if type(v) is not type(defaults[name]) or v != defaults[name]
        }
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_json(held) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(held) for held in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value


def from_json(kind: Any, given: Any, where: str = "summary") -> Any:
    """A value of a type from JSON; keys that the type does not know are passed over, as of a later version.

    Raises:
        FarfieldError: something else stands there; what it is and where.
    """
    if typing.get_origin(kind) is typing.Annotated:
        kind = typing.get_args(kind)[0]
    origin, inside = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return given
    if origin in (typing.Union, types.UnionType):
        return _first_of(inside, given, where)
    if origin is typing.Literal:
        return given if given in inside else _strange(where, given, f"one of {', '.join(map(str, inside))}")
    if _is_part(kind):
        return _object(kind, given, where)
    if origin is dict:
        if not isinstance(given, dict):
            return _strange(where, given, "an object")
        return {key: from_json(inside[1], held, f"{where}.{key}") for key, held in given.items()}
    if origin in (list, tuple):
        if not isinstance(given, list):
            return _strange(where, given, "a list")
        if origin is tuple and inside[-1] is not Ellipsis:
            if len(given) != len(inside):
                return _strange(where, given, f"a list of {len(inside)}")
            return tuple(
                from_json(k, held, f"{where}[{i}]") for i, (k, held) in enumerate(zip(inside, given, strict=True))
            )
        values = [from_json(inside[0], held, f"{where}[{i}]") for i, held in enumerate(given)]
        return values if origin is list else tuple(values)
    if kind is float and isinstance(given, int) and not isinstance(given, bool):
        return float(given)
    if kind is float and given is None:
        return float("nan")
    if isinstance(given, kind) and not (kind is int and isinstance(given, bool)):
        return given
    return _strange(where, given, kind.__name__)


def _first_of(kinds: tuple[Any, ...], given: Any, where: str) -> Any:
    if given is None and type(None) in kinds:
        return None
    kinds = tuple(kind for kind in kinds if kind is not type(None))
    for kind in kinds[:-1]:
        try:
            return from_json(kind, given, where)
        except FarfieldError:
            continue
    return from_json(kinds[-1], given, where)


def _object(kind: Any, given: Any, where: str) -> Any:
    if not isinstance(given, dict):
        return _strange(where, given, "an object")
    hints, values = typing.get_type_hints(kind, include_extras=True), {}
    for name, default in fields_of(kind).items():
        if name in given:
            values[name] = from_json(hints[name], given[name], f"{where}.{name}")
        elif default is _REQUIRED:
            raise FarfieldError(f"{where}: expected {name}, which is not there; give the command of the run again")
    return kind(**values)


def _strange(where: str, given: Any, expected: str) -> Any:
    raise FarfieldError(f"{where}: expected {expected}, found {str(given)[:40]!r}; give the command of the run again")


def key_table(kind: Any, above: str = "") -> Iterator[tuple[str, str, str]]:
    """Every key of a result with its type and what it means; nested parts below it, but those of other modules by their name."""
    for field, hint, meaning in _fields(kind):
        yield above + field, type_name(hint, kind.__module__), meaning
        for part, mark in _nested(hint):
            if part.__module__ == kind.__module__:
                yield from key_table(part, f"{above}{field}{mark}.")


def shared_parts(kind: Any) -> Iterator[Any]:
    """The parts that `key_table` gives by their name, wherever they stand."""
    for _, hint, _ in _fields(kind):
        for part, _ in _nested(hint):
            if part.__module__ != kind.__module__:
                yield part
            yield from shared_parts(part)


def _fields(kind: Any) -> Iterator[tuple[str, Any, str]]:
    """Names, types, and what is said of them."""
    hints = typing.get_type_hints(kind, include_extras=True)
    for name in fields_of(kind):
        if typing.get_origin(hints[name]) is typing.ClassVar:  # of settings that a result has as a part
            continue
        annotated = typing.get_origin(hints[name]) is typing.Annotated
        hint, *said = typing.get_args(hints[name]) if annotated else (hints[name],)
        yield name, hint, next((one for one in said if isinstance(one, str)), "")


def _nested(hint: Any, mark: str = "") -> Iterator[tuple[Any, str]]:
    """The parts that a type holds, with the mark of a list or a map between."""
    if _is_part(hint) and hint is not Score:
        yield hint, mark
    origin, inside = typing.get_origin(hint), typing.get_args(hint)
    for part in inside:
        step = "[]" if origin in (list, tuple) else ".*" if origin is dict and part is inside[1] else ""
        yield from _nested(part, mark + step)


def type_name(hint: Any, module: str = "") -> str:
    """A type in the words of JSON; a part by its name, and as an object in its own module."""
    origin, inside = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(type_name(part, module) for part in inside)
    if origin is typing.Literal:
        return " or ".join(f"`{word}`" for word in inside)
    if origin in (list, tuple):
        return f"list of {type_name(inside[0], module)}"
    if origin is dict:
        return f"map of {type_name(inside[1], module)}"
    names = {float: "number", int: "number", str: "text", bool: "true or false", type(None): "null", Any: "anything"}
    names |= {Score: "score"}
    return names.get(hint) or ("object" if hint.__module__ == module else hint.__name__)
