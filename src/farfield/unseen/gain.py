r"""What a frozen network adds to what a domain's examples say by themselves, and which of several networks to freeze.

At each noise level an example that was left out is denoised with the network and without it (`unseen.calibration`). By how
much its error is lower, as a part of what it is without, is what the network adds there: e - e' over the mean of e. Where the
examples' Wiener filter leaves less than 5 % of the examples' spread there is next to nothing to be found, where it leaves more
than 95 % next to nothing can be; such levels do not count. Over the others the one number is the mean, in :math:`\ln\sigma`,
taken example by example, so that it is paired and carries Student's interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from farfield.command.contribution import GainLevel
from farfield.core.score import Score
from farfield.present.words import level, score, share
from farfield.unseen.calibration import LEFT_OUT

LEAST, MOST = 0.05, 0.95
"""Of the examples' spread, between which the Wiener filter's error lies where a level counts."""

MEAN, WIENER, NETWORK, PATCHES, ALL = (LEFT_OUT.index(name) for name in ("mean", "wiener", "network", "patches", "all"))


def counts(errors: Tensor) -> bool:
    """Whether something is to be found at a level, by its errors ``[6, n]``."""
    left = float(errors[WIENER].mean() / errors[MEAN].mean())
    return LEAST <= left <= MOST


def lowered(errors: Tensor) -> Tensor | None:
    """By what part the network lowers each example's error at a level, ``[n]``; None of a fit without a network.

    Args:
        errors: ``[6, n]`` in the order of `unseen.calibration.LEFT_OUT`.
    """
    if not bool(errors[NETWORK].isfinite().all()):
        return None
    without = errors[PATCHES] if bool(errors[PATCHES].isfinite().all()) else errors[WIENER]
    return (without - errors[ALL]) / without.mean()


def overall(sigmas: Sequence[float], errors: Sequence[Tensor]) -> Tensor | None:
    """The mean of `lowered` over the levels that count, ``[n]``; a level weighs what it stands for in ln sigma.

    Returns:
        None where no level counts, or without a network.
    """
    parts = [(width, lowered(e)) for width, e in zip(widths(sigmas), errors, strict=True) if counts(e)]
    known = [(width, part) for width, part in parts if part is not None]
    if not known:
        return None
    return torch.stack([width * part for width, part in known]).sum(0) / sum(width for width, _ in known)


def widths(sigmas: Sequence[float]) -> list[float]:
    """What each of ascending levels stands for: half the way to its two neighbours in ln sigma; 1 of one alone."""
    if len(sigmas) < 2:
        return [1.0] * len(sigmas)
    widths: list[float] = torch.gradient(torch.tensor(sigmas, dtype=torch.float64).log())[0].tolist()
    return widths


def headline(levels: Sequence[GainLevel], adds: Score | None) -> str:
    """What the network adds, in a sentence; empty of a fit without a network."""
    if not any(row.adds for row in levels):
        return ""
    if adds is None:
        return (
            "The model knows no noise level at which something can be found in these examples: what its network adds cannot "
            "be told."
        )
    without = (
        "their Wiener filter and patches" if any("patches" in row.errors for row in levels) else "their Wiener filter"
    )
    by = score(adds, percent=True)
    if adds.low is None or adds.high is None or adds.low <= 0 <= adds.high:
        return (
            f"The frozen network adds nothing that these {adds.n} examples can show: left out, they are denoised with {by} less "
            f"error than by {without} alone."
        )
    if adds.high < 0:
        return f"The frozen network harms: left out, the examples are denoised with {by} less error than by {without} alone."
    return (
        f"The frozen network adds: left out, the examples are denoised with {by} less error than by {without} alone, "
        f"{_where([row for row in levels if row.counts])}."
    )


def _where(levels: Sequence[GainLevel]) -> str:
    """At which of the levels it adds."""
    adds = [row.adds is not None and row.adds.low is not None and row.adds.low > 0 for row in levels]
    k, low, high = sum(adds), levels[0].sigma, levels[-1].sigma
    if k == len(levels) == 1:
        return f"at σ {level(low)}"
    if k == len(levels):
        return f"at every level from σ {level(low)} to {level(high)}"
    if k == 0:
        return "though no level shows it by itself"
    first, last = adds.index(True), len(adds) - 1 - adds[::-1].index(True)
    if k <= last - first:
        return f"at {k} of {len(levels)} levels"
    if first == 0:
        return f"up to σ {level(levels[last].sigma)}, and nothing above"
    if last == len(adds) - 1:
        return f"from σ {level(levels[first].sigma)} on, and nothing below"
    if first == last:
        return f"at σ {level(levels[first].sigma)}, and nothing elsewhere"
    return f"from σ {level(levels[first].sigma)} to {level(levels[last].sigma)}, and nothing elsewhere"


def rank(adds: Sequence[Score | None]) -> list[int]:
    """The places of several networks, the one that adds most first; where nothing can be told, last."""
    return sorted(range(len(adds)), key=lambda i: math.inf if (one := adds[i]) is None else -one.value)


def advise(names: Sequence[str], adds: Sequence[Score | None], behind: Sequence[Score | None]) -> str:
    """Which of several networks to freeze, in a sentence; given as `rank` has them.

    Args:
        behind: by how much each adds less than the first, paired by example; None of the first, and where it is not known.
    """
    best = adds[0]
    if best is None or best.low is None or best.low <= 0:
        return "None of these models adds anything that these examples can show to what they say by themselves."
    near = [name for name, apart in zip(names[1:], behind[1:], strict=True) if apart and not (apart.low or 0.0) > 0]
    said = f"Freeze {names[0]}: it lowers the error by {score(best, percent=True)}"
    if near:
        return f"{said}, which cannot be told from {' or '.join(near)}."
    second = adds[1] if len(adds) > 1 else None
    return f"{said}; the next, {names[1]}, by {share(second.value)}." if second else f"{said}."
