"""Files in the format of guided-diffusion, and what such a network answers; from the papers, apart from the package's code.

`layout` gives names and shapes of the weights; `answer` is the network as a function of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

Shapes = dict[str, tuple[int, ...]]
State = dict[str, Tensor]


@dataclass(frozen=True)
class Flags:
    """What such a network is trained with; ``attention`` are factors by which the maps are smaller than the images."""

    width: int = 32
    multipliers: tuple[float, ...] = (1, 2)
    blocks: int = 1
    attention: tuple[int, ...] = (2,)
    channels: int = 3
    learned: bool = True
    classes: int = 0
    scale_shift: bool = True
    resample: str = "resnet"
    heads: int = 0
    head_channels: int = 0
    order: str = "legacy"
    heads_upsample: int = 0

    @property
    def widths(self) -> list[int]:
        return [int(self.width * m) for m in self.multipliers]

    @property
    def factor(self) -> int:
        return 2 ** (len(self.multipliers) - 1)

    def answers(self) -> dict[str, object]:
        heads = {"head_channels": self.head_channels} if self.head_channels else {"heads": self.heads or 1}
        heads |= {"heads_upsample": self.heads_upsample} if self.heads_upsample else {}
        told = {} if self.learned else {"prediction": "epsilon"}
        return {"size": 2 * self.factor, "schedule": "linear", "steps": 1000, "order": self.order, **heads, **told}


def layout(flags: Flags) -> Shapes:
    """Names and shapes of all weights."""
    told = 4 * flags.width
    shapes: Shapes = {}

    def put(name: str, *shape: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = shape, shape[:1]

    def block(name: str, before: int, after: int) -> None:
        put(f"{name}.in_layers.0", before)
        put(f"{name}.in_layers.2", after, before, 3, 3)
        put(f"{name}.emb_layers.1", 2 * after if flags.scale_shift else after, told)
        put(f"{name}.out_layers.0", after)
        put(f"{name}.out_layers.3", after, after, 3, 3)
        if before != after:
            put(f"{name}.skip_connection", after, before, 1, 1)

    def attention(name: str, width: int) -> None:
        put(f"{name}.norm", width)
        put(f"{name}.qkv", 3 * width, width, 1)
        put(f"{name}.proj_out", width, width, 1)

    def resize(name: str, width: int, conv: str) -> None:
        if flags.resample == "resnet":
            block(name, width, width)
        elif flags.resample == "conv":
            put(f"{name}.{conv}", width, width, 3, 3)

    put("time_embed.0", told, flags.width)
    put("time_embed.2", told, told)
    if flags.classes:
        shapes["label_emb.weight"] = (flags.classes, told)
    widths = flags.widths
    width, n, kept = widths[0], 1, [widths[0]]
    put("input_blocks.0.0", width, flags.channels, 3, 3)
    for level, after in enumerate(widths):
        for _ in range(flags.blocks):
            block(f"input_blocks.{n}.0", width, after)
            if 2**level in flags.attention:
                attention(f"input_blocks.{n}.1", after)
            width, n = after, n + 1
            kept.append(width)
        if level < len(widths) - 1:
            resize(f"input_blocks.{n}.0", width, "op")
            kept.append(width)
            n += 1
    block("middle_block.0", width, width)
    attention("middle_block.1", width)
    block("middle_block.2", width, width)
    n = 0
    for level in reversed(range(len(widths))):
        for k in range(flags.blocks + 1):
            block(f"output_blocks.{n}.0", width + kept.pop(), widths[level])
            width, attends = widths[level], 2**level in flags.attention
            if attends:
                attention(f"output_blocks.{n}.1", width)
            if level and k == flags.blocks:
                resize(f"output_blocks.{n}.{1 + attends}", width, "conv")
            n += 1
    put("out.0", width)
    put("out.2", flags.channels * (2 if flags.learned else 1), width, 3, 3)
    return shapes


def squared(values: dict[str, Any]) -> dict[str, Any]:
    """Weights, or their shapes, with the fourth dimension that attentions have in the consistency release."""

    def longer(value: Any) -> Any:
        return (*value, 1) if isinstance(value, tuple) else value[..., None]

    return {k: longer(v) if k.endswith(("qkv.weight", "proj_out.weight")) else v for k, v in values.items()}


def weights(flags: Flags, seed: int = 0) -> State:
    """Random weights of gentle size, none of them zero, float32."""
    g = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in layout(flags).items():
        values = torch.randn(shape, generator=g)
        fan = math.prod(shape[1:])
        state[name] = values / math.sqrt(fan) if len(shape) > 1 else 0.2 * values
        if len(shape) == 1 and name.endswith(".weight"):
            state[name] = 1 + 0.2 * values
    return state


def answer(flags: Flags, state: State, x: Tensor, time: Tensor, label: Tensor | None = None) -> Tensor:
    """What the network says to ``x`` at time steps ``time``, in the precision of ``x``."""
    state = {name: value.to(x.dtype) for name, value in state.items()}

    def apply(name: str, x: Tensor, **how: int) -> Tensor:
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        if weight.ndim == 1:
            return functional.group_norm(x, 32, weight, bias, 1e-5)
        return (functional.linear if weight.ndim == 2 else functional.conv2d)(x, weight, bias, **how)

    def block(name: str, x: Tensor, way: str) -> Tensor:
        def resized(x: Tensor) -> Tensor:
            return functional.avg_pool2d(x, 2) if way == "down" else doubled(x) if way == "up" else x

        y = apply(f"{name}.in_layers.2", resized(functional.silu(apply(f"{name}.in_layers.0", x))), padding=1)
        shift = apply(f"{name}.emb_layers.1", functional.silu(told))[:, :, None, None]
        if flags.scale_shift:
            scale, shift = shift[:, : y.shape[1]], shift[:, y.shape[1] :]
            y = apply(f"{name}.out_layers.0", y) * (1 + scale) + shift
        else:
            y = apply(f"{name}.out_layers.0", y + shift)
        y = apply(f"{name}.out_layers.3", functional.silu(y), padding=1)
        x = resized(x)
        return y + (apply(f"{name}.skip_connection", x) if f"{name}.skip_connection.weight" in state else x)

    def attention(name: str, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        heads = c // flags.head_channels if flags.head_channels else flags.heads or 1
        heads = flags.heads_upsample or heads if name.startswith("output_blocks") else heads
        rows = state[f"{name}.qkv.weight"][:, :, 0] @ apply(f"{name}.norm", x).reshape(b, c, h * w)
        rows = (rows + state[f"{name}.qkv.bias"][:, None]).transpose(1, 2)  # [b, pixels, 3c]
        per = c // heads
        if flags.order == "legacy":
            each = [rows[:, :, 3 * per * k : 3 * per * (k + 1)].split(per, dim=2) for k in range(heads)]
        else:
            each = list(zip(*(part.split(per, dim=2) for part in rows.split(c, dim=2)), strict=True))
        mixed = [functional.scaled_dot_product_attention(q, k, v) for q, k, v in each]
        y = torch.cat(mixed, dim=2) @ state[f"{name}.proj_out.weight"][:, :, 0].T + state[f"{name}.proj_out.bias"]
        return x + y.transpose(1, 2).reshape(b, c, h, w)

    def stage(name: str, x: Tensor, way: str) -> Tensor:
        """All parts of a stage; ``way`` is of its last one, which alone may change the size."""
        parts = sorted({key.split(".")[len(name.split("."))] for key in state if key.startswith(f"{name}.")})
        for k, part in enumerate(parts):
            here = f"{name}.{part}"
            last = k == len(parts) - 1
            if f"{here}.qkv.weight" in state:
                x = attention(here, x)
            elif f"{here}.op.weight" in state:
                x, way = apply(f"{here}.op", x, stride=2, padding=1), ""
            elif f"{here}.conv.weight" in state:
                x, way = apply(f"{here}.conv", doubled(x), padding=1), ""
            elif f"{here}.in_layers.0.weight" in state:
                resizes = last and way and flags.resample == "resnet"
                x = block(here, x, way if resizes else "")
                way = "" if resizes else way
            else:
                x = apply(here, x, padding=1)
        if way == "down":
            return functional.avg_pool2d(x, 2)
        return doubled(x) if way == "up" else x

    half = flags.width // 2
    angle = time[:, None] * torch.exp(-math.log(10000) * torch.arange(half, dtype=time.dtype) / half)
    told = apply("time_embed.0", torch.cat([angle.cos(), angle.sin()], dim=1).to(x.dtype))
    told = apply("time_embed.2", functional.silu(told))
    if label is not None:
        told = told + state["label_emb.weight"][label]
    period, kept = flags.blocks + 1, []
    stages = period * len(flags.multipliers)
    for n in range(stages):
        x = stage(f"input_blocks.{n}", x, "down" if n and n % period == 0 else "")
        kept.append(x)
    x = stage("middle_block", x, "")
    for n in range(stages):
        up = n % period == period - 1 and n < stages - 1
        x = stage(f"output_blocks.{n}", torch.cat([x, kept.pop()], dim=1), "up" if up else "")
    return apply("out.2", functional.silu(apply("out.0", x)), padding=1)


def doubled(x: Tensor) -> Tensor:
    return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
