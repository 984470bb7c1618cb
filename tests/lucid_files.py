"""Files of denoising-diffusion-pytorch, and what its U-Net answers: from the papers and the names of weights alone.

`layout` gives names and shapes, `answer` is the network as a function of them in float64, `diffusion` what is kept around it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional

State = dict[str, Tensor]


@dataclass(frozen=True)
class Flags:
    """What such a network is trained with; of ``groups`` 0 its norms are by the root mean square."""

    dim: int = 8
    multipliers: tuple[int, ...] = (1, 2)
    first: int = 8
    channels: int = 3
    answers: int = 3
    seen: int = 3
    heads: tuple[int, ...] = (2, 3)
    wide: tuple[int, ...] = (4, 6)
    full: tuple[bool, ...] = (False, True)
    memory: int = 4
    groups: int = 0
    theta: float = 10_000

    @property
    def sides(self) -> list[tuple[int, int]]:
        """Channels before and after each level."""
        return list(pairwise([self.first, *(self.dim * m for m in self.multipliers)]))


def layout(flags: Flags) -> dict[str, tuple[int, ...]]:
    told = 4 * flags.dim
    shapes: dict[str, tuple[int, ...]] = {}

    def put(name: str, *shape: int, bias: bool = True) -> None:
        shapes[f"{name}.weight"] = shape
        if bias:
            shapes[f"{name}.bias"] = shape[:1]

    def block(name: str, before: int, after: int) -> None:
        put(f"{name}.mlp.1", 2 * after, told)
        for part, width in (("block1", before), ("block2", after)):
            put(f"{name}.{part}.proj", after, width, 3, 3)
            if flags.groups:
                put(f"{name}.{part}.norm", after)
            else:
                shapes[f"{name}.{part}.norm.g"] = (1, after, 1, 1)
        if before != after:
            put(f"{name}.res_conv", after, before, 1, 1)

    def attention(name: str, level: int, width: int, full: bool) -> None:
        heads, wide = flags.heads[level], flags.wide[level]
        shapes[f"{name}.norm.g"] = (1, width, 1, 1)
        if flags.memory:
            shapes[f"{name}.mem_kv"] = (2, heads, *((flags.memory, wide) if full else (wide, flags.memory)))
        put(f"{name}.to_qkv", 3 * heads * wide, width, 1, 1, bias=False)
        put(f"{name}.to_out" if full else f"{name}.to_out.0", width, heads * wide, 1, 1)
        if not full:
            shapes[f"{name}.to_out.1.g"] = (1, width, 1, 1)

    last = len(flags.sides) - 1
    put("init_conv", flags.first, flags.seen, 7, 7)
    put("time_mlp.1", told, flags.dim)
    put("time_mlp.3", told, told)
    for i, (less, more) in enumerate(flags.sides):
        block(f"downs.{i}.0", less, less)
        block(f"downs.{i}.1", less, less)
        attention(f"downs.{i}.2", i, less, flags.full[i])
        if i == last:
            put(f"downs.{i}.3", more, less, 3, 3)
        else:
            put(f"downs.{i}.3.1", more, 4 * less, 1, 1)
        up = f"ups.{last - i}"
        block(f"{up}.0", more + less, more)
        block(f"{up}.1", more + less, more)
        attention(f"{up}.2", i, more, flags.full[i])
        put(f"{up}.3" if i == 0 else f"{up}.3.1", less, more, 3, 3)
    middle = flags.sides[-1][1]
    block("mid_block1", middle, middle)
    attention("mid_attn", last, middle, True)
    block("mid_block2", middle, middle)
    block("final_res_block", 2 * flags.first, flags.first)
    put("final_conv", flags.answers, flags.first, 1, 1)
    return shapes


def weights(flags: Flags, seed: int = 0) -> State:
    """Random weights under which every part matters."""
    g = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in layout(flags).items():
        gain = name.endswith(".g") or (len(shape) == 1 and name.endswith("weight"))
        spread = 0.2 if gain or len(shape) == 1 else math.prod(shape[1:]) ** -0.5
        state[name] = torch.randn(shape, generator=g) * (1 if "mem_kv" in name else spread) + gain
    return state


def answer(flags: Flags, state: State, x: Tensor, time: Tensor) -> Tensor:
    """The network's answer to ``x`` (with the guess before it, where it is shown one) at times ``time``, float64."""
    w = {name: value.double() for name, value in state.items()}

    def conv(name: str, x: Tensor, padding: int = 0) -> Tensor:
        return functional.conv2d(x, w[f"{name}.weight"], w.get(f"{name}.bias"), padding=padding)

    def dense(name: str, x: Tensor) -> Tensor:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def by_root(name: str, x: Tensor) -> Tensor:
        return x / x.square().mean(1, keepdim=True).sqrt() * w[f"{name}.g"]

    def norm(name: str, x: Tensor) -> Tensor:
        if not flags.groups:
            return by_root(name, x)
        each = x.unflatten(1, (flags.groups, -1)).flatten(2)
        each = (each - each.mean(2, keepdim=True)) / (each.var(2, unbiased=False, keepdim=True) + 1e-5).sqrt()
        return each.reshape(x.shape) * w[f"{name}.weight"][:, None, None] + w[f"{name}.bias"][:, None, None]

    def swish(x: Tensor) -> Tensor:
        return x / (1 + (-x).exp())

    def block(name: str, x: Tensor) -> Tensor:
        scale, shift = dense(f"{name}.mlp.1", swish(told))[..., None, None].chunk(2, 1)
        h = swish(norm(f"{name}.block1.norm", conv(f"{name}.block1.proj", x, 1)) * (1 + scale) + shift)
        h = swish(norm(f"{name}.block2.norm", conv(f"{name}.block2.proj", h, 1)))
        return h + (conv(f"{name}.res_conv", x) if f"{name}.res_conv.weight" in w else x)

    def attention(name: str, x: Tensor, level: int, full: bool) -> Tensor:
        """A head at a time, pixels in rows."""
        parts = conv(f"{name}.to_qkv", by_root(f"{name}.norm", x)).flatten(2).transpose(1, 2).chunk(3, 2)
        wide, answers = flags.wide[level], []
        for head in range(flags.heads[level]):
            q, k, v = (part[..., head * wide : (head + 1) * wide] for part in parts)
            if flags.memory:
                held = [w[f"{name}.mem_kv"][i, head] for i in (0, 1)]
                held = [m if full else m.T for m in held]
                k, v = (torch.cat([m.expand(len(x), -1, -1), y], 1) for m, y in zip(held, (k, v), strict=True))
            if full:
                answers.append((q @ k.transpose(1, 2) / wide**0.5).softmax(2) @ v)
            else:
                answers.append(q.softmax(2) / wide**0.5 @ (k.softmax(1).transpose(1, 2) @ v))
        joined = torch.cat(answers, 2).transpose(1, 2).unflatten(2, x.shape[2:])
        if full:
            return x + conv(f"{name}.to_out", joined)
        return x + by_root(f"{name}.to_out.1", conv(f"{name}.to_out.0", joined))

    half = flags.dim // 2
    turns = time.double()[:, None] / flags.theta ** (torch.arange(half, dtype=torch.float64) / (half - 1))
    told = dense("time_mlp.1", torch.cat([turns.sin(), turns.cos()], 1))
    told = dense("time_mlp.3", told * (1 + (told / 2**0.5).erf()) / 2)
    last = len(flags.sides) - 1
    now = first = conv("init_conv", x.double(), 3)
    kept = []
    for i in range(last + 1):
        now = block(f"downs.{i}.0", now)
        kept.append(now)
        now = attention(f"downs.{i}.2", block(f"downs.{i}.1", now), i, flags.full[i])
        kept.append(now)
        if i == last:
            now = conv(f"downs.{i}.3", now, 1)
        else:  # each 2×2 pixels' channels side by side, the pixels of a channel together
            corners = [now[..., a::2, b::2] for a in (0, 1) for b in (0, 1)]
            now = conv(f"downs.{i}.3.1", torch.stack(corners, 2).flatten(1, 2))
    now = block("mid_block2", attention("mid_attn", block("mid_block1", now), last, True))
    for k, i in enumerate(reversed(range(last + 1))):
        now = block(f"ups.{k}.0", torch.cat([now, kept.pop()], 1))
        now = attention(f"ups.{k}.2", block(f"ups.{k}.1", torch.cat([now, kept.pop()], 1)), i, flags.full[i])
        larger = now.repeat_interleave(2, 2).repeat_interleave(2, 3) if i else now
        now = conv(f"ups.{k}.3.1" if i else f"ups.{k}.3", larger, 1)
    return conv("final_conv", block("final_res_block", torch.cat([now, first], 1)))


def levels(schedule: str, steps: int = 1000) -> Tensor:
    """The cumulative signal after each step, float64."""
    u = torch.arange(1, steps + 1, dtype=torch.float64) / steps
    if schedule == "linear":
        return (1 - torch.linspace(0.1 / steps, 20 / steps, steps, dtype=torch.float64)).cumprod(0)

    def signal(u: Tensor) -> Tensor:
        if schedule == "cosine":
            return ((u + 0.008) / 1.008 * math.pi / 2).cos() ** 2
        return 1 / (1 + (6 * u - 3).exp()) - 1 / (1 + math.exp(3))

    ratio = signal(u) / signal(u - 1 / steps)
    return ratio.clamp(min=1e-3).cumprod(0)


def diffusion(
    state: State, prediction: str, schedule: str = "sigmoid", limit: float = math.inf, steps: int = 1000
) -> State:
    """The state dict of a GaussianDiffusion around a network; ``limit`` is that of min-SNR weights."""
    signal = levels(schedule, steps)
    ratio = signal / (1 - signal)
    weight = ratio.clamp(max=limit) / {"epsilon": ratio, "sample": torch.ones_like(ratio), "v": ratio + 1}[prediction]
    kept = {
        "betas": 1 - signal / torch.cat([torch.ones(1), signal[:-1]]),
        "alphas_cumprod": signal,
        "sqrt_recipm1_alphas_cumprod": ((1 - signal) / signal).sqrt(),
        "loss_weight": weight,
    }
    return {name: v.float() for name, v in kept.items()} | {f"model.{name}": value for name, value in state.items()}


def training(trained: State, averaged: State) -> dict[str, object]:
    """What the Trainer writes: ema_pytorch keeps the trained network beside its average."""
    ema = {"initted": torch.tensor(True), "step": torch.tensor(30)}
    ema |= {f"online_model.{k}": v for k, v in trained.items()} | {f"ema_model.{k}": v for k, v in averaged.items()}
    moments = {"step": torch.tensor(30.0), "exp_avg": torch.zeros(3), "exp_avg_sq": torch.zeros(3)}
    optimizer = {"state": {0: moments}, "param_groups": [{"lr": 1e-4, "betas": (0.9, 0.99), "params": [0]}]}
    return {"step": 30, "model": trained, "opt": optimizer, "ema": ema, "scaler": None, "version": "2.2.5"}
