"""Copies of parts: a new image may be new as a whole and repeat an example in one of its quarters, or in smaller cells.

Each part of an image is held against the same part of every example, value by value, under the rule of
`audit.memorization`: nearer than all but a few examples' parts are to one another. Of physical fields a bright source or the
largest scales decide such a distance; in `whitened` fields the grain counts as much, which no new field shares with an example.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from farfield.audit.memorization import copy_threshold
from farfield.audit.search import nearest
from farfield.command.measures import Scale
from farfield.core.artifact import Score
from farfield.core.error import FarfieldError
from farfield.core.interval import proportion, share

SCALES: Final[dict[Scale, int]] = {"whole": 1, "quarters": 2, "cells": 4}
"""Parts along a side, by the scale's name."""
FAINT: Final = 1e-6
"""Power below this share of the mean over all modes counts as so much: modes that examples lack are not blown up."""


@dataclass(frozen=True)
class Parts:
    """The examples as a whole and in parts, with the distance up to which each part counts as copied.

    ``usual`` is the share of examples of which some part would count as a copy of another example: what real images do.

    Args:
        examples: ``[n, C, H, W]``, n at least 3.
        quantile: see `copy_threshold`.
        grids: parts along a side.
    """

    examples: tuple[Tensor, ...]
    thresholds: tuple[float, ...]
    usual: float
    grids: tuple[int, ...] = (1, 2)

    @staticmethod
    def of(examples: Tensor, quantile: float = 0.05, grids: Sequence[int] = (1, 2)) -> Parts:
        parts = _parts(examples, grids)
        thresholds = tuple(copy_threshold(part, quantile) for part in parts)
        near = [nearest(part, part, exclude_same=True)[0][:, 0] <= t for part, t in zip(parts, thresholds, strict=True)]
        return Parts(parts, thresholds, float(torch.stack(near).any(0).double().mean()), tuple(grids))

    def margins(self, images: Tensor) -> Tensor:
        """Distance to the nearest example over the threshold: ``[n, C, H, W]`` → ``[n, 5]``, the whole first.

        At most 1 is a copy. Where examples repeat each other the threshold is 0, and only equal parts are copies.
        """
        columns = []
        for part, known, threshold in zip(_parts(images, self.grids), self.examples, self.thresholds, strict=True):
            distance = nearest(part, known)[0][:, 0].double()
            columns.append(distance / threshold if threshold else torch.where(distance <= 0, 1.0, torch.inf))
        return torch.stack(columns, 1)

    def copies(self, images: Tensor) -> Score:
        """The share of images of which some part, the whole left out, is a copy."""
        copied = (self.margins(images)[:, 1:] <= 1).any(1)
        return proportion(int(copied.sum()), len(images))

    def shares(self, images: Tensor) -> list[Score]:
        """For each grid the share of parts that are copies: about the quantile, of new images of the examples' own law.

        The parts of one image are not independent: the interval is Wilson's for as many independent parts as give the share
        the variance that whole images give it; where no part, or every part, is a copy, as many as there are images. Places
        in which examples repeat each other, as in an empty background, tell nothing of copies and are left out, unless all
        are such.
        """
        copied, telling = self.margins(images) <= 1, torch.tensor(self.thresholds) > 0
        found = []
        for columns, known in zip(*(t.split([g * g for g in self.grids], -1) for t in (copied, telling)), strict=True):
            parts = columns[:, known] if bool(known.any()) else columns
            each = parts.double().mean(1)
            p, n = float(each.mean()), len(each)
            spread = float(each.var()) / n if n > 1 else 0.0
            wide = share(p, parts.numel() if 0 < p < 1 else n, spread)
            found.append(Score(p, n, wide.low, wide.high))
        return found


def scaled(examples: Tensor) -> Callable[[Tensor], Tensor]:
    """Fields ``[n, C, H, W]`` less the mean of the examples, in standard deviations of the examples, by channel; float64."""
    x = examples.double()
    mean, spread = x.mean((0, 2, 3), keepdim=True), x.std((0, 2, 3), keepdim=True)
    return lambda fields: (fields.double() - mean) / torch.where(spread > 0, spread, 1.0)


def whitened(examples: Tensor) -> Callable[[Tensor], Tensor]:
    r"""Fields ``[n, C, H, W]`` in which every scale of the examples has the same power, float64.

    .. math:: \tilde f = F^{-1} \frac{F (f - \bar f)}{\sqrt{P(|k|)}}

    with :math:`\bar f` the examples' mean field, F the Fourier transform, and P the examples' mean power about that field, of
    each channel, averaged over shells one wavenumber wide.
    """
    x = examples.double()
    mean, (height, width) = x.mean(0), x.shape[-2:]
    modes = (_fourier(x - mean).abs().square().mean(0)).flatten(1)
    side = min(height, width)
    waves = torch.hypot(
        torch.fft.fftfreq(height, 1 / side)[:, None].double(), torch.fft.fftfreq(width, 1 / side).double()
    )
    shell = (waves + (0.5 + 1e-9)).floor().long().flatten()
    sums = torch.zeros(len(modes), int(shell.max()) + 1, dtype=torch.float64).index_add_(1, shell, modes)
    power = (sums / torch.bincount(shell))[:, shell]
    least = FAINT * modes.mean(1, keepdim=True)
    gain = torch.where(least > 0, power.maximum(least), 1.0).rsqrt().view(len(modes), height, width)
    return lambda fields: torch.fft.ifft2(_fourier(fields.double() - mean) * gain, norm="ortho").real


def _fourier(fields: Tensor) -> Tensor:
    return torch.fft.fft2(fields, norm="ortho")


def _parts(images: Tensor, grids: Sequence[int]) -> tuple[Tensor, ...]:
    """The parts of each grid as rows, float32: line by line."""
    least = max(grids)
    if images.ndim != 4 or min(images.shape[2:]) < least:
        raise FarfieldError(
            f"parts: expected images [n, C, H, W] of at least {least} × {least}, found {tuple(images.shape)}"
        )
    parts = (p for g in grids for line in images.float().tensor_split(g, 2) for p in line.tensor_split(g, 3))
    return tuple(part.flatten(1).contiguous() for part in parts)
