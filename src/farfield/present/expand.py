"""The page of `farfield expand`: new images beside the examples, and every measure of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from farfield.command.contribution import NetworkAdds
from farfield.command.expand import ExpandResult
from farfield.command.measures import SearchedLevel
from farfield.core.artifact import read_json
from farfield.core.interval import Z95
from farfield.core.score import Score
from farfield.present import field, gain, gallery, measured, plot, verdict
from farfield.present.headline import headline
from farfield.present.page import Content, Picture, Section, Table, charts
from farfield.present.sheet import grid
from farfield.present.words import SETS, count, level, number, share, short

START = {
    "noise": "noise alone",
    "sdedit": "examples under noise",
    "patchwork": "a patchwork of latents",
    "interpolation": "between two latents",
}
"""Starts, in words."""

NEW = {True: "yes", False: "no", None: ""}
"""Whether samples copy no more than examples do, in words."""


def content(folder: Path, summary: ExpandResult) -> Content:
    """All of the page, from what the run left on disk."""
    sets, domain, held = gallery.read_sets(folder), short(summary.examples.source), summary.references
    trip, proof, accepted = summary.reconstruction, summary.latent_certificate, summary.acceptance
    geometry = folder / "geometry.json"
    head = headline(
        accepted.accepted, domain, summary.standing, summary.measures, summary.novelty, summary.local_copies
    )
    said = (
        verdict.standing(summary.standing, domain)
        + verdict.distances(summary.measures, domain, held is not None)
        + verdict.told(summary.measures)
        + verdict.sure(summary.labels or {})
        + verdict.copies(summary.novelty, summary.local_copies)
    )
    return Content(
        summary.model.name,
        domain,
        _facts(summary),
        [head, *_network(summary), *(said or verdict.come_back(trip, domain)), *verdict.certified(proof)],
        verdict.caveats(summary.measures, held is not None, proof, accepted.rate) + summary.notes,
        [
            *verdict.measured_tiles(summary.standing, summary.measures, summary.novelty),
            ("latents accepted", share(accepted.rate), "", f"{accepted.accepted} of {accepted.proposed} proposed"),
            *verdict.trip_tiles(trip, proof),
        ],
        [
            *gallery.sheets(sets, held.n if held else None),
            *gallery.nearest(sets, summary.nearest),
            *gallery.returned(sets, trip, proof, summary.codec),
            *_geometry(read_json(geometry) if geometry.is_file() else {}),
            *measured.measured(summary.measures, held is not None),
            *measured.labelled(summary.labels or {}),
            *measured.copied(summary.novelty, summary.local_copies),
            *_control(folder, summary.adds),
            *gain.section(summary.gain),
            *_search(summary.sigma_search or []),
            *field.section(summary.fields),
        ],
    )


def _network(summary: ExpandResult) -> list[str]:
    """What the frozen network adds, to the samples and to denoising."""
    said = [summary.adds.says if summary.adds else "", summary.gain.says if summary.gain else ""]
    return [sentence for sentence in said if sentence]


def _control(folder: Path, adds: NetworkAdds | None) -> list[Section]:
    """The same seeds without the network."""
    if adds is None:
        return []
    lead = (
        "The control: the same examples and seeds with a calibration that never asks the network, so that the examples' Wiener "
        "filter and patches do all. What differs is the network's doing; where there are several candidates, the choice among "
        "them too."
    )
    images = gallery.kept(folder / "control" / "samples")
    note = "in the order of the new images above"
    shown = [Picture("control", grid(images.values[: gallery.SHOWN]), SETS["control"], note)] if images else []
    table = Table(
        ["Descriptor", "kernel distance lower by"],
        [[name, by] for name, by in adds.distance.items()],
        note="Paired by seed, with 95 % intervals; above 0 the network adds, below it harms.",
    )
    return [Section("control", "What the network adds", lead, [adds.says], tables=[table], pictures=shown)]


def _facts(summary: ExpandResult) -> list[str]:
    examples = summary.examples
    every = f" of {examples.available}" if examples.available not in (None, examples.n) else ""
    searched = any(row.discrepancy is not None and row.chosen for row in summary.sigma_search or [])
    started = f", {summary.started} started from" if summary.started not in (None, examples.n) else ""
    mixed = f", {summary.sampler.mixed} mixed" if summary.sampler.mixed > 1 else ""
    return [
        count(summary.acceptance.accepted, "new image"),
        f"{count(examples.n, 'example')}{every}{started}",
        *([count(summary.references.n, "held-out reference")] if summary.references else []),
        f"{summary.sampler.sampler} sampler{mixed}",
        *verdict.solved(summary.sigma, summary.steps, summary.solver, summary.network_calls, searched),
    ]


def _geometry(geometry: Mapping[str, Any]) -> list[Section]:
    """Lengths and angles of latents, as ``geometry.json`` has them."""
    drawn = charts(plot.histograms(geometry), "histograms of lengths, distances and angles of latents")
    if not drawn:
        return []
    lead = (
        "The dashed line is what independent draws from one Gaussian with the examples' mean and spread would measure in "
        f"{number(geometry.get('dimension'))} dimensions, in closed form. Examples that peak there behave like draws from such a "
        "law, and new latents belong among them where the two histograms coincide; shorter distances mean that they crowd."
    )
    about = (
        f"Mean of the examples' latents: length {number(geometry.get('mean_norm'), 4)}; spread per dimension "
        f"{number(geometry.get('scale'), 4)} (1 for the model's own noise)."
    )
    return [Section("geometry", "Where the latents lie", lead, [about], drawn)]


def _search(rows: Sequence[SearchedLevel]) -> list[Section]:
    """The search over noise levels."""
    if not rows:
        return []
    chosen = [i for i, row in enumerate(rows) if row.chosen]
    taken = "".join(f" Chosen: σ = {level(rows[i].sigma)}." for i in chosen)
    if any(row.sampler for row in rows):
        lead = (
            "Images may start from noise alone, from an example under noise, or from two that are mixed place by place. Each "
            "was tried, the last two from the lowest level at which the samples copy no more of the examples, as wholes, "
            "quarters and cells, than one half of the examples copies of the other. Of the starts that are new the first is "
            "taken, unless a later one comes nearer to the examples (squared MMD in the model's features) by more than the "
            "95 % interval of the difference. Where none is new, examples' latents are mixed too, and what copies least is "
            "taken. Nothing held out was looked at."
        )
        cells = [
            [START.get(row.sampler or "", ""), level(row.sigma), row.parents, row.copies, NEW[row.new], _apart(row)]
            for row in rows
        ]
        columns = ["start", "σ", "mixed", "copies, at the scale with most", "new", "discrepancy"]
        return [Section("search", "Where samples start", lead + taken, tables=[Table(columns, cells, chosen=chosen)])]
    lead = (
        "The noise level at which latents are sampled decides how much of the examples is kept: too low and new images are "
        "blends or copies, too high and the model's own domain returns."
    )
    table = Table(
        ["σ", "discrepancy", "copies"], [[level(row.sigma), row.discrepancy, row.copies] for row in rows], chosen=chosen
    )
    drawn = charts(plot.sigma_search(rows), "columns of the search against sigma")
    return [Section("search", "The search for σ", lead + taken, charts=drawn, tables=[table])]


def _apart(row: SearchedLevel) -> Score | None:
    """The discrepancy of a start, on its interval."""
    if row.discrepancy is None:
        return None
    half = Z95 * (row.error or 0.0)
    return Score(row.discrepancy, 0, row.discrepancy - half, row.discrepancy + half)
