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
    return [f"{said}."]


def _caveats(summary: EditResult) -> list[str]:
    psnr = summary.round_trip_psnr.median
    said = [
        f"Changes are measured against the image as it came back from its latent without a move; its PSNR "
        f"against the original is {number(psnr)} dB (median of n = {summary.n})."
    ]
    if summary.n == 1:
        said.append("One image was edited: its numbers hold for it alone, and have no interval.")
    if summary.n > 1:
        said.append(f"The directions are those of {summary.found_at}; the other images are moved along the same.")
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
    rows = [
        [f"{name}, {level(move.strength)}", move.inside, move.outside, move.ratio]
        for name, moves in _by_name(summary).items()
        for move in moves
    ]
    table = Table(["move", "change inside", "change outside", "inside over outside"], rows)
    text = (
        "Mean absolute change of a pixel's channels against strength 0, in units of the range from black to white; intervals of "
        "95 % over images, where there are several: Student's of a mean, the bootstrap's of a ratio."
    )
    return Section("changes", "How local the change is", text, tables=[table])
