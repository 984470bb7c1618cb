"""When does a training begin to copy? The onset of a curve over training, and how it grows with the number of images."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from farfield.core.interval import student
from farfield.core.score import Score


def onset(times: Sequence[float], values: Sequence[float], level: float) -> float | None:
    """From when on a curve stays above a level: between two times, linear in the logarithm of time.

    The last rise counts, so that what an untrained network does by chance does not.

    Args:
        times: ascending, above 0.
        values: at these.

    Returns:
        the first time, where all values are above; None, where the last is not.
    """
    below = [i for i, value in enumerate(values) if not value > level]
    if not below:
        return float(times[0])
    if (i := below[-1]) == len(values) - 1:
        return None
    part = (level - values[i]) / (values[i + 1] - values[i])
    return math.exp(math.log(times[i]) + part * math.log(times[i + 1] / times[i]))


def growth(sizes: Sequence[float], times: Sequence[float]) -> Score | None:
    r"""The exponent :math:`p` of :math:`\tau \propto n^p`: the slope of :math:`\ln \tau` on :math:`\ln n` by least squares.

    1 where the time to memorize is proportional to the number of training images (Bonnaire et al. 2025, arXiv 2505.17638).
    Student's interval on k − 2 degrees of freedom: it knows the scatter about the line, not what each time is worth.

    Returns:
        None with fewer than two different sizes; no interval with fewer than 3 points.
    """
    x, y = (torch.tensor(list(values), dtype=torch.float64).log() for values in (sizes, times))
    if len(x) < 2 or float(x.max()) == float(x.min()):
        return None
    centred = x - x.mean()
    spread = float(centred.square().sum())
    slope = float((centred * y).sum()) / spread
    if len(x) < 3:
        return Score(slope, len(x))
    rest = y - y.mean() - slope * centred
    half_width = student(len(x) - 1) * math.sqrt(float(rest.square().sum()) / (len(x) - 2) / spread)
    return Score(slope, len(x), slope - half_width, slope + half_width)
