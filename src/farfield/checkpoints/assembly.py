"""A network from its configuration and its weights: made without memory first, and seen to run before it is believed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import chain

import torch
from torch import Tensor, nn

from farfield.core.error import FarfieldError

SMALL = 64**2, 1 << 30
"""Pixels, and weights times pixels: up to these an answer takes less time than the working out of its shape."""


def assemble(build: Callable[[], nn.Module], weights: Mapping[str, Tensor], inside: str = "") -> nn.Module:
    """A network with exactly these weights, on the CPU.

    Args:
        build: makes a new one.
        inside: name of the module that the weights are those of.

    Raises:
        RuntimeError: the weights do not fit. Whatever ``build`` raises is passed on.
    """
    with torch.device("meta"):  # its own first weights would be drawn for nothing
        network = build()
    network.get_submodule(inside).load_state_dict(weights, assign=True)
    left = [name for name, held in network.named_buffers() if held.is_meta]
    if left:  # constants that no file holds, such as the filters of diffusers' K blocks
        made = build()
        for name in left:
            place, _, own = name.rpartition(".")
            setattr(network.get_submodule(place), own, made.get_buffer(name))
    return network


def check_runs(network: nn.Module, shape: tuple[int, ...], classes: int, name: str) -> None:
    """See that a network answers noisy images of a shape with images; of a large one the shapes alone are computed.

    Args:
        name: of its configuration, for messages.

    Raises:
        FarfieldError: it stops with whatever error its parts raise, or its answer is of another shape.
    """
    parts = dict(chain(network.named_parameters(), network.named_buffers()))
    pixels = math.prod(shape[1:])
    dtype = next((t.dtype for t in network.parameters()), torch.float32)
    small = pixels <= SMALL[0] and pixels * sum(t.numel() for t in parts.values()) <= SMALL[1]
    small &= dtype in (torch.float32, torch.float64)  # a CPU has not every operation in half precision
    device = "cpu" if small else "meta"
    held = parts if small else {n: torch.empty_like(t, device="meta") for n, t in parts.items()}
    x = torch.zeros((2, *shape), dtype=dtype, device=device)
    time = torch.ones(2, dtype=torch.promote_types(dtype, torch.float32), device=device)
    label = torch.zeros(2, dtype=torch.long, device=device) if classes else None
    training = network.training
    try:
        with torch.no_grad():
            answer = torch.func.functional_call(network.eval(), held, (x, time, label))
        sizes = tuple(answer.shape)
    except Exception as error:  # diffusers raises whatever its parts raise
        raise FarfieldError(
            f"{name}: a network that does not run on images of {'×'.join(map(str, shape))} with a time step"
            f"{' and a class' if classes else ''} alone ({first_line(error)}); expected a denoiser of images"
        ) from error
    finally:
        network.train(training)
    if sizes not in ((2, *shape), (2, 2 * shape[0], *shape[1:])):
        raise FarfieldError(f"{name}: a network that answers {sizes[1:]} to images of {shape}; expected the same shape")


def first_line(error: Exception) -> str:
    """The beginning of what an error of a library says, on one line."""
    return " ".join(str(error).split())[:300] or type(error).__name__
