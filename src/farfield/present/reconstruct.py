"""The page of `farfield reconstruct` and `farfield invert`: do images come back, and what are their latents worth?"""

from __future__ import annotations

from pathlib import Path

from farfield.command.reconstruct import ReconstructResult
from farfield.core.artifact import read_json
from farfield.present import gallery, method, verdict
from farfield.present.page import Content
from farfield.present.words import count, short


def content(folder: Path, summary: ReconstructResult) -> Content:
    """All of the page, from what the run left on disk."""
    trip, proof = summary.reconstruction, summary.latent_certificate
    each = None if isinstance(summary.images, str) else summary.images
    sets, domain, kept = gallery.read_sets(folder), short(_source(folder)), method.budget(summary.budget)
    return Content(
        summary.model,
        domain,
        [
            count(summary.n, "image"),
            *verdict.solved(summary.sigma, summary.steps, summary.solver, summary.network_calls),
        ],
        kept + verdict.come_back(trip, domain) + verdict.certified(proof),
        verdict.caveats({}, False, proof),
        verdict.trip_tiles(trip, proof),
        [
            *gallery.sheets(sets),
            *gallery.returned(sets, trip, proof, summary.codec, each),
            *method.section(summary.method_search),
        ],
    )


def _source(folder: Path) -> str:
    """Where the images came from, which the summary of `farfield reconstruct` does not say."""
    config = folder / "config.json"
    request = read_json(config).get("request") if config.is_file() else None
    return str((request or {}).get("images") or "images")
