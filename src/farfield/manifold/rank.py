r"""How many singular values matter: thresholds on a `Spectrum`, which is kept apart because it is costly."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from farfield.core.error import FarfieldError
from farfield.manifold.spectrum import Spectrum


@dataclass(frozen=True)
class Rank:
    """A numerical rank, between ``low`` and ``high`` where the energy is an estimate (95 %)."""

    value: int
    low: int
    high: int


def numerical_rank(spectrum: Spectrum, share: float = 0.99) -> Rank:
    r"""The least r with :math:`\sqrt{\sum_{i \le r} s_i^2 / \sum_i s_i^2} > share` (arXiv 2409.02426, code); 0 where J is 0.

    Raises:
        FarfieldError: a share not between 0 and 1, or more than the known singular values hold.
    """
    if not 0 < share < 1:
        raise FarfieldError(f"share {share:g}: expected a number between 0 and 1, such as 0.99")
    if spectrum.energy.value == 0:
        return Rank(0, 0, 0)
    caught = spectrum.values.square().cumsum(0)

    def first_above(energy: float) -> int:
        return int((caught <= share**2 * energy).sum()) + 1

    spread = spectrum.energy.half_width
    value, low, high = (first_above(spectrum.energy.value + e) for e in (0.0, -spread, spread))
    if value > len(caught):
        held = math.sqrt(float(caught[-1]) / spectrum.energy.value) if len(caught) else 0.0
        raise FarfieldError(
            f"share {share:g}: the {len(caught)} singular values known of {spectrum.dimension} hold {held:.4f} of the norm; "
            "make the spectrum with this share"
        )
    return Rank(value, low, min(high, spectrum.dimension))


def effective_rank(spectrum: Spectrum) -> float:
    r"""The participation ratio :math:`(\sum s_i^2)^2 / \sum s_i^4`: r for r equal values, without a threshold; 0 where J is 0."""
    energy = spectrum.energy.value
    fourth = float(torch.sum(spectrum.values**4))
    return energy**2 / fourth if fourth else 0.0
