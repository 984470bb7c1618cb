"""The digest of an object by all that it holds and by its code, whatever file or process it is in."""

from __future__ import annotations

import hashlib
import inspect
import types
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch

_KNOWN = frozenset(("torch", "numpy", "builtins", "diffusers", "farfield"))
"""Packages whose classes are what their names say."""

Seen = dict[int, tuple[int, Any]]
"""Objects that were met, by their identity: which they were, and themselves, so that they stay."""


def content_digest(value: Any) -> str:
    """sha256 over a value: numbers and tensors by their bytes, functions by their code, other objects by their class, its
    code, and their attributes; a module without its hooks. What code reads of its file's globals is not in it."""
    h = hashlib.sha256()
    _feed(h, value, {})
    return h.hexdigest()


def _feed(h: Any, value: Any, seen: Seen) -> None:
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        _word(h, type(value).__name__, repr(value))
    elif isinstance(value, torch.Tensor):
        _word(h, "tensor", f"{value.dtype} {list(value.shape)}")
        h.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    elif isinstance(value, np.ndarray):
        _word(h, "array", f"{value.dtype.str} {list(value.shape)}")
        h.update(np.ascontiguousarray(value).data)
    elif id(value) in seen:
        _word(h, "again", str(seen[id(value)][0]))
    else:
        seen[id(value)] = len(seen), value
        _feed_object(h, value, seen)


def _feed_object(h: Any, value: Any, seen: Seen) -> None:
    if isinstance(value, Mapping):
        _word(h, "map", str(len(value)))
        for key, held in value.items():
            _feed(h, key, seen)
            _feed(h, held, seen)
    elif isinstance(value, list | tuple | set | frozenset):
        _word(h, type(value).__name__, str(len(value)))
        for held in sorted(value, key=repr) if isinstance(value, set | frozenset) else value:
            _feed(h, held, seen)
    elif isinstance(value, type):
        _word(h, "class", f"{value.__module__}.{value.__qualname__}")
        if value.__module__.partition(".")[0] not in _KNOWN:
            functions = ((n, f) for n, f in sorted(vars(value).items()) if isinstance(f, types.FunctionType))
            _feed_parts(h, functions, seen)
    elif isinstance(value, types.FunctionType):
        _word(h, "function", value.__qualname__)
        _code(h, value.__code__, seen)
        _feed(h, value.__defaults__, seen)
        _feed(h, [_cell(cell) for cell in value.__closure__ or ()], seen)
    elif callable(getattr(value, "__func__", None)):  # a method
        _feed(h, value.__func__, seen)
        _feed(h, value.__self__, seen)
    elif isinstance(value, types.ModuleType | types.BuiltinFunctionType):
        _word(h, "name", value.__name__)
    else:
        for part in reversed(inspect.getmro(type(value))):
            _feed(h, part, seen)
        parts = getattr(value, "__dict__", {})
        _feed_parts(h, ((n, v) for n, v in sorted(parts.items()) if not n.endswith("_hooks") and n != "training"), seen)


def _feed_parts(h: Any, parts: Iterable[tuple[str, Any]], seen: Seen) -> None:
    for name, held in parts:
        _word(h, "part", name)
        _feed(h, held, seen)


def _code(h: Any, code: types.CodeType, seen: Seen) -> None:
    """What is computed, whatever file and line it stands in."""
    _word(h, "code", f"{code.co_names} {code.co_varnames}")
    h.update(code.co_code)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            _code(h, constant, seen)
        else:
            _feed(h, constant, seen)


def _cell(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _word(h: Any, kind: str, text: str) -> None:
    h.update(f"{kind}:{len(text)}:{text};".encode(errors="surrogateescape"))
