"""The page of `farfield prompt`: what a model painted, beside held-out images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from farfield.command.measures import BySet, Standing
from farfield.command.result import from_json
from farfield.present import gallery, measured, verdict
from farfield.present.page import Content, model_name
from farfield.present.words import short


def content(folder: Path, summary: dict[str, Any]) -> Content:
    """All of the page, from what the run left on disk."""
    sets, held = gallery.read_sets(folder), summary.get("references")
    domain = short((summary.get("examples") or {}).get("source") or "images")
    measures: dict[str, BySet] = from_json(dict[str, BySet], summary.get("measures") or {})
    stands: Standing | None = from_json(Standing | None, summary.get("standing"))
    count = summary["n"]
    return Content(
        model_name(summary),
        domain,
        [f"{count} new images", *([f"{held['n']} held-out references"] if held else [])],
        verdict.standing(stands, domain) + verdict.distances(measures, count, domain, held is not None),
        verdict.caveats(measures, held is not None) + summary["notes"],
        verdict.measured_tiles(stands, measures),
        [*gallery.sheets(sets, held and held["n"]), *measured.measured(measures, held is not None)],
    )
