"""The page of `farfield prompt`: what a model painted, beside held-out images."""

from __future__ import annotations

from pathlib import Path

from farfield.command.prompt import PromptResult
from farfield.present import gallery, measured, verdict
from farfield.present.headline import headline
from farfield.present.page import Content
from farfield.present.words import count, short


def content(folder: Path, summary: PromptResult) -> Content:
    """All of the page, from what the run left on disk."""
    sets, held, measures = gallery.read_sets(folder), summary.references or None, summary.measures or {}
    domain = short(summary.examples.source if summary.examples else "images")
    return Content(
        summary.model.name,
        domain,
        [count(summary.n, "new image"), *([count(held.n, "held-out reference")] if held else [])],
        [
            headline(summary.n, domain, summary.standing, measures),
            *verdict.standing(summary.standing, domain),
            *verdict.distances(measures, domain, held is not None),
        ],
        verdict.caveats(measures, held is not None) + summary.notes,
        verdict.measured_tiles(summary.standing, measures),
        [*gallery.sheets(sets, held and held.n), *measured.measured(measures, held is not None)],
    )
