"""The page of `farfield generate`: the first images, and how all were made."""

from __future__ import annotations

from pathlib import Path

from farfield.command.generate import GenerateResult
from farfield.present.gallery import opened
from farfield.present.page import Content, Picture, Section
from farfield.present.words import count, level, number, setting

NOTE = (
    "Nothing is measured here: `farfield audit` and `farfield score` hold samples against training images and others."
)


def content(folder: Path, summary: GenerateResult) -> Content:
    """All of the page, from what the run left on disk."""
    highest, lowest = summary.sigma
    facts = [
        f"{count(summary.n, 'image')} of {' × '.join(map(str, summary.model.shape))}",
        f"{count(summary.steps, 'step')} of {summary.solver}",
        f"σ {level(highest)} to {level(lowest)}",
        f"{number(summary.network_calls.per_image)} network calls an image",
    ]
    if summary.labels:
        facts.append(f"classes {setting(summary.labels)}, in turns")
    begin = f"the noise in {summary.noise}, keys" if summary.noise else "seeds"
    made = f"{summary.model.name} made {count(summary.n, 'image')}, from {begin} {summary.seeds}; nothing of them is measured."
    return Content(summary.model.name, f"seeds {summary.seeds}", facts, [made], [NOTE], [], _sheet(folder))


def _sheet(folder: Path) -> list[Section]:
    path = folder / "sheet.png"
    if not path.is_file():
        return []
    picture = Picture("sheet", opened(path), "The first images", "by seed", "contact sheet of the first images")
    return [Section("samples", "Samples", pictures=[picture])]
