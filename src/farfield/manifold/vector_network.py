"""A network for samples that are vectors rather than pictures: a residual perceptron that is told the noise level."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

FREQUENCIES = 16


class VectorNetwork(nn.Module):
    """``network(x, time)`` with ``x`` of any shape ``[B, *shape]`` of n numbers; the same shape comes out, 0 at first.

    Args:
        n: numbers of a sample.
        width: of the layers.
        blocks: residual blocks of two layers each.
    """

    def __init__(self, n: int, width: int = 256, blocks: int = 3):
        super().__init__()
        self.enter = nn.Linear(n, width)
        # The name is in the weights that runs keep.
        self.told = nn.ModuleList(nn.Linear(2 * FREQUENCIES, width) for _ in range(blocks))
        self.first = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))
        self.second = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))
        self.leave = nn.Linear(width, n)
        for layer in (*self.second, self.leave):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        rates = torch.logspace(-1, 1.5, FREQUENCIES, device=x.device, dtype=time.dtype)
        phases = 2 * math.pi * time[:, None] * rates
        level = torch.cat([phases.sin(), phases.cos()], 1).to(x.dtype)
        h = self.enter(x.flatten(1))
        for embed, first, second in zip(self.told, self.first, self.second, strict=True):
            h = h + second(nn.functional.silu(first(nn.functional.silu(h)) + embed(level)))
        answer: Tensor = self.leave(nn.functional.silu(h))
        return answer.reshape(x.shape)
