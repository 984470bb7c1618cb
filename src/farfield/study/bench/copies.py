"""Copies of whole images and of their parts, of every set that was made of the same examples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from farfield.audit.local import SCALES, Parts, scaled, whitened
from farfield.command.measures import CopiedParts, LocalCopies, Space
from farfield.core.artifact import Images
from farfield.data.science import fill
from farfield.study.bench.domain import Domain


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
    for space in _spaces(domain, examples, made):
        known = Parts.of(space.examples, grids=list(scales.values()))
        usual = [None] * len(scales) if space.held is None else known.shares(space.held)
        for name, values in space.made.items():
            rows = zip(scales, known.shares(values), usual, strict=True)
            shares[name] += [CopiedParts(scale=s, space=space.name, samples=of, floor=real) for s, of, real in rows]
    return {
        name: LocalCopies(samples=parts.copies(images.values), floor=floor, parts=shares[name])
        for name, images in made.items()
    }


@dataclass(frozen=True)
class _Values:
    """The values of every set in a space where distances are taken. A set that was made may have any name."""

    name: Space
    examples: Tensor
    held: Tensor | None
    made: dict[str, Tensor]

    def through(self, name: Space, change: Callable[[Tensor], Tensor]) -> _Values:
        made = {key: change(values) for key, values in self.made.items()}
        return _Values(name, change(self.examples), None if self.held is None else change(self.held), made)


def _spaces(domain: Domain, examples: Images, made: Mapping[str, Images]) -> list[_Values]:
    """Pixels; and of physical data both units, where real fields are as they were read, gaps filled."""
    held = domain.held.get("references")
    values = {name: images.values for name, images in made.items()}
    pixels = _Values("pixels", examples.values, held.values if held else None, values)
    if not (physical := domain.physical):
        return [pixels]
    fields = _Values(
        "physical units",
        fill(physical.fields["examples"].select(examples.keys)),
        fill(physical.fields["references"].select(held.keys)) if held else None,
        {name: fill(physical.to_fields(images)) for name, images in made.items()},
    )
    raw, white = scaled(fields.examples), whitened(fields.examples)
    return [pixels, fields.through("physical units", raw), fields.through("whitened units", white)]
