r"""Means over random probes: what a matrix that is only multiplied says of its trace and of its entries.

With probes :math:`v` whose entries are independent with mean 0 and variance 1, :math:`E\,v^\top A v = tr A` (Hutchinson
1990) and :math:`E\,|A v|^2 = \|A\|_F^2`. Entries of ±1 have the least variance: for symmetric A
:math:`2 (\|A\|_F^2 - \sum_i a_{ii}^2)`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from farfield.core.artifact import Score
from farfield.core.error import FarfieldError
from farfield.core.interval import student
from farfield.manifold.jacobian import Jacobian


@dataclass(frozen=True)
class Estimate:
    """A number with its standard error, from ``n`` probes; 0 where it is exact."""

    value: float
    error: float = 0.0
    n: int = 0

    @property
    def half_width(self) -> float:
        """Of Student's interval of 95 %."""
        return student(self.n) * self.error if self.error else 0.0

    def score(self) -> Score:
        """With Student's interval of 95 %."""
        return Score(self.value, self.n, self.value - self.half_width, self.value + self.half_width)


def mean_of(values: Tensor) -> Estimate:
    """The mean of independent values ``[n]``, at least 2, with its standard error."""
    return Estimate(float(values.mean()), float(values.std() / math.sqrt(len(values))), len(values))


def rademacher(count: int, dimension: int, g: torch.Generator) -> Tensor:
    """Probes of ±1, ``[count, dimension]`` float64 on the CPU.

    Raises:
        FarfieldError: fewer than 2, which have no spread, or more than dimensions, which cost more than J itself.
    """
    if not 2 <= count <= dimension:
        raise FarfieldError(
            f"{count} probes: expected 2 to {dimension}, the number of dimensions; as many as that give J exactly"
        )
    return torch.randint(0, 2, (count, dimension), generator=g).double() * 2 - 1


def trace(jacobian: Jacobian, probes: int, g: torch.Generator) -> Estimate:
    r""":math:`tr J` by Hutchinson's estimator; exact where ``probes`` is the dimension.

    Raises:
        FarfieldError: fewer than 2 probes, or more than dimensions.
    """
    if probes == jacobian.dimension:
        return Estimate(float(jacobian.dense().diagonal().sum()))
    v = rademacher(probes, jacobian.dimension, g).to(jacobian.x)
    return mean_of((jacobian.rows(v) * v).sum(1))
