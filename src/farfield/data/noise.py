r"""The noise of an instrument, estimated from the flat parts of fields: how strong it is, and how its pixels hang together.

A pixel is flat if nothing is seen there: it, and the field blurred by `BLURS` pixels, lie within `CLIP` robust standard
deviations (1.4826 times the median absolute deviation) of the field's own middle, taken over flat pixels again until no pixel
changes. What flat pixels share is found over pairs of them: with :math:`r_i(u)` those of field i less their mean, in its robust
deviations,

.. math:: C_i(d) = \sum_u r_i(u)\, r_i(u + d) \Big/ \sum_u 1 .

Gaps are not filled: a pair is there or not. Over half of the reach (`REACH` of the shorter side) and more, noise shares nothing:
what flat pixels share there, :math:`\rho_i`, is faint signal. There is a law only where in most fields enough is flat and
:math:`\rho_i` is small, for in a map of clouds the middle of the values is as much signal as the rest. These fields tell of the
noise, but for those in which near pixels share by far more, or less, than in the others: a halo. The noise of a field is its
deviation times :math:`\sqrt{1 - \rho_i}`; the law's correlation is that of all pairs, C less its :math:`\rho`, tapered to
nothing at the reach, what is below 0 in its spectrum set to 0: so it is the covariance of a field.

Noise that grows with the signal, as photons have it, cannot be told from fields without their gain: what is found is the
background's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from farfield.data.science import Fields, fill

CLIP: Final = 3.0
BLURS: Final = (1.0, 2.0, 4.0)
REACH: Final = 0.25
LEAST_FLAT: Final = 0.2
"""Share of a field's pixels that are flat, below which the field tells nothing of the noise."""
FAR: Final = 0.05
"""What distant flat pixels share, of either sign, from which they are no noise."""
MOST_SILENT: Final = 0.5
"""Share of the fields that tell nothing, from which there is no law."""
PAIRS: Final = 20
"""Flat pixels for each displacement whose covariance is estimated, fewer than which are too few."""


@dataclass(frozen=True)
class NoiseLaw:
    """Gaussian noise that is independent from channel to channel, and the same everywhere in a field unless there are ``maps``.

    Attributes:
        sigmas: its standard deviation in each field that tells, in their unit, ``[n, C]``; of the others the median.
        told: which fields tell, ``[n, C]``.
        power: spectrum of the noise of deviation 1 on a grid of twice the fields' sides, ``[C, 2 H, 2 W]``; its mean is 1.
        flat: share of flat pixels in the fields that tell.
        maps: its standard deviation pixel by pixel, ``[n, C, H, W]``, where that is known; ``sigmas`` are their medians.
        background: that without the photon noise of sources, ``[n, C, H, W]``; see `data.variance`.
        photons: variance that a unit of signal above the field's median adds, ``[C]``.
    """

    sigmas: Tensor
    told: Tensor
    power: Tensor
    flat: float
    maps: Tensor | None = None
    background: Tensor | None = None
    photons: Tensor | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """``[C, H, W]`` of the fields."""
        c, height, width = self.power.shape
        return c, height // 2, width // 2

    @property
    def deviations(self) -> Tensor:
        """In each field, ``[n, C, H, W]``, or ``[n, C, 1, 1]`` where it is the same everywhere."""
        return self.sigmas[..., None, None] if self.maps is None else self.maps

    def draw(self, deviation: Tensor, g: torch.Generator) -> Tensor:
        """Noise of one field ``[C, H, W]`` of deviations ``[C, H, W]`` or ``[C, 1, 1]``, float64."""
        size = self.power.shape[1:]  # doubled: opposite borders know nothing of each other
        white = torch.randn(self.power.shape, generator=g, dtype=torch.float64)
        _, height, width = self.shape
        drawn = torch.fft.irfft2(torch.fft.rfft2(white) * self.power[..., : size[1] // 2 + 1].sqrt(), s=size)
        return deviation * drawn[:, :height, :width]

    def correlations(self) -> Tensor:
        """The mean covariance of pixels 0, 1, 2, … apart, up to the reach, in variances: ``[C, L + 1]``."""
        c, height, width = self.shape
        away, most = _distances(height, width), _reach(height, width)
        rings, covariance = (away + 0.5).floor().long().flatten(), torch.fft.ifft2(self.power).real.flatten(1)
        near = rings <= most
        sums = torch.zeros(c, most + 1, dtype=covariance.dtype).index_add_(1, rings[near], covariance[:, near])
        return sums / torch.bincount(rings[near])

    def lengths(self) -> list[float]:
        """The distance in pixels at which the correlation of each channel falls to 1/e."""
        level, found = 1 / math.e, []
        for row in self.correlations().tolist():
            i = next((i for i, value in enumerate(row) if value < level), len(row) - 1)
            found.append(i - 1 + (row[i - 1] - level) / (row[i - 1] - row[i]))
        return found


def estimate_noise(fields: Fields) -> NoiseLaw | str:
    """The law of the noise of fields, or why there is none that can be told."""
    n, c, height, width = fields.values.shape
    rows, known = fill(fields).double().flatten(0, 1), fields.values.isfinite().flatten(0, 1)
    flat = flat_pixels(rows, known)
    deviation = _middle(rows, flat)[1].flatten()
    sums, pairs = _products(rows, flat)
    away, reach = _distances(height, width), _reach(height, width)
    far = (away >= reach / 2) & (away < reach)
    near, shared = (
        sums[:, some].sum(1) / pairs[:, some].sum(1).clamp(min=1) for some in ((away > 0) & (away < reach / 2), far)
    )
    share = flat.flatten(1).double().mean(1)
    wide, noisy = (x.unflatten(0, (n, c)) for x in (share >= LEAST_FLAT, deviation > 0))
    told = wide & noisy & (shared.abs() < FAR).unflatten(0, (n, c))
    for good, why in (
        (wide, f"less than {LEAST_FLAT:.0%} of most fields is flat"),
        (noisy, "what is flat in most fields is constant"),
        (told, "what is flat in most fields varies together over long distances, as a signal does"),
    ):
        if float(good.double().mean(0).min()) <= 1 - MOST_SILENT:
            return why
    wanted = PAIRS * int((away < reach).sum()) // 2
    seen = min(int((flat.flatten(1).sum(1).unflatten(0, (n, c)) * told).sum(0).min()), n * height * width)
    if seen < wanted:
        return f"{seen:,} flat pixels are too few to tell how they hang together, {wanted:,} are needed"
    sigmas = (deviation * (1 - shared).clamp(min=0).sqrt()).unflatten(0, (n, c))
    power = []
    for channel in range(c):
        told[:, channel] = _alike(near.unflatten(0, (n, c))[:, channel], told[:, channel])
        tells = told[:, channel].nonzero()[:, 0] * c + channel
        sigmas[~told[:, channel], channel] = sigmas[told[:, channel], channel].median()
        covariance = sums[tells].sum(0) / pairs[tells].sum(0).clamp(min=1)
        own = covariance - sums[tells][:, far].sum() / pairs[tells][:, far].sum()
        spectrum = torch.fft.fft2(own * _taper(away, reach)).real.clamp(min=0)
        power.append(spectrum / spectrum.mean())
    return NoiseLaw(sigmas, told, torch.stack(power), float(share.unflatten(0, (n, c))[told].mean()))


def _alike(values: Tensor, told: Tensor) -> Tensor:
    """Those of a group ``[n]`` that are no outliers of it, by the rule of `CLIP`."""
    middle, deviation = _middle(values[None, None], told[None, None])
    return told & ((values - middle[0, 0]).abs() <= CLIP * deviation[0, 0])


def flat_pixels(rows: Tensor, known: Tensor) -> Tensor:
    """Where nothing is seen in fields ``[n, H, W]`` without gaps, of which the ``known`` pixels were measured."""
    seen, flat = [rows, *(_blurred(rows, width) for width in BLURS)], known
    while True:
        smaller = flat.clone()
        for field in seen:
            middle, deviation = _middle(field, flat)
            smaller &= (field - middle).abs() <= CLIP * deviation
        if torch.equal(smaller, flat):
            return flat
        flat = smaller


def _middle(rows: Tensor, flat: Tensor) -> tuple[Tensor, Tensor]:
    """Median and robust deviation of the flat pixels of each field, ``[n, 1, 1]``; 0 where none is flat."""
    values = torch.where(flat, rows, torch.nan).flatten(1)
    middle = values.nanmedian(1, keepdim=True).values
    deviation = 1.4826 * (values - middle).abs().nanmedian(1, keepdim=True).values
    return middle.nan_to_num()[..., None], deviation.nan_to_num()[..., None]


def _blurred(rows: Tensor, width: float) -> Tensor:
    """Fields ``[n, H, W]`` under a Gaussian of so many pixels; beyond the border they repeat their outermost ones."""
    margin = math.ceil(3 * width)
    kernel = torch.arange(-margin, margin + 1, dtype=rows.dtype).div(width).square().div(-2).exp()
    kernel /= kernel.sum()
    padded = functional.pad(rows[:, None], (margin,) * 4, "replicate")
    return functional.conv2d(functional.conv2d(padded, kernel.view(1, 1, -1, 1)), kernel.view(1, 1, 1, -1))[:, 0]


def _products(rows: Tensor, flat: Tensor) -> tuple[Tensor, Tensor]:
    """Of each field the products of pairs of flat pixels, summed by displacement, and the pairs' number, ``[n, 2 H, 2 W]``."""
    mean = torch.where(flat, rows, 0.0).sum((1, 2), keepdim=True) / flat.sum((1, 2), keepdim=True).clamp(min=1)
    deviation = _middle(rows, flat)[1]
    left = torch.where(flat, (rows - mean) / torch.where(deviation > 0, deviation, 1.0), 0.0)
    size = [2 * side for side in rows.shape[1:]]  # doubled: pairs do not reach around the border

    def correlated(field: Tensor) -> Tensor:
        return torch.fft.irfft2(torch.fft.rfft2(field, s=size).abs().square(), s=size)

    return correlated(left), correlated(flat.to(left)).round()


def _distances(height: int, width: int) -> Tensor:
    """How far apart the pixels of each displacement are, ``[2 H, 2 W]``."""
    down, across = (torch.fft.fftfreq(2 * side, 1 / (2 * side), dtype=torch.float64) for side in (height, width))
    return torch.hypot(down[:, None], across)


def _reach(height: int, width: int) -> int:
    return max(2, int(REACH * min(height, width)))


def _taper(away: Tensor, reach: int) -> Tensor:
    """1 up to half of the reach, 0 from it on, and half a wave between."""
    return (1 + (math.pi * (2 * away / reach - 1).clamp(0, 1)).cos()) / 2
