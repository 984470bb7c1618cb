"""The residual networks for CIFAR-10 (ResNet-20 … ResNet-110): a small feature extractor for 32×32 images.

He, Zhang, Ren, Sun 2015, "Deep Residual Learning for Image Recognition", arXiv 1512.03385, §4.2: a 3×3 convolution,
three stages of ``n`` two-convolution blocks with 16, 32 and 64 channels on 32², 16² and 8² pixels, an average over the
last map and one linear layer: 6n + 2 layers in all. Shortcuts across a change of shape are parameter-free ("option A":
every second pixel, new channels zero), so all parameters are those of convolutions, norms and the linear layer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from torch import Tensor, nn
from torch.nn import functional

from farfield.core.error import FarfieldError

WIDTHS: Final = (16, 32, 64)
DEPTHS: Final = (20, 32, 44, 56, 110)


class _Block(nn.Module):
    """Two 3×3 convolutions and a shortcut: ``relu(x' + bn2(conv2(relu(bn1(conv1(x))))))``."""

    def __init__(self, before: int, after: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.stride = stride
        self.new_channels = after - before

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        shortcut = x[:, :, :: self.stride, :: self.stride]
        if self.new_channels:  # the new channels lie evenly on both sides of the old ones
            left = self.new_channels // 2
            shortcut = functional.pad(shortcut, (0, 0, 0, 0, left, self.new_channels - left))
        return functional.relu(shortcut + y)


class ResNet(nn.Module):
    """CIFAR ResNet of depth ``6n + 2``: ``[B, 3, H, W]`` → logits ``[B, classes]``; ``features`` → ``[B, 64]``."""

    def __init__(self, depth: int = 56, classes: int = 10):
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise FarfieldError(f"depth {depth}: expected 6n + 2 layers; choose one of {', '.join(map(str, DEPTHS))}")
        blocks = (depth - 2) // 6
        self.depth = depth
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.layer1 = _stage(WIDTHS[0], WIDTHS[0], blocks, stride=1)
        self.layer2 = _stage(WIDTHS[0], WIDTHS[1], blocks, stride=2)
        self.layer3 = _stage(WIDTHS[1], WIDTHS[2], blocks, stride=2)
        self.linear = nn.Linear(WIDTHS[2], classes)

    def features(self, x: Tensor) -> Tensor:
        """The last map averaged over its pixels, ``[B, 64]``, non-negative: what the linear layer sees."""
        y: Tensor = functional.relu(self.bn1(self.conv1(x)))
        y = self.layer3(self.layer2(self.layer1(y)))
        return y.mean(dim=(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear(self.features(x))
        return logits


def _stage(before: int, after: int, blocks: int, stride: int) -> nn.Sequential:
    first = _Block(before, after, stride)
    return nn.Sequential(first, *(_Block(after, after, 1) for _ in range(blocks - 1)))


def from_state_dict(state: Mapping[str, Tensor]) -> ResNet:
    """The network of a state dict, frozen, in evaluation mode; depth and classes are read off names and shapes.

    Raises:
        FarfieldError: the names or shapes are not those of a CIFAR ResNet.
    """
    per_stage = [len({m[1] for name in state if (m := re.match(rf"layer{i}\.(\d+)\.", name))}) for i in (1, 2, 3)]
    linear = state.get("linear.weight")
    if linear is None or linear.ndim != 2 or per_stage[0] == 0 or len(set(per_stage)) != 1:
        raise FarfieldError(
            f"state dict with {len(state)} entries ({', '.join(list(state)[:3])} …): expected a CIFAR ResNet (conv1, "
            f"bn1, layer1.0.conv1 … linear; three equal stages), found stages of {per_stage} blocks; "
            "give the state dict of a ResNet-20 … ResNet-110"
        )
    network = ResNet(6 * per_stage[0] + 2, classes=len(linear))
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise FarfieldError(
            f"state dict of a ResNet-{network.depth}: expected its names and shapes, found others ({error}); "
            "give a CIFAR ResNet with parameter-free shortcuts"
        ) from error
    return network.eval().requires_grad_(False)
