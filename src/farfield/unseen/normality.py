r"""Is a set of latents a draw of a Gaussian? Checks for n examples in d dimensions, n far below d.

Against the isotropic law :math:`N(m, s^2 I)`, m and s unknown. Every statistic is the same for :math:`z` and
:math:`m + s z`, so its null is that of :math:`N(0, I)`, of the same n and d and with the mean taken off. That leaves n − 1
independent draws, :math:`\nu = n - 1`, and no null needs a set of latents to be drawn:

- ``radius``: spread over mean of the distances to the mean; their squares are :math:`\chi^2_d`.
- ``spectrum``: largest eigenvalue of the covariance over the average of all d; Marchenko and Pastur (1967) put it near
  :math:`(1 + \sqrt{d/\nu})^2`, far above 1. The null's eigenvalues come from a bidiagonal matrix of independent
  :math:`\chi` (Dumitriu and Edelman 2002, arXiv math-ph/0206043).
- ``sphericity``: :math:`d\,tr S^2 / (tr S)^2 - 1`, the relative variance of the covariance's eigenvalues (John 1972), near
  :math:`d/\nu` for the null; by as much as it exceeds that, the law's own variances differ.
- ``spatial correlation``: of horizontal and vertical neighbours, one quadratic form; in the eigenbasis of the grid's
  adjacency it is a weighted mean of independent :math:`\chi^2_\nu`.
- ``channel correlation``: the largest absolute correlation of two channels; null from the C × C Wishart law.
- ``marginal kurtosis``, ``marginal skewness``: of each coordinate with its own mean and variance, averaged over the
  coordinates; for Gaussian ones the moments are known (Fisher 1930), and a Pearson III law with these gives p.

Each looks for one thing, but correlated coordinates also widen the spread of ``radius`` and of the marginals: read the
numbers, not the p-values alone. The average length itself says nothing while s is unknown.

Against any Gaussian, covariance unknown. No statistic that an affine map leaves alone can tell anything when n ≤ d, so the
latents are seen in one dimension at a time, where a Gaussian is a Gaussian:

- ``projections``: the least normal of random projections. Finds heavy tails of whole latents; blind to what only a few
  directions show.
- ``principal projections``: directions of largest variance of one half of the latents, seen in the other half, and the
  other way round; finds clusters.

Normality of a projection is Shapiro and Francia's W′ (1972), the squared correlation of the sorted values with normal
scores. The null of the smallest of k is that of k independent ones. Whatever the dependence, a true Gaussian is rejected at
5 % at most 5.13 % of the time: :math:`P(\min p \le q) \le k q`, where independence has :math:`1 - (1 - q)^k`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from farfield.core.error import FarfieldError
from farfield.core.gaussian import principal_directions
from farfield.core.runtime import generator

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Null = NDArray[np.float64]

LEAST = 8  # latents: each half of the principal projections needs four
RANDOM, PRINCIPAL = 24, 4  # projections: random directions, and principal ones of each half
Side = Literal["both", "low", "high"]


@dataclass(frozen=True)
class Check:
    """One statistic against its null.

    ``expected`` is the null's mean; ``low`` to ``high`` hold 95 % of it, on the side or sides where a deviation counts.
    ``p_value`` is :math:`(1 + \\#)/(1 + draws)` of as extreme draws (Phipson and Smyth 2010), twice that where both sides
    count: never below 1 / (draws + 1). The two marginal checks have their p-value from a law.
    """

    name: str
    statistic: float
    expected: float
    low: float
    high: float
    p_value: float
    says: str


def normality(z: Tensor, *, draws: int = 200, seed: int = 0) -> list[Check]:
    """All checks of one set of latents; which law each is against is said above.

    Args:
        z: ``[n, C, H, W]``, or ``[n, ...]`` without the spatial and channel checks; at least 8 latents, finite.
        draws: of each simulated null. With 200, p-values go down to 0.005 (0.01 where both sides count).
        seed: of the nulls, the random directions and the halves.

    Raises:
        FarfieldError: too few latents, NaN or infinity, latents that do not vary, fewer than 39 draws.
    """
    _check_input(z, draws)
    x = z.detach().cpu().double().flatten(1)
    x = x - x.mean(0)
    if float(x.square().sum()) <= 1e-24 * float(z.detach().double().square().sum()):
        raise FarfieldError(f"normality: the {len(z)} latents are all the same; give a set that varies")
    rng = np.random.default_rng(seed)
    checks = [_radius(x, draws, rng), *_spectrum(x, draws, rng)]
    if z.ndim == 4:
        shape = tuple(z.shape[1:])
        if shape[1] * shape[2] > 1:
            checks.append(_spatial(x, shape, draws, rng))
        if shape[0] > 1:
            checks.append(_channels(x, shape[0], draws, rng))
    return [*checks, *_marginals(x), *_projections(x, draws, generator(seed, "normality"))]


def _check_input(z: Tensor, draws: int) -> None:
    if z.ndim < 2 or len(z) < LEAST or z[0].numel() == 0:
        raise FarfieldError(f"normality: expected latents [n, ...] with n of at least {LEAST}, found {tuple(z.shape)}")
    if not bool(torch.isfinite(z).all()):
        raise FarfieldError("normality: the latents hold NaN or infinity; leave those out")
    if draws < 39:
        raise FarfieldError(f"normality: {draws} draws; at least 39 are needed to tell 5 % on both sides")


# --- against N(m, s² I) ---


def _radius(x: Tensor, draws: int, rng: np.random.Generator) -> Check:
    n, d = x.shape
    lengths = x.norm(dim=1)
    null = np.sqrt(rng.chisquare(d, (draws, n)))
    # With the mean off, any two squared lengths correlate by 1/(n − 1)²: that much less spread is left between them.
    spread = null.std(1, ddof=1) / null.mean(1) * math.sqrt(1 - 1 / (n - 1) ** 2)
    return _simulated(
        "radius",
        float(lengths.std() / lengths.mean()),
        spread,
        within="distances to the mean vary as they should",
        below="distances to the mean are too equal",
        above="distances to the mean vary too much",
        among="relative spread {}, where an isotropic Gaussian has",
    )


def _spectrum(x: Tensor, draws: int, rng: np.random.Generator) -> list[Check]:
    from scipy.linalg import eigvalsh_tridiagonal

    n, d = x.shape
    values = torch.linalg.eigvalsh(x @ x.T if n <= d else x.T @ x)
    p, q = min(n - 1, d), max(n - 1, d)
    edge, spread = [], []
    for _ in range(draws):
        main = rng.chisquare(np.arange(q, q - p, -1))
        side = rng.chisquare(np.arange(p - 1, 0, -1))
        diagonal = main + np.concatenate([[0.0], side])
        off = np.sqrt(main[:-1] * side)
        top = eigvalsh_tridiagonal(diagonal, off, select="i", select_range=(p - 1, p - 1))[0]
        edge.append(d * top / diagonal.sum())
        spread.append(d * ((diagonal**2).sum() + 2 * (off**2).sum()) / diagonal.sum() ** 2 - 1)
    return [
        _simulated(
            "spectrum",
            float(d * values[-1] / values.sum()),
            np.array(edge),
            within="no direction stands out",
            below="the leading direction is too weak",
            above="one direction stands out",
            among="largest variance {} times the average, where an isotropic Gaussian seen {n} times has",
            n=n,
        ),
        _simulated(
            "sphericity",
            float(d * values.square().sum() / values.sum() ** 2 - 1),
            np.array(spread),
            within="directions vary equally",
            below="directions vary more equally than they can",
            above="directions vary unequally",
            among="relative spread of the variances {}, where an isotropic Gaussian seen {n} times has",
            n=n,
        ),
    ]


def _spatial(x: Tensor, shape: tuple[int, ...], draws: int, rng: np.random.Generator) -> Check:
    channels, height, width = shape
    w = x.reshape(len(x), channels, height, width)
    pairs = height * (width - 1) + (height - 1) * width
    products = (w[..., 1:] * w[..., :-1]).sum() + (w[..., 1:, :] * w[..., :-1, :]).sum()
    # A path of k pixels has adjacency eigenvalues 2 cos(π j / (k + 1)); a grid has the sums of two.
    rows, columns = (np.cos(np.pi * np.arange(1, k + 1) / (k + 1)) for k in (height, width))
    weights = (rows[:, None] + columns).ravel() * height * width / pairs
    null = []
    for _ in range(draws):
        power = rng.chisquare(channels * (len(x) - 1), len(weights))
        null.append(float(weights @ power / power.sum()))
    return _simulated(
        "spatial correlation",
        float(products / (channels * pairs) / w.square().sum() * x.shape[1]),
        np.array(null),
        within="neighbouring pixels are uncorrelated",
        below="neighbouring pixels are anticorrelated",
        above="neighbouring pixels are correlated",
        among="{}, where independent ones have",
    )


def _channels(x: Tensor, channels: int, draws: int, rng: np.random.Generator) -> Check:
    n, pixels = len(x), x.shape[1] // channels
    flat = x.reshape(n, channels, pixels).transpose(0, 1).flatten(1)
    value, (first, second) = _largest_correlation((flat @ flat.T).numpy())
    null = []
    freedom = (n - 1) * pixels
    for _ in range(draws):  # Bartlett's factor of a Wishart matrix
        factor = np.tril(rng.standard_normal((channels, channels)), -1)
        size = min(channels, freedom)
        factor[range(size), range(size)] = np.sqrt(rng.chisquare(freedom - np.arange(size)))
        factor[:, size:] = 0
        null.append(_largest_correlation(factor @ factor.T)[0])
    return _simulated(
        "channel correlation",
        value,
        np.array(null),
        side="high",
        within="channels are uncorrelated",
        above=f"channels {first} and {second} are correlated",
        among="largest absolute correlation {}, where independent ones have",
    )


def _largest_correlation(covariance: Null) -> tuple[float, tuple[int, int]]:
    scale = np.sqrt(np.maximum(np.diag(covariance), 1e-300))
    correlation = np.abs(np.triu(covariance / np.outer(scale, scale), 1))
    at = divmod(int(correlation.argmax()), len(correlation))
    return float(correlation[at]), at


def _marginals(x: Tensor) -> list[Check]:
    from scipy.stats import gamma, pearson3

    n = len(x)
    second, third, fourth = (torch.cat([part.pow(k).mean(0) for part in x.split(4096, 1)]).numpy() for k in (2, 3, 4))
    varies = second > 1e-12 * second.mean()  # a coordinate that never changes has no shape
    second, third, fourth = second[varies], third[varies], fourth[varies]
    d = len(second)
    # G2, the estimate of the excess kurtosis that is unbiased for a Gaussian, is linear in b2.
    gain = (n - 1) * (n + 1) / ((n - 2) * (n - 3))
    excess = gain * (fourth / second**2 - 3 + 6 / (n + 1))
    deviation = gain * math.sqrt(24 * n * (n - 2) * (n - 3) / ((n + 1) ** 2 * (n + 3) * (n + 5)))
    tilt = 6 * (n * n - 5 * n + 2) / ((n + 7) * (n + 9)) * math.sqrt(6 * (n + 3) * (n + 5) / (n * (n - 2) * (n - 3)))
    kurtosis = pearson3(tilt / math.sqrt(d), 0.0, deviation / math.sqrt(d))
    squares = third**2 / second**3
    variance = 6 * (n - 2) / ((n + 1) * (n + 3))
    fourth_moment = 3 * (n * n + 27 * n - 70) * (n + 1) * (n + 3) / ((n - 2) * (n + 5) * (n + 7) * (n + 9))
    shape = d / (fourth_moment - 1)
    skewness = gamma(shape, scale=variance / shape)
    return [
        _known(
            "marginal kurtosis",
            float(excess.mean()),
            kurtosis,
            within="coordinates have the tails of a Gaussian",
            below="coordinates have light tails",
            above="coordinates have heavy tails",
            among="average excess kurtosis {}, where Gaussian ones have",
        ),
        _known(
            "marginal skewness",
            float(squares.mean()),
            skewness,
            within="coordinates are symmetric",
            below="coordinates are more symmetric than they can be",
            above="coordinates are skewed",
            among="average squared skewness {}, where Gaussian ones have",
        ),
    ]


# --- against any Gaussian ---


def _projections(x: Tensor, draws: int, g: torch.Generator) -> list[Check]:
    n, d = x.shape
    seen = x @ torch.randn((d, RANDOM), generator=g, dtype=torch.float64)
    everywhere = _least_normal(seen.T)
    order = torch.randperm(n, generator=g)
    halves = x[order[: n // 2]], x[order[n // 2 :]]
    observed, null = [], []
    for one, other in (halves, halves[::-1]):
        directions = principal_directions(one - one.mean(0))[0][:, :PRINCIPAL]
        observed.append(_least_normal((other @ directions).T))
        null.append(_least_normal_null(len(other), directions.shape[1], draws, g))
    words: dict[str, Any] = {
        "side": "low",
        "among": "smallest W′ of {k} projections {}, where a Gaussian of any covariance has",
    }
    return [
        _simulated(
            "projections",
            everywhere,
            _least_normal_null(n, RANDOM, draws, g).numpy(),
            within="random projections are normal",
            below="random projections are not normal",
            k=RANDOM,
            **words,
        ),
        _simulated(
            "principal projections",
            min(observed),
            torch.minimum(*null).numpy(),
            within="the directions of largest variance are normal",
            below="the directions of largest variance are not normal",
            k=2 * min(PRINCIPAL, d, n // 2 - 1),
            **words,
        ),
    ]


def _shapiro_francia(values: Tensor) -> Tensor:
    """W′ of the last dimension, 1 for perfectly normal: ``[..., n]`` → ``[...]``."""
    n = values.shape[-1]
    scores = torch.special.ndtri((torch.arange(1, n + 1, dtype=torch.float64) - 0.375) / (n + 0.25))
    ordered = values.sort(-1).values
    ordered = ordered - ordered.mean(-1, keepdim=True)
    power = ordered.square().sum(-1).clamp(min=1e-300)
    return (ordered @ scores).square() / (power * scores.square().sum())


def _least_normal(values: Tensor) -> float:
    return float(_shapiro_francia(values).min()) if len(values) else 1.0  # a half that does not vary has no direction


def _least_normal_null(n: int, k: int, draws: int, g: torch.Generator) -> Tensor:
    """The smallest W′ of k independent normal samples of n, ``[draws]``; about a million numbers at a time."""
    if k == 0:
        return torch.ones(draws, dtype=torch.float64)
    batches = torch.arange(draws).split(max(1, 10**6 // (k * n)))
    samples = (torch.randn((len(b), k, n), generator=g, dtype=torch.float64) for b in batches)
    return torch.cat([_shapiro_francia(s).min(-1).values for s in samples])


# --- statistic and null to a check ---


def _simulated(name: str, value: float, null: Null, *, side: Side = "both", **words: Any) -> Check:
    """Ranks among draws. A null that is one point up to rounding is compared with a little slack."""
    slack = 1e-9 * max(abs(value), float(np.abs(null).max()))
    lower, upper = ((1 + int(hits.sum())) / (1 + len(null)) for hits in (null <= value + slack, null >= value - slack))
    if side == "low":
        low, high, p = float(np.quantile(null, 0.05)), float(null.max()), lower
    elif side == "high":
        low, high, p = float(null.min()), float(np.quantile(null, 0.95)), upper
    else:
        low, high = (float(q) for q in np.quantile(null, (0.025, 0.975)))
        p = min(1.0, 2 * min(lower, upper))
    return _check(name, value, float(null.mean()), low, high, p, **words)


def _known(name: str, value: float, law: Any, **words: Any) -> Check:
    low, high = (float(q) for q in law.ppf((0.025, 0.975)))
    p = min(1.0, 2 * min(float(law.cdf(value)), float(law.sf(value))))
    return _check(name, value, float(law.mean()), low, high, p, **words)


def _check(
    name: str,
    value: float,
    expected: float,
    low: float,
    high: float,
    p: float,
    *,
    within: str,
    among: str,
    **words: Any,
) -> Check:
    verdict = within if p > 0.05 else words["above"] if value > expected else words["below"]
    number = f"{value:.3g}" if abs(value) >= max(abs(expected), high - low) / 1000 else "0"
    band = f"{expected:.3g} (95 %: {low:.3g} to {high:.3g})"
    return Check(name, value, expected, low, high, p, f"{verdict}: {among.format(number, **words)} {band}")
