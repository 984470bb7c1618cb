"""Averages over circles: the isotropic power spectrum and the radial profile of physical fields.

Fields are ``[n, C, H, W]``; NaN marks a pixel that was not measured. All arithmetic is float64.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from farfield.audit.vectors import blocks
from farfield.core.error import FarfieldError, NonFiniteError


def checked_fields(fields: Tensor, name: str = "fields") -> Tensor:
    """The fields ``[n, C, H, W]`` in float64.

    Raises:
        FarfieldError: another shape, fields under 4 pixels a side, or a field without a single measured pixel.
        NonFiniteError: an infinite value.
    """
    if fields.ndim != 4 or 0 in fields.shape or min(fields.shape[2:]) < 4:
        raise FarfieldError(
            f"{name}: expected fields [n, C, H, W] of at least 4 × 4 pixels, found shape {list(fields.shape)}"
        )
    fields = fields.detach().double()
    if bool(fields.isinf().any()):
        raise NonFiniteError(f"{name}: expected finite values, NaN where masked; found infinity; mask these pixels")
    empty = fields.isnan().all(-1).all(-1).any(1).nonzero().flatten().tolist()
    if empty:
        raise FarfieldError(f"{name}: every pixel of field {empty[0]} is masked ({len(empty)} such); leave these out")
    return fields


def mode_power(fields: Tensor, window: str | None = "hann") -> Tensor:
    r"""The power of every Fourier mode, ``[n, C, H, W]`` in numpy's order of frequencies.

    .. math:: P(k) = \frac{|\sum_x w(x) (f(x) - \bar f) e^{-2\pi i k x}|^2}{\sum_x w(x)^2},
              \qquad \bar f = \frac{\sum_x w f}{\sum_x w}

    White noise of variance s² has P = s² in every mode whatever the window, and the mean of P over all H W modes is the
    mean of (f - f̄)² weighted by w² (Parseval); without a window that is the variance. Masked pixels have w = 0: the
    level is kept, but a mask mixes neighbouring modes, and this is not undone.

    Args:
        fields: ``[n, C, H, W]``, NaN where masked.
        window: ``"hann"`` for fields cut out of larger ones, whose opposite edges do not meet: without it the jump across
            the edges adds power ~ k⁻² along the axes. None for periodic fields.

    Raises:
        FarfieldError: no such window, or as `checked_fields`.
    """
    fields = checked_fields(fields)
    height, width = fields.shape[2:]
    if window not in ("hann", None):
        raise FarfieldError(f"window {window!r}: expected 'hann', or None for periodic fields")
    taper = torch.outer(_hann(height), _hann(width)) if window else torch.ones(height, width, dtype=torch.float64)
    power = torch.empty_like(fields)
    for block in blocks(len(fields), fields[0].numel()):
        x = fields[block]
        weight = taper.to(x.device) * ~x.isnan()
        x = x.nan_to_num()
        mean = (weight * x).sum((-2, -1), keepdim=True) / weight.sum((-2, -1), keepdim=True)
        norm = weight.square().sum((-2, -1), keepdim=True)
        power[block] = torch.fft.fft2(weight * (x - mean)).abs().square() / norm
    return power


def power_spectrum(fields: Tensor, window: str | None = "hann") -> tuple[Tensor, Tensor]:
    """The power spectrum averaged over directions, in shells one wavenumber wide.

    Shell k holds the modes with k - ½ ≤ \\|k\\| < k + ½, where \\|k\\| counts waves per shorter side; it ends at the Nyquist
    wavenumber ``min(H, W) // 2``. The corners beyond hold modes of some directions only and are left out. The power is that
    of `mode_power`: a mean over the modes of a shell, not their sum, so that white noise is flat at its variance.

    For lognormal fields (column densities) give the logarithm: in the fields themselves a few bright knots decide
    every shell, and a spectrum varies from field to field by as much as its mean.

    Args:
        fields: ``[n, C, H, W]``, NaN where masked.
        window: as for `mode_power`.

    Returns:
        k ``[bins]``, from 1, and the power ``[n, C, bins]`` in squared units of the fields.
    """
    power = mode_power(fields, window)
    height, width = fields.shape[2:]
    side = min(height, width)
    waves = torch.hypot(
        torch.fft.fftfreq(height, 1 / side)[:, None].double(), torch.fft.fftfreq(width, 1 / side).double()
    )
    # the small term: a mode on the border of two shells must not fall by rounding
    shell = (waves + (0.5 + 1e-9)).floor().long() - 1
    bins = side // 2
    return torch.arange(1, bins + 1, dtype=torch.float64), _ring_means(power, shell, bins)


def radial_profile(fields: Tensor) -> tuple[Tensor, Tensor]:
    """The mean over rings one pixel wide about the centre, which lies between pixels when a side is even.

    Ring j holds the pixels at a distance from j to j + 1 pixels; rings end where they leave the field. Masked pixels
    are left out; a ring without any other is NaN.

    Args:
        fields: ``[n, C, H, W]``, NaN where masked.

    Returns:
        r ``[bins]``, the mean distance of a ring's pixels in pixels, and the profile ``[n, C, bins]`` in units of the
        fields.
    """
    fields = checked_fields(fields)
    height, width = fields.shape[2:]
    y = torch.arange(height, dtype=torch.float64) - (height - 1) / 2
    x = torch.arange(width, dtype=torch.float64) - (width - 1) / 2
    distance = torch.hypot(y[:, None], x)
    ring, bins = distance.floor().long(), math.ceil(min(height, width) / 2)
    occupied = torch.bincount(ring.flatten(), minlength=bins)[:bins] > 0
    r = _ring_means(distance[None, None], ring, bins)[0, 0]
    return r[occupied], _ring_means(fields, ring, bins)[..., occupied.to(fields.device)]


def _ring_means(values: Tensor, ring: Tensor, bins: int) -> Tensor:
    """The mean of ``values [n, C, H, W]`` over the pixels of each ring 0 … bins - 1, without NaN: ``[n, C, bins]``."""
    inside = (ring >= 0) & (ring < bins)
    picked, ring = values[..., inside.to(values.device)], ring[inside].to(values.device)
    sums = torch.zeros(*values.shape[:2], bins, dtype=torch.float64, device=values.device)
    sizes = sums.clone().index_add_(2, ring, (~picked.isnan()).double())
    return sums.index_add_(2, ring, picked.nan_to_num()) / sizes


def _hann(n: int) -> Tensor:
    """Hann's window, sampled at the pixels' centres: no pixel is lost to a zero."""
    return torch.sin(torch.pi * (torch.arange(n, dtype=torch.float64) + 0.5) / n).square()
