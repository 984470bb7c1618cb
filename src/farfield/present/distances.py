"""The page of `farfield distances`: every measure of generated images beside that of real ones."""

from __future__ import annotations

from pathlib import Path

from farfield.command.distances import DistancesResult
from farfield.present import measured, verdict
from farfield.present.page import Content
from farfield.present.words import short


def content(folder: Path, summary: DistancesResult) -> Content:
    """All of the page, from what the run left on disk."""
    real, generated, measures = summary.real, summary.generated, summary.measures
    domain = short(real.source)
    said = verdict.distances(measures, generated.n, domain, True) + verdict.told(measures)
    return Content(
        short(generated.source),
        domain,
        [f"{generated.n} generated images", f"{real.n} real images, {summary.references} of them references"],
        said,
        verdict.caveats(measures, True) + summary.notes,
        verdict.measured_tiles(None, measures),
        measured.measured(measures, True),
        lines=said,
    )
