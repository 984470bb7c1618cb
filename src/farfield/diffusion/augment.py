r"""Augmentation that does not leak: images are moved at random, and the network is told how.

Karras et al. 2022 (arXiv 2206.00364, appendix F.2, table 6), after Karras et al. 2020 (arXiv 2006.06676). A network that is
told all zeros makes images as they are in the data. With standard normal n and an angle :math:`\theta` uniform within ±π:

===========  ============================================================  =====================================
move         what happens, in this order                                   what the network is told
===========  ============================================================  =====================================
mirror       left and right change places                                  1
turn over    top and bottom change places                                  1
scale        by :math:`2^{n/5}`                                            :math:`n`
rotate       by :math:`\theta`, counter-clockwise                          :math:`\cos\theta - 1, \sin\theta`
stretch      by :math:`2^{n/5}` along an axis at :math:`\theta`,           :math:`n \cos\theta, n \sin\theta`
             which is 0 half the time, and by its inverse across
shift        by :math:`n_1 W / 8` to the right, :math:`n_2 H / 8` down     :math:`n_1, n_2`
===========  ============================================================  =====================================

Each is drawn with the same probability (mirroring always, as published), and the first two then happen half the time. What
comes from beyond the border is the image's reflection.

Moves and their law are the published ones; how a moved image is evaluated is ours. It is interpolated on a grid three times
as fine by Lanczos' kernel of three lobes (wider where the move shrinks, so that nothing is aliased), and linearly between the
points of that grid. The pixels' centres are among its points: whole shifts and quarter turns change no value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from farfield.core.error import FarfieldError

_DRAWS: Final = 15
_FINER: Final = 3
_LOBES: Final = 3


@dataclass(frozen=True)
class Moves:
    """How each of B images is moved, float64 (flips bool); all zeros leave it as it is.

    Attributes:
        mirror, over: flips, ``[B]``.
        scale, stretch: n of the table, ``[B]``.
        rotation, tilt: the angles of rotation and stretch, ``[B]``.
        shift: to the right and down, ``[B, 2]``.
    """

    mirror: Tensor
    over: Tensor
    scale: Tensor
    rotation: Tensor
    stretch: Tensor
    tilt: Tensor
    shift: Tensor

    def as_vector(self) -> Tensor:
        """What the network is told, ``[B, 9]``."""
        turned = [self.rotation.cos() - 1, self.rotation.sin()]
        stretched = [self.stretch * self.tilt.cos(), self.stretch * self.tilt.sin()]
        flips = [self.mirror.double(), self.over.double()]
        return torch.stack([*flips, self.scale, *turned, *stretched, *self.shift.unbind(1)], dim=1)


@dataclass(frozen=True)
class Augment:
    """``augment(images, generator)`` → the images moved at random, and what the network is to be told, ``[B, 9]``.

    Attributes:
        probability: of each move.
        mirror: of drawing a mirroring, which then happens half the time.

    Raises:
        FarfieldError: a probability outside 0 … 1; images that are not ``[B, C, H, W]``, or as many generators.
    """

    probability: float = 0.12
    mirror: float = 1.0

    def __post_init__(self) -> None:
        for name in ("probability", "mirror"):
            if not 0 <= getattr(self, name) <= 1:
                raise FarfieldError(f"augmentation: {name} {getattr(self, name):g}; expected 0 to 1")

    def __call__(self, images: Tensor, g: torch.Generator | Sequence[torch.Generator]) -> tuple[Tensor, Tensor]:
        """Move float images ``[B, C, H, W]``; with one CPU generator for all, in their order, or one for each."""
        if images.ndim != 4 or not images.is_floating_point():
            raise FarfieldError(
                f"augmentation: images {tuple(images.shape)} of {images.dtype}; expected floats [B, C, H, W]"
            )
        generators = [g] * len(images) if isinstance(g, torch.Generator) else list(g)
        if len(generators) != len(images):
            raise FarfieldError(
                f"augmentation: {len(generators)} generators for {len(images)} images; expected one each"
            )
        # Uniform numbers, row by row: torch draws normal ones in blocks, and a row would depend on how many rows there are.
        u = torch.empty(len(images), _DRAWS, dtype=torch.float64)
        for row, each in zip(u, generators, strict=True):
            row.uniform_(generator=each)
        moves = self.moves(u)
        return moved(images, moves), moves.as_vector().to(images)

    def moves(self, u: Tensor) -> Moves:
        """Uniform numbers ``[B, 15]`` as moves."""
        drawn = u[:, :6] < torch.tensor([self.mirror, *[self.probability] * 5], dtype=u.dtype)
        half = u[:, 6:9] < 0.5
        rotation, tilt = ((2 * u[:, 9:11] - 1) * math.pi).unbind(1)
        normal = torch.special.ndtri(u[:, 11:].clamp(1e-12, 1 - 1e-12))
        return Moves(
            mirror=drawn[:, 0] & half[:, 0],
            over=drawn[:, 1] & half[:, 1],
            scale=normal[:, 0] * drawn[:, 2],
            rotation=rotation * drawn[:, 3],
            stretch=normal[:, 1] * drawn[:, 4],
            tilt=tilt * (drawn[:, 4] & half[:, 2]),
            shift=normal[:, 2:] * drawn[:, 5:],
        )


def moved(images: Tensor, moves: Moves) -> Tensor:
    """Images ``[B, C, H, W]`` after their moves; those that are only flipped, or not moved, keep their values to the bit."""

    def per_image(which: Tensor) -> Tensor:
        return which.to(images.device)[:, None, None, None]

    images = torch.where(per_image(moves.mirror), images.flip(3), images)
    images = torch.where(per_image(moves.over), images.flip(2), images)
    rest = torch.stack([moves.scale, moves.rotation, moves.stretch, *moves.shift.unbind(1)])
    index = rest.ne(0).any(0).nonzero()[:, 0]
    if len(index) == 0:
        return images
    height, width = images.shape[2:]
    size = torch.tensor([width, height], dtype=torch.float64)
    # From a pixel of the moved image back to where it comes from, in pixels from the centre.
    stretch, scale = moves.stretch[index] / 5, moves.scale[index] / 5
    axis = _rotations(-moves.tilt[index])
    across = axis @ torch.diag_embed(torch.stack([-stretch, stretch], dim=1).exp2()) @ axis.mT
    back = (-scale).exp2()[:, None, None] * _rotations(moves.rotation[index]) @ across
    pixels = torch.stack(torch.meshgrid(*[torch.arange(n) - (n - 1) / 2 for n in (width, height)], indexing="xy"), -1)
    pixels = pixels.double() - (moves.shift[index] * size / 8)[:, None, None]
    source = torch.einsum("bij,bhwj->bhwi", back, pixels)
    shrink = (scale - stretch.abs()).exp2().clamp(max=1)
    index = index.to(images.device)
    finer = _finer(height, shrink).to(images)[:, None] @ images[index] @ _finer(width, shrink).to(images)[:, None].mT
    grid = (2 * source / size).to(images)
    result = functional.grid_sample(finer, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return images.index_copy(0, index, result)


def _rotations(angle: Tensor) -> Tensor:
    """Matrices ``[B, 2, 2]`` that turn the axis to the right into the axis down."""
    c, s = angle.cos(), angle.sin()
    return torch.stack([c, -s, s, c], dim=1).reshape(-1, 2, 2)


def _finer(n: int, shrink: Tensor) -> Tensor:
    r"""Matrices ``[B, 3n, n]`` from n pixels, continued by reflection, to a grid three times as fine.

    Weights are :math:`\mathrm{sinc}(z)\,\mathrm{sinc}(z/3)` for :math:`|z| < 3`, with z the distance in pixels times ``shrink``,
    which is the largest frequency that is kept, in units of that of the pixels; each row sums to 1.
    """
    reach = math.ceil(_LOBES / float(shrink.min())) + 1
    pixel = torch.arange(-reach, n + reach)
    point = (torch.arange(_FINER * n, dtype=torch.float64) + 0.5) / _FINER - 0.5
    z = (point[:, None] - pixel) * shrink[:, None, None]
    weight = torch.where(z.abs() < _LOBES, torch.sinc(z) * torch.sinc(z / _LOBES), 0)
    inside = torch.minimum(pixel % (2 * n), -(pixel + 1) % (2 * n))
    matrix = torch.zeros(len(shrink), _FINER * n, n, dtype=torch.float64)
    return matrix.index_add_(2, inside, weight / weight.sum(2, keepdim=True))
