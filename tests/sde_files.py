"""Files of score_sde_pytorch, and what NCSN++ and DDPM++ answer: from the papers and the names of weights alone.

`random_state` gives weights by these names, in the order of the list of layers; `answer` is the network as a function of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

State = dict[str, Tensor]


@dataclass(frozen=True)
class Flags:
    """What such a network is trained with; ``attention`` are levels."""

    width: int = 16
    multipliers: tuple[int, ...] = (1, 2)
    blocks: int = 1
    attention: tuple[int, ...] = (1,)
    channels: int = 3
    fourier: bool = True
    progressive: str = "none"
    shown: str = "residual"
    fir: bool = True
    sigma_max: float = 50.0


def layers(flags: Flags) -> Iterator[dict[str, tuple[int, ...]]]:
    """What is in each layer of the list."""

    def block(before: int, after: int, resized: bool = False) -> dict[str, tuple[int, ...]]:
        made = {"GroupNorm_0": (before,), "Conv_0": (after, before, 3, 3), "Dense_0": (after, 4 * flags.width)}
        made |= {"GroupNorm_1": (after,), "Conv_1": (after, after, 3, 3)}
        return made | ({"Conv_2": (after, before, 1, 1)} if before != after or resized else {})

    def attention(width: int) -> dict[str, tuple[int, ...]]:
        return {"GroupNorm_0": (width,)} | {f"NIN_{i}": (width, width) for i in range(4)}

    widths = [flags.width * m for m in flags.multipliers]
    last, w = len(widths) - 1, flags.width
    if flags.fourier:
        yield {"W": (w,)}
    yield {"": (4 * w, w * (1 + flags.fourier))}
    yield {"": (4 * w, 4 * w)}
    yield {"": (w, flags.channels, 3, 3)}
    now, aux, kept = w, flags.channels, [w]
    for i, after in enumerate(widths):
        for _ in range(flags.blocks):
            yield block(now, after)
            if i in flags.attention:
                yield attention(after)
            now = after
            kept.append(now)
        if i < last:
            yield block(now, now, True)
            if flags.shown == "input_skip":
                yield {"Conv_0": (now, flags.channels, 1, 1)}
            elif flags.shown == "residual":
                yield {"Conv2d_0": (now, aux, 3, 3)}
                aux = now
            kept.append(now)
    yield from (block(now, now), attention(now), block(now, now))
    for i, after in reversed(list(enumerate(widths))):
        for _ in range(flags.blocks + 1):
            yield block(now + kept.pop(), after)
            now = after
        if i in flags.attention:
            yield attention(now)
        if flags.progressive == "output_skip" or i == 0:
            yield {"": (now,)}
            yield {"": (flags.channels, now, 3, 3)}
        if i:
            yield block(now, now, True)


def random_state(flags: Flags, seed: int = 0) -> State:
    """Weights under which every part of the network matters to its answer."""
    g = torch.Generator().manual_seed(seed)
    sigmas = torch.linspace(math.log(flags.sigma_max), math.log(0.01), 20, dtype=torch.float64).exp()
    state = {"sigmas": sigmas}
    for number, layer in enumerate(layers(flags)):
        for part, shape in layer.items():
            name = ".".join(p for p in ("all_modules", str(number), part) if p)
            spread = 0.2 if len(shape) == 1 else math.prod(shape[1:]) ** -0.5
            drawn = torch.randn(shape, generator=g) * spread + (len(shape) == 1)
            if part == "W":
                state[name] = drawn
                continue
            nin = "NIN" in part
            state[f"{name}.{'W' if nin else 'weight'}"] = drawn
            state[f"{name}.{'b' if nin else 'bias'}"] = 0.1 * torch.randn(shape[0], generator=g)
    return state


def training(trained: State, averaged: State) -> dict[str, object]:
    """What its training saves: the average is a list of what is trained."""
    constant = ("sigmas", "all_modules.0.W")
    shadows = [value for name, value in averaged.items() if name not in constant]
    ema = {"decay": 0.999, "num_updates": 30, "shadow_params": shadows}
    model = {f"module.{name}": value for name, value in trained.items()}
    return {"optimizer": {"state": {}, "param_groups": []}, "model": model, "ema": ema, "step": 30}


def answer(flags: Flags, state: State, x: Tensor, time: Tensor) -> Tensor:
    """The network's answer, before it is divided by a level, to images in [-1, 1] and their noise; float64.

    Args:
        time: ``[B]``, the level for images in [0, 1] with Fourier features, or else the time step.
    """
    w = {name: value.double() for name, value in state.items()}
    number = -1

    def following() -> str:
        nonlocal number
        number += 1
        return f"all_modules.{number}"

    def conv(name: str, x: Tensor, padding: int = 1, stride: int = 1) -> Tensor:
        return functional.conv2d(x, w[f"{name}.weight"], w[f"{name}.bias"], padding=padding, stride=stride)

    def dense(name: str, x: Tensor) -> Tensor:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(name: str, x: Tensor) -> Tensor:
        each = x.unflatten(1, (min(x.shape[1] // 4, 32), -1)).flatten(2)
        each = (each - each.mean(2, keepdim=True)) / (each.var(2, unbiased=False, keepdim=True) + 1e-6).sqrt()
        return each.reshape(x.shape) * w[f"{name}.weight"][:, None, None] + w[f"{name}.bias"][:, None, None]

    def swish(x: Tensor) -> Tensor:
        return x / (1 + (-x).exp())

    def filtered(x: Tensor, before: int, after: int) -> Tensor:
        taps = torch.tensor([1.0, 3, 3, 1] if flags.fir else [1.0, 1], dtype=torch.float64)
        kernel = (taps[:, None] * taps / taps.sum() ** 2).expand(x.shape[1], 1, -1, -1)
        return functional.conv2d(functional.pad(x, (before, after, before, after)), kernel, groups=x.shape[1])

    def smaller(x: Tensor) -> Tensor:
        return filtered(x, int(flags.fir), int(flags.fir))[..., ::2, ::2]

    def larger(x: Tensor) -> Tensor:
        spread = torch.zeros(*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3], dtype=x.dtype)
        spread[..., ::2, ::2] = 4 * x
        return filtered(spread, 1 + flags.fir, int(flags.fir))

    def block(x: Tensor, resize: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        name = following()
        h = swish(norm(f"{name}.GroupNorm_0", x))
        if resize is not None:
            h, x = resize(h), resize(x)
        h = conv(f"{name}.Conv_0", h) + dense(f"{name}.Dense_0", swish(told))[..., None, None]
        h = conv(f"{name}.Conv_1", swish(norm(f"{name}.GroupNorm_1", h)))
        return ((conv(f"{name}.Conv_2", x, 0) if f"{name}.Conv_2.weight" in w else x) + h) / 2**0.5

    def attention(x: Tensor) -> Tensor:
        name = following()
        rows = norm(f"{name}.GroupNorm_0", x).flatten(2).transpose(1, 2)
        q, k, v = (rows @ w[f"{name}.NIN_{i}.W"] + w[f"{name}.NIN_{i}.b"] for i in range(3))
        mixed = (q @ k.transpose(1, 2) / x.shape[1] ** 0.5).softmax(2) @ v
        mixed = mixed @ w[f"{name}.NIN_3.W"] + w[f"{name}.NIN_3.b"]
        return (x + mixed.transpose(1, 2).reshape(x.shape)) / 2**0.5

    if flags.fourier:
        turns = time.double().log()[:, None] * w[f"{following()}.W"] * 2 * math.pi
    else:
        half = flags.width // 2
        turns = time.double()[:, None] / 10_000 ** (torch.arange(half, dtype=torch.float64) / (half - 1))
    told = dense(following(), torch.cat([turns.sin(), turns.cos()], 1))
    told = dense(following(), swish(told))
    last = len(flags.multipliers) - 1
    now, aux = conv(following(), x.double()), x.double()
    kept = [now]
    for i in range(last + 1):
        for _ in range(flags.blocks):
            now = block(now)
            now = attention(now) if i in flags.attention else now
            kept.append(now)
        if i < last:
            now = block(now, smaller)
            if flags.shown == "input_skip":
                aux = smaller(aux)
                now = now + conv(f"{following()}.Conv_0", aux, 0)
            elif flags.shown == "residual":
                aux = conv(f"{following()}.Conv2d_0", filtered(aux, 2, 2), 0, 2)
                now = aux = (aux + now) / 2**0.5
            kept.append(now)
    now = block(attention(block(now)))
    said = torch.zeros(())
    for i in reversed(range(last + 1)):
        for _ in range(flags.blocks + 1):
            now = block(torch.cat([now, kept.pop()], 1))
        now = attention(now) if i in flags.attention else now
        if flags.progressive == "output_skip" or i == 0:
            part = swish(norm(following(), now))
            part = conv(following(), part)
            said = part if not said.ndim else larger(said) + part
        now = block(now, larger) if i else now
    return said
