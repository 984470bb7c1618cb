"""The names that a checkpoint may refer to, and what plain data among them stands for."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from farfield.checkpoints.file.key import is_key
from farfield.checkpoints.file.mapped import Mapped
from farfield.checkpoints.file.stored import Made, Name

Call = Callable[[Mapped, tuple[Any, ...]], Any]
"""Computes an outcome from arguments. That it looks through each of them, and copies each, is in the file's budget already;
what it looks at or makes beyond that it takes from there itself."""

Build = Callable[[Mapped, Made], Any]
"""The same from a state."""


@dataclass(frozen=True)
class Vocabulary:
    """The names that a pickle may refer to; every other is refused.

    Attributes:
        inert: names that stay names, and calls that are only written down.
        values: names of plain values.
        calls: calls with a known outcome, computed from their arguments by code of ours.
        builds: objects with a known outcome once their state is there, likewise.
        under: beginnings of names that are inert, too: a TorchScript archive makes up its classes.
    """

    inert: frozenset[str] = frozenset()
    values: Mapping[str, Any] = field(default_factory=dict)
    calls: Mapping[str, Call] = field(default_factory=dict)
    builds: Mapping[str, Build] = field(default_factory=dict)
    under: tuple[str, ...] = ()

    def __contains__(self, name: str) -> bool:
        known = any(name in words for words in (self.inert, self.values, self.calls, self.builds))
        return known or name.startswith(self.under)

    def __or__(self, other: Vocabulary) -> Vocabulary:
        return Vocabulary(
            self.inert | other.inert,
            {**self.values, **other.values},
            {**self.calls, **other.calls},
            {**self.builds, **other.builds},
            self.under + other.under,
        )


def _dictionary(file: Mapped, arguments: tuple[Any, ...]) -> dict[Any, Any]:
    """Of an OrderedDict or Counter: from nothing, a dictionary, or (Python 2) a list of pairs."""
    match arguments:
        case ():
            return {}
        case (dict() as items,):
            return dict(items)
        case (list() as pairs,) if all(
            isinstance(pair, list | tuple) and len(pair) == 2 and isinstance(pair[0], str) and is_key(pair[0])
            for pair in pairs
        ):
            return dict(pairs)
    raise file.refused("a dictionary in it is made from what is no items")


def _default_dictionary(file: Mapped, arguments: tuple[Any, ...]) -> dict[Any, Any]:
    if len(arguments) > 1 or not all(isinstance(factory, Name) or factory is None for factory in arguments):
        raise file.refused("a dictionary in it has a default that is no name")
    return {}


def _listed(file: Mapped, arguments: tuple[Any, ...]) -> list[Any]:
    """Of a set: its members, or nothing."""
    match arguments:
        case ():
            return []
        case (list() as members,):
            return list(members)
    raise file.refused("a set in it is made from what is no list")


def _shape(file: Mapped, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    match arguments:
        case (tuple() as shape,) if all(isinstance(n, int) for n in shape):
            return shape
    raise file.refused("a size in it is made from what is no numbers")


def _device(file: Mapped, arguments: tuple[Any, ...]) -> str:
    match arguments:
        case (str() as kind,) if re.fullmatch(r"[\w:]{1,40}", kind):
            return kind
        case (str() as kind, int() as index) if re.fullmatch(r"\w{1,40}", kind) and abs(index) < 1 << 16:
            return f"{kind}:{index}"
    raise file.refused("a device in it has no name")


def _complex(file: Mapped, arguments: tuple[Any, ...]) -> complex:
    match arguments:
        case (float() as real, float() as imaginary):
            return complex(real, imaginary)
    raise file.refused("a complex number in it is made from what is no numbers")


def _encoded(file: Mapped, arguments: tuple[Any, ...]) -> bytes:
    """Of ``_codecs.encode``: how protocols below 3 write bytes."""
    match arguments:
        case (str() as text, "latin1" | "latin-1"):
            try:
                return text.encode("latin-1")
            except UnicodeEncodeError as error:
                raise file.damaged("bytes in it are written as text that they cannot be") from error
    raise file.refused("it encodes text in a way that bytes are not written in")


def _bytes(file: Mapped, arguments: tuple[Any, ...]) -> bytes | memoryview:
    match arguments:
        case ():
            return b""
        case (bytes() | memoryview() as raw,):
            return raw
        case (str(), str()):
            return _encoded(file, arguments)
    raise file.refused("bytes in it are made from what is no bytes")


_DTYPES = (
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128, torch.bool),
    *(torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.uint16, torch.uint32, torch.uint64),
    *(torch.float8_e4m3fn, torch.float8_e5m2),
)

PLAIN = Vocabulary(
    inert=frozenset(
        {
            # what plain dictionaries, arguments and settings of a training consist of
            *(
                f"builtins.{name}"
                for name in ("bool", "dict", "float", "int", "list", "long", "object", "str", "tuple")
            ),
            "argparse.Namespace",
            *(f"pathlib.{pure}{kind}Path" for pure in ("", "Pure") for kind in ("", "Posix", "Windows")),
            "types.SimpleNamespace",
            # EDM's networks keep their source in the file; it is read as text
            "torch_utils.persistence._reconstruct_persistent_obj",
            "dnnlib.util.EasyDict",
            *(
                f"torch.nn.modules.container.{kind}"
                for kind in ("ModuleDict", "ModuleList", "ParameterList", "Sequential")
            ),
            # the callbacks under which Lightning keeps their states
            "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
            "pytorch_lightning.callbacks.early_stopping.EarlyStopping",
            "pytorch_lightning.utilities.parsing.AttributeDict",
        }
    ),
    values={str(dtype): dtype for dtype in _DTYPES},
    calls={
        "collections.OrderedDict": _dictionary,
        "collections.Counter": _dictionary,
        "collections.defaultdict": _default_dictionary,
        "builtins.set": _listed,
        "builtins.frozenset": _listed,
        "builtins.complex": _complex,
        "builtins.bytearray": _bytes,
        "builtins.bytes": _bytes,
        "_codecs.encode": _encoded,
        "torch.Size": _shape,
        "torch.device": _device,
    },
)
"""What stands in a checkpoint beside its tensors."""
