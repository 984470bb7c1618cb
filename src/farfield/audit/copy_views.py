"""The ways in which training images are copied: batched, random, each row with strengths of its own.

Images are ``[n, 3, H, W]`` in [-1, 1], sides a multiple of 8; what is drawn comes from a generator alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor
from torch.nn import functional

from farfield.data.picture import LUMINANCE

Change = Callable[[Tensor, Generator], Tensor]

QUANTISATION = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
"""Steps of the luminance coefficients at quality 50: ITU-T T.81 (JPEG), table K.1."""


def light_copies(x: Tensor, generator: Generator) -> Tensor:
    """Mirrored or cropped by a little: what stands for the original."""
    return framed(x, generator, smallest=0.8, largest=1.0, turned=0.0)


def strong_copies(x: Tensor, generator: Generator) -> Tensor:
    """Cropped or padded, mirrored, turned, and by chance coloured, blurred, noisy, compressed, covered."""
    x = framed(x, generator, smallest=0.5, largest=1.3, turned=0.3)
    changes: tuple[tuple[float, Change], ...] = (
        (0.7, coloured),
        (0.15, greyed),
        (0.25, covered),
        (0.3, blurred),
        (0.3, noisy),
        (0.3, compressed),
    )
    for share, change in changes:
        rows = torch.rand(len(x), generator=generator) < share
        if int(rows.sum()) > 1:
            x = x.clone()
            x[rows] = change(x[rows], generator)
    return x


def framed(x: Tensor, generator: Generator, smallest: float, largest: float, turned: float) -> Tensor:
    """A window of each image, its side ``smallest`` … ``largest`` times the image's, mirrored in half of them.

    A share ``turned`` is turned by up to 45°. What lies outside an image is of one colour.
    """
    n = len(x)
    side = _uniform(n, generator, smallest, largest)
    aspect = _uniform(n, generator, -0.2, 0.2).exp()
    size = torch.stack([side * aspect, side / aspect], 1)
    centre = (1 - size).abs() * _uniform((n, 2), generator, -1, 1)
    angle = _uniform(n, generator, -math.pi / 4, math.pi / 4) * (torch.rand(n, generator=generator) < turned)
    mirror = 1 - 2 * (torch.rand(n, generator=generator) < 0.5).float()
    cos, sin = angle.cos(), angle.sin()
    width, height = size[:, 0] * mirror, size[:, 1]
    across = torch.stack([cos * width, -sin * height, centre[:, 0]], 1)
    down = torch.stack([sin * width, cos * height, centre[:, 1]], 1)
    theta = torch.stack([across, down], 1)
    colour = _uniform((n, 3, 1, 1), generator, -1, 1)
    grid = functional.affine_grid(theta, list(x.shape), align_corners=False)
    return functional.grid_sample(x - colour, grid, align_corners=False) + colour


def coloured(x: Tensor, generator: Generator) -> Tensor:
    """Brightness and contrast, saturation, and the balance of the channels."""
    n = len(x)
    mean = x.mean((1, 2, 3), keepdim=True)
    x = (x - mean) * _uniform((n, 1, 1, 1), generator, 0.5, 1.6) + mean + _uniform((n, 1, 1, 1), generator, -0.5, 0.5)
    x = torch.lerp(grey(x), x, _uniform((n, 1, 1, 1), generator, 0.2, 1.8))
    return ((x + 1) * _uniform((n, 3, 1, 1), generator, 0.75, 1.25) - 1).clamp(-1, 1)


def greyed(x: Tensor, generator: Generator) -> Tensor:
    return grey(x).expand_as(x)


def grey(x: Tensor) -> Tensor:
    """Luminance ``[n, 1, H, W]``."""
    return torch.einsum("nchw,c->nhw", x, torch.as_tensor(LUMINANCE, dtype=x.dtype)).unsqueeze(1)


def blurred(x: Tensor, generator: Generator) -> Tensor:
    """A Gaussian of 0.4 to 1.5 pixels."""
    n, channels, height, width = x.shape
    sigma = _uniform((n, 1), generator, 0.4, 1.5)
    kernel = (-(torch.arange(-3, 4)[None] ** 2) / (2 * sigma**2)).exp()
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(channels, 0)
    y = functional.pad(x, (3, 3, 3, 3), mode="reflect").reshape(1, n * channels, height + 6, width + 6)
    y = functional.conv2d(y, kernel[:, None, None, :], groups=n * channels)
    return functional.conv2d(y, kernel[:, None, :, None], groups=n * channels).reshape(x.shape)


def noisy(x: Tensor, generator: Generator) -> Tensor:
    strength = _uniform((len(x), 1, 1, 1), generator, 0.02, 0.3)
    return (x + strength * torch.randn(x.shape, generator=generator)).clamp(-1, 1)


def compressed(x: Tensor, generator: Generator) -> Tensor:
    """As JPEG does, at a quality of 10 to 60: cosine coefficients of blocks of 8×8, rounded to multiples of a step.

    All three channels are rounded alike, none is halved in size.
    """
    n, channels, height, width = x.shape
    quality = _uniform((n, 1, 1, 1, 1, 1), generator, 10, 60)
    scale = torch.where(quality < 50, 50 / quality, 2 - quality / 50)
    steps = (torch.tensor(QUANTISATION)[:, None, :] * scale).clamp(min=1) * (2 / 255)
    blocks = x.reshape(n, channels, height // 8, 8, width // 8, 8)
    basis = _cosines()
    coefficients = torch.einsum("ui,vj,ncaibj->ncaubv", basis, basis, blocks)
    rounded = (coefficients / steps).round() * steps
    return torch.einsum("ui,vj,ncaubv->ncaibj", basis, basis, rounded).reshape(x.shape).clamp(-1, 1)


def covered(x: Tensor, generator: Generator) -> Tensor:
    """A box of a quarter to 0.6 of the sides, filled with one colour or with the next image."""
    colour = _uniform((len(x), 3, 1, 1), generator, -1, 1)
    plain = torch.rand(len(x), 1, 1, 1, generator=generator) < 0.5
    return torch.where(_box(x, generator, 0.25, 0.6), torch.where(plain, colour, x.roll(1, 0)), x)


def mixed_copies(x: Tensor, generator: Generator, share: float) -> tuple[Tensor, Tensor]:
    """A share of the images, each mixed with another: half by averaging, half by a box of the other laid over it.

    Averages give each at least 0.3 (mixup, Zhang et al. 2018); boxes are 0.55 to 0.75 of the sides, 0.3 to 0.56 of the
    area (CutMix, Yun et al. 2019).

    Returns:
        the images, and whose row ``[n]`` each was mixed with (its own if with none).
    """
    n = len(x)
    chosen = torch.rand(n, generator=generator) < share
    other = torch.where(chosen, torch.arange(n).roll(1), torch.arange(n))
    weight = _uniform((n, 1, 1, 1), generator, 0.3, 0.7)
    average = torch.lerp(x, x[other], weight)
    patched = torch.where(_box(x, generator, 0.55, 0.75), x[other], x)
    by_box = torch.rand(n, 1, 1, 1, generator=generator) < 0.5
    return torch.where(by_box, patched, average), other


def _box(x: Tensor, generator: Generator, smallest: float, largest: float) -> Tensor:
    """A random rectangle in each image, ``[n, 1, H, W]`` bool."""
    inside = []
    for length in x.shape[2:]:
        size = _uniform((len(x), 1), generator, smallest, largest)
        start = torch.rand(len(x), 1, generator=generator) * (1 - size)
        place = (torch.arange(length) + 0.5) / length
        inside.append((place >= start) & (place < start + size))
    return (inside[0][:, :, None] & inside[1][:, None, :])[:, None]


def _cosines() -> Tensor:
    """The orthonormal cosine transform of 8 points: row u is frequency u."""
    u, i = torch.arange(8)[:, None], torch.arange(8)[None]
    basis = (math.pi * u * (2 * i + 1) / 16).cos() / 2
    basis[0] /= math.sqrt(2)
    return basis


def _uniform(shape: int | tuple[int, ...], generator: Generator, low: float, high: float) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator)
