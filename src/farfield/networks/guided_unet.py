r"""ADM and improved DDPM: the U-Nets of Dhariwal & Nichol 2021 (arXiv 2105.05233) and Nichol & Dhariwal 2021 (arXiv 2102.09672).

Names and shapes of weights are those of the published files, of which this network holds every variant: any width at each
level, a fixed number of attention heads or heads of a fixed width, both orders of their queries, keys and values, and three
ways to change the size. `adm_unet` is the same architecture under EDM's names, in the one variant that EDM trains.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from farfield.core.error import FarfieldError
from farfield.networks.layers import at_least_float32

Order = Literal["legacy", "new"]
Resample = Literal["resnet", "conv", "pool"]
NORM_GROUPS = 32
"""Of every norm; all widths are multiples of it."""


@dataclass(frozen=True)
class _Style:
    """What all residual and attention blocks of a network share."""

    embedding: int
    scale_shift: bool
    dropout: float
    heads: int
    head_channels: int
    order: Order


class GuidedUNet(nn.Module):
    """``network(x, time)``: ``[B, in_channels, H, W]`` and ``[B]`` → ``[B, out_channels, H, W]``.

    Height and width are multiples of ``2 ** (len(widths) - 1)``.

    Args:
        model_channels: numbers of the time step's embedding, even; four times as many are told to the blocks.
        widths: channels at each level, from the full resolution down, multiples of 32.
        num_res_blocks: residual blocks at each level on the way down; one more on the way up.
        attention: at which levels, as the factors 1, 2, 4, … by which their maps are smaller than the images; besides these
            in the middle.
        classes: how many, 0 if unconditional.
        scale_shift: what is told scales and shifts the second norm's answer, or is added before that norm.
        resample: changes of size are residual blocks (``resnet``), convolutions (``conv``), or have no weights (``pool``).
        heads: of every attention, if their width is not fixed.
        head_channels: width of an attention head, 0 if their number is fixed.
        order: of the rows that give queries, keys and values: ``legacy``, the three for each head; ``new``, the heads for
            each of the three.
        dropout: share of activations dropped in training.
        heads_upsample: of the attentions on the way up, if these have another number; 0 if they do not.

    Raises:
        FarfieldError: no such order or way to resample, or widths that cannot be divided so.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        model_channels: int,
        widths: Sequence[int],
        num_res_blocks: int,
        attention: Sequence[int] = (),
        classes: int = 0,
        scale_shift: bool = True,
        resample: Resample = "resnet",
        heads: int = 1,
        head_channels: int = 0,
        order: Order = "legacy",
        dropout: float = 0.0,
        heads_upsample: int = 0,
    ):
        super().__init__()
        _check(model_channels, widths, order, resample)
        style = _Style(4 * model_channels, scale_shift, dropout, heads, head_channels, order)
        self.model_channels = model_channels
        self.time_embed = nn.Sequential(
            nn.Linear(model_channels, style.embedding), nn.SiLU(), nn.Linear(style.embedding, style.embedding)
        )
        self.label_emb = nn.Embedding(classes, style.embedding) if classes else None

        width, last = widths[0], len(widths) - 1
        kept = [width]
        self.input_blocks = nn.ModuleList([_Stage([nn.Conv2d(in_channels, width, 3, padding=1)])])
        for i, after in enumerate(widths):
            for _ in range(num_res_blocks):
                parts = [_Residual(width, after, style), *_attention(after, style, 2**i in attention)]
                self.input_blocks.append(_Stage(parts))
                width = after
                kept.append(width)
            if i < last:
                self.input_blocks.append(_Stage([_resizing("down", width, style, resample)]))
                kept.append(width)

        self.middle_block = _Stage(
            [_Residual(width, width, style), _Attention(width, style), _Residual(width, width, style)]
        )

        style = replace(style, heads=heads_upsample or heads)
        self.output_blocks = nn.ModuleList()
        for i, after in reversed(list(enumerate(widths))):
            for k in range(num_res_blocks + 1):
                parts = [_Residual(width + kept.pop(), after, style), *_attention(after, style, 2**i in attention)]
                width = after
                if i > 0 and k == num_res_blocks:
                    parts.append(_resizing("up", width, style, resample))
                self.output_blocks.append(_Stage(parts))
        self.out = nn.Sequential(_norm(width), nn.SiLU(), nn.Conv2d(width, out_channels, 3, padding=1))

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None) -> Tensor:
        """The answer to noisy images at their time steps; classes ``label`` are ``[B]``.

        Raises:
            FarfieldError: a label is missing, or given to an unconditional network.
        """
        embedding = self.time_embed(waves(time, self.model_channels).to(next(self.parameters()).dtype))
        if (label is None) != (self.label_emb is None):
            has = "no classes" if self.label_emb is None else f"{self.label_emb.num_embeddings} classes"
            raise FarfieldError(f"label {label}: this network has {has}; give a label if and only if it has some")
        if self.label_emb is not None:
            embedding = embedding + self.label_emb(label)
        kept = []
        for stage in self.input_blocks:
            x = stage(x, embedding)
            kept.append(x)
        x = self.middle_block(x, embedding)
        for stage in self.output_blocks:
            x = stage(torch.cat([x, kept.pop()], dim=1), embedding)
        answer: Tensor = self.out(x)
        return answer


def waves(time: Tensor, channels: int) -> Tensor:
    r"""Cosines, then sines of :math:`t \cdot 10000^{-i / (c / 2)}`, ``[B, channels]``.

    The frequencies are rounded as those that the published networks were trained with: at t = 1000 the rounding of another
    formula is seen in the fifth digit.
    """
    half = channels // 2
    dtype = at_least_float32(time.dtype)
    frequencies = torch.exp(-math.log(10_000) * torch.arange(half, dtype=dtype, device=time.device) / half)
    angle = time.to(dtype)[:, None] * frequencies
    return torch.cat([angle.cos(), angle.sin()], dim=1)


class _Stage(nn.ModuleList):
    """Parts in a row, of which residual blocks are told of noise level and class."""

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        for part in self:
            x = part(x, embedding) if isinstance(part, _Residual) else part(x)
        return x


class _Residual(nn.Module):
    """Two convolutions and a shortcut; with ``resize`` both branches change their size before the first convolution."""

    def __init__(self, before: int, after: int, style: _Style, resize: nn.Module | None = None):
        super().__init__()
        self.scale_shift = style.scale_shift
        self.resize = resize
        self.in_layers = nn.Sequential(_norm(before), nn.SiLU(), nn.Conv2d(before, after, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(style.embedding, after * (1 + style.scale_shift)))
        self.out_layers = nn.Sequential(
            _norm(after), nn.SiLU(), nn.Dropout(style.dropout), nn.Conv2d(after, after, 3, padding=1)
        )
        self.skip_connection = nn.Conv2d(before, after, 1) if before != after else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        norm, act, conv = self.in_layers
        y = act(norm(x))
        if self.resize is not None:
            x, y = self.resize(x), self.resize(y)
        y = conv(y)
        modulation = self.emb_layers(embedding)[:, :, None, None]
        if self.scale_shift:
            scale, shift = modulation.chunk(2, dim=1)
            y = self.out_layers[1:](self.out_layers[0](y) * (1 + scale) + shift)
        else:
            y = self.out_layers(y + modulation)
        answer: Tensor = self.skip_connection(x) + y
        return answer


class _Attention(nn.Module):
    """softmax(QᵀK / √c) V over pixels; written out, because fused attention has no forward-mode derivative."""

    def __init__(self, width: int, style: _Style):
        super().__init__()
        self.heads = width // style.head_channels if style.head_channels else style.heads
        if self.heads < 1 or width % self.heads or (style.head_channels and width % style.head_channels):
            said = f"heads of {style.head_channels} channels" if style.head_channels else f"{style.heads} heads"
            raise FarfieldError(f"attention with {said} over {width} channels: expected a divisor of {width}")
        self.order = style.order
        self.norm = _norm(width)
        self.qkv = nn.Conv1d(width, 3 * width, 1)
        self.proj_out = nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        batch, _, height, columns = x.shape
        rows = self.qkv(self.norm(x).flatten(2))
        if self.order == "legacy":
            q, k, v = rows.reshape(batch, self.heads, 3, -1, height * columns).unbind(2)
        else:
            q, k, v = rows.reshape(batch, 3, self.heads, -1, height * columns).unbind(1)
        match = torch.einsum("bhcq,bhck->bhqk", q / math.sqrt(q.shape[2]), k)
        share = match.to(at_least_float32(x.dtype)).softmax(3).to(v.dtype)
        mixed = torch.einsum("bhqk,bhck->bhcq", share, v)
        return x + self.proj_out(mixed.reshape(batch, -1, height * columns)).reshape(x.shape)


class _Norm(nn.GroupNorm):
    """Group norm whose input is contiguous in evaluation: of other layouts it has no forward-mode derivative."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if self.training else x.contiguous())


class _Down(nn.Module):
    """Half the size, by a convolution."""

    def __init__(self, width: int):
        super().__init__()
        self.op = nn.Conv2d(width, width, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.op(x)
        return answer


class _Up(nn.Module):
    """Twice the size: every pixel four times, then a convolution."""

    def __init__(self, width: int):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.conv(functional.interpolate(x, scale_factor=2, mode="nearest"))
        return answer


def _norm(width: int) -> nn.Module:
    return _Norm(NORM_GROUPS, width)


def _attention(width: int, style: _Style, wanted: bool) -> list[nn.Module]:
    return [_Attention(width, style)] if wanted else []


def _resizing(way: Literal["up", "down"], width: int, style: _Style, resample: Resample) -> nn.Module:
    bare: nn.Module = nn.Upsample(scale_factor=2, mode="nearest") if way == "up" else nn.AvgPool2d(2)
    if resample == "pool":
        return bare
    if resample == "conv":
        return _Up(width) if way == "up" else _Down(width)
    return _Residual(width, width, style, bare)


def _check(model_channels: int, widths: Sequence[int], order: str, resample: str) -> None:
    if order not in get_args(Order):
        raise FarfieldError(
            f"order {order!r} of queries, keys and values: expected one of {', '.join(get_args(Order))}"
        )
    if resample not in get_args(Resample):
        raise FarfieldError(f"resample {resample!r}: expected one of {', '.join(get_args(Resample))}")
    if model_channels < 2 or model_channels % 2 or not widths or any(w < 1 or w % NORM_GROUPS for w in widths):
        raise FarfieldError(
            f"{model_channels} model channels, widths {tuple(widths)}: expected an even number, and multiples of {NORM_GROUPS}"
        )
