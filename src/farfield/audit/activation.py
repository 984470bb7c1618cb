"""The descriptor that every model brings along: its own innermost activation."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, final

import torch
from torch import Tensor, nn

from farfield.audit.descriptor import Descriptor, check_images, resized, with_channels
from farfield.core.error import FarfieldError
from farfield.diffusion.denoiser import Denoiser

T = TypeVar("T")


@final
class DenoiserFeatures(Descriptor):
    """What the frozen denoiser itself sees: mean and spread over the pixels of its innermost activation.

    The image is given as it is, told to be at a low noise level ``sigma``; adding noise made it no better. On the
    bundled model the levels 0.1 … 0.3, of 0.02 … 1, tell six real domains and the classes within them apart best, and
    of those 0.3 is the least disturbed by grain in the image. The spread adds a little to the mean at most levels.

    The layer, unless named, is found by a probe: among the submodules whose output has the smallest map, the one that
    stands at the turning point (``mid_block``, ``middle_block``), else the middle one in order of execution.

    Args:
        denoiser: one with a ``network`` inside, which is put in evaluation mode.
        sigma: the noise level told to the network.
        layer: a submodule's name, as in ``network.named_modules()``.

    Raises:
        FarfieldError: the denoiser has no network, or the network no activations ``[B, C, H, W]``.
    """

    def __init__(self, denoiser: Denoiser, sigma: float = 0.3, layer: str | None = None):
        network = getattr(denoiser, "network", None)
        if not isinstance(network, nn.Module):
            raise FarfieldError(
                f"model: expected a denoiser with a network inside, found {type(denoiser).__name__}; "
                "describe with pixels or a network file"
            )
        self.denoiser, self.network, self.sigma = denoiser, network.eval(), sigma
        self.layer = self._innermost() if layer is None else layer
        if self.layer not in dict(network.named_modules()):
            raise FarfieldError(f"layer {self.layer!r}: expected a submodule's name of {type(network).__name__}")
        label = getattr(denoiser, "label", None)
        self.name = f"model-{_weights_digest(network, denoiser.codec)[:12]}-{self.layer}-sigma{sigma:g}"
        if label is not None:
            self.name += f"-label{label}"

    def __call__(self, images: Tensor) -> Tensor:
        check_images(images)
        channels, *size = self.denoiser.image_shape
        x = resized(with_channels(images, channels, self.name), size)
        with torch.no_grad():
            x0 = self.denoiser.encode(x.to(_device(self.network)))
        return self._run(x0, [self.layer], _moments)[self.layer]

    def _run(self, images: Tensor, layers: Sequence[str], take: Callable[[Tensor], T]) -> dict[str, T]:
        """What ``take`` makes of these submodules' outputs, in order of execution; no hook outlives the call."""
        seen: dict[str, T] = {}

        def keep(name: str) -> Any:
            def hook(module: nn.Module, arguments: Any, output: Any) -> None:
                first = output[0] if isinstance(output, list | tuple) and output else output
                first = getattr(first, "sample", first)
                if isinstance(first, Tensor):
                    seen.pop(name, None)
                    seen[name] = take(first.detach())

            return hook

        modules = dict(self.network.named_modules())
        hooks = [modules[name].register_forward_hook(keep(name)) for name in layers]
        try:
            x = images.to(_device(self.network), torch.float32)
            with torch.no_grad():
                self.denoiser(x, torch.tensor(self.sigma, dtype=x.dtype, device=x.device))
        finally:
            for hook in hooks:
                hook.remove()
        if not seen:
            raise FarfieldError(f"{type(self.network).__name__}: layers {list(layers)[:3]} took no part; name others")
        return seen

    def _innermost(self) -> str:
        names = [name for name, _ in self.network.named_modules() if name]
        probe = torch.zeros((2, *self.denoiser.shape))
        shapes = self._run(probe, names, lambda output: tuple(output.shape))
        maps = {n: s[2] * s[3] for n, s in shapes.items() if len(s) == 4 and s[0] == len(probe)}
        # Maps of one pixel are pooled weights or embeddings, as a rule, and no picture.
        maps = {n: size for n, size in maps.items() if size > 1} or maps
        if not maps:
            raise FarfieldError(
                f"model: expected activations [B, C, H, W], found none in {type(self.network).__name__}; "
                "describe with pixels or a network file"
            )
        inner = [n for n, size in maps.items() if size == min(maps.values())]
        turning = [n for n in inner if n.split(".")[-1].startswith("mid")]
        # Whole blocks only: what lies inside another of them is left out.
        blocks = [n for n in inner if not any(n.startswith(f"{other}.") for other in inner)]
        return turning[0] if turning else blocks[(len(blocks) - 1) // 2]


def _weights_digest(network: nn.Module, codec: nn.Module | None) -> str:
    h = hashlib.sha256()
    state = network.state_dict() | (codec.state_dict(prefix="codec.") if codec else {})
    for name, value in sorted(state.items()):
        h.update(f"{name} {list(value.shape)} {value.dtype} ".encode())
        h.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return h.hexdigest()


def _moments(activation: Tensor) -> Tensor:
    if activation.ndim != 4:
        raise FarfieldError(f"layer: expected one with activations [B, C, H, W], found {list(activation.shape)}")
    a = activation.float()
    return torch.cat([a.mean((2, 3)), a.std((2, 3), correction=0)], 1)


def _device(network: nn.Module) -> torch.device:
    return next((p.device for p in network.parameters()), torch.device("cpu"))
