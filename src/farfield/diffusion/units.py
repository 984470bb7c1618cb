r"""Models whose pictures are not in [-1, 1]: a logarithm of flux, as a model of galaxies has it, or anything else.

Pictures y in [-1, 1] are the model's :math:`x_0 = h y + c`. The law of y that its denoiser D implies has the exact denoiser

.. math:: D'(y, \sigma) = \bigl(D(h y + c,\; h \sigma) - c\bigr) / h,

for :math:`h (y + \sigma n) + c = x_0 + h \sigma n`; its levels are the model's over h (`schedule.Scaled`). So nothing
else in the house need know of a model's units, and nothing of the model is changed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, final

from torch import Tensor, nn

from farfield.core.error import FarfieldError
from farfield.diffusion.denoiser import Denoiser
from farfield.diffusion.schedule import Scaled

FLUX_RHO: Final = 7.0
"""Exponent of Karras's grids for models of flux: a few bright pixels stand far out there, and are decided at higher levels than
`schedule.spread` has most of."""


@dataclass(frozen=True)
class Units:
    """What a model's own numbers are.

    Attributes:
        low, high: those of a picture's -1 (black) and 1 (white).
        scale: they are ``ln(1 + flux) / scale``, where they come from physical fields in that way; None where nothing is known.

    Raises:
        FarfieldError: bounds or a scale that cannot be.
    """

    low: float
    high: float
    scale: float | None = None

    def __post_init__(self) -> None:
        if not -math.inf < self.low < self.high < math.inf:
            raise FarfieldError(f"units {self.low:g} to {self.high:g}: expected two numbers, the lower one first")
        if self.scale is not None and not 0 < self.scale < math.inf:
            raise FarfieldError(f"units with a scale of {self.scale:g}: expected a number above 0, such as 0.1")

    @property
    def half(self) -> float:
        """h."""
        return (self.high - self.low) / 2

    @property
    def centre(self) -> float:
        """c."""
        return (self.high + self.low) / 2

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}{f' of ln(1 + flux) / {self.scale:g}' if self.scale else ''}"


@final
class Rescaled(Denoiser):
    """A denoiser of numbers of its own, as one of pictures in [-1, 1].

    Args:
        inner: in its own units; of pixels, without a codec.
        units: the numbers that are black and white.
    """

    def __init__(self, inner: Denoiser, units: Units):
        super().__init__()
        self.inner, self.units = inner, units
        rho = None if units.scale is None else FLUX_RHO
        self.shape, self.schedule = inner.shape, Scaled(inner.schedule, units.half, rho)

    def forward(self, x: Tensor, sigma: Tensor, **conditions: Any) -> Tensor:
        half, centre = self.units.half, self.units.centre
        answer: Tensor = self.inner(half * x + centre, half * sigma, **conditions)
        return (answer - centre) / half

    @property
    def network(self) -> nn.Module:
        """That of the model, if it has one; its inputs are in its own units."""
        return self.inner.get_submodule("network")

    @property
    def label(self) -> Any:
        """The class that the model is told, if it is told one."""
        return getattr(self.inner, "label", None)
