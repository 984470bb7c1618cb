"""The page of `farfield train`: how the losses fell, and what the model draws."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from farfield.command.result import from_json
from farfield.command.train import LogRow, TrainResult
from farfield.core.artifact import read_json
from farfield.present.curve import line
from farfield.present.gallery import opened
from farfield.present.page import Content, Picture, Section, Table, charts
from farfield.present.plot import PAINT, styled, subplots
from farfield.present.words import count, number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROWS = 12
"""Rows of the log in the table."""


def content(folder: Path, summary: TrainResult) -> Content:
    """All of the page, from what the run left on disk."""
    log: list[LogRow] = from_json(list[LogRow], read_json(folder / "log.json"), "log.json")
    facts = [
        f"{count(summary.n, 'image')} of {' × '.join(map(str, summary.model.shape))}",
        f"{number(summary.images)} seen, {number(summary.epochs)} epoch{'s' * (summary.epochs != 1)}",
        f"{number(summary.model.parameters / 1e6)} M weights",
    ]
    sections = [_losses(log), *_samples(folder)]
    return Content(summary.model.name, summary.data, facts, _verdict(log), [], _key_numbers(summary, log), sections)


def _verdict(log: Sequence[LogRow]) -> list[str]:
    held = [(row.heldout, row.images) for row in log if row.heldout is not None]
    if not held:
        return ["No images were held out, so nothing here tells learning from memorizing; `--heldout` gives some."]
    lowest, after = min(held)
    last = held[-1][0]
    said = f"The loss of held-out images ended at {number(last)}"
    if after == held[-1][1]:
        return [f"{said}, its lowest: longer training may help."]
    worse = (
        f", {number(100 * (last / lowest - 1), 2)}\u202f% above its lowest" if last > 1.005 * lowest else ", as low as"
    )
    return [f"{said}{worse} after {number(after)} images."]


def _key_numbers(summary: TrainResult, log: Sequence[LogRow]) -> list[tuple[str, str, str, str]]:
    tiles = [("loss in training", number(summary.loss), "", "mean over the last stretch")]
    if summary.heldout is not None:
        tiles.append(("held-out loss", number(summary.heldout), "", "of the averaged weights"))
    seconds = sum(row.seconds or 0.0 for row in log)
    if seconds:
        rate = (log[-1].images - log[0].images) / seconds
        tiles.append(("images a second", number(rate), "", "with snapshots and samples"))
    return tiles


def _losses(log: Sequence[LogRow]) -> Section:
    columns = ["images", "loss", "held-out loss", "learning rate"]
    places = sorted({round(i * (len(log) - 1) / max(1, ROWS - 1)) for i in range(ROWS)})
    rows = [[number(log[i].images), log[i].loss, log[i].heldout, log[i].rate] for i in places if i < len(log)]
    lead = "The training loss is that of the weights as they were, the held-out loss that of their average."
    drawn = charts(_chart(log), "losses and learning rate over images seen")
    return Section("losses", "How it went", lead, charts=drawn, tables=[Table(columns, rows)])


def _samples(folder: Path) -> list[Section]:
    sheets = sorted((folder / "samples").glob("*.png"))
    if not sheets:
        return []
    pictures = [
        Picture(name, opened(path), f"After {number(int(path.stem))} images")
        for name, path in (("first", sheets[len(sheets) // 4]), ("last", sheets[-1]))
    ]
    return [Section("samples", "What it draws", "The same seeds each time.", pictures=pictures)]


@styled
def _chart(log: Sequence[LogRow]) -> Figure | None:
    rows = [row for row in log if row.loss is not None]
    if len(rows) < 2:
        return None
    figure, (losses, rates) = subplots(2, 2, 2.6)
    for name, title, colour in (("loss", "training", PAINT.ours), ("heldout", "held out", PAINT.real)):
        points = [(row.images, value) for row in rows if (value := getattr(row, name)) is not None]
        if points:
            line(losses, points, colour, title, marker="", linewidth=1.6)
    losses.set_yscale("log")
    losses.set_title("loss")
    losses.legend()
    line(rates, [(row.images, row.rate) for row in rows], PAINT.base, marker="", linewidth=1.6)
    rates.set_title("learning rate")
    rates.set_ylim(bottom=0)
    for ax in (losses, rates):
        ax.set_xlabel("images seen")
    return figure
