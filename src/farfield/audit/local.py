"""Copies of parts: a new image may be new as a whole and repeat an example in one of its quarters.

Each quarter of an image is held against the same quarter of every example, in pixels, under the rule of
`audit.memorization`: nearer than all but a few examples' quarters are to one another.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from farfield.audit.memorization import copy_threshold
from farfield.audit.search import nearest
from farfield.core.artifact import Score
from farfield.core.error import FarfieldError
from farfield.core.interval import proportion


@dataclass(frozen=True)
class Parts:
    """The examples as a whole and in quarters, with the distance up to which each part counts as copied.

    ``usual`` is the share of examples of which some part would count as a copy of another example: what real images do.

    Args:
        examples: ``[n, C, H, W]``, n at least 3.
        quantile: see `copy_threshold`.
    """

    examples: tuple[Tensor, ...]
    thresholds: tuple[float, ...]
    usual: float

    @staticmethod
    def of(examples: Tensor, quantile: float = 0.05) -> Parts:
        parts = _parts(examples)
        thresholds = tuple(copy_threshold(part, quantile) for part in parts)
        near = [nearest(part, part, exclude_same=True)[0][:, 0] <= t for part, t in zip(parts, thresholds, strict=True)]
        return Parts(parts, thresholds, float(torch.stack(near).any(0).double().mean()))

    def margins(self, images: Tensor) -> Tensor:
        """Distance to the nearest example over the threshold: ``[n, C, H, W]`` → ``[n, 5]``, the whole first.

        At most 1 is a copy. Where examples repeat each other the threshold is 0, and only equal parts are copies.
        """
        columns = []
        for part, known, threshold in zip(_parts(images), self.examples, self.thresholds, strict=True):
            distance = nearest(part, known)[0][:, 0].double()
            columns.append(distance / threshold if threshold else torch.where(distance <= 0, 1.0, torch.inf))
        return torch.stack(columns, 1)

    def copies(self, images: Tensor) -> Score:
        """The share of images of which some quarter is a copy."""
        copied = (self.margins(images)[:, 1:] <= 1).any(1)
        return proportion(int(copied.sum()), len(images))


def _parts(images: Tensor) -> tuple[Tensor, ...]:
    """The whole and its four quarters as rows, float32."""
    if images.ndim != 4 or min(images.shape[2:]) < 2:
        raise FarfieldError(f"parts: expected images [n, C, H, W] of at least 2 × 2, found {tuple(images.shape)}")
    quarters = [q for half in images.float().tensor_split(2, 2) for q in half.tensor_split(2, 3)]
    return tuple(part.flatten(1).contiguous() for part in (images.float(), *quarters))
