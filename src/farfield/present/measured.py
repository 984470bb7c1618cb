"""The sections on new images beside held-out ones: every measure, and copies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from farfield.command.measures import BySet, CopiedParts, Labelled, LocalCopies, Measures, Novelty
from farfield.core.score import Score
from farfield.present import plot
from farfield.present.page import Section, Table, charts
from farfield.present.verdict import below_zero
from farfield.present.words import MEASURES, SETS, Said, as_score, number, score, share

ROLES = {"samples": "this run", "control": "control", "real": "floor", "base": "ceiling"}


def measured(measures: Mapping[str, BySet], held: bool) -> list[Section]:
    """The measures, a table for each descriptor: a row a measure, a column a set."""
    tables, sets = [], {name for by_set in measures.values() for name, row in by_set.items() if row != Measures()}
    for descriptor, by_set in measures.items():
        shown = [name for name in ROLES if by_set.get(name, Measures()) != Measures()]
        rows = [[about.named, *(as_score(getattr(by_set[s], name)) for s in shown)] for name, about in MEASURES.items()]
        rows += [["C2ST by chance", *(as_score(by_set[s].c2st_null) for s in shown)]]
        rows = [row for row in rows if any(row[1:])]
        if rows:
            note = below_zero(as_score(by_set[s].kernel_distance) for s in shown)
            tables.append(Table(["Measure", *(f"{SETS[s]}, {ROLES[s]}" for s in shown)], rows, descriptor, note=note))
    if not tables:
        return []
    against = "held-out real images" if held else "images: the examples, as none were held out"
    lead = f"Every set is held against the same {against}. Values with 95 % intervals; n is the number of images behind each."
    if "real" in sets:
        lead += " Real against real is the floor: no method can be expected to do better."
    if "base" in sets:
        lead += " The frozen model's own samples are the ceiling: what happens without the examples."
    drawn = charts(plot.measures(measures), "kernel distances with intervals, lower is better")
    details = [(about.named, about.meaning) for about in MEASURES.values()]
    details.append(
        (
            "C2ST by chance",
            "What the classifier reaches on relabelled images: the mean, and between what 95 % of them lie.",
        )
    )
    details.append(
        (
            "Interval",
            "Where the value would lie in 95 of 100 repetitions with other images. Intervals that do not meet differ; "
            "intervals that overlap leave it open.",
        )
    )
    return [Section("measures", "How near to real images", lead, charts=drawn, tables=tables, details=details)]


def labelled(labels: Mapping[str, Labelled]) -> list[Section]:
    """How sure a classifier of the examples' classes is of new images, beside held-out ones."""
    rows = [
        [d, row.classes, *map(_share, (row.samples, row.real, row.accuracy)), share(row.commonest), _share(row.taught)]
        for d, row in labels.items()
    ]
    if not rows:
        return []
    lead = (
        "A classifier that was fitted to the examples' classes, and its confidence to examples left out of the fit, says how "
        "many new images it is more than 0.9 sure of. Fewer than of real images: they are blends, or nothing of the domain. "
        "Where each new image was made from one example and takes its class, a second classifier is taught by the new images "
        "alone and tried on the same held-out ones: as often right as the first, it learned as much from them."
    )
    columns = ["Descriptor", "Classes", "Sure of new images ↑", "of real images"]
    columns += ["Taught by examples, right on held-out", "by guessing", "Taught by new images ↑"]
    return [Section("labels", "Of a class?", lead, tables=[Table(columns, rows)])]


def copied(novelty: Mapping[str, Novelty], local: LocalCopies | None = None) -> list[Section]:
    """Copies and duplicates in every descriptor, beside those of real images."""
    rows = [
        [
            descriptor,
            number(news.threshold),
            *map(_share, (news.copies, news.copies_floor, news.duplicates, news.duplicates_floor)),
        ]
        for descriptor, news in novelty.items()
        if as_score(news.copies)
    ]
    if not rows:
        return []
    floor = "of real images: floor"
    lead = (
        "A copy lies nearer to an example than the threshold; a duplicate lies nearer than that to another new image. The "
        "floor is how often real images do so among themselves."
    )
    shows = (
        "Distances are taken between features of a descriptor, so a copy is a copy in the eyes of that descriptor: one that "
        "ignores colour or position calls two images alike that differ in it. A share of copies above the floor means that "
        "the sampler repeats its examples; a share at the floor means that it repeats them no more than the domain repeats "
        "itself."
    )
    table = Table(["Descriptor", "Threshold", "Copies ↓", floor, "Duplicates ↓", floor], rows)
    details = [("What this does and does not show", shows)]
    tables = [table]
    if local and local.parts:
        tables.append(parts(local.parts))
        details.append(("Copies of parts", PARTS))
    return [Section("novelty", "New, or copied?", lead, tables=tables, details=details)]


PARTS = (
    "Each whole image, quarter and cell (sixteenth) is held against the same part of every example. The threshold is the "
    "examples' own, so about 5 % of the parts of real images are copies by this rule. Of physical fields the same is asked in "
    "physical units, where bright sources decide, and in whitened ones, where every scale has the same power and the grain "
    "counts most: who has an example's grain has not drawn fresh noise."
)


def parts(copied: Sequence[CopiedParts]) -> Table:
    """Copies by the scale of the part, in every space."""
    rows = [[part.scale, part.space, _share(part.samples), _share(part.floor)] for part in copied]
    return Table(["Part", "Distances in", "Copies ↓", "of real images: floor"], rows, "Copies of parts")


def _share(value: Score | None) -> str:
    known = as_score(value)
    return "–" if known is None else Said(f"{score(known, percent=True)}, n = {known.n}", known)
