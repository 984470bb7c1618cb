"""Shares and their intervals: Wilson's, halves for statistics whose trials are not independent, and the bootstrap."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from farfield.core.artifact import Score
from farfield.core.error import FarfieldError
from farfield.core.runtime import generator

Z95: Final = 1.959963984540054  # the normal law's 97.5 % quantile
LARGE: Final = 2000  # "halves" of sets above twice this are this many points: the spread of n follows by scaling

Pair = Callable[[Tensor, Tensor, int], tuple[float, float]]


def proportion(hits: int, n: int) -> Score:
    """``hits / n`` with Wilson's 95 % score interval (Wilson 1927): honest for small n and at 0 and 1.

    Raises:
        FarfieldError: not 0 ≤ hits ≤ n, or n = 0.
    """
    if not 0 <= hits <= n or n == 0:
        raise FarfieldError(f"{hits} of {n}: expected a share of at least one trial; give a set that is not empty")
    return Score(hits / n, n, *_wilson(hits / n, n))


def share(p: float, trials: int, variance: float) -> Score:
    """A share with Wilson's interval for as many independent trials as give it this variance."""
    independent = min(float(trials), p * (1 - p) / variance) if variance > 0 else float(trials)
    return Score(p, trials, *_wilson(p, independent or trials))  # at 0 and 1 the spread tells nothing


def variances(statistic: Pair, x: Tensor, y: Tensor, k: int, halves: int, seed: int) -> tuple[float, float]:
    """The variances of a pair of statistics of ``(x, y)``; zeros where the sets are too small to tell.

    Drawn without replacement, a share f of the points varies, given the data, by (1 - f) / f of what all of them vary
    by (Politis and Romano 1994).
    """
    share = min(0.5, LARGE / max(len(x), len(y)))
    sizes = int(share * len(x)), int(share * len(y))
    if halves < 2 or min(sizes) <= k:
        return 0.0, 0.0
    g = generator(seed, "halves")
    drawn = [statistic(draw(x, sizes[0], g), draw(y, sizes[1], g), k) for _ in range(halves)]
    first, second = (torch.tensor(drawn, dtype=torch.float64).var(0) * share / (1 - share)).tolist()
    return first, second


def bootstrap(statistic: Callable[[torch.Generator], float], resamples: int, seed: int) -> tuple[float, float]:
    """The 95 % percentile interval (Efron 1979) of a statistic of independent rows.

    Args:
        statistic: of rows that it draws anew with this generator, see `resample`.
        resamples: how many draws, at least 40.

    Raises:
        FarfieldError: fewer draws.
    """
    if resamples < 40:
        raise FarfieldError(f"{resamples} resamples: expected at least 40 for an interval of 95 %; the default is 1000")
    g = generator(seed, "bootstrap")
    drawn = torch.tensor([statistic(g) for _ in range(resamples)], dtype=torch.float64)
    low, high = drawn.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return low, high


def resample(n: int, g: torch.Generator) -> Tensor:
    """n of the places 0 … n - 1, drawn with replacement."""
    return torch.randint(n, (n,), generator=g)


def draw(x: Tensor, size: int, g: torch.Generator) -> Tensor:
    return x[torch.randperm(len(x), generator=g)[:size].to(x.device)]


def _wilson(p: float, n: float) -> tuple[float, float]:
    z = Z95**2 / n
    centre = (p + z / 2) / (1 + z)
    half_width = math.sqrt(p * (1 - p) * z + z**2 / 4) / (1 + z)
    return min(max(centre - half_width, 0.0), p), max(min(centre + half_width, 1.0), p)
