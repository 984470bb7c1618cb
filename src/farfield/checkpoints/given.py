"""Models that are no file: denoisers given from Python, and ``py:package.module:function``, the user's own factory.

A denoiser is held under a name made of its content while a call needs it. A factory is the user's own code: naming it runs it,
and that is said. It is the one model whose name executes anything.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from farfield.checkpoints.own_name import HELD, OWN
from farfield.core.content import content_digest
from farfield.core.error import FarfieldError
from farfield.core.note import say
from farfield.diffusion.denoiser import Denoiser


def is_model(value: Any) -> bool:
    """Whether a value is a denoiser.

    Raises:
        FarfieldError: it is a module whose answer nobody has said the meaning of.
    """
    if isinstance(value, nn.Module) and not isinstance(value, Denoiser):
        raise FarfieldError(
            f"{type(value).__name__}: a module, of which nothing says what it answers; give farfield.wrap(module, shape, betas=…)"
        )
    return isinstance(value, Denoiser)


@contextlib.contextmanager
def holding() -> Iterator[Callable[[Denoiser], str]]:
    """While entered, denoisers can be models by the names that the function gives them."""
    with contextlib.ExitStack() as stack:

        def hold(denoiser: Denoiser) -> str:
            digest = content_digest(denoiser)
            name = f"{type(_network(denoiser)).__name__}-{digest[:8]}"
            if name not in HELD:
                HELD[name] = denoiser, digest
                stack.callback(HELD.pop, name)
            return name

        yield hold


def given_model(
    name: str, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32, label: int | None = None
) -> Denoiser:
    """The denoiser, frozen, on a device, its network in a precision; that which was given stays as it was.

    Raises:
        FarfieldError: no such factory, it fails, or what it returns is no denoiser; a label for a model without one.
    """
    denoiser = copy.deepcopy(_opened(name)[0])
    if label is not None:
        inner = next((m for m in denoiser.modules() if "label" in vars(m)), None)
        if inner is None or inner.label is None:
            raise FarfieldError(
                f"model {name}: a label was given, but it was made without one; leave --label out, or give farfield.wrap or "
                "farfield.load a label"
            )
        inner.label = label  # type: ignore[assignment]
    network = getattr(denoiser, "network", None)
    if isinstance(network, nn.Module):
        network.to(dtype)
    return denoiser.to(device).eval().requires_grad_(False)


def given_digest(name: str) -> str:
    """sha256 over the denoiser's weights, configuration and code."""
    return _opened(name)[1]


def _opened(name: str) -> tuple[Denoiser, str]:
    return _made(name) if name.startswith(OWN) else HELD[name]


@functools.cache
def _made(name: str) -> tuple[Denoiser, str]:
    """What a factory returns, which is called once in a process."""
    module, colon, function = name.removeprefix(OWN).partition(":")
    if not colon or not module or not function.isidentifier():
        raise FarfieldError(
            f"model {name}: expected {OWN}package.module:function, such as {OWN}mine:model for mine.py here"
        )
    say(f"{name}: your own code is run, which can do whatever you can")
    if os.getcwd() not in sys.path:  # it stays there, as what is imported may import more when it is called
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = getattr(importlib.import_module(module), function, None)
        made = found() if callable(found) else None
    except FarfieldError:
        raise
    except Exception as error:
        said = " ".join(str(error).split())[:200]
        raise FarfieldError(
            f"model {name}: {type(error).__name__}: {said}; mend the code, or look at the name"
        ) from error
    if found is None:
        raise FarfieldError(f"model {name}: {module} has no function {function}; look at the name")
    if not isinstance(made, Denoiser):
        raise FarfieldError(
            f"model {name}: it returned {type(made).__name__}; expected what farfield.wrap(module, shape, betas=…) returns"
        )
    return made, content_digest(made)


def _network(denoiser: Denoiser) -> Any:
    """The module that stands behind a denoiser, as whoever wrote it knows it; else the denoiser itself."""
    network = getattr(denoiser, "network", denoiser)
    return getattr(network, "module", getattr(network, "unet", network))
