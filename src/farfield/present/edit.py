"""The page of `farfield edit`: strips of images along each direction, and how local the change is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from farfield.command.edit import ORIGIN, RANDOM, EditResult, Move
from farfield.core.artifact import Images, Store
from farfield.present.page import Content, Picture, Section, Table
from farfield.present.sheet import pairs
from farfield.present.words import count, level, number, score, share, short

SHOWN = 6
"""Images in a strip."""


def content(folder: Path, summary: EditResult) -> Content:
    """All of the page, from what the run left on disk."""
    mask = summary.mask
    facts = [
        f"mask of {mask.pixels} of {count(mask.of, 'pixel')}",
        f"σ {level(summary.sigma)}, {count(summary.steps, 'step')} of {summary.solver}",
        f"directions found at {summary.found_at}",
        f"{count(summary.kept, 'direction')} of the outside left alone",
    ]
    sections = [_strips(folder, summary), _directions(summary), _changes(summary)]
    if summary.attribute or summary.agreement:
        sections.append(_attribute(summary))
    return Content(
        summary.model.name,
        short(summary.images),
        facts,
        _verdict(summary),
        _caveats(summary),
        _key_numbers(summary),
        sections,
    )


def _by_name(summary: EditResult) -> dict[str, list[Move]]:
    """The moves of each direction by their strength; without the one that moves nothing."""
    by_name: dict[str, list[Move]] = {}
    for move in summary.moves:
        if move.name != ORIGIN:
            by_name.setdefault(move.name, []).append(move)
    return {name: sorted(moves, key=lambda move: move.strength) for name, moves in by_name.items()}


def _strongest(moves: Sequence[Move]) -> Move:
    return max(moves, key=lambda move: abs(move.strength))


def _verdict(summary: EditResult) -> list[str]:
    strongest = {name: _strongest(moves) for name, moves in _by_name(summary).items()}
    ratios = {name: move.ratio for name, move in strongest.items() if move.ratio}
    ours = {name: ratio for name, ratio in ratios.items() if name.startswith("direction")}
    if not ours:
        return ["The mask covers the whole image: there is no outside to compare with."]
    best = max(ours, key=lambda name: ours[name].value)
    said = (
        f"Along {best}, at a strength of {number(strongest[best].strength)}, a pixel inside the mask changes "
        f"{score(ours[best])} times as much as one outside (n = {ours[best].n})"
    )
    if RANDOM in ratios:
        said += f"; along a random direction of the same length it is {score(ratios[RANDOM])} times"
    return [f"{said}.", *_success(summary)]


def _success(summary: EditResult) -> list[str]:
    """How often the class changes, by which way the most, and along a random direction."""
    if (facts := summary.attribute) is None:
        return []
    flips = {name: max(moves, key=_flips) for name, moves in _by_name(summary).items()}
    best = max(flips, key=lambda name: _flips(flips[name]))
    said = f"By {best} {score(flips[best].flipped, percent=True)} of the images change from {facts.toward} to "
    said += f"{facts.other or 'another'} or back"
    if RANDOM in flips and best != RANDOM:
        said += f", along a random direction {score(flips[RANDOM].flipped, percent=True)}"
    return [f"{said}, as the judge has it (n = {summary.n})."]


def _flips(move: Move) -> float:
    return move.flipped.value if move.flipped else -1.0


def _caveats(summary: EditResult) -> list[str]:
    psnr = summary.round_trip_psnr.median
    said = [
        f"Changes are measured against the image as it came back from its latent without a move; its PSNR "
        f"against the original is {number(psnr)} dB (median of n = {summary.n})."
    ]
    if summary.n == 1:
        said.append("One image was edited: its numbers hold for it alone, and have no interval.")
    if summary.n > 1 and summary.agreement is None:
        said.append(f"The directions are those of {summary.found_at}; the other images are moved along the same.")
    if summary.attribute:
        facts = summary.attribute
        said.append(
            f"The judge is right about {score(facts.accuracy, percent=True)} of {facts.n} labelled images that it was not taught "
            f"by; the commoner class is {share(facts.commonest)}."
        )
    return said


def _key_numbers(summary: EditResult) -> list[tuple[str, str, str, str]]:
    tiles = []
    for name, moves in list(_by_name(summary).items())[:4]:
        move = _strongest(moves)
        if move.ratio:
            note = f"inside over outside, strength {number(move.strength)}, n = {move.ratio.n}"
            tiles.append((name, number(move.ratio.value), "", note))
    return tiles


def _strips(folder: Path, summary: EditResult) -> Section:
    edits, images, mask = (Store(folder / name, Images).read() for name in ("edits", "images", "mask"))
    keys = images.keys[:SHOWN]
    dimmed = images.select(keys).values * (0.5 + 0.5 * mask.values)  # what is outside the mask half-way to grey
    origin = next(move for move in summary.moves if move.name == ORIGIN)
    pictures = []
    for name, moves in _by_name(summary).items():
        before = [move for move in moves if move.strength < 0]
        line = [*before, origin, *(move for move in moves if move.strength >= 0)]
        parts = [edits.select([f"{key}/{move.index:03d}" for key in keys]).values for move in line]
        note = f"the image, grey outside the mask, then strengths {', '.join(level(m.strength) for m in line)}"
        if name.find(" of ") > 0:
            note = "the image, grey outside the mask, then as it came back, then composed"
        sheet = pairs(dimmed, *parts, columns=1)
        pictures.append(Picture(f"strip-{name.replace(' ', '-')}", sheet, name.capitalize(), note, f"{name}: {note}"))
    height, width = images.shape[1:]
    lead = (
        f"The mask holds {summary.mask.pixels} of {height}×{width} pixels: those of the model's size, to which the images were "
        "brought. Strength 0 is the image as it came back. A unit of strength is one standard deviation of the model's own "
        "latents."
    )
    return Section("strips", "Along each direction", lead, pictures=pictures)


def _directions(summary: EditResult) -> Section:
    rows = [[d.name.replace("-", " "), d.gain, d.leak, share(_outside(d.gain, d.leak))] for d in summary.directions]
    table = Table(["direction", "moves inside", "moves outside", "share of the energy outside"], rows)
    text = (
        "How far the denoiser's answer moves, to first order, for a step of length 1: the singular value inside the mask, and "
        "the length of what moves outside."
    )
    if summary.kept:
        text += f" The directions are orthogonal to the {summary.kept} that move the outside most."
    return Section("directions", "To first order", text, tables=[table])


def _outside(gain: float, leak: float) -> float | None:
    return leak**2 / (gain**2 + leak**2) if gain or leak else None


def _changes(summary: EditResult) -> Section:
    moves = [(name, move) for name, group in _by_name(summary).items() for move in group]
    rows = [
        [
            f"{name}, {level(move.strength)}",
            *(move.inside, move.outside, move.ratio),
            *(move.ssim, move.perceived, move.flipped, move.toward, move.length),
        ]
        for name, move in moves
    ]
    columns = ["move", "change inside", "change outside", "inside over outside"]
    columns += ["SSIM", "copy distance", "class changed", "towards the class", "length"]
    text = (
        "Mean absolute change of a pixel's channels against strength 0, in units of the range from black to white; intervals of "
        "95 % over images, where there are several: Student's of a mean, the bootstrap's of a ratio, Wilson's of a share. "
        "SSIM and the distance in copy features (1 − cosine) are to the image at strength 0; the class and its probability are "
        "the judge's."
    )
    tables = [Table(columns, rows)]
    composed = [[name, move.departure] for name, move in moves if move.departure]
    if composed:
        note = "How far the change of several at once is from the sum of each alone, relative; 0 where edits add"
        tables.append(Table(["composed", "departure"], composed, note))
    rivals = (
        "Noise, pullback: the first right singular vector of the predicted noise's Jacobian inside the mask, and of that of the "
        "network's innermost activation (arXiv 2307.12868). Boundary: to the signed distance that the strength is from a linear "
        "boundary between labelled latents (arXiv 2302.08357); mid-boundary: along the gradient of one in that activation."
    )
    return Section("changes", "How local the change is", text, tables=tables, details=[("Rivals", rivals)])


def _attribute(summary: EditResult) -> Section:
    """Boundaries beside their null, and whether directions of one image are those of another."""
    tables = []
    if summary.boundaries:
        names = {"boundary": "latents", "mid-boundary": "middle of the network"}
        rows = [
            [names[wall.space], wall.accuracy, wall.null, wall.null_high, wall.p_value, wall.accuracy.n]
            for wall in summary.boundaries
        ]
        columns = ["boundary in", "held-out accuracy", "of shuffled labels", "their 95 %", "p", "n"]
        tables.append(Table(columns, rows, "Linear boundaries, on images left out of the fit"))
    if summary.agreement:
        rows = [[d.name.replace("-", " "), said] for d, said in zip(summary.directions, summary.agreement, strict=True)]
        tables.append(Table(["direction", "|cosine| with the first image's"], rows, "Directions of the other images"))
    return Section("labels", "Labels and transfer", tables=tables)
