"""Modules that carry what they were made of: the persistent objects in EDM's pickles (and StyleGAN's, where they come from).

Such an object is a call of ``torch_utils.persistence._reconstruct_persistent_obj`` with one dictionary: the name of its class
(``class_name``), its ``__dict__`` (``state``), in which are the arguments that it was made with, its parameters, buffers and
modules; and the source of its class, for the original to run. Here the source is not looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from farfield.checkpoints.file.stored import Made, Stored
from farfield.core.error import FarfieldError

_OBJECT: Final = "torch_utils.persistence._reconstruct_persistent_obj"

_TENSORS, _NAME = 10_000, 200
"""The most tensors, and the longest name of one: far beyond the largest published network's 1,000 and 50."""


@dataclass(frozen=True)
class Module:
    """A module: the name of its class, and its ``__dict__``."""

    title: str
    state: dict[str, Any]

    def arguments(self, names: Sequence[str]) -> dict[str, Any]:
        """What its constructor was called with, by name; the first ones may have been given by their places.

        Raises:
            FarfieldError: more than there are names, or one of them twice.
        """
        given, named = self.state.get("_init_args") or (), pairs(self.state.get("_init_kwargs"))
        if not isinstance(given, tuple | list) or len(given) > len(names) or set(names[: len(given)]) & named.keys():
            raise FarfieldError(f"{self.title} was made with other arguments than EDM's class of that name takes")
        return {**dict(zip(names, given, strict=False)), **named}

    def module(self, name: str) -> Module:
        """One of its modules.

        Raises:
            FarfieldError: there is none of that name.
        """
        return opened(pairs(self.state.get("_modules")).get(name), name)

    def tensors(self) -> dict[str, Stored]:
        """Its parameters and buffers, and those of its modules, by their names in a state dict.

        Raises:
            FarfieldError: something else is among them, a module is there twice, or there are absurdly many.
        """
        tensors: dict[str, Stored] = {}
        seen: set[int] = set()
        waiting: list[tuple[str, Module]] = [("", self)]
        while waiting:
            prefix, own = waiting.pop()
            for name, value in (pairs(own.state.get("_parameters")) | pairs(own.state.get("_buffers"))).items():
                if isinstance(value, Stored) and value.dtype.is_floating_point and len(prefix) + len(name) <= _NAME:
                    tensors[prefix + name] = value
                elif value is not None:
                    raise FarfieldError(f"{(prefix + name)[:80]}: expected a tensor of floating-point numbers")
            for name, inner in pairs(own.state.get("_modules")).items():
                if inner is None:
                    continue
                if id(inner) in seen or len(prefix) + len(name) > _NAME:
                    raise FarfieldError(f"{(prefix + name)[:80]}: a module that is there twice, or too deep")
                seen.add(id(inner))
                waiting.append((f"{prefix}{name}.", opened(inner, name)))
            if max(len(tensors), len(seen)) > _TENSORS:
                raise FarfieldError(f"more than {_TENSORS} tensors or modules; no network here has so many")
        return tensors


def objects(root: Any) -> dict[str, Made]:
    """The persistent objects that a file holds, by their names; "" if it is one itself."""
    parts = {"": root} if isinstance(root, Made) else {}
    return {k: v for k, v in {**parts, **pairs(root)}.items() if isinstance(v, Made) and v.name == _OBJECT}


def pairs(value: Any) -> dict[str, Any]:
    """What a dictionary holds under names, if it is one, or the kind that these files have besides."""
    mapping = value.pairs if isinstance(value, Made) and value.name == "dnnlib.util.EasyDict" else value
    return {k: v for k, v in mapping.items() if isinstance(k, str)} if isinstance(mapping, dict) else {}


def class_of(made: Made) -> str:
    """The class of a persistent object; of any other its name in full."""
    if made.name != _OBJECT:
        return made.name
    name = pairs(made.arguments[0]).get("class_name") if made.arguments else None
    return name[:60] if isinstance(name, str) else "without a name"


def opened(made: Any, name: str) -> Module:
    """A module, persistent or torch's own.

    Raises:
        FarfieldError: it is none, or without state.
    """
    if not isinstance(made, Made):
        raise FarfieldError(f"{name[:60] or 'the file'}: expected a module, found {type(made).__name__}")
    inner = pairs(made.arguments[0]).get("state") if made.name == _OBJECT and made.arguments else made.state
    if not (state := pairs(inner)):
        raise FarfieldError(f"{name[:60] or 'the file'}: a module ({class_of(made)}) without state")
    return Module(class_of(made), state)
