"""Images in an orthonormal cosine basis, and its frequencies in bands."""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor


def bands(height: int, width: int) -> Tensor:
    """Bands of cosine frequencies, half an octave each, numbered from the constant up: ``[H, W]``.

    Frequencies count along the longer side, so that a band is a ring in cycles per pixel whatever the aspect ratio.
    """
    y, x = (torch.arange(n, dtype=torch.float64) * (max(height, width) / n) for n in (height, width))
    radius = (y[:, None] ** 2 + x**2).sqrt()
    # the small term: a diagonal lies on the border of two bands and must not fall by rounding
    places: Tensor = (2 * (2 * radius).clamp(min=0.5).log2() + 1e-9).floor().unique(return_inverse=True)[1]
    return places


def cosine(x: Tensor, back: bool = False) -> Tensor:
    """The orthonormal cosine transform (DCT-II) of ``[..., H, W]``, or its inverse."""
    rows, columns = (_basis(n).to(x) for n in x.shape[-2:])
    return rows.T @ x @ columns if back else rows @ x @ columns.T


@cache
def _basis(n: int) -> Tensor:
    k = torch.arange(n, dtype=torch.float64)
    basis = (math.pi / n * k[:, None] * (k + 0.5)).cos() * math.sqrt(2 / n)
    basis[0] /= math.sqrt(2)
    return basis


def banded(x: Tensor, weights: Tensor, places: Tensor) -> Tensor:
    """Channels of cosine coefficients ``[B, i, H, W]`` by the matrix ``[bands, i, o]`` of each one's band."""
    return torch.einsum("nihw,hwio->nohw", x, weights[places])
