"""Inception-v3 as the Fréchet Inception distance uses it: the network of 2015 with its 2048 pooled activations.

Szegedy et al. 2015, "Rethinking the Inception Architecture for Computer Vision", arXiv 1512.00567; Heusel et al. 2017,
arXiv 1706.08500. Names are torchvision's, under which the weights of the TensorFlow graph ``inception-2015-12-05`` were
published for PyTorch (``pt_inception-2015-12-05-6726825d.pth``). That graph differs from torchvision's network: average
pooling does not count its padding, the last block pools by the maximum, and there are 1008 classes.

A branch is written as its convolutions in order, each ``(channels, kernel)`` or ``(channels, kernel, stride)``; a kernel
is a side, or height and width. With a stride of 2 nothing is padded, otherwise the size stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from farfield.core.error import FarfieldError

FEATURES: Final = 2048
ROW, COLUMN = (1, 7), (7, 1)

Branches = Mapping[str, Sequence[tuple[Any, ...]]]

HALVING: Final[Branches] = {"branch3x3": [(384, 3, 2)], "branch3x3dbl": [(64, 1), (96, 3), (96, 3, 2)]}
HALVING_AGAIN: Final[Branches] = {
    "branch3x3": [(192, 1), (320, 3, 2)],
    "branch7x7x3": [(192, 1), (192, ROW), (192, COLUMN), (192, 3, 2)],
}


class _Convolution(nn.Module):
    """``relu(bn(conv(x)))``; the norm's epsilon is 1e-3."""

    def __init__(self, before: int, channels: int, kernel: int | tuple[int, int], stride: int = 1, pad: bool = True):
        super().__init__()
        sides = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (sides[0] // 2, sides[1] // 2) if pad and stride == 1 else (0, 0)
        self.conv = nn.Conv2d(before, channels, sides, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(channels, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.bn(self.conv(x)))


class _Mixed(nn.Module):
    """Branches side by side, joined along the channels; the last is pooled: ``mean``, ``max`` or, halving, ``half``.

    A branch of one convolution has its own name, those of several are numbered from 1. ``fork`` ends a branch in two, 1×3
    and 3×1, of so many channels each.
    """

    def __init__(self, before: int, branches: Branches, pool: str, pooled: int = 0, fork: int = 0):
        super().__init__()
        self.pool, self.chains, self.forks = pool, list[list[str]](), dict[str, list[str]]()
        for branch, steps in branches.items():
            forked = bool(fork) and branch != "branch1x1"
            names = [branch] if len(steps) == 1 and not forked else [f"{branch}_{i + 1}" for i in range(len(steps))]
            width = before
            for name, step in zip(names, steps, strict=True):
                setattr(self, name, _Convolution(width, *step))
                width = step[0]
            if forked:
                ends = {f"{branch}_{len(steps) + 1}a": (1, 3), f"{branch}_{len(steps) + 1}b": (3, 1)}
                for name, kernel in ends.items():
                    setattr(self, name, _Convolution(width, fork, kernel))
                self.forks[names[-1]] = list(ends)
            self.chains.append(names)
        self.branch_pool = _Convolution(before, pooled, 1) if pooled else None

    def forward(self, x: Tensor) -> Tensor:
        branches = []
        for names in self.chains:
            y = x
            for name in names:
                y = getattr(self, name)(y)
            branches += [getattr(self, end)(y) for end in self.forks[names[-1]]] if names[-1] in self.forks else [y]
        if self.pool == "half":
            pooled = functional.max_pool2d(x, 3, 2)
        elif self.pool == "max":
            pooled = functional.max_pool2d(x, 3, 1, padding=1)
        else:
            pooled = functional.avg_pool2d(x, 3, 1, padding=1, count_include_pad=False)
        return torch.cat([*branches, pooled if self.branch_pool is None else self.branch_pool(pooled)], 1)


def _narrow(before: int, pooled: int) -> _Mixed:
    """On 35×35 pixels."""
    branches: Branches = {
        "branch1x1": [(64, 1)],
        "branch5x5": [(48, 1), (64, 5)],
        "branch3x3dbl": [(64, 1), (96, 3), (96, 3)],
    }
    return _Mixed(before, branches, "mean", pooled)


def _middle(c: int) -> _Mixed:
    """On 17×17 pixels, with convolutions along rows and columns."""
    branches: Branches = {
        "branch1x1": [(192, 1)],
        "branch7x7": [(c, 1), (c, ROW), (192, COLUMN)],
        "branch7x7dbl": [(c, 1), (c, COLUMN), (c, ROW), (c, COLUMN), (192, ROW)],
    }
    return _Mixed(768, branches, "mean", 192)


def _wide(before: int, pool: str) -> _Mixed:
    """On 8×8 pixels, with branches that fork."""
    branches: Branches = {"branch1x1": [(320, 1)], "branch3x3": [(384, 1)], "branch3x3dbl": [(448, 1), (384, 3)]}
    return _Mixed(before, branches, pool, 192, fork=384)


class InceptionV3(nn.Module):
    """RGB ``[B, 3, 299, 299]`` in about [-1, 1] → the average over the last map, ``[B, 2048]``."""

    def __init__(self, classes: int = 1008):
        super().__init__()
        self.Conv2d_1a_3x3 = _Convolution(3, 32, 3, 2)
        self.Conv2d_2a_3x3 = _Convolution(32, 32, 3, pad=False)
        self.Conv2d_2b_3x3 = _Convolution(32, 64, 3)
        self.Conv2d_3b_1x1 = _Convolution(64, 80, 1)
        self.Conv2d_4a_3x3 = _Convolution(80, 192, 3, pad=False)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = _narrow(192, 32), _narrow(256, 64), _narrow(288, 64)
        self.Mixed_6a = _Mixed(288, HALVING, "half")
        self.Mixed_6b, self.Mixed_6c, self.Mixed_6d, self.Mixed_6e = map(_middle, (128, 160, 160, 192))
        self.Mixed_7a = _Mixed(768, HALVING_AGAIN, "half")
        self.Mixed_7b, self.Mixed_7c = _wide(1280, "mean"), _wide(2048, "max")
        self.fc = nn.Linear(FEATURES, classes)  # not used; it is among the published weights

    def forward(self, x: Tensor) -> Tensor:
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(functional.max_pool2d(x, 3, 2)))
        x = functional.max_pool2d(x, 3, 2)
        for name, block in self.named_children():
            if name.startswith("Mixed"):
                x = block(x)
        return x.mean((2, 3))


def is_inception(names: Mapping[str, object]) -> bool:
    """Whether these are the names of an Inception-v3's weights."""
    return "Mixed_7c.branch_pool.conv.weight" in names


def from_state_dict(state: Mapping[str, Tensor]) -> InceptionV3:
    """The network of a state dict, frozen, in evaluation mode, float32.

    Raises:
        FarfieldError: the names or shapes are not those of the network of 2015; torchvision's own weights are not.
    """
    classes = state.get("fc.weight")
    if classes is None or len(classes) != 1008:
        seen = "no fc" if classes is None else f"{len(classes)} classes"
        raise FarfieldError(
            f"state dict of an Inception-v3 with {seen}: expected the 1008 classes of the network that Fréchet Inception "
            "distances use; give pt_inception-2015-12-05-6726825d.pth (`farfield fetch inception`)"
        )
    try:
        with torch.device("meta"):  # its own first weights would be drawn for nothing
            network = InceptionV3()
        network.load_state_dict({name: value.float() for name, value in state.items()}, assign=True)
    except RuntimeError as error:
        raise FarfieldError(
            f"state dict of an Inception-v3: expected its names and shapes, found others "
            f"({' '.join(str(error).split())[:300]}); give pt_inception-2015-12-05-6726825d.pth"
        ) from error
    return network.eval().requires_grad_(False)
