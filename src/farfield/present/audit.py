"""The page of `farfield audit`: a verdict, the scores it stands on beside those of held-out images, and the closest pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from farfield.command.audit import AuditResult, OtherModel
from farfield.core.artifact import read_json
from farfield.present.copying import MEANINGS, beside, copying, facts, flipped, likeness
from farfield.present.gallery import kept
from farfield.present.page import Content, Picture, Section, Table
from farfield.present.sheet import channels_shown, pairs
from farfield.present.verdict import FEW, below_zero
from farfield.present.words import MEASURES, count, number, score, score_parts, short

KINDS = {
    "memorizes": "It memorizes",
    "copies some": "It copies some training images",
    "generalizes": "It generalizes",
    "strays": "It does not copy, and does not make the domain either",
    "cannot be told": "It cannot be told",
}
NAMES = {
    "memorized": "memorized",
    "ratio": "1/3 distance ratio",
    "authenticity": "AuthPct",
    "data_copying": "data-copying test",
}
READINGS = {"copies": "copies", "no copies": "no copies", "no null": "nothing to hold it against"}
RULE = (
    "Memorizes: more than half of the samples are copies, by the similarity or by the distance ratio, beyond chance. Copies "
    "some: more of them than of new images. Cannot be told: no copies show, but a tenth of so few samples could be copies, or "
    "no image was held out. Strays: no copies show, but samples lie among real images less than half as often as training "
    "images do. Generalizes: none of these. Ends of intervals are read, never values."
)
PAIRS = {
    "closest_samples": "The closest samples",
    "closest_held_out": "The closest held-out images",
    "drawn_samples": "Samples drawn at random",
    "drawn_held_out": "Held-out images drawn at random",
}
MEASURED = tuple(MEASURES)


def content(folder: Path, summary: AuditResult) -> Content:
    """All of the page, from what the run left on disk."""
    said = _verdict(summary)
    return Content(
        short(summary.subject.source),
        short(summary.training.source),
        _facts(summary),
        said,
        _caveats(summary),
        _key_numbers(summary),
        [
            *_galleries(folder, summary.thresholds[_deciding(summary)]),
            _evidence(summary),
            copying(summary),
            *likeness(folder, summary, summary.descriptor),
            *_distances(summary),
            *_reproducibility(summary),
            _training(summary),
        ],
    )


def _facts(summary: AuditResult) -> list[str]:
    subject = summary.subject
    said = facts(subject.n, summary.training.n, summary.held_out, summary.descriptor)
    return [*said, f"{count(subject.steps, 'step')} of {subject.solver}"] if subject.steps else said


def _verdict(summary: AuditResult) -> list[str]:
    """The verdict in sentences."""
    verdict = summary.verdict
    said = [f"{KINDS[verdict.kind]}: {verdict.sentence[0].lower()}{verdict.sentence[1:]}"]
    if names := [NAMES[name] for name in verdict.against]:
        said.append(f"Not every score reads so: look at {', '.join(names)}.")
    if distances := summary.distances:
        samples, training = (distances.held_out[name].kernel_distance for name in ("samples", "training"))
        said.append(
            f"The samples stand at a kernel distance of {score(samples)} from held-out images, as many "
            f"training images at {score(training)}."
        )
        if note := below_zero((samples, training)):
            said.append(note)
    return said


def _evidence(summary: AuditResult) -> Section:
    rows = [[NAMES[e.name], e.score, e.null, READINGS[e.reading]] for e in summary.verdict.evidence]
    return Section(
        "evidence",
        "What the verdict stands on",
        "The first two decide. A score reads as copying where its interval lies wholly beyond that of new images.",
        tables=[Table(["score", "samples", "new images", "reads"], rows)],
        details=[("The rule", RULE)],
    )


def _caveats(summary: AuditResult) -> list[str]:
    said = list(summary.notes)
    if summary.subject.n < FEW:
        said.append(f"Only {summary.subject.n} samples: read intervals rather than values.")
    twice, calibration = summary.duplicates.training, summary.calibration
    if twice and calibration and twice.low is not None and twice.low > calibration.rate_high:
        said.append(
            f"{score(twice, True)} of the training images are as alike to another one: what a model makes of these "
            "counts as copied, and the distance ratio does not see it."
        )
    return said


def _key_numbers(summary: AuditResult) -> list[tuple[str, str, str, str]]:
    kind = _deciding(summary)
    gl = summary.gl[kind]
    tiles = [(f"GL at the {kind} threshold", *score_parts(gl.score), beside(flipped(gl.held_out)))]
    for part, title in ((summary.ratio_test, "1/3 distance ratio"), (summary.authenticity, "AuthPct")):
        if part:
            tiles.append((title, *score_parts(part.samples, True), beside(part.held_out, True)))
    if distances := summary.distances:
        ours, own = (distances.held_out[name].kernel_distance for name in ("samples", "training"))
        note = f"training images: {score_parts(own)[0]}"
        tiles.append(("kernel distance to held-out", *score_parts(ours), note))
    for other in summary.reproducibility:
        pair = other.rp.get(kind) or next(iter(other.rp.values()))
        tiles.append((f"RP, {_other(other)}", *score_parts(pair.score), f"chance: {score_parts(pair.chance)[0]}"))
    return tiles


def _deciding(summary: AuditResult) -> str:
    """The threshold whose share the verdict reads."""
    return "calibrated" if "calibrated" in summary.gl else next(iter(summary.gl))


def _galleries(folder: Path, threshold: float) -> list[Section]:
    """The most alike pairs of samples and of held-out images, and pairs drawn at random."""
    table, pictures = read_json(folder / "nearest.json"), []
    for name, title in PAIRS.items():
        shown, training = (kept(folder / "pairs" / name / which) for which in ("images", "training"))
        if not shown or not training:
            continue
        rows = table["held_out" if name.endswith("held_out") else "samples"]
        alike = [rows[key]["similarity"] for key in shown.keys]
        captions, framed = [f"{s:.3f}" for s in alike], [s > threshold for s in alike]
        sheet = pairs(shown, training.select(shown.keys), columns=6, captions=captions, framed=framed)
        note = "; ".join(filter(None, ("image, nearest training image, cosine", channels_shown(shown.values.shape[1]))))
        alt, generated = f"{title}, each beside its nearest training image", not name.endswith("held_out")
        pictures.append(Picture(name, sheet, title, note, alt, generated))
    lead = (
        f"Framed where the cosine is above {number(threshold)}. A number is no eye: look whether the closest pairs are copies, "
        "and whether samples are images of the domain. Held-out images that nearly repeat training images push a calibrated "
        "threshold up: then leave them out."
    )
    return [Section("pairs", "Beside the training images", lead, pictures=pictures)] if pictures else []


def _distances(summary: AuditResult) -> list[Section]:
    distances = summary.distances
    if not distances:
        return []
    lines = [
        ("samples to held-out", distances.held_out["samples"]),
        ("training to held-out", distances.held_out["training"]),
        ("samples to training", distances.training["samples"]),
    ]
    names = [m for m in MEASURED if any(getattr(row, m) for _, row in lines)]
    table = Table(
        ["", *(MEASURES[m].title for m in names)], [[name, *(getattr(row, m) for m in names)] for name, row in lines]
    )
    return [
        Section(
            "distances",
            "Distances to held-out images",
            f"{number(distances.n)} images of each set. Copies stand as near to held-out images as the training images do, and "
            "nearer to the training images: the last line below the first tells of memory.",
            tables=[table],
            details=[(MEASURES[m].title, MEASURES[m].meaning) for m in names],
        )
    ]


def _reproducibility(summary: AuditResult) -> list[Section]:
    rows: list[list[Any]] = []
    for other in summary.reproducibility:
        for kind, pair in other.rp.items():
            place = f"cosine above {number(other.thresholds[kind])} ({kind})"
            rows.append([_other(other), place, pair.score, pair.chance])
        if mae := other.mae:
            limit = f"pixels differ by at most {number(255 * mae.limit)} / 255"
            rows.append([_other(other), limit, mae.score, mae.chance])
    if not rows:
        return []
    table = Table(["beside", "the same image", "share of seeds", "re-paired seeds"], rows)
    lead = "Images of one seed, made by two models. Seeds that do not belong together are what chance gives."
    return [
        Section(
            "reproducibility", "The same noise in other models", lead, tables=[table], details=[("RP", MEANINGS["RP"])]
        )
    ]


def _training(summary: AuditResult) -> Section:
    twice = summary.duplicates
    rows: list[list[Any]] = [
        ["training images", twice.training, twice.training_exact],
        ["samples", twice.samples, None],
        ["held-out images", twice.held_out, None],
    ]
    return Section(
        "duplicates",
        "Duplicates",
        f"Images with another one of their own set above a cosine of {number(twice.threshold)}. Samples and held-out images "
        "are as many; the more images there are, the more have a near one.",
        tables=[Table(["", "nearly repeated", "repeated to the bit"], rows)],
    )


def _other(other: OtherModel) -> str:
    return "the empirical denoiser of the training images" if other.theory else short(other.source)
