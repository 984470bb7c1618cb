r"""Directions of other methods, that an edit along the denoiser's Jacobian is held against: unit vectors at one point.

``noise``: the first right singular vector of :math:`M\, \partial \epsilon / \partial x`, with the noise
:math:`\epsilon = (x - D) / \sigma` in place of the answer. For Gaussian data this is the direction of least variance.
``pullback``: that of :math:`\partial h / \partial x`, with the innermost activation h of the network (Park et al., arXiv
2307.12868).
``gradient``: along which a linear boundary in h is crossed fastest.
"""

from __future__ import annotations

import torch
from torch import Tensor

from farfield.diffusion.activation import middle
from farfield.diffusion.denoiser import Denoiser, column
from farfield.manifold.edit import right_singular
from farfield.manifold.jacobian import Jacobian

TOLERANCE = 1e-3
"""Of a singular value: the noise's are nearly all the same, and none of them is the one."""


def noise(denoiser: Denoiser, x: Tensor, sigma: float, mask: Tensor, seed: int = 0) -> Tensor:
    """What moves the predicted noise inside the mask ``[d]`` most: ``[d]``."""

    def epsilon(points: Tensor, level: Tensor) -> Tensor:
        return (points - denoiser(points, level)) / column(level, points)

    return right_singular(Jacobian(denoiser, x, sigma, of=epsilon), mask, 1, seed=seed, tolerance=TOLERANCE)[0][0]


def pullback(denoiser: Denoiser, x: Tensor, sigma: float, seed: int = 0) -> Tensor:
    """What moves the middle of the network most: ``[d]``; the mask plays no part."""
    jacobian = Jacobian(denoiser, x, sigma, of=middle(denoiser))
    return right_singular(jacobian, torch.ones(jacobian.height, dtype=torch.bool), 1, seed=seed, tolerance=TOLERANCE)[
        0
    ][0]


def gradient(denoiser: Denoiser, x: Tensor, sigma: float, normal: Tensor) -> Tensor:
    """Of the distance from a boundary in the middle of the network, by its normal ``[C, H, W]``: ``[d]``, a unit vector."""
    jacobian = Jacobian(denoiser, x, sigma, batch=1, of=middle(denoiser))
    found = jacobian.rows(normal.flatten()[None].to(jacobian.x))[0]
    return found / found.norm()
