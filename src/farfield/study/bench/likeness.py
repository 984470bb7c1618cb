"""When two images count as alike: the sets to compare, their features, and the thresholds that are reported."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from farfield.audit.named import identity, open_descriptor
from farfield.audit.threshold import calibrate
from farfield.audit.vectors import Vectors
from farfield.command.facts import SourceFacts
from farfield.command.likeness import Alike, Calibration, Likeness
from farfield.core.artifact import Features, Store
from farfield.core.error import FarfieldError
from farfield.core.json_file import parse_json
from farfield.core.note import say
from farfield.core.runtime import resolve_device
from farfield.core.tensor_file import open_tensors
from farfield.data.image_set import ImageSet
from farfield.data.samples import open_image_set
from farfield.data.subset import shuffled
from farfield.study.bench.measure import descriptor_label, stored_features
from farfield.study.bench.run import Run

WHITENED = 5000
"""Images that the descriptor ``pixels`` is fitted on, at most."""

SAME = 1 - 1e-6
"""A cosine above which a calibrated threshold tells nothing."""

REPEATED = (
    "The calibrated threshold is 1: images that were taken for different are often the same, as those of different seeds "
    "are where a model repeats few training images. Calibrate on held-out images."
)


def named(likeness: Likeness, rows: Iterable[ImageSet | Features]) -> str:
    """The descriptor as a run's request says it, by its content; of features that are there none is taken."""
    return identity(likeness.spec) if any(isinstance(part, ImageSet) for part in rows) else likeness.spec


def find_thresholds(likeness: Likeness, published: float | None, different: Tensor, notes: list[str]) -> Alike:
    """The thresholds to report, and the calibration on similarities of images that are known to be different.

    Raises:
        FarfieldError: none is given or published, and there are too few to calibrate one.
    """
    chosen = {} if likeness.threshold is None else {"given": likeness.threshold}
    if not chosen and published is not None:
        chosen = {"published": published}
    calibration = None
    try:
        calibration = Calibration(**vars(calibrate(different, likeness.rate)))
        chosen["calibrated"] = calibration.value
        if calibration.value > SAME:
            notes.append(REPEATED)
    except FarfieldError as error:
        if not chosen:
            raise FarfieldError(f"{error}, or a cosine with --threshold") from error
        notes.append(f"No calibrated threshold: {error}.")
    return Alike(thresholds=chosen, calibration=calibration)


@dataclass(frozen=True)
class Given:
    """One set to be compared: images, or features that were described before."""

    source: str
    rows: ImageSet | Features

    def facts(self) -> SourceFacts:
        return SourceFacts(source=self.source, n=len(self.rows))


def open_set(source: str, limit: int | None = None, *, ordered: bool = False) -> Given:
    """A set of samples (see `data.samples.open_image_set`), or a folder of features.

    Args:
        ordered: name its images 0, 1, … in the order of their names, with numbers in these in the order of numbers.

    Raises:
        FarfieldError: nothing there that can be read.
    """
    if ordered:
        rows = open_set(source).rows
        names = sorted(rows.keys, key=_in_order)
        say(f"{source}: taken in the order of names, {names[0]} to {names[-1]}")
        places = {key: i for i, key in enumerate(names)}
        numbered = rows.renamed([str(places[key]) for key in rows.keys])
        return Given(source, numbered.select([str(i) for i in range(len(rows))[:limit]]))
    store = feature_store(source)
    if store is None:
        return Given(source, open_image_set(source, limit=limit))
    rows = store.read()
    return Given(source, rows.select(rows.keys[:limit]) if limit else rows)


def _in_order(key: str) -> tuple[list[tuple[int, str]], str]:
    """Sorts ``img2`` before ``img10``."""
    parts = re.split(r"([0-9]+)", key)
    return [(int(part), "") if i % 2 else (0, part) for i, part in enumerate(parts)], key


def feature_store(source: str) -> Store[Features] | None:
    """The features in a folder, or in the folder ``features`` of a run; None where there are none."""
    for folder in (Path(source), Path(source) / "features"):
        store = Store(folder, Features)
        if store.shards() and _kind(store.shards()[0]) == Features.kind:
            return store
    return None


def describe(
    run: Run,
    sets: Mapping[str, ImageSet | Features],
    references: Sequence[str],
    likeness: Likeness,
    batch_size: int,
    device: str,
) -> tuple[dict[str, Vectors], float | None]:
    """The features of each set, kept in the run and read from there, and the descriptor's published threshold.

    Args:
        references: names of the sets that ``pixels`` are whitened on.
    """
    images = {name: rows for name, rows in sets.items() if isinstance(rows, ImageSet)}
    given: dict[str, Vectors] = {name: rows for name, rows in sets.items() if isinstance(rows, Features)}
    if not images:
        return given, None
    pool = [images[name] for name in references if name in images] if likeness.spec == "pixels" else []
    if len({part.shape for part in pool}) > 1:
        raise FarfieldError("pixels: expected images of one size in all sets; resize some, or give another descriptor")
    descriptor = open_descriptor(
        likeness.spec,
        references=_some(pool) if pool else None,
        device=resolve_device(device),
    )
    label = descriptor_label(likeness.spec, [])
    return {**given, **stored_features(run, descriptor, label, images, batch_size)}, descriptor.default_threshold


def _some(pool: Sequence[ImageSet]) -> ImageSet:
    """At most WHITENED of all sets together, drawn at random; the draw does not depend on the order of files."""
    drawn = [images.select(shuffled(images.keys, 0)[: WHITENED // len(pool)]) for images in pool]
    rows = (value for images in drawn for part in images.parts() for value in part.values)
    return drawn[0] if len(drawn) == 1 else ImageSet.of((str(i), value) for i, value in enumerate(rows))


def _kind(shard: Path) -> str | None:
    """What a shard holds, by its header alone."""
    from safetensors import SafetensorError

    try:
        with open_tensors(shard) as f:
            header = parse_json((f.metadata() or {}).get("farfield", "{}"))
    except (OSError, SafetensorError, ValueError):
        return None
    return header.get("kind") if isinstance(header, dict) else None
