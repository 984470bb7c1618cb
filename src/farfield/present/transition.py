"""The page of `farfield transition`: from memorizing to generalizing, over the size of the training set."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from farfield.command.transition import Agreement, Between, CellScores, TransitionResult
from farfield.core.artifact import Images, Store
from farfield.core.score import Score
from farfield.present.curve import line
from farfield.present.page import Chart, Content, Picture, Section, Table
from farfield.present.plot import PAINT, styled, subplots, ticks
from farfield.present.sheet import pairs
from farfield.present.transition_rows import COLOURS, advice, label, lines, sections
from farfield.present.words import count, descriptor, number, score, score_parts, share, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KINDS = {
    "given": "the threshold given",
    "published": "the descriptor's published threshold",
    "calibrated": "the calibrated threshold",
}

SOLID: Any = {"linewidth": 1.5, "markersize": 4.5}
DASHED: Any = {"dashed": True, "linewidth": 1.0, "alpha": 0.6}


def content(folder: Path, summary: TransitionResult) -> Content:
    """All of the page, from what the run left on disk."""
    data, grid = summary.data, summary.grid
    facts = [
        f"{count(data.n, 'image')} of {' × '.join(map(str, data.shape))}, {number(data.held_out)} held out",
        count(len(summary.cells), "model"),
        f"{count(summary.cells[0].images, 'image')} seen by each",
        f"descriptor {descriptor(summary.descriptor)}",
    ]
    parts = [_figures(summary), *sections(summary), *_sheets(folder, summary), _tables(summary)]
    widths = " and ".join(map(str, grid.widths))
    return Content(
        f"{grid.sizes[0]} to {grid.sizes[-1]} training images",
        f"{short(data.source)}, {f'width {widths}' if grid.widths[0] else 'fine-tuned'}",
        facts,
        _verdict(summary),
        [*_caveats(summary), *summary.notes],
        _key_numbers(summary),
        parts,
    )


def _kind(summary: TransitionResult) -> str:
    """The threshold that is drawn: a published or given one, else the calibrated."""
    return str(next(iter(summary.alike.thresholds)))


def _at(summary: TransitionResult, size: int) -> list[CellScores]:
    return [cell for cell in summary.cells if cell.size == size]


def _range(values: Sequence[float]) -> str:
    low, high = (f"{v:.2f}" for v in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def _verdict(summary: TransitionResult) -> list[str]:
    kind, sizes = _kind(summary), summary.grid.sizes
    said = []
    for size in (sizes[0], sizes[-1]) if len(sizes) > 1 else sizes:
        cells = _at(summary, size)
        gl = _range([cell.gl[kind].score.value for cell in cells])
        theory = _range([cell.theory.rp[kind].score.value for cell in cells])
        said.append(
            f"With {number(size)} training images a share of {gl} of the samples is new, and {theory} of them are what the "
            "optimal denoiser of these images makes from the same noise."
        )
        if between := [b.rp[kind].score.value for b in summary.between if b.size == size]:
            said[-1] += f" Two networks agree on {_range(between)} of the seeds."
    crossings = [n for n in summary.crossing.values() if n]
    if crossings:  # the one sentence to repeat
        span = " to ".join(dict.fromkeys(number(round(n)) for n in (min(crossings), max(crossings))))
        said.insert(
            0, f"Half of the samples are new from about {span} training images on, interpolated between the sizes."
        )
    return said + advice(summary)


def _caveats(summary: TransitionResult) -> list[str]:
    kind = _kind(summary)
    held = summary.held_out_exceed[str(summary.grid.sizes[-1])][kind]
    said = [
        f"Alike, of a sample and its nearest training image, is a cosine above {summary.alike.thresholds[kind]:.3f} "
        f"({KINDS[kind]}); {score(held, percent=True)} of the held-out images exceed it towards the largest training set, so "
        f"a score of {1 - held.value:.2f} is what new real images reach."
    ]
    chances = [b.rp[kind].chance.value for b in summary.between]
    if chances:
        said.append(
            f"The same cosine tells whether two samples of one seed agree; of different seeds up to {share(max(chances))} do."
        )
    said.append(
        "New is not good: an image that makes no sense is new too. Look at the samples and at the held-out loss."
    )
    return said


def _key_numbers(summary: TransitionResult) -> list[tuple[str, str, str, str]]:
    kind, sizes = _kind(summary), summary.grid.sizes
    tiles = []
    for size in dict.fromkeys((sizes[0], sizes[-1])):
        for cell in _at(summary, size)[:2]:
            note = f"{label(summary, cell)}: {cell.regime}"
            tiles.append((f"new, of {number(size)}", *score_parts(cell.gl[kind].score), note))
    return tiles


def _figures(summary: TransitionResult) -> Section:
    lead = (
        "Every model sees equally many images in training, whatever their number. Shaded: the sizes at which every model "
        "memorizes (its interval below 0.1) or generalizes (above 0.9)."
    )
    details = [
        (
            "New (GL)",
            "The share of samples that are less alike their nearest training image than the threshold: 1 minus the share "
            "memorized. Dashed: the same of held-out real images.",
        ),
        (
            "Agreement (RP)",
            "The share of seeds from which two models make the same image. Models that memorize agree because both "
            "approach the optimal denoiser of the same few images; models that generalize agree because both approach "
            "the denoiser of the law behind them (arXiv 2310.05264). Dashed: seeds that do not belong together.",
        ),
        (
            "Agreement with the optimal denoiser",
            "The optimal denoiser of a finite training set is known exactly, and makes nothing but training images.",
        ),
    ]
    charts = [
        Chart(figure(summary, kind), f"new samples and agreement over the number of training images, {KINDS[kind]}")
        for kind in summary.alike.thresholds
    ]
    paragraphs = [f"Drawn with {', then with '.join(KINDS[k] for k in summary.alike.thresholds)}."]
    losses = Chart(
        _losses(summary), "losses of training images and of held-out ones over the number of training images"
    )
    return Section("transition", "From copies to new images", lead, paragraphs, [*charts, losses], details=details)


@styled
def figure(summary: TransitionResult, kind: str) -> Figure:
    """Three panels over the number of training images: new samples, agreement of models, agreement with the theory."""
    drawn, axes = subplots(3, 3, 2.9)
    colours = dict(zip(summary.grid.widths, COLOURS * 9, strict=False))
    gl, between, theory = axes
    for name, cells in lines(summary).items():
        colour = colours[cells[0].width]
        line(gl, [(c.size, c.gl[kind].score) for c in cells], colour, name, **SOLID)
        line(theory, [(c.size, c.theory.rp[kind].score) for c in cells], colour, name, **SOLID)
        line(theory, [(c.size, c.theory.rp[kind].chance) for c in cells], colour, **DASHED)
    held = summary.held_out_exceed
    line(gl, [(n, 1 - held[str(n)][kind].value) for n in summary.grid.sizes], PAINT.muted, **DASHED)
    for i, (name, points) in enumerate(_pairs(summary).items()):
        line(between, [(b.size, b.rp[kind].score) for b in points], COLOURS[i % len(COLOURS)], name, **SOLID)
        line(between, [(b.size, b.rp[kind].chance) for b in points], COLOURS[i % len(COLOURS)], **DASHED)
    titles = ("new samples (GL)", "agreement of two models (RP)", "agreement with the optimal denoiser (RP)")
    for ax, title in zip(axes, titles, strict=True):
        _size_axis(ax, summary.grid.sizes)
        _shade(ax, summary)
        ax.set_ylim(-0.03, 1.03)
        ax.set_title(title)
        if ax.get_legend_handles_labels()[0]:
            ax.legend(fontsize=8.5)
    return drawn


@styled
def _losses(summary: TransitionResult) -> Figure:
    drawn, axes = subplots(1, 1, 2.6)
    colours = dict(zip(summary.grid.widths, COLOURS * 9, strict=False))
    for name, cells in lines(summary).items():
        colour = colours[cells[0].width]
        line(axes[0], [(c.size, c.loss.held_out) for c in cells], colour, f"held out, {name}", **SOLID)
        line(axes[0], [(c.size, c.loss.training) for c in cells], colour, f"training, {name}", **DASHED)
    _size_axis(axes[0], summary.grid.sizes)
    axes[0].set_yscale("log")
    axes[0].set_title("denoising loss (dashed: of training images)")
    axes[0].legend(fontsize=8.5)
    return drawn


def _pairs(summary: TransitionResult) -> dict[str, list[Between]]:
    """What was compared at every size, by what the two models are."""
    labels = {cell.name: label(summary, cell) for cell in summary.cells}
    compared: dict[str, list[Between]] = {}
    for between in summary.between:
        compared.setdefault(f"{labels[between.first]} and {labels[between.second]}", []).append(between)
    return compared


def _size_axis(ax: Axes, sizes: Sequence[int]) -> None:
    ax.set_xscale("log", base=2)
    ticks(ax, sizes, [str(n) for n in sizes], fontsize=8)
    ax.set_xlabel("training images")


def _shade(ax: Axes, summary: TransitionResult) -> None:
    """The sizes at which every model is of one regime, half-way to the next size on either side."""
    sizes = summary.grid.sizes
    edges = [sizes[0] / 1.3, *((a * b) ** 0.5 for a, b in pairwise(sizes)), sizes[-1] * 1.3]
    for i, size in enumerate(sizes):
        regimes = {cell.regime for cell in _at(summary, size)}
        if regimes in ({"memorizes"}, {"generalizes"}):
            colour = PAINT.ours if regimes == {"memorizes"} else PAINT.real
            ax.axvspan(edges[i], edges[i + 1], color=colour, alpha=0.07, linewidth=0)
    ax.set_xlim(edges[0], edges[-1])


def _sheets(folder: Path, summary: TransitionResult) -> list[Section]:
    sizes = summary.grid.sizes
    pictures = []
    for size in dict.fromkeys((sizes[0], sizes[-1])):
        cell = _at(summary, size)[-1]
        where = folder / "shown" / cell.name
        if not where.is_dir():
            continue
        samples, nearest = (Store(where / name, Images).read() for name in ("samples", "nearest"))
        sheet = pairs(samples.values, nearest.select(samples.keys).values, columns=6)
        title = f"{number(size)} training images, {label(summary, cell)}"
        note = f"the first {len(samples)} seeds; in each pair the sample, then its nearest training image"
        pictures.append(Picture(cell.name, sheet, title, note, f"samples and nearest training images, {title}"))
    lead = "Not chosen: the first seeds of a model of the smallest and of one of the largest training set."
    return (
        [Section("samples", "Samples and their nearest training images", lead, pictures=pictures)] if pictures else []
    )


def _tables(summary: TransitionResult) -> Section:
    kinds = list(summary.alike.thresholds)
    cells = [
        [
            cell.name,
            *(cell.gl[kind].score for kind in kinds),
            *(cell.gl[kind].held_out for kind in kinds),
            cell.nearest.samples,
            cell.nearest.held_out,
            cell.loss.training,
            cell.loss.held_out,
            cell.regime,
            number(cell.epochs),
        ]
        for cell in summary.cells
    ]
    columns = ["model", *(f"new, {k}" for k in kinds), *(f"held-out images alike, {k}" for k in kinds)]
    columns += [
        "median cosine to the nearest training image",
        "of held-out images",
        "training loss",
        "held-out loss",
        "regime",
        "epochs",
    ]
    theory = [[cell.name, *_agreement(cell.theory)] for cell in summary.cells]
    between = [[f"{b.first} and {b.second}", *_agreement(b)] for b in summary.between]
    heads = [name for kind in summary.alike.rp for name in (f"RP, {kind}", "chance")]
    heads += [f"pixels within {number(255 * summary.mae_limit, 2)}/255", "chance"]
    tables = [
        Table(columns, cells, "Models"),
        Table(["", *heads], between, "Agreement between models of one size"),
        Table(["model", *heads], theory, "Agreement with the optimal denoiser of its training set"),
    ]
    details = []
    if "pairs" in summary.alike.rp:
        text = (
            f"Agreement with a far lower threshold, a cosine of {summary.alike.rp['pairs']:.3f}: that of pairs of "
            "different held-out images. It asks for the same kind of image rather than for the same image."
        )
        details.append(("RP, pairs", text))
    return Section("numbers", "All numbers", tables=[table for table in tables if table.rows], details=details)


def _agreement(entry: Agreement) -> list[Score]:
    scores = [*entry.rp.values(), entry.mae]
    return [part for s in scores for part in (s.score, s.chance)]
