"""`farfield distances`: generated images against real ones in every descriptor, and real ones against each other."""

from __future__ import annotations

from pathlib import Path

from farfield.audit.standing import standing
from farfield.command.distances import Distances, DistancesResult
from farfield.command.facts import SourceFacts
from farfield.core.artifact import Images
from farfield.core.error import FarfieldError
from farfield.core.runtime import resolve_device
from farfield.data.apart import apart
from farfield.data.image import list_keys, load_images
from farfield.data.picture import as_shown
from farfield.data.samples import open_samples
from farfield.study.bench.domain import Split
from farfield.study.bench.measure import compare, descriptions, identities
from farfield.study.bench.run import Run

LEAST = 4
"""Images of a set without which nothing is measured."""


def distances(settings: Distances, out: Path, *, quiet: bool = False) -> DistancesResult:
    """Measure generated images against real ones, as a viewer sees both.

    Some of the real images are held against the rest, as `farfield expand` does: what real images score is the floor. With too
    few for that all are references, and there is none.
    """
    generated = open_samples(settings.generated, limit=settings.limit)
    if len(generated) < LEAST:
        raise FarfieldError(f"{settings.generated}: expected at least {LEAST} generated images, found {len(generated)}")
    keys, notes = list_keys(settings.real), []
    parts = Split(n=len(generated), seed=settings.seed).held(keys)
    if not parts:
        parts = {"references": keys}
        notes.append(f"{len(keys)} real images are too few to hold some against the others: there is no floor.")
    real = load_images(settings.real, generated.shape, keys=[key for part in parts.values() for key in part])
    said, other = settings.generated, f"those of {settings.real}"
    rows = apart(generated.keys, generated.values, [real.values], said, other, "images that were made")
    generated = generated.select([generated.keys[i] for i in rows])
    known = set(real.keys)
    sets = {name: _shown(real.select([key for key in part if key in known])) for name, part in parts.items()}
    if len(sets["references"]) < LEAST:
        raise FarfieldError(f"{settings.real}: expected at least {LEAST} real images, found {len(real)}")
    sets["samples"] = _shown(generated)
    specs = settings.descriptors.specs
    run = Run.of(out, settings, {"real": real, "generated": generated}, quiet, descriptors=identities(specs))
    measures, device = {}, resolve_device(settings.device)
    for label, describe in descriptions(specs, sets["references"], settings.batch_size, None, device):
        features = describe(run, sets=sets)
        references = features.pop("references")
        measures[label] = compare(references, features)
    return run.finish(
        DistancesResult(
            real=SourceFacts(source=settings.real, n=len(real), available=len(keys)),
            generated=SourceFacts(source=settings.generated, n=len(generated)),
            references=len(sets["references"]),
            measures=measures,
            notes=notes,
            standing=standing(measures, same_size=len(sets["samples"]) == len(sets.get("real", ()))),
        )
    )


def _shown(images: Images) -> Images:
    """As a viewer sees them."""
    return Images(images.keys, as_shown(images.values))
