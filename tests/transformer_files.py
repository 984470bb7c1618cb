"""Files of DiT, SiT and U-ViT, and what their networks answer: from the papers and the names of weights alone.

`dit_layout` and `uvit_layout` give names and shapes; `dit` and `uvit` are the networks as functions of them in float64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

State = dict[str, Tensor]


@dataclass(frozen=True)
class Flags:
    """What such a network is trained with; ``rows`` are those of the table of classes."""

    side: int = 8
    channels: int = 3
    patch: int = 2
    width: int = 24
    blocks: int = 2
    heads: int = 3
    hidden: int = 96
    rows: int = 0
    learned: bool = True
    told: bool = False
    bias: bool = False
    conv: bool = True
    skips: bool = True

    @property
    def grid(self) -> int:
        return self.side // self.patch

    @property
    def answers(self) -> int:
        return self.channels * (1 + self.learned)


def _put(shapes: dict[str, tuple[int, ...]], name: str, *shape: int, bias: bool = True) -> None:
    shapes[f"{name}.weight"] = shape
    if bias:
        shapes[f"{name}.bias"] = shape[:1]


def dit_layout(flags: Flags) -> dict[str, tuple[int, ...]]:
    w, shapes = flags.width, {"pos_embed": (1, flags.grid**2, flags.width)}
    _put(shapes, "x_embedder.proj", w, flags.channels, flags.patch, flags.patch)
    _put(shapes, "t_embedder.mlp.0", w, 256)
    _put(shapes, "t_embedder.mlp.2", w, w)
    if flags.rows:
        _put(shapes, "y_embedder.embedding_table", flags.rows, w, bias=False)
    for i in range(flags.blocks):
        for part, rows, columns in (("attn.qkv", 3 * w, w), ("attn.proj", w, w), ("adaLN_modulation.1", 6 * w, w)):
            _put(shapes, f"blocks.{i}.{part}", rows, columns)
        _put(shapes, f"blocks.{i}.mlp.fc1", flags.hidden, w)
        _put(shapes, f"blocks.{i}.mlp.fc2", w, flags.hidden)
    _put(shapes, "final_layer.linear", flags.patch**2 * flags.answers, w)
    _put(shapes, "final_layer.adaLN_modulation.1", 2 * w, w)
    return shapes


def uvit_layout(flags: Flags) -> dict[str, tuple[int, ...]]:
    w, extra = flags.width, 1 + (flags.rows > 0)
    shapes: dict[str, tuple[int, ...]] = {"pos_embed": (1, extra + flags.grid**2, w)}
    _put(shapes, "patch_embed.proj", w, flags.channels, flags.patch, flags.patch)
    if flags.told:
        _put(shapes, "time_embed.0", 4 * w, w)
        _put(shapes, "time_embed.2", w, 4 * w)
    if flags.rows:
        _put(shapes, "label_emb", flags.rows, w, bias=False)
    half = flags.blocks
    for name in (*(f"in_blocks.{i}" for i in range(half)), "mid_block", *(f"out_blocks.{i}" for i in range(half))):
        _put(shapes, f"{name}.norm1", w)
        _put(shapes, f"{name}.norm2", w)
        _put(shapes, f"{name}.attn.qkv", 3 * w, w, bias=flags.bias)
        _put(shapes, f"{name}.attn.proj", w, w)
        _put(shapes, f"{name}.mlp.fc1", flags.hidden, w)
        _put(shapes, f"{name}.mlp.fc2", w, flags.hidden)
        if flags.skips and name.startswith("out"):
            _put(shapes, f"{name}.skip_linear", w, 2 * w)
    _put(shapes, "norm", w)
    _put(shapes, "decoder_pred", flags.patch**2 * flags.channels, w)
    if flags.conv:
        _put(shapes, "final_layer", flags.channels, flags.channels, 3, 3)
    return shapes


def weights(layout: dict[str, tuple[int, ...]], seed: int = 0) -> State:
    """Random weights under which every part matters."""
    g = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(shape, generator=g) * (0.3 if len(shape) == 1 else math.prod(shape[1:]) ** -0.5)
        + (len(shape) == 1 and "norm" in name and name.endswith("weight"))
        for name, shape in layout.items()
    }


class _Network:
    """Layers by the names of their weights, on rows of patches ``[B, patches, width]``."""

    def __init__(self, flags: Flags, state: State):
        self.flags, self.w = flags, {name: value.double() for name, value in state.items()}

    def dense(self, name: str, y: Tensor) -> Tensor:
        return y @ self.w[f"{name}.weight"].T + self.w.get(f"{name}.bias", 0)

    def patches(self, name: str, x: Tensor) -> Tensor:
        """Each patch's pixels, channel by channel, in one product."""
        p, n = self.flags.patch, self.flags.grid
        cut = [x[:, :, p * i : p * i + p, p * j : p * j + p].flatten(1) for i in range(n) for j in range(n)]
        return torch.stack(cut, 1) @ self.w[f"{name}.weight"].flatten(1).T + self.w[f"{name}.bias"]

    def image(self, y: Tensor, channels: int) -> Tensor:
        p, n = self.flags.patch, self.flags.grid
        x = torch.empty(len(y), channels, p * n, p * n, dtype=y.dtype)
        for k in range(n * n):
            i, j = divmod(k, n)
            x[:, :, p * i : p * i + p, p * j : p * j + p] = y[:, k].reshape(-1, p, p, channels).permute(0, 3, 1, 2)
        return x

    def attention(self, name: str, y: Tensor) -> Tensor:
        """A head at a time."""
        parts, wide = self.dense(f"{name}.qkv", y).chunk(3, 2), self.flags.width // self.flags.heads
        answers = []
        for head in range(self.flags.heads):
            q, k, v = (part[..., head * wide : (head + 1) * wide] for part in parts)
            answers.append((q @ k.transpose(1, 2) / wide**0.5).softmax(2) @ v)
        return self.dense(f"{name}.proj", torch.cat(answers, 2))


def _swish(x: Tensor) -> Tensor:
    return x / (1 + (-x).exp())


def _waves(time: Tensor, count: int) -> Tensor:
    turns = time.double()[:, None] / 10_000 ** (torch.arange(count // 2, dtype=torch.float64) / (count // 2))
    return torch.cat([turns.cos(), turns.sin()], 1)


def _normed(y: Tensor, eps: float) -> Tensor:
    return (y - y.mean(2, keepdim=True)) / (y.var(2, unbiased=False, keepdim=True) + eps).sqrt()


def dit(flags: Flags, state: State, x: Tensor, time: Tensor, row: Tensor | None = None) -> Tensor:
    """DiT's answer, with the row ``[B]`` of its table of classes."""
    net = _Network(flags, state)
    y = net.patches("x_embedder.proj", x.double()) + net.w["pos_embed"]
    told = net.dense("t_embedder.mlp.2", _swish(net.dense("t_embedder.mlp.0", _waves(time, 256))))
    if flags.rows:
        told = told + net.w["y_embedder.embedding_table.weight"][row]

    def modulated(y: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        return _normed(y, 1e-6) * (1 + scale[:, None]) + shift[:, None]

    for i in range(flags.blocks):
        a, b, c, d, e, f = net.dense(f"blocks.{i}.adaLN_modulation.1", _swish(told)).chunk(6, 1)
        y = y + c[:, None] * net.attention(f"blocks.{i}.attn", modulated(y, a, b))
        h = net.dense(f"blocks.{i}.mlp.fc1", modulated(y, d, e))
        h = h / 2 * (1 + ((2 / math.pi) ** 0.5 * (h + 0.044715 * h**3)).tanh())
        y = y + f[:, None] * net.dense(f"blocks.{i}.mlp.fc2", h)
    shift, scale = net.dense("final_layer.adaLN_modulation.1", _swish(told)).chunk(2, 1)
    return net.image(net.dense("final_layer.linear", modulated(y, shift, scale)), flags.answers)


def uvit(flags: Flags, state: State, x: Tensor, time: Tensor, row: Tensor | None = None) -> Tensor:
    """U-ViT's answer; ``flags.blocks`` are those before the middle."""
    net = _Network(flags, state)

    def norm(name: str, y: Tensor) -> Tensor:
        return _normed(y, 1e-5) * net.w[f"{name}.weight"] + net.w[f"{name}.bias"]

    def block(name: str, y: Tensor, kept: Tensor | None = None) -> Tensor:
        if kept is not None and flags.skips:
            y = net.dense(f"{name}.skip_linear", torch.cat([y, kept], 2))
        y = y + net.attention(f"{name}.attn", norm(f"{name}.norm1", y))
        h = net.dense(f"{name}.mlp.fc1", norm(f"{name}.norm2", y))
        return y + net.dense(f"{name}.mlp.fc2", h * (1 + (h / 2**0.5).erf()) / 2)

    told = _waves(time, flags.width)
    if flags.told:
        told = net.dense("time_embed.2", _swish(net.dense("time_embed.0", told)))
    tokens = [told[:, None], net.patches("patch_embed.proj", x.double())]
    if flags.rows:
        tokens.insert(0, net.w["label_emb.weight"][row][:, None])
    y, kept = torch.cat(tokens, 1) + net.w["pos_embed"], []
    for i in range(flags.blocks):
        y = block(f"in_blocks.{i}", y)
        kept.append(y)
    y = block("mid_block", y)
    for i in range(flags.blocks):
        y = block(f"out_blocks.{i}", y, kept.pop())
    image = net.image(net.dense("decoder_pred", norm("norm", y))[:, len(tokens) - 1 :], flags.channels)
    if not flags.conv:
        return image
    return torch.conv2d(image, net.w["final_layer.weight"], net.w["final_layer.bias"], padding=1)
