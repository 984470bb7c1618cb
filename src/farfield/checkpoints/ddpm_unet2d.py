"""The original DDPM's network (arXiv 2006.11239, pesser's port) as diffusers' UNet2DModel: names, shapes, what they say.

UNet2DModel holds these networks exactly. Where a file has no convolutions in its changes of size, it is given those that take
the mean of four pixels and that copy one: the same numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from farfield.checkpoints.file.stored import State
from farfield.core.error import FarfieldError
from farfield.networks.unet2d import unet2d_config

GROUPS: Final = 32
"""Of every normalisation in this family, so all widths are multiples of it."""

LEFT_OUT: Final = ("logvar",)
"""Parameters that take no part in the mean."""

Part = tuple[str, tuple[str, tuple[int, ...]]]
"""A weight: its name in the file, its name in `SampleOnly`, and its shape in the file."""


@dataclass(frozen=True)
class Architecture:
    """What names and shapes say of a network.

    Attributes:
        width: channels at the full resolution.
        multipliers: of the width, one a level.
        blocks: residual blocks at each level on the way down.
        attention: the levels with attention, 0 the first.
        channels: of the image, and of the answer.
        convolved: whether changes of size have a convolution.
    """

    width: int
    multipliers: tuple[int, ...]
    blocks: int
    attention: tuple[int, ...]
    channels: tuple[int, int]
    convolved: bool

    def __str__(self) -> str:
        levels = ", ".join(map(str, self.attention)) or "none"
        resampled = "" if self.convolved else "; changes of size without convolutions"
        return (
            f"width {self.width}, multipliers {', '.join(map(str, self.multipliers))}, {self.blocks} blocks, {self.channels[0]} "
            f"channels; attention in the middle and at levels {levels}{resampled}"
        )


def configuration(built: Architecture, size: int) -> dict[str, Any]:
    """The configuration of the UNet2DModel, for images of this side."""
    shape = (built.channels[0], size, size)
    attention = tuple(size >> i for i in built.attention)
    config = unet2d_config(shape, built.width, built.multipliers, built.blocks, attention, 0.0, 0)
    return config | {"out_channels": built.channels[1], "norm_num_groups": GROUPS}


def infer(state: State, path: Path) -> Architecture:
    def shape(name: str) -> tuple[int, ...]:
        if name not in state or len(state[name].shape) != 4:
            raise FarfieldError(f"{path}: expected {name} to be a convolution's weight, as in the original DDPM")
        return state[name].shape

    levels = len({m[1] for name in state if (m := re.match(r"down\.(\d+)\.block\.", name))})
    blocks = len({m[1] for name in state if (m := re.match(r"down\.0\.block\.(\d+)\.", name))})
    width, image = shape("conv_in.weight")[:2]
    widths = [shape(f"down.{i}.block.0.conv1.weight")[0] for i in range(levels)]
    if width < GROUPS or any(w % GROUPS or w % width or not w for w in (width, *widths)):
        raise FarfieldError(
            f"{path}: {width} channels at first and {widths} at the levels; expected multiples of the first, which is "
            f"one of {GROUPS} (the groups of its normalisations)"
        )
    if widths[:1] != [width]:
        raise FarfieldError(
            f"{path}: its first level is {widths[0] // width if widths else 0} times as wide as its first convolution; "
            "UNet2DModel holds networks alone where both are equal"
        )
    answer = shape("conv_out.weight")[0]
    if answer not in (image, 2 * image):
        raise FarfieldError(
            f"{path}: {image} channels in and {answer} out; expected as many, or twice as many (learned variance), of a "
            "model that is shown the noisy image alone"
        )
    return Architecture(
        width,
        tuple(w // width for w in widths),
        blocks,
        tuple(i for i in range(levels) if f"down.{i}.attn.0.q.weight" in state),
        (image, answer),
        levels == 1 or "down.0.downsample.conv.weight" in state,
    )


def layout(built: Architecture) -> Iterator[Part]:
    """Every weight of such a network: its name in the file, its name in `SampleOnly`, and its shape in the file."""
    width, levels = built.width, len(built.multipliers)
    widths = [width * m for m in built.multipliers]

    def both(theirs: str, ours: str, *shape: int) -> Iterator[Part]:
        yield f"{theirs}.weight", (f"unet.{ours}.weight", shape)
        yield f"{theirs}.bias", (f"unet.{ours}.bias", shape[:1])

    def block(theirs: str, ours: str, before: int, after: int) -> Iterator[Part]:
        yield from both(f"{theirs}.norm1", f"{ours}.norm1", before)
        yield from both(f"{theirs}.conv1", f"{ours}.conv1", after, before, 3, 3)
        yield from both(f"{theirs}.temb_proj", f"{ours}.time_emb_proj", after, 4 * width)
        yield from both(f"{theirs}.norm2", f"{ours}.norm2", after)
        yield from both(f"{theirs}.conv2", f"{ours}.conv2", after, after, 3, 3)
        if before != after:
            yield from both(f"{theirs}.nin_shortcut", f"{ours}.conv_shortcut", after, before, 1, 1)

    def attention(theirs: str, ours: str, width: int) -> Iterator[Part]:
        yield from both(f"{theirs}.norm", f"{ours}.group_norm", width)
        for their, our in (("q", "to_q"), ("k", "to_k"), ("v", "to_v"), ("proj_out", "to_out.0")):
            yield from both(f"{theirs}.{their}", f"{ours}.{our}", width, width, 1, 1)

    yield from both("temb.dense.0", "time_embedding.linear_1", 4 * width, width)
    yield from both("temb.dense.1", "time_embedding.linear_2", 4 * width, 4 * width)
    yield from both("conv_in", "conv_in", width, built.channels[0], 3, 3)
    now, kept = width, [width]
    for i, after in enumerate(widths):
        for j in range(built.blocks):
            yield from block(f"down.{i}.block.{j}", f"down_blocks.{i}.resnets.{j}", now, after)
            if i in built.attention:
                yield from attention(f"down.{i}.attn.{j}", f"down_blocks.{i}.attentions.{j}", after)
            now = after
            kept.append(now)
        if i < levels - 1:
            kept.append(now)
            if built.convolved:
                yield from both(f"down.{i}.downsample.conv", f"down_blocks.{i}.downsamplers.0.conv", now, now, 3, 3)
    yield from block("mid.block_1", "mid_block.resnets.0", now, now)
    yield from attention("mid.attn_1", "mid_block.attentions.0", now)
    yield from block("mid.block_2", "mid_block.resnets.1", now, now)
    for i, after in reversed(list(enumerate(widths))):
        k = levels - 1 - i
        for j in range(built.blocks + 1):
            yield from block(f"up.{i}.block.{j}", f"up_blocks.{k}.resnets.{j}", now + kept.pop(), after)
            if i in built.attention:
                yield from attention(f"up.{i}.attn.{j}", f"up_blocks.{k}.attentions.{j}", after)
            now = after
        if i > 0 and built.convolved:
            yield from both(f"up.{i}.upsample.conv", f"up_blocks.{k}.upsamplers.0.conv", now, now, 3, 3)
    yield from both("norm_out", "conv_norm_out", now)
    yield from both("conv_out", "conv_out", built.channels[1], now, 3, 3)


def check(state: State, layout: dict[str, tuple[str, tuple[int, ...]]], path: Path) -> None:
    """Refuse what is not exactly this network."""
    faults = [f"{name} missing" for name in layout if name not in state]
    faults += [
        f"{name} of shape {state[name].shape}, expected {shape}"
        for name, (_, shape) in layout.items()
        if name in state and state[name].shape != shape
    ]
    faults += [f"{name} unknown" for name in state if name not in layout and name not in LEFT_OUT]
    if faults:
        raise FarfieldError(
            f"{path}: much like the original DDPM's weights, but not its network: {'; '.join(faults[:4])}"
            f"{f' and {len(faults) - 4} more' if len(faults) > 4 else ''}; give a file of the published architecture, whole"
        )


def linear(name: str, weight: Tensor) -> Tensor:
    """Attention's 1×1 convolutions are matrices in a UNet2DModel."""
    return weight.flatten(1) if ".attn" in name and weight.ndim == 4 else weight


def resampling(built: Architecture, dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
    """Convolutions that take the mean of 2×2 pixels, and that change nothing."""
    last = len(built.multipliers) - 1
    for i, width in enumerate(built.width * m for m in built.multipliers):
        mean, copy = torch.zeros(3, 3, dtype=dtype), torch.zeros(3, 3, dtype=dtype)
        mean[:2, :2], copy[1, 1] = 0.25, 1
        each = torch.eye(width, dtype=dtype)[..., None, None]
        ways = [(f"unet.down_blocks.{i}.downsamplers", mean)] * (i < last)
        ways += [(f"unet.up_blocks.{last - i}.upsamplers", copy)] * (i > 0)
        for name, kernel in ways:
            yield f"{name}.0.conv.weight", each * kernel
            yield f"{name}.0.conv.bias", torch.zeros(width, dtype=dtype)
