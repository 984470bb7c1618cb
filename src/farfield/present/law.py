"""What a page says of latents at every level: are they Gaussian, how do they lie, can two domains be told apart."""

from __future__ import annotations

from farfield.command.analyse import AnalyseResult, LatentGeometry, Moments, Symmetries
from farfield.core.score import Score, relation
from farfield.present.curve import Line, curves
from farfield.present.page import Section, Table, charts
from farfield.present.plot import PAINT
from farfield.present.words import level, number, score

NOTHING = Score(0.0, 0, 0.0, 0.0)


def gaussianity(summary: AnalyseResult) -> Section:
    rows = summary.normality
    last, wrong = rows[-1].checks, rows[-1].refused
    detailed = Table(
        ["check", "found", "expected", "95 % of the null", "p"],
        [[c.name, c.statistic, c.expected, f"{number(c.low)} to {number(c.high)}", _p(c.p_value)] for c in last],
        title=f"At σ {level(rows[-1].sigma)}",
        chosen=[i for i, c in enumerate(last) if c.refused],
    )
    by_level = Table(
        ["check", *(f"σ {level(row.sigma)}" for row in rows)],
        [[c.name, *(_p(row.checks[i].p_value) for row in rows)] for i, c in enumerate(last)],
        title="p-values at every level",
    )
    return Section(
        "gaussianity",
        "Are the latents Gaussian?",
        f"Each check is held against simulated Gaussians of the same n = {summary.examples.n} and dimension, m and s "
        f"unknown. Marked are those with p ≤ 0.01.",
        [f"{_sentence(c.says)}." for c in wrong] or ["None refuses."],
        tables=[detailed, by_level],
        details=[
            (
                "What it means for sampling",
                "A domain's latents that are correlated in space or between channels, or of unequal variances, are not "
                "met by draws of an isotropic Gaussian: use a prior with that structure, or interpolate between "
                "examples.",
            )
        ],
    )


def geometry(summary: AnalyseResult) -> Section:
    rows = summary.geometry
    columns = ["length", "expected", "pair distance", "sd", "expected sd", "angle °", "expected °", "triangle °"]
    table = Table(
        ["σ", *columns, "|m|", "directions"],
        [[level(row.sigma), *_lie(row.examples)] for row in rows],
        title="The examples' latents, and independent draws of N(m, s² I)",
    )
    ways = {"examples": ("examples", PAINT.ours), "in_domain": ("training domain", PAINT.base)}
    panels = {
        title: [
            Line(label, [(row.sigma, _spread(getattr(getattr(row, way), name))) for row in rows], paint)
            for way, (label, paint) in ways.items()
        ]
        for name, title in (("norm", "length"), ("distance", "pair distance"), ("angle", "pair angle °"))
    }
    last = rows[-1].examples
    said = (
        f"At the last level pair distances scatter as if {number(round(last.directions))} of {number(last.dimension)} "
        f"directions carried the variance; the mean of the latents has length {number(last.mean_norm)}."
    )
    return Section(
        "geometry",
        "Geometry by level",
        "Unit-variance latents; bars are standard deviations over images or pairs.",
        [said],
        charts(curves(panels), "lengths, pair distances and angles against the noise level"),
        tables=[table],
    )


def _lie(z: LatentGeometry) -> list[float]:
    """A row of the table."""
    expected, distance = z.expected, z.distance
    lengths = [z.norm.mean, expected.norm, distance.mean, distance.sd, expected.distance_sd]
    return [*lengths, z.angle.mean, expected.angle, z.triangle.mean, z.mean_norm, z.directions]


def separability(summary: AnalyseResult) -> Section:
    rows = summary.separability
    table = Table(
        ["σ", "accuracy", "on its training data", "relabelled", "95 % of relabelled", "p", "best possible"],
        [[level(r.sigma), r.accuracy, r.train_accuracy, r.null, r.null_high, _p(r.p_value), r.bayes] for r in rows],
    )
    lines = [
        Line("held-out accuracy", [(r.sigma, r.accuracy) for r in rows]),
        Line("95 % of relabelled", [(r.sigma, r.null_high) for r in rows], PAINT.base, dashed=True),
    ]
    apart = [r.sigma for r in rows if r.apart]
    said = (
        f"The domains are told apart at {len(apart)} of {len(rows)} levels"
        + (f", σ {', '.join(level(s) for s in apart)}." if apart else ".")
        + " Accuracy on the classifier's own training data says nothing where dimensions outnumber images."
    )
    return Section(
        "separability",
        "Separability by level",
        f"A linear classifier between latents of the examples and of the training domain ({summary.in_domain.kind}), "
        "cross-validated, against the same with labels permuted.",
        [said],
        charts(curves({"balanced accuracy": lines}, columns=1), "accuracy against the noise level"),
        tables=[table],
    )


def symmetry(turned: Symmetries) -> Section:
    rows = turned.levels
    table = Table(
        ["σ", "equivariance error", "told from originals", "p", "gain, nats per dimension", "tests that refuse"],
        [
            [
                level(r.sigma),
                r.equivariance,
                *((separable.accuracy, _p(separable.p_value)) if (separable := r.separable) else (None, "–")),
                r.gain,
                f"{len(r.refused)} of {len(r.normality)}",
            ]
            for r in rows
        ],
    )
    last = rows[-1]
    each = Table(
        ["symmetry", "equivariance error"],
        sorted(([name, value] for name, value in last.elements.items()), key=lambda row: row[1]),
        title=f"Each symmetry at σ {level(last.sigma)}",
    )
    said = [
        f"Turning an image and then inverting it ends {score(last.equivariance)} away from inverting and then turning, "
        "in units of the distance between two examples: 0 is a network that does not know up from left.",
        f"Turned latents added to those of half of the examples change the log density of the other half by "
        f"{score(last.gain)} nats per dimension: "
        + {"above": "a gain.", "below": "a loss."}.get(str(relation(last.gain, NOTHING)), "nothing that shows."),
    ]
    if separable := last.separable:
        apart = "can" if separable.apart else "cannot"
        said.append(f"A linear classifier {apart} tell turned latents from originals ({score(separable.accuracy)}).")
    return Section(
        "symmetry",
        "Symmetry",
        f"{', '.join(turned.group)}: each example was turned once and climbed.",
        said,
        tables=[table, each],
    )


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.2g}"


def _spread(v: Moments) -> Score:
    return Score(v.mean, 0, v.mean - v.sd, v.mean + v.sd)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
