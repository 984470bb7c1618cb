"""The images of an audit, as they were given: pictures, or physical fields under one stretch."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from farfield.audit.generalization import row_digests
from farfield.checkpoints.place import holds_model
from farfield.checkpoints.place import is_model as is_model
from farfield.core.artifact import read_json
from farfield.core.error import FarfieldError
from farfield.data.bundled import is_domain
from farfield.data.field_file import Unreadable, read_field_file
from farfield.data.field_source import is_physical
from farfield.data.image_set import ImageSet
from farfield.data.picture import some
from farfield.data.samples import open_image_set, seed_keys
from farfield.data.science import field_files, load_fields, locate
from farfield.study.bench.domain import Physical

IN_UNITS = "physical/samples.npz"
"""Where a run on physical data leaves what it made, in physical units."""


def open_sets(subject: str, training: str, heldout: str | None = None, limit: int | None = None) -> dict[str, ImageSet]:
    """``training``, ``held_out`` where there is one, and ``samples`` where the subject is no model that has to make them.

    Physical fields are read at the size of the samples, and all stretched as the training fields are.

    Args:
        limit: only the first so many samples.

    Raises:
        FarfieldError: nothing that can be read, a model or its run in the place of real images, or samples among the
            held-out images.
    """
    sources = {"training": training, **({} if heldout is None else {"held_out": heldout})}
    for name, source in sources.items():
        _check_real(source, name.replace("_", "-"))
    if holds_fields(training):
        sets = _fields(subject, sources, limit)
    else:
        sets = {name: open_image_set(source) for name, source in sources.items()}
        if not is_model(subject):
            sets["samples"] = open_image_set(subject, limit=limit)
    if "samples" in sets and "held_out" in sets:
        _check_apart(sets["samples"], sets["held_out"])
    return sets


def holds_fields(source: str) -> bool:
    """Whether a source holds physical fields; those of a bundled domain are images too."""
    return not is_domain(source) and is_physical(source)


def seeds_of(samples: ImageSet, source: str) -> list[int]:
    """The seeds that samples were made from, as their keys say."""
    strange = [key for key in samples.keys if not key.isdigit()]
    if strange:
        raise FarfieldError(
            f"{source}: expected samples named by their seeds, found {strange[0]!r}; other models cannot be compared seed by "
            "seed: leave them out, or name the files 000000.png, 000001.png …"
        )
    return [int(key) for key in samples.keys]


def _check_real(source: str, what: str) -> None:
    """Refuse what a model has made: perhaps the arguments are in each other's place."""
    config = Path(source).expanduser() / "config.json"
    request = read_json(config).get("request", {}) if config.is_file() else {}
    if "command" in request or holds_model(source):
        kind = f"a run of farfield {request['command']}" if "command" in request else "a model"
        raise FarfieldError(
            f"{source}: expected {what} images, found {kind}; what is judged comes first, then what it was trained on"
        )


def _check_apart(samples: ImageSet, held: ImageSet) -> None:
    """What is judged must not be its own yardstick."""
    known = set(row_digests(held))
    if twice := [key for key, row in zip(samples.keys, row_digests(samples), strict=True) if row in known]:
        raise FarfieldError(
            f"{len(twice)} of the samples are among the held-out images ({some(twice)}); expected held-out images that "
            "are not judged themselves"
        )


def _fields(subject: str, sources: dict[str, str], limit: int | None) -> dict[str, ImageSet]:
    """All sets as images under the stretch that the training fields call for."""
    if is_model(subject):
        raise FarfieldError(
            f"{sources['training']}: holds physical fields, and what a model makes has no unit; give its samples in physical "
            "units, such as a run of farfield expand"
        )
    inside = Path(subject).expanduser() / IN_UNITS
    sources = {**sources, "samples": str(inside) if inside.is_file() else subject}
    for name, source in sources.items():
        if not is_physical(source):
            raise FarfieldError(
                f"{source}: expected physical fields as in {sources['training']}, found pictures; give the "
                f"{name.replace('_', '-')} in the same units"
            )
    shape = _shape(sources["samples"])
    fields = {name: load_fields(source, shape) for name, source in sources.items()}
    if len(units := {part.unit for part in fields.values() if part.unit}) > 1:
        raise FarfieldError(f"{subject}: expected one unit in all sets, found {sorted(units)}; convert some")
    physical = Physical.fit("auto", fields["training"])
    sets = {}
    for name, part in fields.items():
        images = physical.to_model(part, shape[0])
        sets[name] = ImageSet.of(zip(images.keys, images.values, strict=True))
    samples = sets["samples"].select(sets["samples"].keys[:limit])
    return {**sets, "samples": samples.renamed(seed_keys(samples.keys))}


def _shape(source: str) -> tuple[int, int, int]:
    """Channels and size of the first field that can be read."""
    path, inner = locate(source)
    for file in field_files(path).values():
        try:
            first: np.ndarray = next(iter(read_field_file(file, 3, inner).parts.values()))
        except Unreadable:
            continue
        channels, height, width = first.shape
        return channels, height, width
    raise FarfieldError(f"{source}: expected fields, found no file that can be read")
