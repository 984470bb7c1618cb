r"""The parts of the U-Nets: embeddings of the noise level, linear and convolutional layers, the residual block.

The architectures are those of Song et al. 2021 (arXiv 2011.13456, DDPM++ and NCSN++) and Dhariwal & Nichol 2021 (arXiv
2105.05233, ADM), in the common form that Karras et al. 2022 give them (arXiv 2206.00364, appendix F). Names and shapes of
weights are those of the latter's published networks, so that their state dicts fit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from farfield.core.error import FarfieldError

Resample = Literal["up", "down"]


@dataclass(frozen=True)
class Init:
    r"""The law of new weights: uniform within :math:`\pm g \sqrt{3 / \mathrm{fan}}`, of variance :math:`g^2 / \mathrm{fan}`.

    Attributes:
        fan: the inputs of a unit (``in``; He et al. 2015), or the mean of inputs and outputs (``mean``; Glorot & Bengio 2010).
        weight: the gain g of weights.
        bias: that of biases.
    """

    fan: Literal["in", "mean"]
    weight: float = 1.0
    bias: float = 0.0

    def draw(self, shape: Sequence[int], gain: float, fan_in: int, fan_out: int) -> nn.Parameter:
        fan = fan_in if self.fan == "in" else (fan_in + fan_out) / 2
        drawn = torch.rand(*shape)
        # arithmetic on meta tensors loads torch's compiler, a second of it
        return nn.Parameter(drawn if drawn.is_meta else (2 * drawn - 1) * gain * math.sqrt(3 / fan))


class Linear(nn.Module):
    """``[B, before]`` → ``[B, after]``."""

    def __init__(self, before: int, after: int, init: Init, *, bias: bool = True):
        super().__init__()
        self.weight = init.draw((after, before), init.weight, before, after)
        self.bias = init.draw((after,), init.bias, before, after) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight, self.bias)


class Conv2d(nn.Module):
    """A convolution that keeps the size; with ``resample``, before it a change of size by 2 with a low-pass filter.

    Args:
        kernel: its side, odd; 0 for the change of size alone.
        taps: the filter along one side, of even length.
        filter_last: with ``down``: filter the answer instead, which is taken beyond the border as far as the filter reaches.
    """

    resample_filter: Tensor

    def __init__(
        self,
        before: int,
        after: int,
        kernel: int,
        init: Init,
        *,
        resample: Resample | None = None,
        taps: Sequence[float] = (1, 1),
        filter_last: bool = False,
    ):
        super().__init__()
        fans = before * kernel**2, after * kernel**2
        self.weight = init.draw((after, before, kernel, kernel), init.weight, *fans) if kernel else None
        self.bias = init.draw((after,), init.bias, *fans) if kernel else None
        self.resample, self.filter_last = resample, filter_last
        self.reach = (len(taps) - 1) // 2
        row = torch.tensor(taps, dtype=torch.float32, device="cpu")
        self.register_buffer("resample_filter", (row.outer(row) / row.sum() ** 2)[None, None] if resample else None)

    def forward(self, x: Tensor) -> Tensor:
        if self.resample and not self.filter_last:
            x = self._resized(x, self.reach)
        if self.weight is not None:
            beyond = self.reach if self.filter_last else 0
            x = functional.conv2d(x, self.weight, self.bias, padding=self.weight.shape[-1] // 2 + beyond)
        return self._resized(x, 0) if self.filter_last else x

    def _resized(self, x: Tensor, padding: int) -> Tensor:
        return x if self.resample is None else resized(x, self.resample_filter, self.resample, padding)


def resized(x: Tensor, kernel: Tensor, way: Resample, padding: int) -> Tensor:
    """Half or twice the size, each channel under a low-pass filter ``[1, 1, K, K]`` whose sum is 1."""
    channels = x.shape[1]
    kernel = kernel.expand(channels, -1, -1, -1)
    if way == "down":
        return functional.conv2d(x, kernel, stride=2, padding=padding, groups=channels)
    return functional.conv_transpose2d(x, 4 * kernel, stride=2, padding=padding, groups=channels)


class GroupNorm(nn.Module):
    """Zero mean and unit variance over each of at most 32 groups, of at least 4 channels where there are so many."""

    def __init__(self, channels: int, eps: float):
        super().__init__()
        self.groups = groups(channels)
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            x = x.contiguous()  # of other layouts group_norm has no forward-mode derivative
        return functional.group_norm(x, self.groups, self.weight, self.bias, self.eps)


def groups(channels: int) -> int:
    """The most groups that divide the channels: at most 32, each of at least 4 channels if possible."""
    return largest_divisor(channels, min(32, channels // 4))


def largest_divisor(n: int, most: int) -> int:
    """The largest divisor of n up to ``most``, at least 1."""
    return max((d for d in range(1, most + 1) if n % d == 0), default=1)


@dataclass(frozen=True)
class BlockStyle:
    """In what the residual blocks of the architectures differ.

    Attributes:
        embedding: channels of what each block is told of noise level, class and augmentation.
        init, init_last, init_attention: laws of new weights: of all, of the layers that end a residual branch, of queries,
            keys and values.
        scale: factor of the sum of a branch and its shortcut.
        eps: of the norms.
        adaptive: the embedding scales and shifts the second norm's answer (ADM), or is added before that norm.
        project: shortcuts across a change of size have a 1×1 convolution even if the channels stay.
        head: least channels of an attention head; 0 for a single head.
        dropout: share of activations dropped in training.
        taps: filter of changes of size.
    """

    embedding: int
    init: Init
    init_last: Init
    init_attention: Init
    scale: float = 1.0
    eps: float = 1e-5
    adaptive: bool = True
    project: bool = False
    head: int = 64
    dropout: float = 0.0
    taps: Sequence[float] = (1, 1)


class Block(nn.Module):
    """A residual block: two convolutions and a shortcut, with a change of size before the first, attention after them."""

    def __init__(
        self, before: int, after: int, style: BlockStyle, *, resample: Resample | None = None, attention: bool = False
    ):
        super().__init__()
        self.style = style
        taps = style.taps
        self.norm0 = GroupNorm(before, style.eps)
        self.conv0 = Conv2d(before, after, 3, style.init, resample=resample, taps=taps)
        self.affine = Linear(style.embedding, after * (2 if style.adaptive else 1), style.init)
        self.norm1 = GroupNorm(after, style.eps)
        self.conv1 = Conv2d(after, after, 3, style.init_last)
        self.skip: Conv2d | None = None
        if before != after or resample:
            kernel = 1 if before != after or style.project else 0
            self.skip = Conv2d(before, after, kernel, style.init, resample=resample, taps=taps)
        self.heads = 0
        if attention:
            self.heads = largest_divisor(after, after // style.head) if style.head else 1
            self.norm2 = GroupNorm(after, style.eps)
            self.qkv = Conv2d(after, 3 * after, 1, style.init_attention)
            self.proj = Conv2d(after, after, 1, style.init_last)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        style = self.style
        modulation = self.affine(embedding)[:, :, None, None]
        y = self.conv0(functional.silu(self.norm0(x)))
        if style.adaptive:
            scale, shift = modulation.chunk(2, dim=1)
            y = self.norm1(y) * (1 + scale) + shift
        else:
            y = self.norm1(y + modulation)
        y = self.conv1(functional.dropout(functional.silu(y), style.dropout, self.training))
        x = ((x if self.skip is None else self.skip(x)) + y) * style.scale
        return (x + self._attention(x)) * style.scale if self.heads else x

    def _attention(self, x: Tensor) -> Tensor:
        """softmax(QᵀK / √c) over pixels; written out, because fused attention has no forward-mode derivative."""
        # In the published weights the three stand next to each other for each channel of each head.
        q, k, v = self.qkv(self.norm2(x)).reshape(len(x) * self.heads, -1, 3, x[0, 0].numel()).unbind(2)
        match = torch.einsum("bcq,bck->bqk", q, k / math.sqrt(k.shape[1]))
        share = match.to(at_least_float32(x.dtype)).softmax(2).to(v.dtype)
        return self.proj(torch.einsum("bqk,bck->bcq", share, v).reshape(x.shape))


class PositionalEmbedding(nn.Module):
    r"""Cosines and sines of the noise level at ``channels / 2`` frequencies from 1 to about 1/10,000, ``[B, channels]``.

    Args:
        endpoint: the last frequency is 1/10,000 itself.
    """

    def __init__(self, channels: int, *, endpoint: bool = False):
        super().__init__()
        self.count, self.endpoint = channels // 2, endpoint

    def forward(self, time: Tensor) -> Tensor:
        steps = torch.arange(self.count, device=time.device, dtype=at_least_float32(time.dtype))
        return _waves(time, 10_000 ** (-steps / max(self.count - self.endpoint, 1)))


class FourierEmbedding(nn.Module):
    """Cosines and sines at ``channels / 2`` random frequencies of standard deviation 16, ``[B, channels]``."""

    freqs: Tensor

    def __init__(self, channels: int):
        super().__init__()
        held = torch.empty(channels // 2)  # to draw without numbers loads torch's compiler
        self.register_buffer("freqs", held if held.is_meta else 16 * torch.randn(channels // 2))

    def forward(self, time: Tensor) -> Tensor:
        return _waves(time, 2 * math.pi * self.freqs.to(at_least_float32(time.dtype)))


def _waves(time: Tensor, frequencies: Tensor) -> Tensor:
    angle = time.to(frequencies.dtype)[:, None] * frequencies
    return torch.cat([angle.cos(), angle.sin()], dim=1)


def at_least_float32(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def one_hot(label: Tensor | None, classes: int, like: Tensor, dropout: float = 0.0) -> Tensor:
    """Classes ``[B]`` as rows ``[B, classes]`` of the dtype of ``like``; no label, or -1, is a row of zeros.

    Args:
        dropout: share of rows made zero at random, from torch's own generator.
    """
    if label is None:
        return like.new_zeros(len(like), classes)
    rows = functional.one_hot(label + 1, classes + 1)[:, 1:].to(like.dtype)
    return rows * (torch.rand(len(rows), 1, device=rows.device) >= dropout) if dropout else rows


def padded(x: Tensor, multiple: int) -> Tensor:
    """Images ``[B, C, H, W]`` with their last row and column repeated up to multiples of a size."""
    height, width = x.shape[-2:]
    if height % multiple == 0 and width % multiple == 0:
        return x
    return functional.pad(x, (0, -width % multiple, 0, -height % multiple), mode="replicate")


def resolutions(first: int, levels: int) -> list[str]:
    """What the levels of a U-Net are called: ``32x32``, ``16x16``, …

    Raises:
        FarfieldError: the last would have no pixel.
    """
    if first >> levels - 1 == 0:
        raise FarfieldError(
            f"{levels} levels for images of {first} pixels: expected at least one pixel at the last; give fewer multipliers"
        )
    return [f"{first >> i}x{first >> i}" for i in range(levels)]
