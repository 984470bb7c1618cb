"""Copies of whole images and of their parts, of every set that was made of the same examples."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from farfield.audit.local import SCALES, Parts, scaled, whitened
from farfield.command.measures import CopiedParts, LocalCopies, Space
from farfield.core.artifact import Images
from farfield.data.science import Fields, fill
from farfield.study.bench.domain import Domain, Physical


def local_copies(domain: Domain, examples: Images, made: Mapping[str, Images]) -> dict[str, LocalCopies]:
    """Copied quarters and parts of each set, beside those of the held-out references.

    Args:
        examples: all or some of the domain's, at least 3.
        made: images as measures take them, `Domain.shown`.
    """
    held = domain.held.get("references")
    parts = Parts.of(examples.values)
    floor = parts.copies(held.values) if held else None
    shares: dict[str, list[CopiedParts]] = {name: [] for name in made}
    scales = {name: grid for name, grid in SCALES.items() if grid <= min(examples.values.shape[2:])}
    for space, sets in _spaces(domain, examples, made).items():
        known = Parts.of(sets["examples"], grids=list(scales.values()))
        usual = known.shares(sets["references"]) if held else [None] * len(scales)
        for name in made:
            rows = zip(scales, known.shares(sets[name]), usual, strict=True)
            shares[name] += [CopiedParts(scale=s, space=space, samples=of, floor=real) for s, of, real in rows]
    return {
        name: LocalCopies(samples=parts.copies(images.values), floor=floor, parts=shares[name])
        for name, images in made.items()
    }


def _spaces(domain: Domain, examples: Images, made: Mapping[str, Images]) -> dict[Space, dict[str, Tensor]]:
    """The values of every set in each space where distances are taken; real fields as they were read, gaps filled."""
    images = {"examples": examples, **made}
    if "references" in domain.held:
        images["references"] = domain.held["references"]
    spaces: dict[Space, dict[str, Tensor]] = {"pixels": {name: one.values for name, one in images.items()}}
    if physical := domain.physical:
        fields = {name: fill(_fields(physical, name, one)) for name, one in images.items()}
        raw, white = scaled(fields["examples"]), whitened(fields["examples"])
        spaces["physical units"] = {name: raw(values) for name, values in fields.items()}
        spaces["whitened units"] = {name: white(values) for name, values in fields.items()}
    return spaces


def _fields(physical: Physical, name: str, images: Images) -> Fields:
    read = physical.fields.get(name)
    return physical.to_fields(images) if read is None else read.select(images.keys)
