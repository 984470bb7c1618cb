"""The page of `farfield gain`, and its section on the pages of others: what models know of examples that were left out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from farfield.command.contribution import GainLevel, ModelGain
from farfield.command.gain import GainResult
from farfield.core.score import Score
from farfield.present.curve import Line, curves
from farfield.present.page import Chart, Content, Section, Table, charts
from farfield.present.plot import PAINT
from farfield.present.words import Said, count, level, number, score, score_parts, share, short

DENOISERS = {
    "wiener": ("Wiener filter", PAINT.base, True),
    "frozen": ("frozen network", PAINT.base, False),
    "network": ("calibrated network", PAINT.real, False),
    "patches": ("without the network", PAINT.ink, False),
    "all": ("all together", PAINT.ours, False),
}
"""Titles of `unseen.calibration.LEFT_OUT` but the mean, their colours, and whether they are dashed."""

LEAD = (
    "Each example is denoised by what was fitted on the others: by the examples' Wiener filter (the best linear denoiser), by "
    "the frozen network as it is and calibrated, by what the examples say without any network, their patches and the Wiener "
    "filter, and by all together, where leave-one-out decides what takes part. Errors are parts of what is left when nothing "
    "but the examples' mean is known."
)
ADDS = (
    "By what part the error of all together is below that without the network, paired by example, mean and 95 % interval. The "
    "one number is the mean over the levels that count, evenly in ln σ: those at which the Wiener filter leaves between 5 and "
    "95 % of the examples' spread. Below, next to nothing is to be found; above, next to nothing can be. Other levels stand "
    "in brackets."
)
SHARES = (
    "What part of the answer each of them makes, of the velocity that all denoisers predict: in the coarser half of the bands of "
    "frequencies, and in the finer half. Rows sum to 100 %; two that say much the same share the work by chance."
)


def content(folder: Path, summary: GainResult) -> Content:
    """All of the page, from what the run left on disk."""
    rows, examples = summary.models, summary.examples
    best = rows[0]
    tiles = [(f"{short(row.model.name)} adds", *_percent(row.gain), "less error than without it") for row in rows[:4]]
    sections = [] if len(rows) == 1 else [_ranking(summary)]
    for i, row in enumerate(rows):
        title = "What the model knows" if len(rows) == 1 else short(row.model.name)
        sections += section(row.gain, title, "gain" if i == 0 else f"gain-{i + 1}")
    return Content(
        best.model.name if len(rows) == 1 else f"{len(rows)} models",
        short(examples.source),
        [f"{count(examples.n, 'example')} of {examples.available}", "each left out in its turn", "nothing was sampled"],
        [summary.says, *([] if len(rows) == 1 or best.gain is None else [best.gain.says])],
        summary.notes,
        tiles,
        sections,
        lines=_ranked(summary) if len(rows) > 1 else lines(best.gain),
    )


def section(
    gain: ModelGain | None, title: str = "What the network knows of the examples", anchor: str = "gain"
) -> list[Section]:
    """The errors by noise level, what the network adds, and who does the work."""
    if gain is None or not gain.levels:
        return []
    known = [name for name in DENOISERS if any(name in row.errors for row in gain.levels)]
    added = any(row.adds for row in gain.levels)
    columns = ["σ", "nothing", *(DENOISERS[name][0] for name in known), *(["the network adds"] if added else [])]
    rows = [
        [
            _sigma(row),
            number(row.errors["mean"].value),
            *(_left(row, name) for name in known),
            *([score(row.adds, percent=True)] if added else []),
        ]
        for row in gain.levels
    ]
    tables = [
        Table(
            columns,
            rows,
            "Denoising error of left-out examples",
            note="nothing: mean squared error a pixel; the others: parts of it.",
        ),
        _shares(gain.levels),
    ]
    details = [("What the network adds", ADDS), ("Who does the work", SHARES)]
    return [
        Section(
            anchor, title, LEAD, [gain.says] if gain.says else [], _drawn(gain, known), tables=tables, details=details
        )
    ]


def lines(gain: ModelGain | None) -> list[str]:
    """The table for a terminal, a line a level that counts."""
    said = []
    for row in gain.levels if gain else []:
        if row.counts:
            left = ", ".join(
                f"{title} {_left(row, name)}" for name, (title, *_) in DENOISERS.items() if name in row.errors
            )
            said.append(
                f"  σ {level(row.sigma)}: {left}" + (f"; adds {score(row.adds, percent=True)}" if row.adds else "")
            )
    return said


def _ranked(summary: GainResult) -> list[str]:
    return [f"  {row.model.name}: {' '.join(filter(None, _percent(row.gain)))}" for row in summary.models]


def _ranking(summary: GainResult) -> Section:
    rows = [
        [
            short(row.model.name),
            " × ".join(map(str, row.model.shape)),
            _cell(row.gain.adds if row.gain else None),
            _cell(row.behind),
        ]
        for row in summary.models
    ]
    lead = "By what part each network lowers the error that left-out examples have without it, as a mean over noise levels."
    table = Table(["Model", "images", "adds", "behind the first"], rows, chosen=[0], note="Behind: paired by example.")
    return Section("models", "Which model to freeze", lead, tables=[table], details=[("What a network adds", ADDS)])


def _shares(levels: Sequence[GainLevel]) -> Table:
    names = list(levels[0].shares)
    rows = [[_sigma(row), *(_halves(row.shares[name]) for name in names)] for row in levels]
    return Table(["σ", *names], rows, "Share of the work, coarse → fine", folded=True)


def _halves(parts: Sequence[float]) -> str:
    half = (len(parts) + 1) // 2
    return f"{share(fmean(parts[:half]))} → {share(fmean(parts[half:] or parts))}"


def _drawn(gain: ModelGain, known: Sequence[str]) -> list[Chart]:
    counted = [row for row in gain.levels if row.counts] or gain.levels
    errors = [
        Line(title, [(row.sigma, _part(row, name)) for row in counted if name in row.errors], paint, dashed=dashed)
        for name, (title, paint, dashed) in DENOISERS.items()
        if name in known
    ]
    adds = [Line("all together", [(row.sigma, row.adds) for row in counted])]
    panels = {"error left, part of nothing's": errors, "part of the error that the network takes away": adds}
    return charts(
        curves(panels, columns=2), "error left of each denoiser, and what the network takes away, against sigma"
    )


def _part(row: GainLevel, name: str) -> Score:
    one, whole = row.errors[name], row.errors["mean"].value
    low, high = (None if end is None else end / whole for end in (one.low, one.high))
    return Score(one.value / whole, one.n, low, high)


def _left(row: GainLevel, name: str) -> str:
    return share(row.errors[name].value / row.errors["mean"].value) if name in row.errors else "–"


def _sigma(row: GainLevel) -> str:
    return level(row.sigma) if row.counts else Said(f"({level(row.sigma)})", row.sigma)


def _percent(gain: ModelGain | None) -> tuple[str, str]:
    return score_parts(gain.adds if gain else None, True)


def _cell(value: Score | None) -> str:
    return score(value, percent=True) if value else "–"
