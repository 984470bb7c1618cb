"""farfield: how far a diffusion model reaches beyond its training data, and how to put that reach to use.

What a command does, the function of its name does: ``farfield.expand("cifar10-32", images, n=64)``. Nothing heavy is imported
before it is needed; `farfield.api` has what stands behind these names.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

__all__ = [
    "audit",
    "decode",
    "dimension",
    "distances",
    "domains",
    "edit",
    "expand",
    "generate",
    "invert",
    "load",
    "models",
    "open_images",
    "rank",
    "reconstruct",
    "wrap",
]


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(f"module 'farfield' has no attribute {name!r}")
    found = globals()[name] = import_module("farfield.api.door").find(name)
    return found


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
