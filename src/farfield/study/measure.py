"""Images to scores: descriptors and measures of the audit room, applied to the sets that a run has made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from farfield.audit.descriptor import Descriptor, describe
from farfield.audit.distribution import density_coverage, frechet_distance, kernel_distance, precision_recall
from farfield.audit.memorization import duplicates, novelty
from farfield.core.artifact import Features, Images
from farfield.study.run import Run


def features(
    run: Run, descriptor: Descriptor, label: str, sets: dict[str, Images], batch_size: int
) -> dict[str, Features]:
    """Features of each set, kept under ``features/<label>/<set>``."""
    found = {}
    for name, images in sets.items():

        def work(keys: tuple[str, ...], advance: Any, images: Images = images) -> Features:
            part = describe(descriptor, images.select(keys), batch_size)
            advance(len(keys))
            return part

        found[name] = run.compute(
            f"features/{label}/{name}", Features, images.keys, 8 * batch_size, work, f"describing {name} by {label}"
        )
    return found


def compare(references: Features, sets: dict[str, Features]) -> dict[str, dict[str, Any]]:
    """Every measure of every set against the same references; a set too small for a measure goes without it."""
    table: dict[str, dict[str, Any]] = {}
    for name, found in sets.items():
        row: dict[str, Any] = {}
        if min(len(found), len(references)) >= 4:
            row["kernel_distance"] = kernel_distance(real=references, generated=found)
            row["frechet_distance"] = frechet_distance(real=references, generated=found)
        if min(len(found), len(references)) > 5:
            row["precision"], row["recall"] = precision_recall(real=references, generated=found)
            row["density"], row["coverage"] = density_coverage(real=references, generated=found)
        table[name] = row
    return table


def newness(samples: Features, examples: Features, held_out: Features | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Copies and duplicates with their floors, and each sample's nearest example; empty with fewer than 3 examples."""
    if len(examples) < 3:
        return {}, {}
    found = novelty(samples=samples, examples=examples, references=held_out)
    row: dict[str, Any] = {"threshold": found.threshold, "copies": found.copies, "copies_floor": found.floor}
    if len(samples) > 1:
        twice = duplicates(samples, found.threshold, held_out if held_out is not None and len(held_out) > 1 else None)
        row |= {"duplicates": twice.share, "duplicates_floor": twice.floor}
    rows = zip(found.keys, found.nearest_keys, found.distance.tolist(), found.is_copy.tolist(), strict=True)
    return row, {key: {"example": near, "distance": d, "copy": copy} for key, near, d, copy in rows}


def descriptor_label(spec: str, taken: Sequence[str]) -> str:
    """A short, unique folder name for a descriptor: the word itself, or the file's stem."""
    label = Path(spec).stem or spec
    return label if label not in taken else f"{label}-{len(taken)}"
