"""The page of `farfield distances`: every measure of generated images beside that of real ones."""

from __future__ import annotations

from pathlib import Path

from farfield.command.distances import DistancesResult
from farfield.present import measured, verdict
from farfield.present.headline import headline
from farfield.present.page import Content
from farfield.present.words import count, short


def content(folder: Path, summary: DistancesResult) -> Content:
    """All of the page, from what the run left on disk."""
    real, generated, measures = summary.real, summary.generated, summary.measures
    domain = short(real.source)
    said = [
        headline(generated.n, domain, summary.standing, measures),
        *verdict.standing(summary.standing, domain),
        *verdict.distances(measures, domain, True),
        *verdict.told(measures),
    ]
    return Content(
        short(generated.source),
        domain,
        [
            count(generated.n, "generated image"),
            f"{count(real.n, 'real image')}, {summary.references} of them references",
        ],
        said,
        verdict.caveats(measures, True) + summary.notes,
        verdict.measured_tiles(summary.standing, measures),
        measured.measured(measures, True),
    )
