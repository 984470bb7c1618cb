"""What of an image is left in another that was made from it: its coarse light and dark.

Colour and texture belong to a style; what stays is where the image is light and where it is dark. The part that all images
of a set share is taken away first: an image is known by what tells it from the others.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from farfield.core.artifact import Score
from farfield.core.error import FarfieldError
from farfield.core.interval import mean_score, proportion

BLOCKS = 8
"""Blocks of a side: details finer than this are texture."""


@dataclass(frozen=True)
class Kept:
    """How images resemble their sources in coarse luminance.

    ``correlation`` is the mean over the images, with Student's interval.
    ``recognised`` is the share of images that correlate with their own source more than with any other, with Wilson's
    interval; ``chance`` is what guessing gives, 1 / n.
    """

    correlation: Score
    recognised: Score
    chance: float


def kept(sources: Tensor, images: Tensor) -> Kept:
    """Compare images with the sources that they were made from, both ``[n, C, H, W]``, paired by position.

    Raises:
        FarfieldError: sets of different size, or fewer than 2 images.
    """
    n = len(sources)
    if n != len(images) or n < 2:
        raise FarfieldError(f"kept: expected at least 2 sources and as many images, found {n} and {len(images)}")
    matrix = _coarse(images) @ _coarse(sources).T
    own = matrix.diagonal()
    hits = int((own[:, None] > matrix + 2 * torch.eye(n, dtype=matrix.dtype)).sum(1).eq(n - 1).sum())
    return Kept(mean_score(own, -1.0, 1.0), proportion(hits, n), 1 / n)


def _coarse(images: Tensor) -> Tensor:
    """Block means of luminance as unit vectors ``[n, BLOCKS²]``: without the set's mean, and without the image's own.

    An image without structure of its own is a vector of zeros, like nothing.
    """
    grey = images.double().mean(1, keepdim=True)
    height, width = grey.shape[2:]
    blocks = functional.adaptive_avg_pool2d(grey, (min(BLOCKS, height), min(BLOCKS, width))).flatten(1)
    own = blocks - blocks.mean(0)
    own = own - own.mean(1, keepdim=True)
    return functional.normalize(own, dim=1, eps=1e-9)
