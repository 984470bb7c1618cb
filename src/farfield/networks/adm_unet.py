"""ADM: the U-Net of Dhariwal & Nichol 2021 (arXiv 2105.05233), as parameterised in arXiv 2206.00364, appendix F.

Names of arguments and weights are those of the latter's published networks (``DhariwalUNet``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from farfield.networks.layers import (
    Block,
    BlockStyle,
    Conv2d,
    GroupNorm,
    Init,
    Linear,
    PositionalEmbedding,
    one_hot,
    padded,
    resolutions,
)


class ADMUNet(nn.Module):
    """``network(x, time)``: ``[B, in_channels, H, W]`` and ``[B]`` → ``[B, out_channels, H, W]``, of any height and width.

    Args:
        img_resolution: side of the images it is made for; it names the levels and decides where ``attn_resolutions`` are.
        label_dim: classes, 0 for none.
        augment_dim: numbers that say how an image was augmented, 0 for none.
        model_channels: channels at the first level, of which ``channel_mult`` (at each level) and ``channel_mult_emb`` (what
            the blocks are told of the noise level) are multiples.
        num_blocks: residual blocks at each level on the way down; one more on the way up.
        attn_resolutions: the resolutions with attention, besides the lowest; in heads of 64 channels, or a single one of fewer
            (where the published code has none).
        dropout: share of activations dropped in training.
        label_dropout: share of labels dropped in training, from torch's own generator.

    Raises:
        FarfieldError: too many levels.
    """

    def __init__(
        self,
        img_resolution: int,
        in_channels: int,
        out_channels: int,
        label_dim: int = 0,
        augment_dim: int = 0,
        model_channels: int = 192,
        channel_mult: Sequence[int] = (1, 2, 3, 4),
        channel_mult_emb: int = 4,
        num_blocks: int = 3,
        attn_resolutions: Sequence[int] = (32, 16, 8),
        dropout: float = 0.1,
        label_dropout: float = 0.0,
    ):
        super().__init__()
        self.label_dim, self.augment_dim, self.label_dropout = label_dim, augment_dim, label_dropout
        self.num_blocks = num_blocks
        self.levels = resolutions(img_resolution, len(channel_mult))
        init, zero = Init("in", math.sqrt(1 / 3), math.sqrt(1 / 3)), Init("in", 0.0)
        embedding = model_channels * channel_mult_emb
        style = BlockStyle(embedding, init, zero, init, dropout=dropout)
        self.map_noise = PositionalEmbedding(model_channels)
        self.map_augment = Linear(augment_dim, model_channels, zero, bias=False) if augment_dim else None
        self.map_layer0 = Linear(model_channels, embedding, init)
        self.map_layer1 = Linear(embedding, embedding, init)
        # rows of unit variance, added to the embedding as they are
        self.map_label = (
            Linear(label_dim, embedding, Init("in", math.sqrt(label_dim)), bias=False) if label_dim else None
        )

        attends = [img_resolution >> i in attn_resolutions for i in range(len(channel_mult))]
        width, kept = model_channels * channel_mult[0], []
        self.enc = nn.ModuleDict()
        for i, (name, multiple) in enumerate(zip(self.levels, channel_mult, strict=True)):
            if i == 0:
                self.enc[f"{name}_conv"] = Conv2d(in_channels, width, 3, init)
            else:
                self.enc[f"{name}_down"] = Block(width, width, style, resample="down")
            kept.append(width)
            for k in range(num_blocks):
                before, width = width, model_channels * multiple
                self.enc[f"{name}_block{k}"] = Block(before, width, style, attention=attends[i])
                kept.append(width)

        self.dec = nn.ModuleDict()
        for i, (name, multiple) in reversed(list(enumerate(zip(self.levels, channel_mult, strict=True)))):
            if i == len(channel_mult) - 1:
                self.dec[f"{name}_in0"] = Block(width, width, style, attention=True)
                self.dec[f"{name}_in1"] = Block(width, width, style)
            else:
                self.dec[f"{name}_up"] = Block(width, width, style, resample="up")
            for k in range(num_blocks + 1):
                before, width = width + kept.pop(), model_channels * multiple
                self.dec[f"{name}_block{k}"] = Block(before, width, style, attention=attends[i])
        self.out_norm = GroupNorm(width, style.eps)
        self.out_conv = Conv2d(width, out_channels, 3, zero)

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None, augment: Tensor | None = None) -> Tensor:
        """The answer to noisy images; classes ``label`` are ``[B]`` (-1 for none), ``augment`` is ``[B, augment_dim]``."""
        height, width = x.shape[-2:]
        embedding = self._embedding(time, label, augment)
        x, kept = self._down(padded(x, 2 ** (len(self.levels) - 1)), embedding)
        return self._up(x, embedding, kept)[..., :height, :width]

    def _embedding(self, time: Tensor, label: Tensor | None, augment: Tensor | None) -> Tensor:
        embedding = self.map_noise(time).to(self.map_layer0.weight.dtype)
        if self.map_augment is not None and augment is not None:
            embedding = embedding + self.map_augment(augment.to(embedding.dtype))
        embedding = self.map_layer1(functional.silu(self.map_layer0(embedding)))
        if self.map_label is not None:
            embedding = embedding + self.map_label(
                one_hot(label, self.label_dim, embedding, self.label_dropout if self.training else 0.0)
            )
        return functional.silu(embedding)

    def _down(self, x: Tensor, embedding: Tensor) -> tuple[Tensor, list[Tensor]]:
        enc, kept = self.enc, []
        for i, name in enumerate(self.levels):
            x = enc[f"{name}_down"](x, embedding) if i else enc[f"{name}_conv"](x)
            kept.append(x)
            for k in range(self.num_blocks):
                x = enc[f"{name}_block{k}"](x, embedding)
                kept.append(x)
        return x, kept

    def _up(self, x: Tensor, embedding: Tensor, kept: list[Tensor]) -> Tensor:
        dec = self.dec
        for i, name in reversed(list(enumerate(self.levels))):
            for part in ("in0", "in1") if i == len(self.levels) - 1 else ("up",):
                x = dec[f"{name}_{part}"](x, embedding)
            for k in range(self.num_blocks + 1):
                x = dec[f"{name}_block{k}"](torch.cat([x, kept.pop()], dim=1), embedding)
        return self.out_conv(functional.silu(self.out_norm(x)))
