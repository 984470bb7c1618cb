"""U-ViT, a transformer of images (Bao et al. 2022, arXiv 2209.12152), under the names of its published weights.

As `transformer.DiT`, but it is told noise level and class as two more patches, and its later blocks see answers of the earlier.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from farfield.core.error import FarfieldError
from farfield.networks.transformer import Attention, Mlp, Patches, assembled, grid_of, waves


class UViT(nn.Module):
    """``network(x, time)``: ``[B, in_channels, H, W]`` and ``[B]`` → ``[B, out_channels, H, W]``, of this size alone.

    Args:
        img_size, patch, width, num_blocks, heads, hidden, classes, label_dropout: as of `DiT`; the blocks are an odd number.
        first_time: the time that it is told is this much more.
        told_hidden: units of the hidden layer that the time's embedding goes through; 0 for none.
        bias: whether queries, keys and values have one.
        conv: whether a convolution ends it.
        skips: whether the later blocks see answers of the earlier.
    """

    def __init__(
        self,
        img_size: Sequence[int],
        in_channels: int,
        out_channels: int,
        patch: int = 2,
        width: int = 512,
        num_blocks: int = 13,
        heads: int = 8,
        hidden: int = 0,
        classes: int = 0,
        label_dropout: float = 0.0,
        told_hidden: int = 0,
        first_time: int = 0,
        bias: bool = False,
        conv: bool = True,
        skips: bool = True,
    ):
        super().__init__()
        self.grid = grid_of(img_size, patch, width, heads)
        if num_blocks % 2 == 0:
            raise FarfieldError(f"U-ViT of {num_blocks} blocks: expected an odd number, one in the middle")
        self.patch, self.classes, self.width, self.first_time = patch, classes, width, first_time
        self.patch_embed = Patches(in_channels, patch, width)
        self.time_embed: Any = nn.Identity()
        if told_hidden:
            self.time_embed = nn.Sequential(nn.Linear(width, told_hidden), nn.SiLU(), nn.Linear(told_hidden, width))
        rows = classes + (label_dropout > 0)
        self.label_emb = nn.Embedding(rows, width) if rows else None
        self.extra = 1 + (rows > 0)
        self.pos_embed = nn.Parameter(torch.zeros(1, self.extra + self.grid[0] * self.grid[1], width))

        def block(skip: bool = False) -> SkipBlock:
            return SkipBlock(width, heads, hidden or 4 * width, bias, skip)

        self.in_blocks = nn.ModuleList(block() for _ in range(num_blocks // 2))
        self.mid_block = block()
        self.out_blocks = nn.ModuleList(block(skips) for _ in range(num_blocks // 2))
        self.norm = nn.LayerNorm(width)
        self.decoder_pred = nn.Linear(width, patch**2 * out_channels)
        self.final_layer: nn.Module = nn.Conv2d(out_channels, out_channels, 3, padding=1) if conv else nn.Identity()

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None) -> Tensor:
        """Classes ``label`` are ``[B]``, -1 for none."""
        told = waves(time + self.first_time, self.width).to(x.dtype)
        y = torch.cat([self.time_embed(told)[:, None], self.patch_embed(x)], dim=1)
        if self.label_emb is not None:
            label = torch.full((len(x),), -1, device=x.device) if label is None else label
            y = torch.cat([self.label_emb(torch.where(label < 0, self.classes, label))[:, None], y], dim=1)
        y, kept = y + self.pos_embed, []
        for block in self.in_blocks:
            y = block(y)
            kept.append(y)
        y = self.mid_block(y)
        for block in self.out_blocks:
            y = block(y, kept.pop())
        answer: Tensor = self.final_layer(
            assembled(self.decoder_pred(self.norm(y))[:, self.extra :], self.grid, self.patch)
        )
        return answer


class SkipBlock(nn.Module):
    """U-ViT's: norms with weights; of the second half, first a mixture with an earlier block's answer."""

    def __init__(self, width: int, heads: int, hidden: int, bias: bool, skip: bool):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = Attention(width, heads, bias)
        self.mlp = Mlp(width, hidden, "none")
        self.skip_linear = nn.Linear(2 * width, width) if skip else None

    def forward(self, y: Tensor, kept: Tensor | None = None) -> Tensor:
        if self.skip_linear is not None and kept is not None:
            y = self.skip_linear(torch.cat([y, kept], dim=2))
        y = y + self.attn(self.norm1(y))
        answer: Tensor = y + self.mlp(self.norm2(y))
        return answer
