"""A small residual network for copy detection at 32×32: an image becomes a vector of length 1.

A 4×4 convolution of stride 2 and three residual blocks (He et al. 2015, arXiv 1512.03385) on 16², 8² and 4² pixels,
generalised-mean pooling (Radenović et al. 2018, arXiv 1711.02512) and a linear layer. Normalisations use running
statistics in evaluation mode, so that a row depends on its image alone.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from farfield.core.error import FarfieldError

SIDE: Final = 32
POWER: Final = 3.0
"""Of the generalised mean: 1 averages, ∞ takes the largest."""


class _Block(nn.Module):
    """``relu(shortcut(x) + bn2(conv2(relu(bn1(conv1(x))))))``."""

    def __init__(self, before: int, after: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        same = before == after and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(before, after, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.shortcut(x) + self.bn2(self.conv2(y)))


class CopyNet(nn.Module):
    """``[B, 3, 32, 32]`` in [-1, 1] → ``[B, features]`` of unit length.

    Args:
        width: channels on 16² pixels; twice and four times as many on 8² and 4².
        features: length of the vector.

    Raises:
        FarfieldError: a width or a length below 1.
    """

    def __init__(self, width: int = 48, features: int = 128):
        super().__init__()
        if min(width, features) < 1:
            raise FarfieldError(f"width {width}, features {features}: expected at least 1 of each")
        self.width, self.features = width, features
        self.stem = nn.Conv2d(3, width, 4, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.blocks = nn.Sequential(
            _Block(width, width, 1), _Block(width, 2 * width, 2), _Block(2 * width, 4 * width, 2)
        )
        self.linear = nn.Linear(4 * width, features)

    def forward(self, x: Tensor) -> Tensor:
        y = self.blocks(functional.relu(self.norm(self.stem(x)))).float()
        pooled = y.clamp(min=1e-3).pow(POWER).mean((2, 3)).pow(1 / POWER)
        with torch.autocast(x.device.type, enabled=False):
            return functional.normalize(self.linear(pooled), dim=1)
