"""DiT, a transformer of images (Peebles & Xie 2022, arXiv 2212.09748), under the names of its published weights.

SiT (arXiv 2401.08740) has the same network. An image becomes square patches of ``width`` numbers each, with a place of its own
added to each; blocks of attention and two-layer networks; the patches become an image again. What is told of noise level and
class scales and shifts each norm's answer and closes each branch (adaLN).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from farfield.core.error import FarfieldError
from farfield.networks.layers import at_least_float32


class DiT(nn.Module):
    """``network(x, time)``: ``[B, in_channels, H, W]`` and ``[B]`` → ``[B, out_channels, H, W]``, of this size alone.

    Args:
        img_size: ``(H, W)``, multiples of the patch.
        patch: side of a patch in pixels.
        width: numbers of a patch.
        num_blocks: of them.
        heads: of each attention.
        hidden: units of the one hidden layer of each block's network; 4 times the width if not given.
        frequencies: numbers of the time's embedding, even.
        classes: how many, 0 if unconditional.
        label_dropout: share of labels dropped in training, from torch's own generator; 0: it knows no images without a class.
        endpoint: the last frequency of the time's embedding is 1/10,000 itself, as in diffusers.
        apart: each block is told of time and class by an embedding of its own, the end by the first one's; as in diffusers.
        eps: of the second norm of each block.

    Raises:
        FarfieldError: sizes that do not go together.
    """

    def __init__(
        self,
        img_size: Sequence[int],
        in_channels: int,
        out_channels: int,
        patch: int = 2,
        width: int = 384,
        num_blocks: int = 12,
        heads: int = 6,
        hidden: int = 0,
        frequencies: int = 256,
        classes: int = 0,
        label_dropout: float = 0.0,
        endpoint: bool = False,
        apart: bool = False,
        eps: float = 1e-6,
    ):
        super().__init__()
        self.grid = grid_of(img_size, patch, width, heads)
        self.patch, self.classes, self.label_dropout, self.apart = patch, classes, label_dropout, apart
        self.x_embedder = Patches(in_channels, patch, width)
        rows = classes + (label_dropout > 0)
        self.pos_embed = nn.Parameter(torch.zeros(1, self.grid[0] * self.grid[1], width), requires_grad=False)
        self.blocks = nn.ModuleList(AdaptiveBlock(width, heads, hidden or 4 * width, eps) for _ in range(num_blocks))
        for part in self.blocks if apart else [self]:
            part.add_module("t_embedder", Told(frequencies, width, endpoint=endpoint))
            part.add_module("y_embedder", Classes(rows, width) if rows else None)
        self.final_layer = AdaptiveEnd(width, patch**2 * out_channels)
        if not self.pos_embed.is_meta:
            self.pos_embed.data.copy_(places(self.grid, width))

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None) -> Tensor:
        """Classes ``label`` are ``[B]``, -1 for none."""
        y = self.x_embedder(x) + self.pos_embed
        rows = self._rows(label, len(x), x.device)
        told = [_told(part, time, rows, y.dtype) for part in (self.blocks if self.apart else [self])]
        for i, block in enumerate(self.blocks):
            y = block(y, told[i if self.apart else 0])
        return assembled(self.final_layer(y, told[0]), self.grid, self.patch)

    def _rows(self, label: Tensor | None, n: int, device: torch.device) -> Tensor:
        """Of the table of classes; its last stands for none."""
        label = torch.full((n,), -1, device=device) if label is None else label
        if self.training and self.label_dropout:
            label = torch.where(torch.rand(n, device=device) < self.label_dropout, -1, label)
        return torch.where(label < 0, self.classes, label)


class Patches(nn.Module):
    """``[B, C, H, W]`` → ``[B, patches, width]``."""

    def __init__(self, channels: int, patch: int, width: int):
        super().__init__()
        self.proj = nn.Conv2d(channels, width, patch, patch)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.proj(x).flatten(2).transpose(1, 2)
        return y


class Told(nn.Module):
    """The time ``[B]`` as ``[B, width]``."""

    def __init__(self, frequencies: int, width: int, *, endpoint: bool = False):
        super().__init__()
        self.frequencies, self.endpoint = frequencies, endpoint
        self.mlp = nn.Sequential(nn.Linear(frequencies, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, time: Tensor, dtype: torch.dtype) -> Tensor:
        y: Tensor = self.mlp(waves(time, self.frequencies, endpoint=self.endpoint).to(dtype))
        return y


class Classes(nn.Module):
    """Rows ``[B]`` of a table as ``[B, width]``."""

    def __init__(self, rows: int, width: int):
        super().__init__()
        self.embedding_table = nn.Embedding(rows, width)

    def forward(self, rows: Tensor) -> Tensor:
        y: Tensor = self.embedding_table(rows)
        return y


class Attention(nn.Module):
    """softmax(QᵀK / √d) over patches; written out, because fused attention has no forward-mode derivative."""

    def __init__(self, width: int, heads: int, bias: bool = True):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=bias)
        self.proj = nn.Linear(width, width)

    def forward(self, y: Tensor) -> Tensor:
        q, k, v = self.qkv(y).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        match = (q / math.sqrt(q.shape[3])) @ k.transpose(2, 3)
        share = match.to(at_least_float32(y.dtype)).softmax(3).to(v.dtype)
        answer: Tensor = self.proj((share @ v).transpose(1, 2).flatten(2))
        return answer


class Mlp(nn.Module):
    """One hidden layer."""

    def __init__(self, width: int, hidden: int, approximate: str):
        super().__init__()
        self.approximate = approximate
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, y: Tensor) -> Tensor:
        answer: Tensor = self.fc2(functional.gelu(self.fc1(y), approximate=self.approximate))
        return answer


class AdaptiveBlock(nn.Module):
    """DiT's: norms without weights of their own, scaled and shifted, and branches multiplied, by what is told."""

    def __init__(self, width: int, heads: int, hidden: int, eps: float = 1e-6):
        super().__init__()
        self.eps = eps
        self.attn = Attention(width, heads)
        self.mlp = Mlp(width, hidden, "tanh")
        self.adaLN_modulation = _modulation(width, 6)

    def forward(self, y: Tensor, told: Tensor) -> Tensor:
        shift, scale, gate, shift2, scale2, gate2 = self.adaLN_modulation(told)[:, None].chunk(6, dim=2)
        y = y + gate * self.attn(_norm(y) * (1 + scale) + shift)
        answer: Tensor = y + gate2 * self.mlp(_norm(y, self.eps) * (1 + scale2) + shift2)
        return answer


class AdaptiveEnd(nn.Module):
    """DiT's last layer."""

    def __init__(self, width: int, numbers: int):
        super().__init__()
        self.linear = nn.Linear(width, numbers)
        self.adaLN_modulation = _modulation(width, 2)
        nn.init.zeros_(self.linear.weight)  # a new network answers with zeros, as the others do
        nn.init.zeros_(self.linear.bias)

    def forward(self, y: Tensor, told: Tensor) -> Tensor:
        shift, scale = self.adaLN_modulation(told)[:, None].chunk(2, dim=2)
        answer: Tensor = self.linear(_norm(y) * (1 + scale) + shift)
        return answer


def waves(time: Tensor, count: int, *, endpoint: bool = False) -> Tensor:
    """Cosines, then sines, of the time at ``count / 2`` frequencies from 1 to about 1/10,000, ``[B, count]``.

    Args:
        endpoint: the last one is 1/10,000 itself.
    """
    dtype = at_least_float32(time.dtype)
    steps = torch.arange(count // 2, device=time.device, dtype=dtype) / max(count // 2 - endpoint, 1)
    angle = time.to(dtype)[:, None] * 10_000.0**-steps
    return torch.cat([angle.cos(), angle.sin()], dim=1)


def places(grid: tuple[int, int], width: int) -> Tensor:
    """What DiT adds to each patch: sines and cosines of its column, then those of its row, ``[1, patches, width]``."""
    rows, columns = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in grid), indexing="ij")
    halves = [waves(at.flatten(), width // 2).unflatten(1, (2, -1)).flip(1).flatten(1) for at in (columns, rows)]
    return torch.cat(halves, dim=1)[None]


def assembled(y: Tensor, grid: tuple[int, int], patch: int) -> Tensor:
    """Patches ``[B, patches, patch² C]``, each of rows of columns of channels, as images ``[B, C, H, W]``."""
    return y.unflatten(2, (patch, patch, -1)).unflatten(1, grid).permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)


def _told(part: nn.Module, time: Tensor, rows: Tensor, dtype: torch.dtype) -> Tensor:
    """Time and class, as the embeddings of a network or of a block have them."""
    told: Tensor = part.get_submodule("t_embedder")(time, dtype)
    return told if part.y_embedder is None else told + part.get_submodule("y_embedder")(rows)


def _norm(y: Tensor, eps: float = 1e-6) -> Tensor:
    return functional.layer_norm(y, y.shape[-1:], eps=eps)


def _modulation(width: int, parts: int) -> nn.Sequential:
    last = nn.Linear(width, parts * width)
    nn.init.zeros_(last.weight)  # a new block changes nothing
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.SiLU(), last)


def grid_of(img_size: Sequence[int], patch: int, width: int, heads: int) -> tuple[int, int]:
    height, columns = img_size
    if patch < 1 or height % patch or columns % patch or min(height, columns) < 1:
        raise FarfieldError(f"transformer of {height}×{columns} pixels in patches of {patch}: expected multiples of it")
    if width < 4 or width % 4 or heads < 1 or width % heads:
        raise FarfieldError(f"transformer of width {width} in {heads} heads: expected a multiple of 4 and of the heads")
    return height // patch, columns // patch
