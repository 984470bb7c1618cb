"""The page of `farfield rank`: rank, spectrum, asymmetry and linearity of a denoiser over noise levels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from farfield.command.facts import OverPoints
from farfield.command.rank import RankLevel, RankResult
from farfield.core.score import Score
from farfield.present.curve import Line, curves
from farfield.present.page import Chart, Content, Section, Table, charts
from farfield.present.plot import PAINT, styled, subplots
from farfield.present.words import count, level, number, score_parts, share, short

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ALONG = {
    "noised": "images with noise",
    "trajectory": "points of the model's own trajectories",
    "clean": "images without noise",
}


def content(folder: Path, summary: RankResult) -> Content:
    """All of the page, from what the run left on disk."""
    d, n, levels = summary.dimension, summary.n, summary.levels
    facts = [
        count(d, "dimension"),
        f"{n} {ALONG[summary.along]}",
        f"{count(len(levels), 'noise level')}, {level(levels[0].sigma)} to {level(levels[-1].sigma)}",
        f"{count(sum(one.network_calls for one in levels), 'image')} through the network, either way",
    ]
    domain = "seeds" if summary.images is None else short(summary.images)
    return Content(
        summary.model.name,
        domain,
        facts,
        _verdict(summary),
        _caveats(summary),
        _key_numbers(summary),
        [_rank(summary), _spectra(summary), _symmetry(summary), _tables(summary)],
    )


def _ends(summary: RankResult) -> tuple[RankLevel, RankLevel]:
    """The levels of the lowest and of the highest rank."""
    ordered = sorted(summary.levels, key=lambda one: one.rank.mean.value)
    return ordered[0], ordered[-1]


def _verdict(summary: RankResult) -> list[str]:
    low, high = _ends(summary)
    d = summary.dimension
    least, most = (one.rank.mean.value for one in (low, high))
    said = [
        f"Of {number(d)} directions the denoiser keeps {number(least)} ({share(least / d)}) at noise level "
        f"{level(low.sigma)}, the least, and {number(most)} ({share(most / d)}) at {level(high.sigma)}, the most."
    ]
    if len(summary.levels) == 1:
        said = [
            f"Of {number(d)} directions the denoiser keeps {number(least)} ({share(least / d)}) at noise level "
            f"{level(low.sigma)}."
        ]
    for name, one in (("lowest", low), ("highest", high)):
        mean = one.rank.mean.value
        said.append(
            f"The rank is {name} at noise level {level(one.sigma)}: {number(mean)} of {number(d)} directions "
            f"({share(mean / d)}) hold {summary.share:g} of the Jacobian's Frobenius norm, "
            f"{one.rank.min:.0f} to {one.rank.max:.0f} over {summary.n} points."
        )
    return said


def _caveats(summary: RankResult) -> list[str]:
    skewed = max(summary.levels, key=lambda one: one.asymmetry.mean.value)
    said = [
        f"The curve also measures training. The ideal denoiser's Jacobian is the posterior covariance over the noise variance: "
        f"symmetric, without negative eigenvalues. This one's asymmetry is up to "
        f"{number(skewed.asymmetry.mean.value, 2)} (at noise level {level(skewed.sigma)}); as far as it is not 0, "
        f"what is seen is the network and not the data. A network that predicts the noise has to cancel the identity at high "
        f"noise; trained too little it keeps a high rank there. Where the norm is "
        f"far below 1, the rank is that of what little is left."
    ]
    approximate = sum(one.methods["matrix-free"] for one in summary.levels)
    if approximate:
        worst = max(one.residual_share for one in summary.levels)
        said.append(
            f"{approximate} of the spectra are matrix-free: their largest singular values only; what these leave out, up to "
            f"{share(worst)} of the energy, is estimated with random probes."
        )
    if summary.n < 8:
        said.append(f"Intervals over {summary.n} points are rough.")
    return said


def _key_numbers(summary: RankResult) -> list[tuple[str, str, str, str]]:
    low, high = _ends(summary)
    d = summary.dimension
    tiles = []
    for one in (low, high):
        note = f"{share(one.rank.mean.value / d)} of {number(d)}"
        tiles.append((f"rank at {level(one.sigma)}", *score_parts(one.rank.mean), note))
    return tiles


def _over(
    summary: RankResult, name: str, which: str = "mean", scale: float = 1.0
) -> list[tuple[float, Score | float | None]]:
    """A quantity over points against 1/sigma."""
    points: list[tuple[float, Score | float | None]] = []
    for one in summary.levels:
        over: OverPoints | None = getattr(one, name)
        value: Score | float | None = None if over is None else getattr(over, which)
        if isinstance(value, Score):
            ends = [end if end is None else end * scale for end in (value.low, value.high)]
            value = Score(value.value * scale, value.n, *ends)
        elif value is not None:
            value *= scale
        points.append((1 / one.sigma, value))
    return points


def _rank(summary: RankResult) -> Section:
    d = summary.dimension
    figure = curves(
        {
            "rank / dimension": [
                Line(f"holds {summary.share:g} of the norm", _over(summary, "rank", scale=1 / d)),
                Line("least and most of the points", _over(summary, "rank", "min", 1 / d), PAINT.base, 0.7, True),
                Line("least and most of the points", _over(summary, "rank", "max", 1 / d), PAINT.base, 0.7, True),
            ],
            "effective rank / dimension": [
                Line("participation ratio of the squared values", _over(summary, "effective", scale=1 / d), PAINT.real)
            ],
        },
        columns=2,
        xlabel="SNR, 1/σ",
    )
    lead = "The mean over points with its 95 % interval (Student's), towards less noise on the right."
    details = [
        (
            "Rank",
            f"The least number of singular values whose squares sum to {summary.share:g}² of all (arXiv 2409.02426). At a "
            "noise level the denoiser keeps the directions in which the data vary by more than that, and for data of low "
            "dimension these are few: at high noise none is left but the mean, at low noise all that the network takes for "
            "image.",
        ),
        (
            "Effective rank",
            "(Σ s²)² / Σ s⁴: r for r equal singular values. It needs no threshold and does not see a long tail of small "
            "values.",
        ),
    ]
    return Section("rank", "Rank over noise levels", lead, charts=charts(figure, "rank against 1/σ"), details=details)


def _spectra(summary: RankResult) -> Section:
    lead = "Medians over points. Dashed lines end where the matrix-free way does."
    chart = Chart(_falling(summary), "singular values of the Jacobian, a line for each noise level")
    return Section("spectra", "Singular values", lead, charts=[chart])


@styled
def _falling(summary: RankResult) -> Figure:
    figure, (ax,) = subplots(1, 1, 3.2)
    known = [one for one in summary.levels if one.values]
    for i, one in enumerate(known):
        strength = 0.25 + 0.75 * i / max(1, len(known) - 1)
        ax.plot(
            range(1, len(one.values) + 1),
            one.values,
            "--" if one.methods["matrix-free"] else "-",
            color=PAINT.ours,
            alpha=1.25 - strength,
            linewidth=1.3,
        )
        place = min(len(one.values), 1 + i) - 1
        ax.annotate(f"σ {one.sigma:.3g}", (place + 1, one.values[place]), fontsize=8, color=PAINT.muted)
    ax.set_xscale("log")
    ax.set_yscale("log")
    top = max((one.values[0] for one in known), default=1.0)
    ax.set_ylim(1e-5 * top, 3 * top)
    ax.set_xlabel("index")
    ax.set_title("singular value")
    return figure


def _symmetry(summary: RankResult) -> Section:
    panels = {
        "asymmetry |J − Jᵀ| / |J|": [Line("mean over points", _over(summary, "asymmetry"))],
        "trace and norm of J": [
            Line("trace", _over(summary, "trace"), PAINT.real),
            Line("Frobenius norm", _over(summary, "norm"), PAINT.base),
        ],
        "linearity": [
            Line("cosine of D and its linear part", _over(summary, "cosine"), PAINT.real),
            Line("ratio of their lengths", _over(summary, "ratio"), PAINT.base),
            Line("departure of what changes", _over(summary, "departure")),
        ],
    }
    step = summary.linearity
    details = [
        (
            "Linearity",
            f"From each point {step.directions} steps of {step.step:g} (root mean square over the pixels) along random "
            "rows of J: the answer against D(x) + J v (arXiv 2409.02374). Cosine and ratio are 1 for a linear denoiser, and near "
            "1 wherever the answer hardly moves; the departure is relative to what moves, and 0 for a linear denoiser.",
        ),
        (
            "Trace",
            "For the ideal denoiser the mean of the trace over data is the denoising error over the noise variance.",
        ),
    ]
    lead = "What a posterior mean must have: no asymmetry. And how far its Jacobian describes the denoiser beyond the point."
    figure = charts(curves(panels, xlabel="SNR, 1/σ"), "asymmetry, trace and linearity against 1/σ")
    return Section("symmetry", "Symmetry and linearity", lead, charts=figure, details=details)


def _tables(summary: RankResult) -> Section:
    columns = [
        "noise level",
        "rank",
        "effective rank",
        "asymmetry",
        "trace",
        "norm",
        "negative eigenvalues",
        "linearity: departure",
        "method",
        "largest share left out",
        "images through the network",
    ]
    rows = [
        [
            level(one.sigma),
            one.rank.mean,
            one.effective.mean,
            one.asymmetry.mean,
            one.trace.mean,
            one.norm.mean,
            one.negative and one.negative.mean,
            one.departure and one.departure.mean,
            ", ".join(f"{count} {name}" for name, count in one.methods.items() if count),
            one.residual_share,
            one.network_calls,
        ]
        for one in summary.levels
    ]
    return Section("numbers", "All numbers", tables=[Table(columns, rows)])
