"""An MLP-Mixer (Tolstikhin et al. 2021, arXiv 2105.01601) that answers with an image: the network of published score models of
galaxies, small enough to be trained on a laptop.

An image becomes patches of ``width`` channels each; layers that mix the patches (of one channel) and the channels (of one
patch) take turns; the patches become an image again. The noise level is one more channel of the input, the same everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from farfield.core.error import FarfieldError


class MixerBlock(nn.Module):
    """``[B, width, patches]`` → the same; each half is added to what came in."""

    def __init__(self, patches: int, width: int, patch_hidden: int, channel_hidden: int):
        super().__init__()
        self.patch_norm, self.channel_norm = nn.LayerNorm((width, patches)), nn.LayerNorm((patches, width))
        self.patch_mixer = _mlp(patches, patch_hidden)
        self.channel_mixer = _mlp(width, channel_hidden)

    def forward(self, y: Tensor) -> Tensor:
        y = (y + self.patch_mixer(self.patch_norm(y))).transpose(1, 2)
        return (y + self.channel_mixer(self.channel_norm(y))).transpose(1, 2)


class Mixer(nn.Module):
    """``network(x, time)``: ``[B, in_channels, H, W]`` and ``[B]`` → ``[B, out_channels, H, W]``, of this size alone.

    Args:
        img_size: ``(H, W)``, multiples of the patch.
        patch: side of a patch in pixels.
        width: channels of a patch.
        num_blocks: pairs of mixing layers.
        patch_hidden, channel_hidden: units of the one hidden layer of each.
    """

    def __init__(
        self,
        img_size: Sequence[int],
        in_channels: int,
        out_channels: int,
        patch: int = 4,
        width: int = 64,
        num_blocks: int = 4,
        patch_hidden: int = 512,
        channel_hidden: int = 512,
    ):
        super().__init__()
        height, columns = img_size
        if patch < 1 or height % patch or columns % patch:
            raise FarfieldError(f"mixer of {height}×{columns} pixels in patches of {patch}: expected multiples of it")
        self.grid = (height // patch, columns // patch)
        self.conv_in = nn.Conv2d(in_channels + 1, width, patch, patch)
        patches = self.grid[0] * self.grid[1]
        self.blocks = nn.ModuleList(MixerBlock(patches, width, patch_hidden, channel_hidden) for _ in range(num_blocks))
        self.norm = nn.LayerNorm((width, patches))
        self.conv_out = nn.ConvTranspose2d(width, out_channels, patch, patch)
        nn.init.zeros_(self.conv_out.weight)  # a new network answers with zeros, as the others do
        nn.init.zeros_(self.conv_out.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None) -> Tensor:
        level = time.to(x).reshape(-1, 1, 1, 1).expand(len(x), 1, *x.shape[2:])
        y: Tensor = self.conv_in(torch.cat([x, level], 1)).flatten(2)
        for block in self.blocks:
            y = block(y)
        answer: Tensor = self.conv_out(self.norm(y).unflatten(2, self.grid))
        return answer


def _mlp(size: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(size, hidden), nn.ReLU(), nn.Linear(hidden, size))
