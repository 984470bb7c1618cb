r"""Moving averages of weights over a training.

Two laws, with t the images seen and b those of a step:

- exponential, half-life h images, shorter in the beginning: :math:`\bar w \leftarrow \beta \bar w + (1 - \beta) w`,
  :math:`\beta = 2^{-b / \min(h, 0.05 t)}` (arXiv 2206.00364, appendix F);
- power function of relative width s: :math:`\beta = (1 - b / t)^{\gamma + 1}`, with
  :math:`s^2 = (\gamma + 1) / ((\gamma + 2)^2 (\gamma + 3))` (arXiv 2312.02696, section 3): the profile of the average keeps
  its shape however long the training is.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from farfield.core.error import FarfieldError

RAMP = 0.05
"""The half-life never exceeds this share of the training so far."""

NARROWEST = 1e-6
"""Relative width of an average that hardly averages."""
MOST = 1e18
"""Images, which no training sees."""

_UNITS = {"": 1, "k": 1_000, "m": 1_000_000}


class Average:
    """One average of a set of weights.

    Args:
        spec: a half-life in images (``500k``, ``0.5M``, ``20000``), or ``power:0.1`` for a power function of relative width
            0.1 (0 < width < 0.28).
        weights: what is averaged; the average starts as their copy.
    """

    def __init__(self, spec: str, weights: Mapping[str, Tensor]):
        self.spec = spec
        power = re.fullmatch(r"power:(\d*\.?\d+)", spec)
        self.gamma = gamma_of(float(power[1])) if power else 0.0
        self.half_life = None if power else count(spec, "average")
        self.values = {k: v.detach().clone() for k, v in weights.items()}

    def decay(self, seen: int, batch: int) -> float:
        """The share of the old average that an update keeps."""
        if self.half_life is None:
            return max(0.0, 1 - batch / seen) ** (self.gamma + 1)
        return 0.5 ** (batch / max(min(self.half_life, RAMP * seen), 1e-8))

    @torch.no_grad()
    def update(self, weights: Mapping[str, Tensor], seen: int, batch: int) -> None:
        """Take in the weights after a step of ``batch`` images, the last of ``seen``."""
        keep = self.decay(seen, batch)
        torch._foreach_lerp_(list(self.values.values()), [weights[k].detach() for k in self.values], 1 - keep)


@contextlib.contextmanager
def exchanged(weights: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> Iterator[None]:
    """Other values in the weights' place, while inside."""
    _exchange(weights, others)
    try:
        yield
    finally:
        _exchange(weights, others)


@torch.no_grad()
def _exchange(weights: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> None:
    for name, other in others.items():
        kept = other.clone()
        other.copy_(weights[name])
        weights[name].copy_(kept)


def gamma_of(width: float) -> float:
    """The exponent of a power function whose profile has this relative standard deviation.

    Raises:
        FarfieldError: no exponent of at least 0 has it.
    """
    if not NARROWEST <= width <= (1 / 12) ** 0.5:
        raise FarfieldError(f"average power:{width:g}: expected a relative width from {NARROWEST:g} to 0.288")
    low, high = 0.0, 1.0
    while _width(high) > width:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if _width(middle) > width else (low, middle)
    return (low + high) / 2


def _width(gamma: float) -> float:
    return ((gamma + 1) / ((gamma + 2) ** 2 * (gamma + 3))) ** 0.5


def count(text: str, name: str) -> int:
    """A number of images: ``20000``, ``500k``, ``0.5M``.

    Raises:
        FarfieldError: something else, or less than 1.
    """
    match = re.fullmatch(r"(\d+(?:\.\d*)?)([kKmM]?)", text.strip())
    amount = float(match[1]) * _UNITS[match[2].lower()] if match else 0.0
    number = round(amount) if amount < MOST else 0
    if number < 1:
        raise FarfieldError(f"{name} {text!r}: expected a number of images such as 20000, 500k or 0.5M")
    return number
