"""The page of `farfield restore`: what was measured, draws of what it may have been, and whether they can be believed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from farfield.command.restore import Agreement, Coverage, Restored, RestoreResult
from farfield.core.artifact import Images, Store
from farfield.present import words
from farfield.present.gallery import kept
from farfield.present.page import Content, Picture, Section, Table, charts
from farfield.present.plot import PAINT, styled, subplots
from farfield.present.sheet import pairs
from farfield.present.words import count, level, number, score, share, short

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 8
"""Images on the sheet."""
DRAWN = 4
"""Draws of each."""
DONE = {"mask": "masked", "blur": "blurred", "scale": "reduced"}
NAMES = {
    "mean": "mean of the draws",
    "draws": "one draw",
    "smooth": "smoothest that fits",
    "filled": "gaps filled with the mean",
    "measurement": "measurement itself",
    "bicubic": "bicubic enlargement",
}
"""Restorations in print."""


def content(folder: Path, summary: RestoreResult) -> Content:
    """All of the page, from what the run left on disk."""
    done = summary.degraded
    what = DONE[done.kind] if done.given is None else f"{DONE[done.kind]} by {done.given}"
    facts = [
        f"{count(summary.n, 'image')}, {count(summary.draws, 'draw')} each",
        f"{what}{f', {share(done.missing)} missing' if done.missing else ''}",
        f"noise {share(done.noise)} of the range",
        f"{count(summary.steps, 'step')} of {summary.solver}, {count(summary.iterations, 'iteration')}",
        f"{number(summary.network_calls)} network calls a draw",
    ]
    sections = [_sheet(folder, summary), _misfit(summary)]
    if summary.restored:
        sections = [sections[0], *_restored(summary.restored, summary.draws), sections[1]]
    if summary.against:
        sections.append(_agreement(summary.against))
    return Content(
        summary.model.name,
        short(summary.images),
        facts,
        _verdict(summary),
        _caveats(summary),
        _key_numbers(summary),
        sections,
    )


def _name(name: str) -> str:
    return NAMES.get(name, name)


def _best_plain(restored: Restored) -> str:
    others = [name for name in restored.psnr if name not in ("mean", "draws")]
    return max(others, key=lambda name: restored.psnr[name].value)


def _verdict(summary: RestoreResult) -> list[str]:
    done = DONE[summary.degraded.kind]
    if summary.restored is None:
        said = [
            f"{count(summary.n, f'{done} image')} restored, {count(summary.draws, 'draw')} each; their draws differ from what "
            f"was measured by {score(summary.misfit)} times the noise's variance (right draws: 1)."
        ]
    else:
        psnr, best = summary.restored.psnr, _best_plain(summary.restored)
        said = [
            f"The mean of {number(summary.draws)} draws restores {done} images with a PSNR of {score(psnr['mean'])} dB; "
            f"{_name(best)}:  {score(psnr[best])} dB (n = {summary.n})."
        ]
        said.append(
            f"The draws' spread is {score(summary.restored.spread_over_error)} of their mean's error, of right draws 1; they "
            f"differ from the measurement by {score(summary.misfit)} times its noise's variance."
        )
    if one := summary.against:
        chance = number(one.pfd_chance.value)
        said.append(
            f"From the same measurement and noise {one.model.name} ends {score(one.pfd)} away (pixels from −1 to 1, root of "
            f"sum of squares); from other noise {chance}."
        )
    return said


def _caveats(summary: RestoreResult) -> list[str]:
    said = [
        "Where nothing was measured a draw shows what the model holds for likely there. It is no measurement, and of a domain "
        "that the model never saw it is a guess by another domain's rules."
    ]
    if summary.restored is not None:
        where = "the missing pixels" if summary.degraded.kind == "mask" else "all pixels"
        said.append(f"PSNR, spread and coverage are taken over {where}.")
    else:
        said.append(
            "The truth is not known here: degrade images of the same kind to see how far draws can be believed."
        )
    if summary.n == 1:
        said.append("One image was restored: its numbers hold for it alone, and have no interval.")
    return [*said, *summary.notes]


def _key_numbers(summary: RestoreResult) -> list[tuple[str, str, str, str]]:
    tiles = []
    if one := summary.restored:
        best = _best_plain(one)
        for name in ("mean", best):
            middle, ends = words.score_parts(one.psnr[name])
            tiles.append((f"PSNR, {_name(name)}", f"{middle} dB", ends, f"n = {summary.n}"))
        middle, ends = words.score_parts(one.spread_over_error)
        tiles.append(("Spread over error", middle, ends, "right draws: 1"))
    middle, ends = words.score_parts(summary.misfit)
    return [*tiles, ("Misfit", middle, ends, "right draws: 1")]


def _sheet(folder: Path, summary: RestoreResult) -> Section:
    draws = Store(folder / "samples", Images).read()
    mean = Store(folder / "mean", Images).read()
    keys, shape = mean.keys[:SHOWN], mean.values.shape[2:]
    measured = Store(folder / "measured", Images).read().select(keys).values
    for axis in (2, 3):
        measured = measured.repeat_interleave(shape[axis - 2] // measured.shape[axis], axis)
    sets = [("the image", kept(folder / "images")), ("the plain restoration", kept(folder / "plain"))]
    known = [(name, images.select(keys).values) for name, images in sets if images]
    numbers = range(min(DRAWN, summary.draws))
    parts = [
        *known[:1],
        ("measured (grey where nothing was)" if summary.degraded.missing else "measured", measured),
        *known[1:],
        ("the mean of the draws", mean.select(keys).values),
        *((f"draw {i + 1}", draws.select([f"{key}/{i:03d}" for key in keys]).values) for i in numbers),
    ]
    note = ", ".join(name for name, _ in parts)
    sheet = pairs(*(values for _, values in parts), columns=1)
    picture = Picture("restored", sheet, "Restorations", note, f"rows of images: {note}")
    return Section(
        "restorations", "Restorations", "A row is an image; draws differ where it was not measured.", pictures=[picture]
    )


def _restored(restored: Restored, draws: int) -> list[Section]:
    rows = [[_name(name), value] for name, value in restored.psnr.items()]
    table = Table(["restoration", "PSNR (dB)"], rows, chosen=[0])
    text = (
        "Over a range of 2, means over images with Student's 95 % interval. Single draws of a right posterior lie 3 dB below "
        f"the mean of many: detail that is only likely costs PSNR. The mean of {draws} lies "
        f"{number(10 * math.log10(1 + 1 / draws), 2)} dB below it. Smoothest is the image that fits the measurement with the "
        "least squared gradient."
    )
    sections = [Section("psnr", "Against the truth", text, tables=[table])]
    if restored.coverage:
        curves = [[name, one.p] for name, one in restored.coverage.items()]
        lead = (
            f"How often the truth is nearer to a reference than the k-th of {draws} draws is (TARP): of right draws on the "
            "diagonal, within the band in 95 % of cases at each place. Above it draws are too wide, below too narrow or beside "
            "the truth."
        )
        note = "p: how often right draws stray as far from the diagonal at their farthest."
        sections.append(
            Section(
                "coverage",
                "Are the draws as wide as they should be?",
                lead,
                charts=charts(_curves(restored.coverage), "coverage against credibility"),
                tables=[Table(["distances to", "p"], curves, note=note)],
            )
        )
    return sections


@styled
def _curves(coverage: dict[str, Coverage]) -> Figure | None:
    figure, axes = subplots(len(coverage), 2, 2.6)
    for ax, (name, one) in zip(axes, coverage.items(), strict=True):
        ax.fill_between(one.credibility, one.low, one.high, color=PAINT.muted, alpha=0.16, linewidth=0)
        ax.plot([0, 1], [0, 1], color=PAINT.ink, linewidth=1, linestyle=(0, (4, 2)))
        ax.plot(one.credibility, one.coverage, "o-", color=PAINT.ours, markersize=4.5, linewidth=1.3)
        ax.set_title(f"distances to {'the plain restoration' if name == 'plain' else name}")
        ax.set_xlabel("credibility")
        ax.set_ylabel("coverage")
    return figure


def _misfit(summary: RestoreResult) -> Section:
    done = summary.degraded
    text = (
        "The mean square of what is left of the measurement after a draw, (y − A x), over the variance of its noise (standard "
        f"deviation {level(2 * done.noise)} in pixels from −1 to 1): {score(summary.misfit)}. Right draws have 1 on average. "
        "Above it the measurement is not reached: more --iterations or --steps help. Below it noise was taken for signal."
    )
    return Section("misfit", "Do the draws fit the measurement?", text)


def _agreement(one: Agreement) -> Section:
    rows = [
        [f"alike above {number(one.thresholds[kind])} ({kind})", pair.score, pair.chance]
        for kind, pair in one.rp.items()
    ]
    rows.append(["distance in pixels (PFD)", one.pfd, one.pfd_chance])
    table = Table(["", "same noise", "other noise"], rows)
    text = (
        f"{one.model.name} restored the same measurements from the same noise. Other noise is that of another draw of the same "
        "measurement: how alike draws are in any case. RP is arXiv 2310.05264's."
    )
    if one.psnr:
        text += f" The mean of its draws has a PSNR of {score(one.psnr)} dB."
    return Section("against", "Do two models restore alike?", text, tables=[table])
