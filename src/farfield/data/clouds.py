"""Turbulent molecular clouds: column densities through a lognormal density with a power-law spectrum.

Supersonic isothermal turbulence makes a density whose logarithm is close to Gaussian, of variance
``ln(1 + b² Mach²)`` (arXiv astro-ph/9707318, 0905.1060; b = 0.4 for mixed forcing). Here it is so by construction:

    s = ln(density / mean) ~ N(-width²/2, width²),  spectrum of s in three dimensions ∝ k^-slope,  1 ≤ k ≤ side/2
    column = COLUMN · (mean of exp(s) along the line of sight), periodic in both directions

so the density's mean is 1, its logarithm's law and spectrum are closed forms, and nothing is fitted to an observation.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import torch
from torch import Tensor

from farfield.core.error import FarfieldError
from farfield.core.runtime import generator

MACH = 5.0
FORCING = 0.4
WIDTH = math.sqrt(math.log(1 + (FORCING * MACH) ** 2))
"""Standard deviation of the logarithm of the density: 1.27 for Mach 5."""
SLOPE = 11 / 3
"""Of the spectrum of s in three dimensions: Kolmogorov's, 5/3 when summed over shells."""
COLUMN = 5e21
"""Mean column density of hydrogen, cm^-2: about 2.7 magnitudes of visual extinction."""
UNIT = "cm-2"


def log_density(seed: int, side: int, *, width: float = WIDTH, slope: float = SLOPE) -> Tensor:
    """``s``, float64 ``[side, side, side]``, periodic: Gaussian, of mean -width²/2 and, over seeds, variance width².

    The first axis is the line of sight. Field k depends on seed k, side, width and slope alone.
    """
    if seed < 0 or side < 4 or width <= 0:
        raise FarfieldError(f"clouds: expected seed ≥ 0, side ≥ 4, width > 0; found {seed}, {side}, {width}")
    noise = torch.randn(side, side, side, generator=generator(seed, "clouds"), dtype=torch.float64)
    s: Tensor = torch.fft.irfftn(torch.fft.rfftn(noise) * _amplitude(side, width, slope), s=noise.shape)
    return s - width**2 / 2


def cloud(seed: int, side: int = 64, *, width: float = WIDTH, slope: float = SLOPE) -> np.ndarray:
    """Column density in cm^-2, float64 ``[side, side]``: the density averaged along the line of sight, times COLUMN."""
    column: np.ndarray = (COLUMN * log_density(seed, side, width=width, slope=slope).exp().mean(0)).numpy()
    return column


@cache
def _amplitude(side: int, width: float, slope: float) -> Tensor:
    """What unit white noise is multiplied by, on the half grid: the spectrum's root, for variance ``width²`` in all."""
    power = _spectrum(side, slope)
    twice = torch.full((power.shape[2],), 2.0, dtype=torch.float64)  # the other half of the modes
    twice[0] = 1.0
    if side % 2 == 0:
        twice[-1] = 1.0
    return (power * (width**2 * side**3 / (power * twice).sum())).sqrt()


def _spectrum(side: int, slope: float) -> Tensor:
    """``k^-slope`` on the half grid of a real transform, 0 outside 1 ≤ k ≤ side/2, so that no direction is favoured."""
    whole = torch.fft.fftfreq(side, 1 / side, dtype=torch.float64)
    half = torch.fft.rfftfreq(side, 1 / side, dtype=torch.float64)
    k = (whole[:, None, None] ** 2 + whole[None, :, None] ** 2 + half**2).sqrt()
    inside = (k >= 1) & (k <= side / 2)
    return torch.where(inside, k.clamp(min=1) ** -slope, torch.zeros_like(k))
