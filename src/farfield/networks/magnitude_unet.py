r"""EDM2's U-Net (Karras et al. 2024, arXiv 2312.02696, config G), under the names of its published weights.

No layer changes the magnitude of what goes through it, so that none need normalise it: with inputs of unit variance,

- a weight is brought to a root mean square of 1 over its inputs before it is used, :math:`\hat w / \sqrt{n}` (eq. 47), and in
  training also where it is kept (eq. 66);
- :math:`\mathrm{silu}(x) / 0.596` (eq. 81), and :math:`\bigl((1 - t)\,a + t\,b\bigr) / \sqrt{(1 - t)^2 + t^2}` of two branches
  (eq. 88);
- two maps of :math:`N_a` and :math:`N_b` channels side by side, each times the share of it that keeps the whole (eq. 103);
- :math:`\sqrt 2 \cos(2\pi (f c + \varphi))` of the noise level c (eq. 75).

There are no biases: a map of ones is shown beside the image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from farfield.core.error import FarfieldError
from farfield.networks.layers import Resample, at_least_float32, one_hot, resized, resolutions

_LEAST = 1e-4
"""Added to a magnitude before it divides."""


@dataclass(frozen=True)
class _Style:
    """What all blocks share; the names are those of `MagnitudeUNet`."""

    embedding: int
    resample_filter: Sequence[float]
    channels_per_head: int
    dropout: float
    res_balance: float
    attn_balance: float
    clip_act: float | None


class MagnitudeUNet(nn.Module):
    """``network(x, time)``: ``[B, C, H, W]`` and ``[B]`` → ``[B, C, H, W]``.

    Args:
        img_resolution: side of the images; it names the levels and decides where ``attn_resolutions`` are.
        label_dim: classes, 0 for none.
        channel_mult: channels of each level, of the noise level's features (``channel_mult_noise``, the first level's if not
            given) and of what the blocks are told (``channel_mult_emb``, the widest level's), as multiples of ``model_channels``.
        num_blocks: at each level on the way down; one more on the way up.
        attn_resolutions: the resolutions with attention, besides the lowest; none where there are fewer channels than a head's.
        label_balance: t of the class beside the noise level.
        concat_balance: t of the kept map beside the present one.
        res_balance, attn_balance: t of the residual branch and of attention.
        clip_act: the largest activation after a block; None for no bound.
        label_dropout: share of labels dropped in training, from torch's own generator; 0: it knows no images without a class.

    Raises:
        FarfieldError: too many levels for the size, or channels that no number of heads divides.
    """

    def __init__(
        self,
        img_resolution: int,
        in_channels: int,
        label_dim: int = 0,
        model_channels: int = 192,
        channel_mult: Sequence[int] = (1, 2, 3, 4),
        channel_mult_noise: int | None = None,
        channel_mult_emb: int | None = None,
        num_blocks: int = 3,
        attn_resolutions: Sequence[int] = (16, 8),
        label_balance: float = 0.5,
        concat_balance: float = 0.5,
        resample_filter: Sequence[float] = (1, 1),
        channels_per_head: int = 64,
        dropout: float = 0.0,
        res_balance: float = 0.3,
        attn_balance: float = 0.3,
        clip_act: float | None = 256,
        label_dropout: float = 0.0,
    ):
        super().__init__()
        self.label_dim, self.label_dropout = label_dim, label_dropout
        self.label_balance, self.concat_balance = label_balance, concat_balance
        self.num_blocks, self.levels = num_blocks, resolutions(img_resolution, len(channel_mult))
        if img_resolution % (halves := 2 ** (len(channel_mult) - 1)):
            raise FarfieldError(
                f"images of {img_resolution} pixels at {len(channel_mult)} levels: expected a multiple of {halves}"
            )
        widths = [model_channels * multiple for multiple in channel_mult]
        noise = widths[0] if channel_mult_noise is None else model_channels * channel_mult_noise
        embedding = max(widths) if channel_mult_emb is None else model_channels * channel_mult_emb
        style = _Style(
            embedding, tuple(resample_filter), channels_per_head, dropout, res_balance, attn_balance, clip_act
        )
        attends = [img_resolution >> i in attn_resolutions for i in range(len(widths))]
        self.out_gain = nn.Parameter(torch.zeros(()))
        self.emb_fourier = Waves(noise)
        self.emb_noise = UnitWeight(noise, embedding)
        self.emb_label = UnitWeight(label_dim, embedding) if label_dim else None

        self.enc = nn.ModuleDict()
        width, kept = widths[0], []
        for i, (name, after) in enumerate(zip(self.levels, widths, strict=True)):
            if i == 0:
                self.enc[f"{name}_conv"] = UnitWeight(in_channels + 1, width, 3)
            else:
                self.enc[f"{name}_down"] = _Block(width, width, style, encodes=True, resample="down")
            kept.append(width)
            for k in range(num_blocks):
                self.enc[f"{name}_block{k}"] = _Block(width, after, style, encodes=True, attention=attends[i])
                width = after
                kept.append(width)
        self.dec = nn.ModuleDict()
        last = len(widths) - 1
        for i, name in reversed(list(enumerate(self.levels))):
            if i == last:
                self.dec[f"{name}_in0"] = _Block(width, width, style, attention=True)
                self.dec[f"{name}_in1"] = _Block(width, width, style)
            else:
                self.dec[f"{name}_up"] = _Block(width, width, style, resample="up")
            for k in range(num_blocks + 1):
                self.dec[f"{name}_block{k}"] = _Block(width + kept.pop(), widths[i], style, attention=attends[i])
                width = widths[i]
        self.out_conv = UnitWeight(width, in_channels, 3)

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None) -> Tensor:
        """The answer to noisy images; classes ``label`` are ``[B]``, -1 for none."""
        told = self._told(time, label)
        x = torch.cat([x, torch.ones_like(x[:, :1])], dim=1)
        kept = []
        for name, part in self.enc.items():
            x = part(x) if name.endswith("_conv") else part(x, told)
            kept.append(x)
        for name, part in self.dec.items():
            if "_block" in name:
                x = beside(x, kept.pop(), self.concat_balance)
            x = part(x, told)
        answer: Tensor = self.out_conv(x, self.out_gain)
        return answer

    def _told(self, time: Tensor, label: Tensor | None) -> Tensor:
        """Noise level and class, as all blocks are told them."""
        told: Tensor = self.emb_noise(self.emb_fourier(time))
        if self.emb_label is not None:
            rows = one_hot(label, self.label_dim, told, self.label_dropout if self.training else 0.0)
            told = blend(told, self.emb_label(rows * math.sqrt(self.label_dim)), self.label_balance)
        return swish(told)


class Waves(nn.Module):
    """Cosines of the noise level ``[B]`` at random frequencies and phases, as ``[B, channels]`` of unit magnitude."""

    freqs: Tensor
    phases: Tensor

    def __init__(self, channels: int):
        super().__init__()
        self.register_buffer("freqs", _drawn(channels, turns=1.0))
        self.register_buffer("phases", _drawn(channels, turns=0.0))

    def forward(self, time: Tensor) -> Tensor:
        dtype = at_least_float32(time.dtype)
        return math.sqrt(2) * (time.to(dtype)[:, None] * self.freqs.to(dtype) + self.phases.to(dtype)).cos()


class UnitWeight(nn.Module):
    """A linear layer, or with a ``kernel`` a convolution that keeps the size, whose weights have unit magnitude."""

    def __init__(self, before: int, after: int, kernel: int = 0):
        super().__init__()
        self.weight = nn.Parameter(_drawn(after, before, *((kernel, kernel) if kernel else ())))

    def forward(self, x: Tensor, gain: Tensor | float = 1.0) -> Tensor:
        if self.training and self.weight.requires_grad:
            with torch.no_grad():
                self.weight.copy_(unit(self.weight))
        weight = self.weight.to(at_least_float32(self.weight.dtype))
        weight = (unit(weight) * (gain / math.sqrt(weight[0].numel()))).to(x.dtype)
        if weight.ndim == 2:
            return functional.linear(x, weight)
        return functional.conv2d(x, weight, padding=weight.shape[-1] // 2)


class _Block(nn.Module):
    """A residual branch and perhaps attention, after a change of size.

    On the way down (``encodes``) the main branch is brought to unit magnitude at each pixel, before the residual one begins.
    """

    def __init__(
        self,
        before: int,
        after: int,
        style: _Style,
        *,
        encodes: bool = False,
        resample: Resample | None = None,
        attention: bool = False,
    ):
        super().__init__()
        self.style, self.encodes, self.resample = style, encodes, resample
        self.heads = after // style.channels_per_head if attention else 0
        if self.heads and after % self.heads:
            raise FarfieldError(f"attention with {self.heads} heads over {after} channels: expected a divisor of them")
        self.emb_gain = nn.Parameter(torch.zeros(()))
        self.conv_res0 = UnitWeight(after if encodes else before, after, 3)
        self.emb_linear = UnitWeight(style.embedding, after)
        self.conv_res1 = UnitWeight(after, after, 3)
        self.conv_skip = UnitWeight(before, after, 1) if before != after else None
        self.attn_qkv = UnitWeight(after, 3 * after, 1) if self.heads else None
        self.attn_proj = UnitWeight(after, after, 1) if self.heads else None

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        style = self.style
        if self.resample is not None:
            row = x.new_tensor(style.resample_filter)
            kernel = (row.outer(row) / row.sum() ** 2)[None, None]
            x = resized(x, kernel, self.resample, (len(row) - 1) // 2)
        if self.encodes:
            x = unit(self._main(x), 1)
        gain = (1 + self.emb_linear(told, self.emb_gain)).to(x.dtype)[:, :, None, None]
        y = swish(self.conv_res0(swish(x)) * gain)
        y = self.conv_res1(functional.dropout(y, style.dropout, self.training))
        x = blend(x if self.encodes else self._main(x), y, style.res_balance)
        if self.attn_qkv is not None and self.attn_proj is not None:
            x = blend(x, self.attn_proj(self._mixed(self.attn_qkv(x))), style.attn_balance)
        return x if style.clip_act is None else x.clamp(-style.clip_act, style.clip_act)

    def _main(self, x: Tensor) -> Tensor:
        return x if self.conv_skip is None else self.conv_skip(x)

    def _mixed(self, rows: Tensor) -> Tensor:
        """softmax(QᵀK / √c) V over pixels; written out, because fused attention has no forward-mode derivative."""
        batch, _, height, columns = rows.shape
        parts = rows.reshape(batch, self.heads, -1, 3, height * columns)  # the three of each channel side by side
        q, k, v = unit(parts, 2).unbind(3)
        match = torch.einsum("bhcq,bhck->bhqk", q, k / math.sqrt(q.shape[2]))
        share = match.to(at_least_float32(match.dtype)).softmax(3).to(v.dtype)
        return torch.einsum("bhqk,bhck->bhcq", share, v).reshape(batch, -1, height, columns)


def unit(x: Tensor, dim: int | None = None) -> Tensor:
    """A tensor over its root mean square along a dimension, or along all but the first; nothing stays nothing."""
    along = [dim] if dim is not None else list(range(1, x.ndim))
    size = torch.linalg.vector_norm(x, dim=along, keepdim=True, dtype=at_least_float32(x.dtype))
    size = size / math.sqrt(math.prod(x.shape[i] for i in along)) + _LEAST
    return x / size.to(x.dtype)


def swish(x: Tensor) -> Tensor:
    return functional.silu(x) / 0.596


def blend(a: Tensor, b: Tensor, t: float) -> Tensor:
    """The sum of two branches, of which t is the second's part."""
    return a.lerp(b, t) / math.hypot(1 - t, t)


def beside(a: Tensor, b: Tensor, t: float) -> Tensor:
    """Two maps side by side, of which t is the second's part of the magnitude."""
    whole = math.sqrt((a.shape[1] + b.shape[1]) / ((1 - t) ** 2 + t**2))
    return torch.cat([a * (whole * (1 - t) / math.sqrt(a.shape[1])), b * (whole * t / math.sqrt(b.shape[1]))], dim=1)


def _drawn(*shape: int, turns: float | None = None) -> Tensor:
    """Normal numbers, in turns of a circle if so many are their spread, 0 for a place on it; none on the meta device, where to
    draw loads torch's compiler."""
    held = torch.empty(shape)
    if held.is_meta:
        return held
    if turns is None:
        return held.normal_()
    return 2 * math.pi * (held.normal_() * turns if turns else held.uniform_())
