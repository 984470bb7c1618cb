"""The pages of `farfield score`: one set beside its training images, two models seed by seed, or every two of several."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from farfield.command.likeness import Calibration
from farfield.command.score import ScoreGlResult, ScoreMatrixResult, ScoreRpResult
from farfield.core.artifact import read_json
from farfield.core.score import Score
from farfield.present.copying import (
    MEANINGS,
    beside,
    copying,
    copying_tests,
    facts,
    flipped,
    likeness,
    similarities,
    thresholds,
)
from farfield.present.gallery import opened
from farfield.present.page import Chart, Content, Picture, Section, Table
from farfield.present.words import count, descriptor, number, score, score_parts, share, short


def gl(folder: Path, summary: ScoreGlResult) -> Content:
    """The page of `farfield score gl`."""
    about = facts(summary.samples.n, summary.training.n, summary.held_out, summary.descriptor)
    tiles = [
        (f"GL at the {kind} threshold", *score_parts(row.score), beside(flipped(row.held_out)))
        for kind, row in summary.gl.items()
    ]
    names = short(summary.samples.source), short(summary.training.source)
    sections = [copying(summary), *likeness(folder, summary, summary.descriptor), *_closest(folder)]
    return Content(*names, about, [_gl_sentence(summary), *_gl_lines(summary)], summary.notes, tiles, sections)


def rp(folder: Path, summary: ScoreRpResult) -> Content:
    """The page of `farfield score rp`."""
    rows = [
        [f"RP, cosine above {number(summary.thresholds[kind])} ({kind})", row.score, row.chance]
        for kind, row in summary.rp.items()
    ]
    if mae := summary.mae:
        rows.append([f"MAE-RP, mean pixel difference up to {number(255 * mae.limit)} / 255", mae.score, mae.chance])
    rows.append([f"PFD, {summary.pfd.space}", summary.pfd.score, summary.pfd.chance])
    pairs = read_json(folder / "pairs.json")
    figure = similarities({"same seed": [row["similarity"] for row in pairs.values()]}, summary.thresholds)
    section = Section(
        "reproducibility",
        "The same noise in two models",
        "Images of one seed; re-paired seeds are what chance gives.",
        charts=[Chart(figure, "histogram of the similarities of same-seed pairs")],
        tables=[
            Table(["", "same seed", "re-paired seeds"], rows),
            thresholds(summary.thresholds, summary.calibration, "pairs of different images"),
        ],
        details=[("RP", MEANINGS["RP"])],
    )
    tiles = [
        (f"RP at the {kind} threshold", *score_parts(row.score), f"chance: {score_parts(row.chance)[0]}")
        for kind, row in summary.rp.items()
    ]
    about = [count(summary.pairs, "pair"), f"{descriptor(summary.descriptor)} features"]
    names = short(summary.first.source), short(summary.second.source)
    said = [_rp_sentence(summary), *_rp_lines(summary)]
    return Content(*names, about, said, summary.notes, tiles, [section])


def matrix(folder: Path, summary: ScoreMatrixResult) -> Content:
    """The page of `farfield score matrix`."""
    names, mae = list(summary.sets), summary.mae
    tables = [
        Table(
            ["", *names],
            [[name, *row] for name, row in zip(names, scores, strict=True)],
            f"{title}, {kind}, cosine above {number(summary.thresholds[kind])}",
        )
        for kind, both in summary.rp.items()
        for scores, title in ((both.score, "RP"), (both.chance, "RP of re-paired seeds"))
    ]
    first = next(iter(summary.thresholds))
    title = f"same seed, cosine above {summary.thresholds[first]:.3g}"
    pictures = [_heat_map("rp", "Reproducibility", names, summary.rp[first].score, title)]
    if mae:
        rows = [[name, *row] for name, row in zip(names, mae.score, strict=True)]
        tables.append(Table(["", *names], rows, f"MAE-RP, up to {number(255 * mae.limit)} / 255"))
        title = f"same seed, mean pixel difference at most {mae.limit * 255:.3g} / 255"
        pictures.append(_heat_map("mae", "The same by pixel difference", names, mae.score, title))
    tables.append(thresholds(summary.thresholds, summary.calibration, "pairs of different seeds"))
    lead = "The share of seeds from which two models make the same image; a model with itself gives 1."
    section = Section(
        "matrix", "Every two models", lead, pictures=pictures, tables=tables, details=[("RP", MEANINGS["RP"])]
    )
    about = [count(summary.pairs, "seed"), f"{descriptor(summary.descriptor)} features"]
    said = [_matrix_sentence(summary)]
    return Content(
        "Reproducibility",
        count(len(names), "model"),
        about,
        said,
        summary.notes,
        [],
        [section],
        _matrix_lines(summary),
    )


def _heat_map(name: str, caption: str, names: Sequence[str], scores: Sequence[Sequence[Score]], title: str) -> Picture:
    """A matrix of shares from 0 to 1, each cell with its number."""
    from matplotlib.figure import Figure
    from PIL import Image

    side = 1.6 + 0.75 * len(names)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.add_subplot()
    shown = axes.imshow([[s.value for s in row] for row in scores], vmin=0, vmax=1, cmap="viridis")
    places = range(len(names))
    axes.set_xticks(places, labels=list(names), rotation=45, ha="right", rotation_mode="anchor", parse_math=False)
    axes.set_yticks(places, labels=list(names), parse_math=False)
    axes.set_title(title, fontsize=10, parse_math=False)
    for i, row in enumerate(scores):
        for j, s in enumerate(row):
            axes.text(j, i, f"{s.value:.2f}", ha="center", va="center", color="white" if s.value < 0.6 else "black")
    figure.colorbar(shown, ax=axes, shrink=0.8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
    return Picture(name, Image.open(buffer), caption, alt=caption, generated=False)


def _closest(folder: Path) -> list[Section]:
    path = folder / "closest.png"
    if not path.is_file():
        return []
    title = "The closest pairs"
    note = "sample and training image with their cosine, the most alike first"
    return [
        Section(
            "pairs", "Samples beside training images", pictures=[Picture("closest", opened(path), title, note, title)]
        )
    ]


def _rp_lines(summary: ScoreRpResult) -> list[str]:
    """A score a line, each with its interval and what chance would give."""
    said = [
        f"RP {row.score} above {_threshold(summary.thresholds[kind], kind, summary.calibration)}; chance {row.chance}"
        for kind, row in summary.rp.items()
    ]
    if mae := summary.mae:
        said.append(f"MAE-RP {mae.score} up to {mae.limit * 255:.3g}/255; chance {mae.chance}")
    return [*said, f"PFD {summary.pfd.score} in {summary.pfd.space}; chance {summary.pfd.chance}"]


def _matrix_lines(summary: ScoreMatrixResult) -> list[str]:
    tables = [
        (f"RP above {_threshold(summary.thresholds[kind], kind, summary.calibration)}", row.score)
        for kind, row in summary.rp.items()
    ]
    if summary.mae:
        tables.append((f"MAE-RP up to {summary.mae.limit * 255:.3g}/255", summary.mae.score))
    width = max(map(len, summary.sets))
    return [
        line
        for title, scores in tables
        for line in (
            title,
            *(
                f"  {name:<{width}}  " + "  ".join(f"{s.value:.3f}" for s in row)
                for name, row in zip(summary.sets, scores, strict=True)
            ),
        )
    ]


def _gl_lines(summary: ScoreGlResult) -> list[str]:
    said = []
    for kind, row in summary.gl.items():
        floor = _floor(row.held_out)
        if kind == "calibrated" and (c := summary.calibration):  # the rate of the calibration, as its images tell it
            floor = f"; new images {c.rate_low:.2g} to {c.rate_high:.2g} (95 %)"
        where = _threshold(summary.thresholds[kind], kind, summary.calibration)
        said.append(f"GL {row.score} at {where}; memorized {row.memorized}{floor}")
    if ratio := summary.ratio_test:
        said.append(f"1/3 test in {ratio.space}: {ratio.samples}{_floor(ratio.held_out)}")
    if authentic := summary.authenticity:
        said.append(f"AuthPct {authentic.samples}{_floor(authentic.held_out)}")
    for name, test in copying_tests(summary):
        said.append(f"{name} {test.statistic}; ± {test.null_sd:.2g} if nothing is copied")
    if summary.search.recall is not None:
        said.append(f"{summary.search.kind} search found {summary.search.recall} of the nearest")
    return said


def _threshold(value: float, kind: str, calibration: Calibration | None) -> str:
    more = f", {calibration.rate:.3g} of different images exceed it" if calibration and kind == "calibrated" else ""
    return f"{value:.3g} ({kind}{more})"


def _floor(score: Score | None) -> str:
    return "" if score is None else f"; held-out images {score}"


def _gl_sentence(summary: ScoreGlResult) -> str:
    kind, row = next(iter(summary.gl.items()))
    beside = f", of held-out images {score(flipped(row.held_out), True)}" if row.held_out else ""
    return (
        f"{score(row.score, True)} of {count(row.score.n, 'sample')} are no training image (GL at the {kind} threshold, in "
        f"{descriptor(summary.descriptor)} features){beside}."
    )


def _rp_sentence(summary: ScoreRpResult) -> str:
    kind, row = next(iter(summary.rp.items()))
    return (
        f"From {score(row.score, True)} of {count(summary.pairs, 'seed')} the two make the same image (RP at the {kind} "
        f"threshold, in {descriptor(summary.descriptor)} features), by chance from {score(row.chance, True)}."
    )


def _matrix_sentence(summary: ScoreMatrixResult) -> str:
    kind, both = next(iter(summary.rp.items()))
    apart = [cell.value for i, row in enumerate(both.score) for j, cell in enumerate(row) if i < j]
    low, high = share(min(apart)), share(max(apart))
    return (
        f"Two of these {len(summary.sets)} models make the same image from {low if low == high else f'{low} to {high}'} of "
        f"{count(summary.pairs, 'seed')} (RP at the {kind} threshold, in {descriptor(summary.descriptor)} features)."
    )
