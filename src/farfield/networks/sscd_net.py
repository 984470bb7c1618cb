"""The networks of SSCD: a ResNet-50 or ResNeXt-101 trunk, generalized-mean pooling, a linear layer, unit length.

Pizzi, Roy, Ravindra, Goyal, Douze 2022, "A Self-Supervised Descriptor for Image Copy Detection", arXiv 2202.10261. The
trunk is that of He et al. 2015, arXiv 1512.03385, with the stride in the 3×3 convolution, or, in groups, of Xie et al.
2016, arXiv 1611.05431. Pooling (Radenović et al. 2017, arXiv 1711.02512) is ``(mean of max(x, 1e-6)^p)^(1/p)``, p = 3.

Published are the same weights under two kinds of names, of Classy Vision (also in the TorchScript archives) and of
torchvision; the latter are used here. Numbers of blocks, widths and groups are read off names and shapes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from farfield.core.error import FarfieldError

POWER: Final = 3.0
STAGES: Final = 4
_CLASSY: Final = (
    (r"^backbone\.initial_block\._module\.0\.", "conv1."),
    (r"^backbone\.initial_block\._module\.1\.", "bn1."),
    (r"^embeddings\.1\.", "fc."),
    (r"^backbone\.blocks\.(\d+)\.block\d+-(\d+)\.", lambda m: f"layer{int(m[1]) + 1}.{m[2]}."),
    (r"\.convolutional_block\.([036])\.", lambda m: f".conv{int(m[1]) // 3 + 1}."),
    (r"\.convolutional_block\.([14])\.", lambda m: f".bn{int(m[1]) // 3 + 1}."),
    (r"(layer\d+\.\d+)\.bn\.", r"\1.bn3."),
    (r"^backbone\.", ""),
)
"""From the names of Classy Vision, and of torchvision within a model, to torchvision's."""


class _Bottleneck(nn.Module):
    """``relu(x' + bn3(conv3(relu(bn2(conv2(relu(bn1(conv1(x))))))))``; the shortcut is projected where shapes change."""

    def __init__(self, before: int, middle: int, after: int, stride: int, groups: int, projected: bool):
        super().__init__()
        self.conv1 = nn.Conv2d(before, middle, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(middle)
        self.conv2 = nn.Conv2d(middle, middle, 3, stride, padding=1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(middle)
        self.conv3 = nn.Conv2d(middle, after, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(after)
        self.downsample = (
            nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)) if projected else None
        )

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        y = functional.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return functional.relu(y + (x if self.downsample is None else self.downsample(x)))


class SSCDNet(nn.Module):
    """Images ``[B, 3, H, W]``, normalised as ImageNet's, to unit vectors ``[B, d]``.

    Args:
        state: its weights, under torchvision's names; only names and shapes are used.
        power: p of the pooling.
    """

    def __init__(self, state: Mapping[str, Tensor], power: float = POWER):
        super().__init__()
        self.power = power
        width = len(state["conv1.weight"])
        self.conv1 = nn.Conv2d(3, width, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        for stage in range(1, STAGES + 1):
            blocks = nn.Sequential()
            while f"layer{stage}.{len(blocks)}.conv1.weight" in state:
                name = f"layer{stage}.{len(blocks)}"
                middle, after = len(state[f"{name}.conv1.weight"]), len(state[f"{name}.conv3.weight"])
                groups = middle // max(1, state[f"{name}.conv2.weight"].shape[1])
                stride = 2 if stage > 1 and not len(blocks) else 1
                projected = f"{name}.downsample.0.weight" in state
                blocks.append(_Bottleneck(width, middle, after, stride, groups, projected))
                width = after
            setattr(self, f"layer{stage}", blocks)
        self.fc = nn.Linear(width, len(state["fc.weight"]))

    @property
    def grouped(self) -> bool:
        """Whether it is a ResNeXt."""
        return any(isinstance(part, nn.Conv2d) and part.groups > 1 for part in self.modules())

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.bn1(self.conv1(x)))
        x = functional.max_pool2d(x, 3, 2, padding=1)
        for stage in range(1, STAGES + 1):
            x = getattr(self, f"layer{stage}")(x)
        pooled = x.clamp(min=1e-6).pow(self.power).mean((2, 3)).pow(1 / self.power)
        vectors: Tensor = functional.normalize(self.fc(pooled))
        return vectors


def is_sscd(names: Mapping[str, object]) -> bool:
    """Whether these are the names of an SSCD network's weights."""
    return any(n in names for n in ("backbone.initial_block._module.0.weight", "backbone.layer4.0.conv3.weight"))


def from_state_dict(state: Mapping[str, Tensor], power: float = POWER) -> SSCDNet:
    """The network of a state dict, frozen, in evaluation mode, float32.

    Raises:
        FarfieldError: the names or shapes are not those of an SSCD network.
    """
    plain: dict[str, Tensor] = {}
    for name, value in state.items():
        for pattern, meant in _CLASSY:
            name = re.sub(pattern, meant, name)
        plain[name] = value.float()
    try:
        with torch.device("meta"):  # its own first weights would be drawn for nothing
            network = SSCDNet(plain, power)
        network.load_state_dict(plain, assign=True)
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        raise FarfieldError(
            f"state dict with {len(state)} entries: expected those of SSCD (a ResNet-50 or ResNeXt-101 called backbone, "
            f"and its linear layer), found others ({' '.join(str(error).split())[:300]}); give a published file of SSCD"
        ) from error
    return network.eval().requires_grad_(False)
