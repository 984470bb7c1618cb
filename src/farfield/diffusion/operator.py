r"""Linear operators of a measurement :math:`y = A x + \sigma_y n`, each with its exact adjoint,

.. math:: \langle A x, y\rangle = \langle x, A^\top y\rangle.

Images are ``[B, C, H, W]``; what is measured of them is ``[B, C, h, w]``. An operator works on each channel alone.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor
from torch.nn import functional

from farfield.core.error import FarfieldError

REACH = 4
"""Standard deviations of a Gaussian blur, beyond which its kernel ends: 6e-5 of it lie outside."""


class Operator(ABC):
    """Abstract: A and its adjoint."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """A x, ``[B, C, h, w]``."""

    @abstractmethod
    def adjoint(self, y: Tensor) -> Tensor:
        r""":math:`A^\top y`, ``[B, C, H, W]``."""

    @abstractmethod
    def measured(self, shape: Sequence[int]) -> tuple[int, int, int]:
        """The shape of what is measured of images of this shape.

        Raises:
            FarfieldError: images that it does not fit.
        """

    def rows(self, places: Tensor) -> Operator:
        """The operator of these rows of a batch; the same of all, unless each has its own."""
        return self


@final
class Whole(Operator):
    """All pixels: A is the identity."""

    def forward(self, x: Tensor) -> Tensor:
        return x

    def adjoint(self, y: Tensor) -> Tensor:
        return y

    def measured(self, shape: Sequence[int]) -> tuple[int, int, int]:
        return shape[0], shape[1], shape[2]


@final
class Blur(Operator):
    """Convolution with a kernel; beyond its edges an image goes on as in a mirror (half-sample symmetric).

    Args:
        kernel: ``[h, w]``, both odd, its middle at home; used as it is, so that one with sum 1 keeps an image's brightness.
    """

    def __init__(self, kernel: Tensor):
        if (
            kernel.ndim != 2
            or kernel.shape[0] % 2 == 0
            or kernel.shape[1] % 2 == 0
            or not bool(kernel.isfinite().all())
        ):
            raise FarfieldError(
                f"kernel of shape {tuple(kernel.shape)}: expected a grid of finite numbers with an odd number of rows and columns"
            )
        self.kernel = kernel.double().flip(0, 1)[None, None]  # what torch calls a convolution is a correlation
        self.radius = kernel.shape[0] // 2, kernel.shape[1] // 2

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = (_mirrored(side, r).to(x.device) for side, r in zip(x.shape[2:], self.radius, strict=True))
        padded = x.index_select(2, rows).index_select(3, columns)
        return functional.conv2d(padded.flatten(0, 1)[:, None], self.kernel.to(x)).reshape(x.shape)

    def adjoint(self, y: Tensor) -> Tensor:
        spread = functional.conv_transpose2d(y.flatten(0, 1)[:, None], self.kernel.to(y))
        folded = spread.reshape(*y.shape[:2], *spread.shape[2:])
        for axis, r in zip((2, 3), self.radius, strict=True):
            shape = list(folded.shape)
            shape[axis] = y.shape[axis]
            folded = folded.new_zeros(shape).index_add_(axis, _mirrored(y.shape[axis], r).to(y.device), folded)
        return folded

    def measured(self, shape: Sequence[int]) -> tuple[int, int, int]:
        if self.radius[0] > shape[1] or self.radius[1] > shape[2]:
            h, w = self.kernel.shape[2:]
            raise FarfieldError(
                f"blur: its kernel has {w}×{h} pixels, too many for images of {shape[2]}×{shape[1]}, the model's size; give a "
                "narrower one"
            )
        return shape[0], shape[1], shape[2]


@final
class Reduce(Operator):
    """Means over squares of ``factor`` × ``factor`` pixels."""

    def __init__(self, factor: int):
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return functional.avg_pool2d(x, self.factor)

    def adjoint(self, y: Tensor) -> Tensor:
        return y.repeat_interleave(self.factor, 2).repeat_interleave(self.factor, 3) / self.factor**2

    def measured(self, shape: Sequence[int]) -> tuple[int, int, int]:
        channels, height, width = shape
        if height % self.factor or width % self.factor:
            raise FarfieldError(
                f"scale {self.factor}: does not divide the model's size of {width}×{height} pixels; give a divisor of both"
            )
        return channels, height // self.factor, width // self.factor


@final
class Seen(Operator):
    """What another operator measures, where it was seen; elsewhere the measurement is 0 and says nothing.

    Args:
        seen: bool, ``[1 or B, 1 or C, h, w]``.
    """

    def __init__(self, inner: Operator, seen: Tensor):
        self.inner, self.seen = inner, seen

    def forward(self, x: Tensor) -> Tensor:
        return self.seen.to(x) * self.inner.forward(x)

    def adjoint(self, y: Tensor) -> Tensor:
        return self.inner.adjoint(self.seen.to(y) * y)

    def measured(self, shape: Sequence[int]) -> tuple[int, int, int]:
        return self.inner.measured(shape)

    def rows(self, places: Tensor) -> Operator:
        return self if len(self.seen) == 1 else Seen(self.inner, self.seen[places])


def gaussian_kernel(width: float) -> Tensor:
    """A Gaussian of this standard deviation in pixels, sum 1, ``[2r + 1, 2r + 1]`` float64 with r = REACH standard deviations."""
    places = torch.arange(-math.ceil(REACH * width), math.ceil(REACH * width) + 1, dtype=torch.float64)
    line = (-(places**2) / (2 * width**2)).exp()
    return torch.outer(line, line) / line.sum() ** 2


def _mirrored(side: int, radius: int) -> Tensor:
    """The pixels of a line of ``side`` with ``radius`` more at each end, ``[side + 2 radius]``."""
    line = torch.arange(side)
    return torch.cat([line[:radius].flip(0), line, line[side - radius :].flip(0)])
