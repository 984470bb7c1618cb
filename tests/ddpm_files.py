"""Files of the original DDPM, and what such a network answers: written from the paper and the published names alone.

`random_state` gives weights by these names; `answer` is the network as a function of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log, prod

import torch
from torch import Tensor
from torch.nn import functional

State = dict[str, Tensor]


@dataclass(frozen=True)
class Flags:
    """What such a network is trained with; ``attention`` are sides of maps."""

    width: int = 32
    multipliers: tuple[int, ...] = (1, 2)
    blocks: int = 1
    attention: tuple[int, ...] = (8,)
    size: int = 8
    channels: int = 3
    answers: int = 0
    convolved: bool = True

    @property
    def levels(self) -> list[tuple[int, int, bool]]:
        """Number, channels, and whether there is attention, of each."""
        sides = [self.size // 2**i for i in range(len(self.multipliers))]
        return [
            (i, self.width * m, s in self.attention)
            for i, (m, s) in enumerate(zip(self.multipliers, sides, strict=True))
        ]


def shapes(flags: Flags) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the weights, without biases; a normalisation's has one dimension."""
    found: dict[str, tuple[int, ...]] = {
        "temb.dense.0": (4 * flags.width, flags.width),
        "temb.dense.1": (4 * flags.width, 4 * flags.width),
        "conv_in": (flags.width, flags.channels, 3, 3),
    }

    def block(name: str, before: int, after: int) -> None:
        found.update(
            {
                f"{name}.norm1": (before,),
                f"{name}.conv1": (after, before, 3, 3),
                f"{name}.temb_proj": (after, 4 * flags.width),
                f"{name}.norm2": (after,),
                f"{name}.conv2": (after, after, 3, 3),
            }
        )
        if before != after:
            found[f"{name}.nin_shortcut"] = (after, before, 1, 1)

    def attention(name: str, width: int) -> None:
        found.update(
            {f"{name}.norm": (width,)} | {f"{name}.{k}": (width, width, 1, 1) for k in ("q", "k", "v", "proj_out")}
        )

    last = flags.levels[-1][0]
    now, kept = flags.width, [flags.width]
    for i, width, attends in flags.levels:
        for j in range(flags.blocks):
            block(f"down.{i}.block.{j}", now, width)
            if attends:
                attention(f"down.{i}.attn.{j}", width)
            now = width
            kept.append(now)
        if i < last:
            kept.append(now)
            if flags.convolved:
                found[f"down.{i}.downsample.conv"] = (now, now, 3, 3)
    block("mid.block_1", now, now)
    attention("mid.attn_1", now)
    block("mid.block_2", now, now)
    for i, width, attends in reversed(flags.levels):
        for j in range(flags.blocks + 1):
            block(f"up.{i}.block.{j}", now + kept.pop(), width)
            if attends:
                attention(f"up.{i}.attn.{j}", width)
            now = width
        if i and flags.convolved:
            found[f"up.{i}.upsample.conv"] = (now, now, 3, 3)
    return found | {"norm_out": (now,), "conv_out": (flags.answers or flags.channels, now, 3, 3)}


def random_state(flags: Flags, seed: int = 0) -> State:
    """Weights under which every part of the network matters to its answer."""
    g = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes(flags).items():
        spread = 0.7 / prod(shape[1:]) ** 0.5
        state[f"{name}.weight"] = torch.randn(shape, generator=g) * spread + (len(shape) == 1)
        state[f"{name}.bias"] = 0.1 * torch.randn(shape[:1], generator=g)
    return state


def answer(flags: Flags, state: State, x: Tensor, time: Tensor) -> Tensor:
    """The network's answer to noisy images ``x`` at time steps ``time``, float64."""
    state = {name: value.double() for name, value in state.items()}

    def conv(name: str, x: Tensor, **how: int) -> Tensor:
        return functional.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], **how)

    def dense(name: str, x: Tensor) -> Tensor:
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def norm(name: str, x: Tensor) -> Tensor:
        each = x.unflatten(1, (32, -1)).flatten(2)
        each = (each - each.mean(2, keepdim=True)) / (each.var(2, unbiased=False, keepdim=True) + 1e-6).sqrt()
        return each.reshape(x.shape) * state[f"{name}.weight"][:, None, None] + state[f"{name}.bias"][:, None, None]

    def swish(x: Tensor) -> Tensor:
        return x / (1 + (-x).exp())

    def block(name: str, x: Tensor) -> Tensor:
        h = conv(f"{name}.conv1", swish(norm(f"{name}.norm1", x)), padding=1)
        h = h + dense(f"{name}.temb_proj", swish(told))[:, :, None, None]
        h = conv(f"{name}.conv2", swish(norm(f"{name}.norm2", h)), padding=1)
        return h + (conv(f"{name}.nin_shortcut", x) if f"{name}.nin_shortcut.weight" in state else x)

    def attend(name: str, x: Tensor) -> Tensor:
        y = norm(f"{name}.norm", x)
        q, k, v = (conv(f"{name}.{part}", y).flatten(2) for part in ("q", "k", "v"))
        mixed = torch.einsum("bij,bcj->bci", (torch.einsum("bci,bcj->bij", q, k) / q.shape[1] ** 0.5).softmax(2), v)
        return x + conv(f"{name}.proj_out", mixed.reshape(x.shape))

    half = flags.width // 2
    turns = time.double()[:, None] * torch.exp(-log(10000) / (half - 1) * torch.arange(half, dtype=torch.float64))
    told = dense("temb.dense.0", torch.cat([turns.sin(), turns.cos()], 1))
    told = dense("temb.dense.1", swish(told))

    now = conv("conv_in", x.double(), padding=1)
    kept = [now]
    for i, _, attends in flags.levels:
        for j in range(flags.blocks):
            now = block(f"down.{i}.block.{j}", now)
            now = attend(f"down.{i}.attn.{j}", now) if attends else now
            kept.append(now)
        if i < len(flags.levels) - 1:
            if flags.convolved:
                now = conv(f"down.{i}.downsample.conv", functional.pad(now, (0, 1, 0, 1)), stride=2)
            else:
                now = now.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).mean((3, 5))
            kept.append(now)
    now = block("mid.block_2", attend("mid.attn_1", block("mid.block_1", now)))
    for i, _, attends in reversed(flags.levels):
        for j in range(flags.blocks + 1):
            now = block(f"up.{i}.block.{j}", torch.cat([now, kept.pop()], 1))
            now = attend(f"up.{i}.attn.{j}", now) if attends else now
        if i:
            now = now.repeat_interleave(2, 2).repeat_interleave(2, 3)
            now = conv(f"up.{i}.upsample.conv", now, padding=1) if flags.convolved else now
    return conv("conv_out", swish(norm("norm_out", now)), padding=1)
