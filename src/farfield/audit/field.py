r"""Two sets of physical fields compared: power spectrum, pixel distribution, radial profile and moments.

**The field is the unit.** Pixels of one field are not independent, so every interval comes from resampling whole fields,
in both sets. A field counts as much as any other, however much of it is masked (NaN).

Intervals are 95 %, by the percentile bootstrap with smaller sets: n / f fields are drawn, with
:math:`f = \frac{n}{n-1} (t_{0.975}(n-1) / z_{0.975})^2`, which widens what is too short for sets of tens of fields
(Hesterberg 2014, arXiv 1411.5279). They are still too short below 4 fields, and for long-tailed fields below some 20.
Distances cannot be negative, and noise adds to them: beside each stands ``chance``, the value that sets of one law and
of these sizes stay below in 95 %.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

import torch
from torch import Tensor

from farfield.audit.spectrum import checked_fields, power_spectrum, radial_profile
from farfield.core.artifact import Score
from farfield.core.error import FarfieldError
from farfield.core.interval import Z95
from farfield.core.runtime import generator

LEVELS: Final = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
EDGES: Final = torch.tensor([0.025, 0.975], dtype=torch.float64)
MOMENTS: Final = ("mean", "variance", "skewness", "kurtosis")


def moments(fields: Tensor) -> dict[str, Tensor]:
    """Mean, variance, skewness and excess kurtosis (0 for a Gaussian) of every field's pixels.

    Population moments: divided by the number of pixels that are not masked. Skewness and kurtosis of a constant field
    are NaN.

    Args:
        fields: ``[n, C, H, W]``, NaN where masked.

    Returns:
        ``[n, C]`` for each name of `MOMENTS`.
    """
    x = checked_fields(fields).flatten(2)
    mean = x.nanmean(-1)
    centred = x - mean[..., None]
    raw = torch.stack([torch.zeros_like(mean), *(centred.pow(p).nanmean(-1) for p in (2, 3, 4))], -1)
    values = _central(raw)
    return dict(zip(MOMENTS, (mean, *values[..., 1:].unbind(-1)), strict=True))


def pixel_distances(generated: Tensor, real: Tensor) -> tuple[float, float]:
    r"""How far apart the laws of the pixels are: 1-Wasserstein and Kolmogorov–Smirnov.

    .. math:: W_1 = \int |F - G|\, dt, \qquad D = \max_t |F(t) - G(t)|

    with F and G the means over a set of its fields' empirical distribution functions. W₁ is in units of the real pixels'
    standard deviation.

    Args:
        generated: ``[n, pixels]``, NaN where masked.
        real: ``[m, pixels]``.
    """
    x, y = _Law.of(generated), _Law.of(real)
    t = torch.cat([x.values, y.values]).sort().values
    gap = (x.at(t) - y.at(t)).abs()
    return float((gap[:-1] * t.diff()).sum()) / y.sd(), float(gap.max())


def compare_fields(
    *, generated: Tensor, real: Tensor, seed: int = 0, window: str | None = "hann", repetitions: int = 1000
) -> dict[str, Any]:
    """Everything this module measures, for two sets of fields, ready for `write_json`.

    **Resolved scales** are the wavenumbers from 2 (1 without a window: the window spreads over its neighbours and takes
    from the first shell what it takes with the mean) to the Nyquist wavenumber of the shorter side, without the corner
    modes beyond. They are the data's own: a map that was smoothed or enlarged resolves less.

    Args:
        generated: ``[n, C, H, W]`` in physical units, NaN where masked.
        real: ``[m, C, H, W]``, held-out fields of the same size and units.
        seed: of the bootstrap.
        window: for fields cut out of larger ones; None for periodic ones.
        repetitions: of the bootstrap.

    Returns:
        ``n``, ``shape``, ``window``, and for one channel flat, for more as a list ``channels``:

        - ``spectrum``: ``k``; ``generated`` and ``real``, the mean power, and their ``ratio``, a Score for each k; ``worst``,
          a Score of the largest \\|ratio - 1\\| over the ``resolved`` scales ``[first, last]``, with its ``k`` and
          ``chance``.
        - ``log_spectrum``: the same of the logarithm, where all pixels of both sets are positive.
        - ``pixels``: ``quantiles`` (``levels``, ``generated``, ``real``), ``wasserstein`` and ``ks`` as
          `pixel_distances`, and the two's ``chance``.
        - ``profile``: ``r`` in pixels; ``generated``, ``real`` and ``ratio`` for each ring. A ratio is None where a mean is
          not clearly positive.
        - ``moments``: for each of `MOMENTS` the pooled pixels' (``generated``, ``real``), and in ``per_field`` the mean
          and standard deviation over the fields.

        The n of a Score that joins the sets is the smaller one.

    Raises:
        FarfieldError: fewer than 2 fields in a set, sets of different shapes, a field masked throughout, or real
            fields of which none varies.
        NonFiniteError: an infinite value.
    """
    x, y = checked_fields(generated, "generated"), checked_fields(real, "real")
    if x.shape[1:] != y.shape[1:]:
        raise FarfieldError(
            f"generated fields {list(x.shape[1:])} and real ones {list(y.shape[1:])}: expected one shape [C, H, W]; "
            "cut or resample one of them"
        )
    for name, fields in (("generated", x), ("real", y)):
        if len(fields) < 2:
            raise FarfieldError(f"{name}: expected at least 2 fields, found {len(fields)}; the interval needs several")
    g = generator(seed, "fields")
    draws = (_weights(len(x), repetitions, g).to(x.device), _weights(len(y), repetitions, g).to(y.device))
    channels = [
        _channel(x[:, [c]], y[:, [c]], draws, window, f"channel {c}" if x.shape[1] > 1 else "real")
        for c in range(x.shape[1])
    ]
    about = {"n": {"generated": len(x), "real": len(y)}, "shape": list(x.shape[1:]), "window": window}
    return about | (channels[0] if len(channels) == 1 else {"channels": channels})


def _channel(x: Tensor, y: Tensor, draws: tuple[Tensor, Tensor], window: str | None, name: str) -> dict[str, Any]:
    if bool((y.nan_to_num(-math.inf).flatten(1).amax(1) <= y.nan_to_num(math.inf).flatten(1).amin(1)).all()):
        raise FarfieldError(f"{name}: every real field is constant; expected fields that vary; look at the data")
    measures = {"spectrum": _spectrum(x, y, draws, window)}
    if bool(((x > 0) | x.isnan()).all()) and bool(((y > 0) | y.isnan()).all()):
        measures["log_spectrum"] = _spectrum(x.log(), y.log(), draws, window)
    return measures | {
        "pixels": _pixels(x.flatten(1), y.flatten(1), draws),
        "profile": _profile(x, y, draws),
        "moments": _moments(x, y, draws),
    }


def _spectrum(x: Tensor, y: Tensor, draws: tuple[Tensor, Tensor], window: str | None) -> dict[str, Any]:
    (k, p), (_, q) = (power_spectrum(fields, window) for fields in (x, y))
    ours, theirs = _Resampled.mean(p[:, 0], draws[0]), _Resampled.mean(q[:, 0], draws[1])
    log = ours.log().minus(theirs.log())
    present = theirs.value > 1e-12 * theirs.value.max()  # below lies rounding, of which there is no ratio
    first = min(2 if window else 1, len(k))
    inside = slice(first - 1, len(k))

    def largest(log_ratio: Tensor) -> Tensor:
        return torch.where(present, log_ratio.expm1().abs(), 0)[..., inside].nan_to_num(0.0).amax(-1)

    score, chance = _distance(float(largest(log.value)), largest(log.drawn), largest(log.drawn - log.value), log.n)
    worst = torch.where(present, log.value.expm1().abs(), 0)[inside].argmax()
    return {
        "k": k.tolist(),
        "generated": ours.scores(),
        "real": theirs.scores(),
        "ratio": [r if there else None for r, there in zip(log.exp().scores(), present.tolist(), strict=True)],
        "worst": {"k": float(k[inside][worst]), **asdict(score), "chance": chance},
        "resolved": [first, len(k)],
    }


def _pixels(x: Tensor, y: Tensor, draws: tuple[Tensor, Tensor]) -> dict[str, Any]:
    laws = _Law.of(x), _Law.of(y)
    # Resampling needs the distribution functions on a grid only: finer in mass towards the tails, and even in value.
    t = torch.cat([law.values for law in laws]).sort().values
    share = (1 - torch.cos(torch.linspace(0, torch.pi, 512, dtype=torch.float64))) / 2
    ranks = (share * (len(t) - 1)).round().long().to(t.device)
    even = torch.linspace(float(t[0]), float(t[-1]), 128, dtype=torch.float64, device=t.device)
    grid = torch.cat([t[ranks], even]).unique()
    drawn = [_Resampled.mean(_distribution(v, grid), w) for v, w in zip((x, y), draws, strict=True)]
    gap = drawn[0].minus(drawn[1])
    sd = laws[1].sd()

    def wasserstein(difference: Tensor) -> Tensor:
        return torch.trapezoid(difference.abs(), grid) / sd

    def ks(difference: Tensor) -> Tensor:
        return difference.abs().amax(-1)

    measures: dict[str, Callable[[Tensor], Tensor]] = {"wasserstein": wasserstein, "ks": ks}
    values = pixel_distances(x, y)
    placed = {
        name: _distance(value, statistic(gap.drawn), statistic(gap.drawn - gap.value), gap.n)
        for (name, statistic), value in zip(measures.items(), values, strict=True)
    }
    levels = torch.tensor(LEVELS, dtype=torch.float64, device=t.device)
    quantiles = [
        _Resampled(law.quantile(levels), grid[_first_at(d.drawn, levels, len(grid))], d.n)
        for law, d in zip(laws, drawn, strict=True)
    ]
    ours, theirs = (q.scores() for q in quantiles)
    return {
        "quantiles": {"levels": list(LEVELS), "generated": ours, "real": theirs},
        **{name: score for name, (score, _) in placed.items()},
        "chance": {name: chance for name, (_, chance) in placed.items()},
    }


def _profile(x: Tensor, y: Tensor, draws: tuple[Tensor, Tensor]) -> dict[str, Any]:
    (r, p), (_, q) = radial_profile(x), radial_profile(y)
    ours, theirs = _Resampled.mean(p[:, 0], draws[0]), _Resampled.mean(q[:, 0], draws[1])
    clear = ((ours.drawn > 0).all(0) & (theirs.drawn > 0).all(0)).tolist()
    ratio = [r if c else None for r, c in zip(ours.log().minus(theirs.log()).exp().scores(), clear, strict=True)]
    return {"r": r.tolist(), "generated": ours.scores(), "real": theirs.scores(), "ratio": ratio}


def _moments(x: Tensor, y: Tensor, draws: tuple[Tensor, Tensor]) -> dict[str, Any]:
    centre, scale = float(y.nanmean()), _Law.of(y.flatten(1)).sd()  # powers of numbers near 1 lose no digits
    units = torch.tensor([scale, scale**2, 1, 1], dtype=torch.float64, device=x.device)
    shift = torch.tensor([centre, 0, 0, 0], dtype=torch.float64, device=x.device)
    by_moment: dict[str, Any] = {name: {"per_field": {}} for name in MOMENTS}
    for which, fields, weights in (("generated", x, draws[0]), ("real", y, draws[1])):
        u = (fields.flatten(1) - centre) / scale
        raw = _Resampled.mean(torch.stack([u.pow(p).nanmean(-1) for p in (1, 2, 3, 4)], -1), weights)
        pooled = raw.map(lambda m: _central(m) * units + shift)
        for (name, each), score in zip(moments(fields).items(), pooled.scores(), strict=True):
            each = each[~each.isnan()]
            sd = float(each.std()) if len(each) > 1 else math.nan
            by_moment[name][which] = score
            by_moment[name]["per_field"][which] = {"mean": float(each.mean()), "sd": sd}
    return by_moment


@dataclass(frozen=True)
class _Resampled:
    """A statistic ``[bins]`` of n fields, and of resampled sets of them, ``[repetitions, bins]``."""

    value: Tensor
    drawn: Tensor
    n: int

    @classmethod
    def mean(cls, rows: Tensor, weights: Tensor) -> _Resampled:
        """The mean of ``rows [n, bins]``; NaN is left out."""
        if not bool(rows.isnan().any()):
            return cls(rows.mean(0), weights @ rows, len(rows))
        known, filled = (~rows.isnan()).double(), rows.nan_to_num()
        return cls(filled.sum(0) / known.sum(0), (weights @ filled) / (weights @ known), len(rows))

    def map(self, function: Callable[[Tensor], Tensor]) -> _Resampled:
        return _Resampled(function(self.value), function(self.drawn), self.n)

    def log(self) -> _Resampled:
        return self.map(torch.log)

    def exp(self) -> _Resampled:
        return self.map(torch.exp)

    def minus(self, other: _Resampled) -> _Resampled:
        """The difference of two independent statistics; n becomes the smaller one."""
        return _Resampled(self.value - other.value, self.drawn - other.drawn, min(self.n, other.n))

    def scores(self) -> list[Score]:
        low, high = self.drawn.nanquantile(EDGES.to(self.drawn), 0).tolist()
        return [Score(v, self.n, a, b) for v, a, b in zip(self.value.tolist(), low, high, strict=True)]


@dataclass(frozen=True)
class _Law:
    """Pixels in order, and the weight at or below each; every field weighs 1/n."""

    values: Tensor
    weights: Tensor
    below: Tensor

    @classmethod
    def of(cls, fields: Tensor) -> _Law:
        known = ~fields.isnan()
        weights = (known / known.sum(1, keepdim=True).double() / len(fields))[known]
        values, order = fields[known].sort()
        return cls(values, weights[order], weights[order].cumsum(0))

    def at(self, t: Tensor) -> Tensor:
        return torch.cat([self.below.new_zeros(1), self.below])[torch.searchsorted(self.values, t, right=True)]

    def quantile(self, levels: Tensor) -> Tensor:
        """The smallest value with at least this weight at or below it."""
        return self.values[_first_at(self.below[None], levels, len(self.values))[0]]

    def sd(self) -> float:
        mean = (self.weights * self.values).sum()
        return float((self.weights * (self.values - mean).square()).sum().sqrt())


def _weights(n: int, repetitions: int, g: torch.Generator) -> Tensor:
    """What share of each resampled set each of n fields is, ``[repetitions, n]``."""
    from scipy.stats import t

    size = max(1, int((n - 1) * (Z95 / float(t.ppf(0.975, n - 1))) ** 2))
    drawn = torch.randint(n, (repetitions, size), generator=g)
    return torch.zeros(repetitions, n, dtype=torch.float64).scatter_add_(
        1, drawn, torch.full(drawn.shape, 1 / size, dtype=torch.float64)
    )


def _distance(value: float, drawn: Tensor, under_null: Tensor, n: int) -> tuple[Score, float]:
    """A distance with its interval, and its chance.

    Resampling adds to a distance as sampling does, so the draws' spread is laid about the value, not about their mean,
    as in `frechet_distance`: the interval covers the mean of the distance over new sets of these sizes.
    """
    low, high = (drawn.quantile(EDGES.to(drawn)) - drawn.mean()).tolist()
    return Score(value, n, max(value - high, 0.0), value - low), float(under_null.quantile(0.95))


def _distribution(fields: Tensor, grid: Tensor) -> Tensor:
    """Each field's empirical distribution function on a grid, ``[n, len(grid)]``."""
    ordered = fields.nan_to_num(math.inf).sort(-1).values
    counts = torch.searchsorted(ordered, grid.expand(len(fields), -1).contiguous(), right=True)
    return counts / (~fields.isnan()).sum(1, keepdim=True).double()


def _first_at(functions: Tensor, levels: Tensor, size: int) -> Tensor:
    """Where each distribution function ``[b, size]`` first reaches each level, ``[b, len(levels)]``."""
    # the small term: a sum of shares that should be the level may fall short of it by rounding
    reached = torch.searchsorted(functions.contiguous(), (levels - 1e-12).expand(len(functions), -1).contiguous())
    return reached.clamp(max=size - 1)


def _central(raw: Tensor) -> Tensor:
    """Mean, variance, skewness and excess kurtosis from the first four raw moments, ``[..., 4]``."""
    m1, m2, m3, m4 = raw.unbind(-1)
    variance = (m2 - m1**2).clamp(min=0)
    variance = torch.where(variance > 1e-14 * m2, variance, 0)  # what rounding leaves of a constant
    third = m3 - 3 * m1 * m2 + 2 * m1**3
    fourth = m4 - 4 * m1 * m3 + 6 * m1**2 * m2 - 3 * m1**4
    return torch.stack([m1, variance, third / variance**1.5, fourth / variance**2 - 3], -1)
