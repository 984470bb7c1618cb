"""Where does alike begin? The similarity that different images exceed at a stated rate, with its uncertainty."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from torch import Tensor

from farfield.core.error import FarfieldError, NonFiniteError

RATE: Final = 0.01
"""One image in a hundred that is new is called a copy. It costs the generalization score of a perfect generator 0.01 and needs
99 held-out images; a rate of 0.001 would need 999, and 0.05 would hide what copies up to 5 % of the time."""
LEAST: Final = 1e-6
"""Rate: a million images are needed for it."""


@dataclass(frozen=True)
class Threshold:
    """``value``: the similarity that different images exceed at ``rate``, from ``n`` of them.

    ``low`` and ``high`` hold the similarity exceeded at exactly that rate with 95 %; ``high`` is None where n is too
    small for an upper end. ``rate_low`` and ``rate_high`` hold the rate at which new images really exceed ``value``.
    """

    value: float
    rate: float
    n: int
    low: float | None
    high: float | None
    rate_low: float
    rate_high: float


def calibrate(similarities: Tensor, rate: float = RATE) -> Threshold:
    """The threshold that a further image of the same law exceeds with a probability of at most ``rate``.

    The r-th smallest of n similarities, r = ⌈(n + 1)(1 - rate)⌉: a split-conformal bound (Vovk et al. 2005), which holds
    for any law and any n. The interval is that of order statistics; the real rate follows Beta(n + 1 - r, r).

    Args:
        similarities: ``[n]``, of images that are known to be no copies: held-out images and their nearest training
            image, or samples of different seeds.
        rate: between 0 and 1.

    Raises:
        FarfieldError: a rate outside (0, 1), or too few similarities for it.
    """
    from scipy.stats import beta, binom

    if not LEAST <= rate < 1:
        raise FarfieldError(
            f"rate {rate:g}: expected a number between 0 and 1, at least {LEAST:g}; the default is {RATE:g}"
        )
    if not bool(similarities.isfinite().all()):
        raise NonFiniteError("similarities: expected finite numbers, found NaN or infinity; look for broken images")
    ordered = similarities.double().sort().values.tolist()
    n = len(ordered)
    r = math.ceil(round((n + 1) * (1 - rate), 9))  # 100 · 0.99 is 99, not a hair above
    if r > n:
        most = math.ceil(1e4 / (n + 1)) / 1e4  # rounded up, so that what is said suffices
        larger = f", or --rate {most:g}" if most < 1 else ""
        raise FarfieldError(
            f"{n} similarities: expected at least {math.ceil(round(1 / rate, 9)) - 1} to find the one that is exceeded "
            f"at a rate of {rate:g}; give more held-out images{larger}"
        )
    lowest, highest = (int(rank) for rank in binom.ppf((0.025, 0.975), n, 1 - rate))
    return Threshold(
        value=ordered[r - 1],
        rate=rate,
        n=n,
        low=ordered[lowest - 1] if lowest else None,
        high=ordered[highest] if highest < n else None,
        rate_low=float(beta.ppf(0.025, n + 1 - r, r)),
        rate_high=float(beta.ppf(0.975, n + 1 - r, r)),
    )
