"""Of `farfield blind`: the page that asks, which knows no answer; and the page of what the answers are worth."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path

from farfield.command.blind import Answered, BlindResult, Kind
from farfield.core.artifact import Images, load, read_json
from farfield.data.picture import png
from farfield.present.page import Content, Picture, Section, Table
from farfield.present.report import templates
from farfield.present.sheet import channels_shown, grid, tiles
from farfield.present.words import score, score_parts, short

SIDE = 512
"""Pixels of the screen that a picture's longer side gets at most, by a whole factor; larger pictures as they are."""

SHEETS = (
    ("real", "real", "Real, taken for real"),
    ("real", "made", "Real, taken for made"),
    ("made", "made", "Made, taken for made"),
    ("made", "real", "Made, taken for real"),
)
"""What pictures are, what they were taken for, and the title of those."""


def page(pictures: Images, digest: str, domain: str) -> str:
    """The page that shows one picture after another and saves the answers.

    It is made of the pictures alone, so that it cannot give away what they are: pixels in the order of their numbers, without
    a word in their files.

    Args:
        digest: of the pictures, which the answers carry.
    """
    shown = [png(tile) for tile in tiles(pictures, 1)]
    height, width = pictures.shape[1:]
    factor = max(1, SIDE // max(height, width))
    html: str = (
        templates()
        .get_template("blind.html.jinja")
        .render(
            pictures=[f"data:image/png;base64,{base64.b64encode(content).decode()}" for content in shown],
            digest=digest,
            domain=short(domain),
            width=width * factor,
            height=height * factor,
            channels=channels_shown(pictures.shape[0]),
        )
    )
    return html


def content(folder: Path, summary: BlindResult) -> Content:
    """All of the page, from what the run left on disk."""
    answered = summary.answered
    ask = f"{summary.n} pictures wait for a reader who says of each whether it is real or made."
    said = [_verdict(answered)] if answered else [ask]
    caveats = ["One reader's eyes on a screen: another reader, or larger pictures, may tell more."] if answered else []
    again = read_json(folder / "config.json").get("command_line", f"farfield blind {summary.run}")
    asked = ["Open the page below and answer; it saves answers.json. Then:", f"{again} --answers answers.json"]
    return Content(
        summary.model,
        short(summary.domain),
        [f"{summary.n} pictures, half of them real", f"of the run {summary.run}"],
        said,
        [*caveats, *summary.notes],
        _tiles(answered) if answered else [],
        _sections(folder, answered) if answered else [_asking(again)],
        [] if answered else asked,
        "report.html" if answered else "blind.html",
    )


def _verdict(answered: Answered) -> str:
    right = f"{score(answered.right, percent=True)} of {answered.right.n} answers are right"
    if answered.verdict == "not told":
        return f"This reader cannot tell made from real: {right}, an interval that holds 50 %, which is chance."
    if answered.verdict == "told":
        return f"This reader tells made from real: {right}, where chance is 50 %."
    return f"This reader tells made from real, and takes one for the other: {right}, where chance is 50 %."


def _tiles(answered: Answered) -> list[tuple[str, str, str, str]]:
    shares = (
        ("answers that are right", answered.right, "chance: 50 %"),
        ("real ones taken for real", answered.real, f"of {answered.real.n}"),
        ("made ones taken for real", answered.made, f"of {answered.made.n}"),
    )
    return [(title, *score_parts(value, percent=True), note) for title, value, note in shares]


def _asking(again: str) -> Section:
    lead = (
        "The page blind.html in this folder shows one picture after another and does not know what they are. Let somebody "
        "answer who has not seen the page of the run, which shows the same pictures by name."
    )
    return Section("asking", "How to ask", lead, [f"Then: {again} --answers answers.json"])


def _sections(folder: Path, answered: Answered) -> list[Section]:
    """The answers by kind, and the pictures by what they were taken for."""
    truth = {number: told["kind"] for number, told in read_json(folder / "truth.json").items()}
    pictures = load(folder / "pictures", Images)
    counts = {(is_, taken): len(_numbers(truth, answered, is_, taken)) for is_, taken, _ in SHEETS}
    rows = [[is_, counts[is_, "real"], counts[is_, "made"], getattr(answered, is_)] for is_ in ("real", "made")]
    table = Table(["", "taken for real", "taken for made", "share taken for real"], rows)
    lead = "Intervals are exact ones of the binomial law (Clopper and Pearson), at 95 %."
    sheets = [
        Picture(f"{is_}-as-{taken}", grid(pictures.select(numbers).values), title, f"{len(numbers)}", "", is_ == "made",
                "ours" if is_ == "made" else "real")
        for is_, taken, title in SHEETS
        if (numbers := _numbers(truth, answered, is_, taken))
    ]  # fmt: skip
    return [Section("answers", "What they were taken for", lead, tables=[table], side=sheets)]


def _numbers(truth: Mapping[str, Kind], answered: Answered, is_: str, taken: str) -> list[str]:
    return [number for number, kind in truth.items() if kind == is_ and answered.answers[number] == taken]
