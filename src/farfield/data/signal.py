r"""The signal of noisy fields: what they hold beside the noise of a known law.

Fields are split into scales, :math:`y = c_J + \sum_j w_j` with :math:`c_{j+1}` the :math:`c_j` under a cubic B-spline
whose taps are :math:`2^j` pixels apart and :math:`w_j = c_j - c_{j+1}` (the à trous transform; Starck and Murtagh 1994). At each
scale the noise's variance :math:`\nu_j` is known from its law, and of each place as much is kept as stands out there:

.. math:: \hat s = c_J + \sum_j \Big(1 - \frac{\nu_j}{P_j}\Big)\,[P_j > K \nu_j]\; w_j, \qquad P_j = \overline{w_j^2}

with the mean over a square of `BOX` pixels: Wiener's filter of each place, where more than chance stands out. In flat parts
next to nothing is left, and a source that is far above the noise stays as it is, its own noise with it. Where the noise's
variance is known pixel by pixel, each place has its own.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from farfield.data.noise import NoiseLaw
from farfield.data.science import Fields, fill

K: Final = 2.5
BOX: Final = 5
TAPS: Final = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)


def signal_of(fields: Fields, law: NoiseLaw) -> Tensor:
    """The signal of each field, ``[n, C, H, W]`` float64, between its field's least and greatest value; gaps filled."""
    values = fill(fields).double()
    n, c, height, width = values.shape
    rows, variance = values.flatten(0, 1)[:, None], law.deviations.square().flatten(0, 1)[:, None]
    scales = scales_of(height, width)
    parts, rest = split(rows, scales)
    for part, level in zip(parts, levels(law, scales), strict=True):
        known = level.repeat(n)[:, None, None, None] * variance
        power = _mean(part.square())
        rest = rest + torch.where(power > K * known, 1 - known / power, 0.0) * part
    low, high = (edge(values, dim=(2, 3), keepdim=True) for edge in (torch.amin, torch.amax))
    return rest.view(n, c, height, width).clamp(low, high)


def scales_of(height: int, width: int) -> int:
    """As many scales as have a spline that spans no more than half of a field's shorter side."""
    scales = 1
    while 2 ** (scales + 1) <= min(height, width) // 4:
        scales += 1
    return scales


def split(rows: Tensor, scales: int) -> tuple[list[Tensor], Tensor]:
    """The parts of fields ``[n, 1, H, W]`` at each scale, finest first, and what is left; they sum to the fields."""
    parts, smooth = [], rows
    for j in range(scales):
        kernel = rows.new_zeros(4 * 2**j + 1)
        kernel[:: 2**j] = rows.new_tensor(TAPS)
        padded = functional.pad(smooth, (2 * 2**j,) * 4, "reflect")
        smoother = functional.conv2d(functional.conv2d(padded, kernel.view(1, 1, -1, 1)), kernel.view(1, 1, 1, -1))
        parts.append(smooth - smoother)
        smooth = smoother
    return parts, smooth


def levels(law: NoiseLaw, scales: int) -> list[Tensor]:
    """The variance at each scale of noise of variance 1, ``[C]``."""
    waves = [2 * torch.pi * torch.fft.fftfreq(side, dtype=torch.float64) for side in law.power.shape[1:]]
    left, found = torch.ones_like(law.power[0]), []
    for j in range(scales):
        down, across = (TAPS[2] + 2 * TAPS[1] * (2**j * w).cos() + 2 * TAPS[0] * (2 * 2**j * w).cos() for w in waves)
        smoother = left * down[:, None] * across
        found.append((law.power * (left - smoother).square()).mean((1, 2)))
        left = smoother
    return found


def _mean(rows: Tensor) -> Tensor:
    """Over the square around each pixel; beyond the border fields are mirrored."""
    return functional.avg_pool2d(functional.pad(rows, (BOX // 2,) * 4, "reflect"), BOX, 1)
