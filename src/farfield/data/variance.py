r"""The noise of fields whose variance is known pixel by pixel, told apart into the background's and that of the sources' photons:

.. math:: \sigma_i^2(u) = b_i(u) + g\, \max(s_i(u), 0)

with s the signal above its field's median and one g for a channel, by least squares over the differences of all neighbouring
pixels: there b, which exposures and vignetting make, changes little, and a source much. So noise can be drawn for a source that
no field has at that place. Where the variance given is the background's alone, g is 0.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from farfield.data.noise import NoiseLaw, estimate_noise
from farfield.data.science import Fields
from farfield.data.signal import signal_of


def known_noise(fields: Fields, maps: Tensor) -> NoiseLaw:
    """The law of noise whose deviations ``[n, C, H, W]`` are known.

    What pixels share is found on the flat parts of the fields, in units of their own deviation; where these tell nothing, pixels
    share nothing. The background's variance is at least a quarter of the field's median.
    """
    maps = maps.double()
    found = estimate_noise(replace(fields, values=fields.values / maps))
    white = torch.ones(maps.shape[1], 2 * maps.shape[2], 2 * maps.shape[3], dtype=torch.float64)
    power, flat = (white, 0.0) if isinstance(found, str) else (found.power, found.flat)
    sigmas = maps.flatten(2).median(2).values
    law = NoiseLaw(sigmas, torch.ones_like(sigmas, dtype=torch.bool), power, flat, maps)
    variance, source = maps.square(), above(signal_of(fields, law))
    gain = _slope(variance, source).clamp(min=0)
    middle = variance.flatten(2).median(2).values[..., None, None]
    background = torch.maximum(variance - gain[:, None, None] * source, middle / 4).sqrt()
    return replace(law, photons=gain, background=background)


def _slope(variance: Tensor, source: Tensor) -> Tensor:
    """Of one over the other, ``[C]``, by least squares over the differences of neighbouring pixels."""
    over = under = torch.zeros(variance.shape[1], dtype=torch.float64)
    for axis in (2, 3):
        up, along = variance.diff(dim=axis), source.diff(dim=axis)
        over, under = over + (up * along).sum((0, 2, 3)), under + along.square().sum((0, 2, 3))
    return over / under.clamp(min=torch.finfo(torch.float64).tiny)


def above(signal: Tensor) -> Tensor:
    """What signals ``[n, C, H, W]`` have above their own median."""
    return (signal - signal.flatten(2).median(2).values[..., None, None]).clamp(min=0)
