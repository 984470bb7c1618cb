"""The page of `farfield molrg`: rank over the noise level, and from how many samples on the subspaces are found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from farfield.command.molrg import MolrgResult, Schooling, Trained
from farfield.present.curve import line
from farfield.present.page import Chart, Content, Section, Table
from farfield.present.plot import PAINT, legend, styled, subplots, ticks
from farfield.present.words import as_score, level, number, score

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METHODS = {
    "labels": ("PCA, classes known", PAINT.ink),
    "clustering": ("spectral clustering", "#009e73"),
    "k_subspaces": ("K-subspaces", "#e69f00"),
    "low_rank": ("low-rank model, from the clusters", PAINT.real),
    "low_rank_random": ("low-rank model, from random bases", PAINT.ours),
}
"""Words and colours (Okabe and Ito's) of the ways to find subspaces."""

MODELS = {
    "exact": ("exact", PAINT.ink),
    "low_rank": ("low-rank model", PAINT.real),
    "network": ("trained network", PAINT.ours),
}

DRAWN: Any = {"linewidth": 1.4, "markersize": 4}


def content(folder: Path, summary: MolrgResult) -> Content:
    """All of the page, from what the run left on disk."""
    setting = summary.setting
    dimensions, several = ", ".join(map(str, setting.dimensions)), len(setting.dimensions) > 1
    facts = [
        f"{len(setting.dimensions)} subspace{'s' * several} of {dimensions} dimensions in {setting.n}",
        f"noise {number(setting.noise)}" if setting.noise else "without noise",
        f"{setting.seeds} seed{'s' * (setting.seeds > 1)}",
    ]
    if several:
        facts.append("orthogonal to each other" if setting.orthogonal else "independent of each other")
    sections = [_transition(summary), _rank(summary)]
    if summary.network:
        sections.append(_networks(summary.network, summary.networks))
    return Content(
        "Mixture of low-rank Gaussians",
        f"n = {setting.n}, d = {dimensions}",
        facts,
        _verdict(summary),
        _caveats(summary),
        _key_numbers(summary),
        sections,
    )


def _verdict(summary: MolrgResult) -> list[str]:
    said = []
    for method, results in summary.recovery.methods.items():
        at = as_score(results.transition)
        words = METHODS[method][0]
        if at is None:
            said.append(f"{words[0].upper()}{words[1:]}: at no ratio do half of the seeds find the subspaces.")
        else:
            said.append(
                f"{words[0].upper()}{words[1:]}: half of the seeds find the subspaces from {score(at)} samples per dimension on "
                f"(n = {at.n} seeds)."
            )
    if len(networks := summary.networks) > 1:
        first, last = networks[0], networks[-1]
        said.append(
            f"Of what a trained network makes, {score(first.new, percent=True)} is new with {level(first.ratio)} samples "
            f"per dimension, and {score(last.new, percent=True)} with {level(last.ratio)}."
        )
    return said


def _caveats(summary: MolrgResult) -> list[str]:
    said = []
    if len(summary.setting.dimensions) > 1:
        said.append(
            "With as many samples as dimensions, N = d, any d of the samples span a subspace that fits them: the samples "
            "alone do not say which belong together. What does is that orthogonal subspaces share no cosine (clustering sees "
            "it), or more samples."
        )
    if summary.networks:
        said.append("New is not good: read the share of new samples beside their energy inside the true subspaces.")
    return said


def _key_numbers(summary: MolrgResult) -> list[tuple[str, str, str, str]]:
    tiles = []
    for method, results in summary.recovery.methods.items():
        at = as_score(results.transition)
        ends = "" if at is None or at.low is None or at.high is None else f"[{level(at.low)}, {level(at.high)}]"
        tiles.append((METHODS[method][0], "none" if at is None else level(at.value), ends, "samples per dimension"))
    return tiles


def _transition(summary: MolrgResult) -> Section:
    recovery, ratios = summary.recovery, summary.setting.ratios
    methods = recovery.methods
    expected: Sequence[float | None] = recovery.expected or [None] * len(ratios)
    rows = [[level(r), *(methods[m].error[i] for m in methods), expected[i]] for i, r in enumerate(ratios)]
    shares = [[level(r), *(methods[m].found[i] for m in methods)] for i, r in enumerate(ratios)]
    names = [METHODS[m][0] for m in methods]
    details = [
        (
            "Error",
            "‖ÛÛᵀ − UUᵀ‖ in the Frobenius norm over the square root of both dimensions' sum, 0 for equal subspaces and 1 for "
            "orthogonal ones; found and true ones are paired so that the sum is least, and averaged. Found means below "
            f"{recovery.threshold:g}.",
        ),
        (
            "Expected",
            "The error of the span of N generic samples of a subspace of d > N dimensions, √((d − N)/(d + N)): the other "
            "directions are left empty; of samples without noise. A model that fills them at random is farther away.",
        ),
        (
            "Low-rank model",
            "Trained by the denoising loss. From the clusters it sees levels at which samples are certain of their class: "
            "there the loss is that of subspace clustering. From random bases it sees all levels, and must find the classes "
            "itself; near N = d the true subspaces are not where its loss is lowest.",
        ),
    ]
    return Section(
        "transition",
        "How many samples it takes",
        "Dashed: what the closed form expects of PCA with the classes known." if recovery.expected else "",
        charts=[Chart(figure(summary), "recovery error over the number of samples per dimension")],
        tables=[
            Table(["N / d", *names, "expected"], rows, "Mean error over the seeds"),
            Table(["N / d", *names], shares, "Share of the seeds that find the subspaces"),
        ],
        details=details,
    )


@styled
def figure(summary: MolrgResult) -> Figure:
    """Error and share found over the number of samples per dimension, a line a method."""
    ratios, recovery = summary.setting.ratios, summary.recovery
    drawn, axes = subplots(2, 2, 3.0)
    for i, (method, results) in enumerate(recovery.methods.items()):
        label, colour = METHODS[method]
        beside = [r * 1.012 ** (i - 2) for r in ratios]  # so that intervals at one ratio can be told apart
        for ax, what in zip(axes, ("error", "found"), strict=True):
            line(ax, zip(beside, getattr(results, what), strict=True), colour, label, **DRAWN)
    axes[0].plot(ratios if recovery.expected else [], recovery.expected or [], "--", color=PAINT.muted, linewidth=1.2)
    for ax, title in zip(axes, ("recovery error", "share of seeds that find the subspaces"), strict=True):
        ax.axvline(1, color=PAINT.line, linewidth=1, zorder=0)
        _ratio_axis(ax, ratios)
        ax.set_ylim(-0.03, 1.03)
        ax.set_title(title)
    legend(drawn, axes[:1])
    return drawn


def _rank(summary: MolrgResult) -> Section:
    setting, ranks = summary.setting, summary.ranks
    names = [MODELS[m][0] for m in ranks]
    rows = [[level(s), *(ranks[m][i] for m in ranks)] for i, s in enumerate(setting.sigmas)]
    total, largest = sum(setting.dimensions), max(setting.dimensions)
    lead = (
        f"Far from the data every subspace counts, {total} dimensions; once the class is certain, those of one, {largest}."
        if len(setting.dimensions) > 1
        else f"The subspace has {total} dimensions."
    )
    text = (
        f"Singular values that hold {setting.share:g} of the Jacobian's Frobenius norm, at {setting.points} noised new "
        f"samples; models trained on {setting.per_class} samples a class. A network that has not learnt to leave out what it "
        "does not need keeps a higher rank, and one that lacks a direction a lower one: the curve also measures training."
    )
    return Section(
        "rank",
        "Rank of the Jacobian",
        lead,
        [text],
        [Chart(rank_figure(summary), "rank of the Jacobian over 1 / sigma")],
        tables=[Table(["σ", *names], rows, f"Mean rank over {setting.points} points")],
    )


@styled
def rank_figure(summary: MolrgResult) -> Figure:
    """Rank over 1 / sigma, a line a model; dashed, the dimensions of one subspace and of all."""
    setting = summary.setting
    drawn, axes = subplots(1, 1, 3.0)
    for i, (model, ranks) in enumerate(summary.ranks.items()):
        label, colour = MODELS[model]
        places = [1.02 ** (i - 1) / s for s in setting.sigmas]
        line(axes[0], zip(places, ranks, strict=True), colour, label, **DRAWN)
    for dimension in {max(setting.dimensions), sum(setting.dimensions)}:
        axes[0].axhline(dimension, color=PAINT.line, linewidth=1, linestyle="--", zorder=0)
    axes[0].set_xscale("log")
    ticks(axes[0], [1 / s for s in setting.sigmas], [level(round(1 / s, 2)) for s in setting.sigmas])
    axes[0].set_xlabel("1 / σ")
    axes[0].set_ylim(bottom=0)
    axes[0].set_title("numerical rank")
    axes[0].legend(fontsize=8.5)
    return drawn


def _networks(network: Schooling, networks: list[Trained]) -> Section:
    rows = [
        [number(c.per_class), level(c.ratio), c.new, c.inside, c.held_out_inside, c.threshold, c.loss] for c in networks
    ]
    columns = [
        "samples a class",
        "N / d",
        "new",
        "energy inside",
        "of held-out samples",
        "cosine that is no longer new",
        "loss",
    ]
    text = (
        f"Each network saw {number(network.images)} samples in training, with repetition, and made {number(network.made)}. "
        "New is one whose cosine to the nearest training sample is no larger than what a hundredth of held-out samples exceed; "
        "energy inside is the share of its squared length in the nearest true subspace."
    )
    return Section(
        "networks",
        "The same of a trained network",
        text,
        charts=[
            Chart(network_figure(networks), "new samples and energy inside over the number of samples per dimension")
        ],
        tables=[Table(columns, rows)],
    )


@styled
def network_figure(networks: list[Trained]) -> Figure:
    """New samples, and energy inside the true subspaces, over the number of samples per dimension."""
    drawn, axes = subplots(1, 1, 3.0)
    line(axes[0], [(c.ratio, c.new) for c in networks], PAINT.ours, "new samples", **DRAWN)
    line(axes[0], [(c.ratio, c.inside) for c in networks], PAINT.real, "energy inside the subspaces", **DRAWN)
    _ratio_axis(axes[0], [c.ratio for c in networks])
    axes[0].set_ylim(-0.03, 1.03)
    axes[0].set_title("trained network")
    axes[0].legend(fontsize=8.5)
    return drawn


def _ratio_axis(ax: Axes, ratios: Sequence[float]) -> None:
    ax.set_xscale("log")
    shown = [r for r in ratios if not any(r < other < 1.15 * r for other in ratios)]
    ticks(ax, shown, [level(round(r, 2)) for r in shown], fontsize=8)
    ax.set_xlabel("samples per dimension, N / d")
