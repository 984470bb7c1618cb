r"""The U-Net of the package denoising-diffusion-pytorch, under the names of its weights.

A U-Net of two residual blocks a level, in the form of Ho et al. 2020 (arXiv 2006.11239), whose levels have an attention of linear
cost (Shen et al. 2018, arXiv 1812.01243) or a full one, both over some learned keys and values beside the pixels' own
(arXiv 1907.01470).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from farfield.core.error import FarfieldError
from farfield.networks.layers import at_least_float32


class LucidUNet(nn.Module):
    """``network(x, time)``: ``[B, in_channels, H, W]`` and ``[B]`` → ``[B, out_channels, H, W]``.

    Height and width are multiples of ``2 ** (len(widths) - 1)``.

    Args:
        model_channels: numbers of the time's embedding, even; four times as many are told to the blocks.
        first: channels of the first convolution.
        widths: channels that each level answers with.
        heads, head_channels: of each level's attention; the middle has the last level's.
        full: whether each level's attention is the full one; that of the middle always is.
        memory: learned keys and values of each head.
        groups: of the norms of the blocks; 0 for norms by the root mean square.
        theta: the longest period of the time's embedding, over 2 pi.
        self_condition: it is shown a guess of the image too, before the noisy one; here zeros, which is no guess.

    Raises:
        FarfieldError: choices that do not go together.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        model_channels: int,
        first: int,
        widths: Sequence[int],
        heads: Sequence[int],
        head_channels: Sequence[int],
        full: Sequence[bool],
        memory: int = 4,
        groups: int = 0,
        theta: float = 10_000.0,
        self_condition: bool = False,
    ):
        super().__init__()
        if not len(widths) == len(heads) == len(head_channels) == len(full):
            raise FarfieldError(
                f"{len(widths)} levels: expected as many heads, widths of heads, and kinds of attention"
            )
        if model_channels < 4 or model_channels % 2 or not 1 < theta < math.inf:
            raise FarfieldError(f"an embedding of {model_channels} numbers, theta {theta:g}: expected even and above 1")
        if min(*heads, *head_channels) < 1 or memory < 0 or (groups and any(w % groups for w in (first, *widths))):
            raise FarfieldError(f"heads {heads} of {head_channels} channels, {groups} groups of norms: they cannot be")
        self.channels, self.self_condition = in_channels, self_condition
        told = 4 * model_channels
        self.time_mlp: Any = nn.Sequential(
            TimeEmbedding(model_channels, theta), nn.Linear(model_channels, told), nn.GELU(), nn.Linear(told, told)
        )
        self.init_conv = nn.Conv2d(in_channels * (1 + self_condition), first, 7, padding=3)

        def block(before: int, after: int) -> ResidualBlock:
            return ResidualBlock(before, after, told, groups)

        def attention(level: int, width: int, full: bool) -> nn.Module:
            kind = FullAttention if full else LinearAttention
            return kind(width, heads[level], head_channels[level], memory)

        levels = list(enumerate(pairwise([first, *widths])))
        last = len(widths) - 1
        self.downs: Any = nn.ModuleList(
            nn.ModuleList((block(w, w), block(w, w), attention(i, w, full[i]), _smaller(w, after, i == last)))
            for i, (w, after) in levels
        )
        middle = widths[-1]
        self.mid_block1, self.mid_block2 = block(middle, middle), block(middle, middle)
        self.mid_attn = attention(last, middle, True)
        self.ups: Any = nn.ModuleList(
            nn.ModuleList((block(w + less, w), block(w + less, w), attention(i, w, full[i]), _larger(w, less, i == 0)))
            for i, (less, w) in reversed(levels)
        )
        self.final_res_block = block(2 * first, first)
        self.final_conv = nn.Conv2d(first, out_channels, 1)

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None) -> Tensor:
        if self.self_condition:
            x = torch.cat([torch.zeros_like(x), x], dim=1)
        told = self.time_mlp[1:](self.time_mlp[0](time).to(x.dtype))
        x = first = self.init_conv(x)
        kept = []
        for block1, block2, attention, resize in self.downs:
            x = block1(x, told)
            kept.append(x)
            x = block2(x, told)
            x = attention(x) + x
            kept.append(x)
            x = resize(x)
        x = self.mid_block1(x, told)
        x = self.mid_block2(self.mid_attn(x) + x, told)
        for block1, block2, attention, resize in self.ups:
            x = block1(torch.cat([x, kept.pop()], dim=1), told)
            x = block2(torch.cat([x, kept.pop()], dim=1), told)
            x = resize(attention(x) + x)
        answer: Tensor = self.final_conv(self.final_res_block(torch.cat([x, first], dim=1), told))
        return answer


class TimeEmbedding(nn.Module):
    """Sines, then cosines, of the time at frequencies from 1 to 1/theta, ``[B, channels]``."""

    def __init__(self, channels: int, theta: float):
        super().__init__()
        self.count, self.theta = channels // 2, theta

    def forward(self, time: Tensor) -> Tensor:
        dtype = at_least_float32(time.dtype)
        steps = torch.arange(self.count, device=time.device, dtype=dtype) / (self.count - 1)
        angle = time.to(dtype)[:, None] * self.theta**-steps
        return torch.cat([angle.sin(), angle.cos()], dim=1)


class RMSNorm(nn.Module):
    """Each pixel's channels over their root mean square, times a gain of each channel."""

    def __init__(self, channels: int):
        super().__init__()
        self.g = nn.Parameter(torch.ones(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return functional.normalize(x, dim=1) * self.g * math.sqrt(x.shape[1])


class ConvBlock(nn.Module):
    """A convolution, its norm, then the scale and shift that were told."""

    def __init__(self, before: int, after: int, groups: int):
        super().__init__()
        self.proj = nn.Conv2d(before, after, 3, padding=1)
        self.norm: nn.Module = nn.GroupNorm(groups, after) if groups else RMSNorm(after)

    def forward(self, x: Tensor, scale: Tensor | None = None, shift: Tensor | None = None) -> Tensor:
        y = self.norm(self.proj(x).contiguous())
        if scale is not None and shift is not None:
            y = y * (scale + 1) + shift
        return functional.silu(y)


class ResidualBlock(nn.Module):
    """Two convolutions, the first of which is told the time, and a shortcut."""

    def __init__(self, before: int, after: int, told: int, groups: int):
        super().__init__()
        self.mlp = nn.Sequential(nn.SiLU(), nn.Linear(told, 2 * after))
        self.block1, self.block2 = ConvBlock(before, after, groups), ConvBlock(after, after, groups)
        self.res_conv: nn.Module = nn.Conv2d(before, after, 1) if before != after else nn.Identity()

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        scale, shift = self.mlp(told)[:, :, None, None].chunk(2, dim=1)
        y: Tensor = self.block2(self.block1(x, scale, shift)) + self.res_conv(x)
        return y


class FullAttention(nn.Module):
    """softmax(QᵀK / √d) over pixels and memory; written out, because fused attention has no forward-mode derivative."""

    def __init__(self, width: int, heads: int, channels: int, memory: int):
        super().__init__()
        self.heads = heads
        self.norm = RMSNorm(width)
        self.mem_kv = nn.Parameter(torch.randn(2, heads, memory, channels)) if memory else None
        self.to_qkv = nn.Conv2d(width, 3 * heads * channels, 1, bias=False)
        self.to_out = nn.Conv2d(heads * channels, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = _heads(self.to_qkv(self.norm(x)), self.heads)
        if self.mem_kv is not None:
            k, v = (_before(m.transpose(1, 2), y) for m, y in zip(self.mem_kv, (k, v), strict=True))
        match = torch.einsum("bhcq,bhck->bhqk", q / math.sqrt(q.shape[2]), k)
        share = match.to(at_least_float32(x.dtype)).softmax(3).to(v.dtype)
        y: Tensor = self.to_out(torch.einsum("bhqk,bhck->bhcq", share, v).reshape(len(x), -1, *x.shape[2:]))
        return y


class LinearAttention(nn.Module):
    """Values summed under the keys' softmax over pixels, and read by the queries' softmax over channels."""

    def __init__(self, width: int, heads: int, channels: int, memory: int):
        super().__init__()
        self.heads = heads
        self.norm = RMSNorm(width)
        self.mem_kv = nn.Parameter(torch.randn(2, heads, channels, memory)) if memory else None
        self.to_qkv = nn.Conv2d(width, 3 * heads * channels, 1, bias=False)
        self.to_out = nn.Sequential(nn.Conv2d(heads * channels, width, 1), RMSNorm(width))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = _heads(self.to_qkv(self.norm(x)), self.heads)
        if self.mem_kv is not None:
            k, v = (_before(m, y) for m, y in zip(self.mem_kv, (k, v), strict=True))
        wide = at_least_float32(x.dtype)
        q, k = q.to(wide).softmax(2).to(q.dtype) / math.sqrt(q.shape[2]), k.to(wide).softmax(3).to(k.dtype)
        held = torch.einsum("bhdn,bhen->bhde", k, v)
        y: Tensor = self.to_out(torch.einsum("bhde,bhdn->bhen", held, q).reshape(len(x), -1, *x.shape[2:]))
        return y


def _heads(qkv: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values, ``[B, heads, channels, pixels]`` each: all heads of the first, then of the second, …"""
    q, k, v = qkv.reshape(len(qkv), 3, heads, -1, qkv[0, 0].numel()).unbind(1)
    return q, k, v


def _before(memory: Tensor, y: Tensor) -> Tensor:
    return torch.cat([memory.expand(len(y), *memory.shape), y], dim=3)


def _smaller(before: int, after: int, last: bool) -> nn.Module:
    """Each 2×2 pixels become one of four times as many channels; the last level keeps its size."""
    if last:
        return nn.Conv2d(before, after, 3, padding=1)
    return nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4 * before, after, 1))


def _larger(before: int, after: int, last: bool) -> nn.Module:
    if last:
        return nn.Conv2d(before, after, 3, padding=1)
    return nn.Sequential(nn.Upsample(scale_factor=2, mode="nearest"), nn.Conv2d(before, after, 3, padding=1))
