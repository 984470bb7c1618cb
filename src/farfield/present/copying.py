"""What a page says of samples beside the images they may be copies of: scores, similarities, thresholds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from farfield.command.facts import SourceFacts
from farfield.command.likeness import Calibration
from farfield.command.score import Comparison, CopyingTest
from farfield.core.artifact import read_json
from farfield.core.score import Score
from farfield.present import words
from farfield.present.page import Chart, Section, Table
from farfield.present.plot import PAINT, dot, few_ticks, named_rows, outline, styled, subplots
from farfield.present.words import count, number, score_parts, share

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MEANINGS = {
    "GL and memorized": "M is the share of samples whose nearest training image is more alike (by cosine of the features) "
    "than the threshold, and GL = 1 − M (arXiv 2310.05264). Real images are alike too: held-out images show how often.",
    "1/3 distance ratio": "The share of samples less than a third as far from their nearest training image as from the second "
    "nearest (arXiv 2310.02664). It needs no threshold, but near duplicates in the training set hide copies from it.",
    "AuthPct": "The share of samples that are no nearer to their training image than that image's own nearest fellow (arXiv "
    "2102.08921). It depends on the dimension: only its difference from held-out images means something.",
    "C_T": "Are samples nearer to the training images than held-out images are (arXiv 2004.05675)? Standardised ranks, about 0 "
    "for samples of the same law and below where they are nearer. Smooth or simple samples are nearer too.",
    "RP": "The share of seeds from which two models make the same image (arXiv 2310.05264), beside that of seeds which do not "
    "belong together. The empirical denoiser of the training images is the model that memorizes perfectly: RP with it falls "
    "as models generalize, though not to chance, as images of one noise share their large features.",
}


def facts(samples: int, training: int, held: SourceFacts | None, descriptor: str) -> list[str]:
    """The sets that were compared, for the line beneath the title."""
    others = count(held.n, "held-out image") if held else "no held-out images"
    return [
        count(samples, "sample"),
        count(training, "training image"),
        others,
        f"{words.descriptor(descriptor)} features",
    ]


def beside(null: Score | None, percent: bool = False) -> str:
    """What held-out images reach, beneath a number of samples."""
    return f"held-out images: {score_parts(null, percent)[0]}" if null else "no held-out images"


def copying(summary: Comparison) -> Section:
    """GL, the ratio test, AuthPct and C_T, of samples and of held-out images; as `farfield score gl` has them too."""
    rows: list[list[Any]] = []
    shares: list[tuple[str, Score, Score | None]] = []
    for kind, gl in summary.gl.items():
        name = f"memorized, above {number(gl.threshold)} ({kind})"
        rows.append([name, gl.memorized, gl.held_out])
        rows.append([f"GL at {number(gl.threshold)} ({kind})", gl.score, flipped(gl.held_out)])
        shares.append((name, gl.memorized, gl.held_out))
    if ratio := summary.ratio_test:
        shares.append((f"1/3 distance ratio, {ratio.space}", ratio.samples, ratio.held_out))
        rows.append(list(shares[-1]))
    if authentic := summary.authenticity:
        shares.append(("AuthPct", authentic.samples, authentic.held_out))
        rows.append(list(shares[-1]))
    rows += [[name, test.statistic, f"0 ± {number(1.96 * test.null_sd, 2)}"] for name, test in copying_tests(summary)]
    calibrated_on = (
        "held-out images" if "held_out" in summary.similarity else "training images and their nearest others"
    )
    return Section(
        "copying",
        "Copies of training images",
        "Of samples, and of images that were never trained on. A score says something only where the two differ.",
        charts=[Chart(_shares(shares), "shares of samples and of held-out images with their intervals")],
        tables=[
            Table(["", "samples", "held-out images"], rows),
            thresholds(summary.thresholds, summary.calibration, calibrated_on),
        ],
        details=[(name, MEANINGS[name]) for name in ("GL and memorized", "1/3 distance ratio", "AuthPct", "C_T")],
    )


def copying_tests(summary: Comparison) -> list[tuple[str, CopyingTest]]:
    """The tests of data copying under their names: of the whole space, and of its cells."""
    if not (tests := summary.data_copying):
        return []
    cells = tests.cells
    return [("C_T", tests.whole), *([(f"C_T in {cells.cells} cells", cells)] if cells else [])]


def likeness(folder: Path, summary: Comparison, descriptor: str) -> list[Section]:
    """How alike each sample is to its nearest training image, beside held-out images; nothing without the table."""
    if not (folder / "nearest.json").is_file():
        return []
    table = read_json(folder / "nearest.json")
    sets = {
        which.replace("held_out", "held-out images"): [row["similarity"] for row in rows.values()]
        for which, rows in (table.items() if "samples" in table else [("samples", table)])
    }
    figure = similarities(sets, summary.thresholds)
    return [
        Section(
            "likeness",
            "The nearest training image",
            f"The cosine of each image with the training image that is most alike; {words.descriptor(descriptor)} features.",
            charts=[Chart(figure, "histogram of similarities to the nearest training image")],
        )
    ]


@styled
def similarities(sets: Mapping[str, Sequence[float]], thresholds: Mapping[str, float]) -> Figure:
    """Histograms of cosines, laid over each other, with the thresholds as lines."""
    import numpy as np

    figure, (ax,) = subplots(1, 1, 2.6)
    values = {name: np.array(cosines, float) for name, cosines in sets.items()}
    low = min(min(v.min() for v in values.values()), min(thresholds.values()))
    edges = np.linspace(low - 0.01, 1.0, 61)
    for name, cosines in values.items():
        colour = PAINT.ours if name in ("samples", "same seed") else PAINT.real
        outline(ax, cosines, edges, colour, f"{name} (n = {cosines.size})")
    for i, (kind, place) in enumerate(thresholds.items()):
        style = (0, (4, 2)) if i else "-"
        ax.axvline(place, color=PAINT.ink, linewidth=1.1, linestyle=style, label=f"{kind} threshold, {place:.3g}")
    ax.set_xlabel("cosine")
    ax.set_xlim(edges[0], 1.005)
    figure.legend(loc="outside lower left", ncols=4)
    return figure


def thresholds(values: Mapping[str, float], calibration: Calibration | None, calibrated_on: str) -> Table:
    """The thresholds with how they were set."""
    rows: list[list[Any]] = []
    for kind, value in values.items():
        if kind == "calibrated" and (c := calibration):
            how = (
                f"from {number(c.n)} {calibrated_on}, to be exceeded by {share(c.rate)} of new ones; in truth by "
                f"{share(c.rate_low)} to {share(c.rate_high)}"
            )
            rows.append([kind, Score(value, c.n, c.low, c.high), how])
        else:
            rows.append([kind, value, {"given": "as asked for", "published": "the descriptor's own"}[kind]])
    return Table(["threshold", "cosine", "how it was set"], rows, "Thresholds")


@styled
def _shares(rows: Sequence[tuple[str, Score, Score | None]]) -> Figure:
    """A line each: the share of samples, and that of held-out images beneath it."""
    figure, (ax,) = subplots(1, 1, 0.5 + 0.42 * len(rows))
    for place, (_, ours, theirs) in enumerate(rows):
        for value, colour, shift in ((ours, PAINT.ours, -0.13), (theirs, PAINT.real, 0.13)):
            if value is not None:
                dot(ax, value, place + shift, colour, upright=False)
    named_rows(ax, [name for name, _, _ in rows])
    ax.set_xlim(-0.02, 1.02)
    few_ticks(ax, 5)
    for name, colour in (("samples", PAINT.ours), ("held-out images", PAINT.real)):
        ax.plot([], [], "o", color=colour, markersize=6, label=name)
    figure.legend(loc="outside lower left", ncols=2)
    return figure


def flipped(share: Score | None) -> Score | None:
    """1 minus a share."""
    if share is None:
        return None
    low, high = (None if end is None else 1 - end for end in (share.high, share.low))
    return Score(1 - share.value, share.n, low, high)
