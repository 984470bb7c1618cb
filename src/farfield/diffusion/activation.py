"""What the layers inside a denoiser's network answer, and which of them is the innermost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from farfield.core.error import FarfieldError
from farfield.diffusion.denoiser import Denoiser

T = TypeVar("T")


def network_of(denoiser: Denoiser) -> nn.Module:
    """The network of a denoiser; refused where it has none, as a closed form."""
    network = getattr(denoiser, "network", None)
    if not isinstance(network, nn.Module):
        raise FarfieldError(
            f"model: expected a denoiser with a network inside, found {type(denoiser).__name__}; "
            "choose what needs no layer of it, such as the descriptor pixels"
        )
    return network


def outputs(
    denoiser: Denoiser, x: Tensor, sigma: Tensor, layers: Sequence[str], take: Callable[[Tensor], T]
) -> dict[str, T]:
    """What ``take`` makes of these submodules' outputs, in order of execution; no hook outlives the call.

    Raises:
        FarfieldError: none of them took part.
    """
    seen: dict[str, T] = {}

    def keep(name: str) -> Any:
        def hook(module: nn.Module, arguments: Any, output: Any) -> None:
            first = output[0] if isinstance(output, list | tuple) and output else output
            first = getattr(first, "sample", first)
            if isinstance(first, Tensor):
                seen.pop(name, None)
                seen[name] = take(first)

        return hook

    network = network_of(denoiser)
    modules = dict(network.named_modules())
    hooks = [modules[name].register_forward_hook(keep(name)) for name in layers]
    try:
        denoiser(x, sigma)
    finally:
        for hook in hooks:
            hook.remove()
    if not seen:
        raise FarfieldError(f"{type(network).__name__}: layers {list(layers)[:3]} took no part; name others")
    return seen


def innermost(denoiser: Denoiser, sigma: float = 0.3) -> str:
    """The name of the submodule with the smallest map, found by a probe.

    Of several it is the one at the turning point (``mid_block``, ``middle_block``), else the middle one in order of execution.

    Raises:
        FarfieldError: no network, or none of its activations is ``[B, C, H, W]``.
    """
    network = network_of(denoiser)
    names = [name for name, _ in network.named_modules() if name]
    probe = torch.zeros((2, *denoiser.shape), device=denoiser.device)
    with torch.no_grad():
        shapes = outputs(denoiser, probe, probe.new_tensor(sigma), names, lambda output: tuple(output.shape))
    maps = {n: s[2] * s[3] for n, s in shapes.items() if len(s) == 4 and s[0] == len(probe)}
    # Maps of one pixel are pooled weights or embeddings, as a rule, and no picture.
    maps = {n: size for n, size in maps.items() if size > 1} or maps
    if not maps:
        raise FarfieldError(
            f"model: expected activations [B, C, H, W], found none in {type(network).__name__}; "
            "describe with pixels or a network file"
        )
    inner = [n for n, size in maps.items() if size == min(maps.values())]
    turning = [n for n in inner if n.split(".")[-1].startswith("mid")]
    # Whole blocks only: what lies inside another of them is left out.
    blocks = [n for n in inner if not any(n.startswith(f"{other}.") for other in inner)]
    return turning[0] if turning else blocks[(len(blocks) - 1) // 2]


def middle(denoiser: Denoiser) -> Callable[[Tensor, Tensor], Tensor]:
    """The innermost activation as a function of points ``[B, *shape]`` and a level, ``[B, C, H, W]``, with its gradient."""
    layer = innermost(denoiser)

    def of(points: Tensor, sigma: Tensor) -> Tensor:
        return outputs(denoiser, points, sigma, [layer], lambda output: output)[layer]

    return of
