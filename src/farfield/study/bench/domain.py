"""A source divided into examples, references and real images: pictures, or physical fields through a stretch.

The stretch and everything else that is learnt about a domain is learnt from the examples alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from farfield.command.shared import Reading
from farfield.core.artifact import Images
from farfield.core.error import FarfieldError
from farfield.data.apart import apart
from farfield.data.field_source import field_keys, is_physical, open_fields
from farfield.data.image import list_keys, load_images
from farfield.data.picture import as_shown, channel_law, some
from farfield.data.science import Fields, field_files, fill, locate
from farfield.data.stretch import Stretch, fit_stretch
from farfield.data.subset import choose, choose_keys
from farfield.diffusion.units import Units
from farfield.study.bench.units import own_stretch

MOST_REFERENCES = 1500
"""Held-out images that measures compare with."""
LEAST_HELD = 12
"""Held-out images, fewer than which tell nothing: they are not used, and that is said."""


def reads_fields(source: str, reading: Reading) -> bool:
    """Whether a source is read as fields; what belongs to fields alone is refused for pictures."""
    if reading.stretch is not None or is_physical(source):
        return True
    if (reading.patch, reading.hdu, reading.mask) != (None, None, None):
        advice = "add --stretch to read it as such" if _can_be_fields(source) else "it holds pictures: leave them out"
        raise FarfieldError(f"{source}: --patch, --hdu and --field-mask are for physical fields; {advice}")
    return False


@dataclass(frozen=True)
class Physical:
    """A domain of physical fields: its stretch, and the fields of each set as they were before it, NaN where masked."""

    stretch: Stretch
    fields: dict[str, Fields]

    @classmethod
    def fit(cls, kind: str, examples: Fields, units: Units | None = None) -> Physical:
        """By a stretch of this kind: ``model`` is the model's own, and ``auto`` too, where its units can be the examples'."""
        own = own_stretch(kind, examples, units)
        stretch = own or fit_stretch(kind, examples.values, unit=examples.unit, keys=examples.keys)
        return cls(stretch, {"examples": examples})

    def to_model(self, fields: Fields, channels: int) -> Images:
        """Fields as a model of so many channels takes them, float32: gaps filled, stretched, one channel repeated."""
        values = self.stretch.forward(fill(fields), fields.keys).float()
        return Images(fields.keys, values.expand(-1, channels, -1, -1).contiguous())

    def to_fields(self, images: Images) -> Fields:
        """Images of the model in physical units: one channel is the mean of the model's, and the stretch undone."""
        like, values = self.fields["examples"], self._own(images)
        return replace(like, keys=images.keys, values=self.stretch.inverse(values, images.keys), headers={})

    def plus(self, images: Images, noise: Tensor) -> Images:
        """Images of the model with noise ``[n, c, H, W]`` in physical units added to their fields."""
        noisy = self.stretch.plus(self._own(images), noise, images.keys).float()
        return Images(images.keys, noisy.expand_as(images.values).contiguous())

    def _own(self, images: Images) -> Tensor:
        """The fields' channels, stretched: one channel is the mean of the model's."""
        values = images.values.double()
        return values if len(self.stretch.channels) > 1 else values.mean(1, keepdim=True)

    def max_error(self, images: Images) -> Tensor:
        """Largest distance of each image from its example ``[n]``, in physical units; masked pixels do not count."""
        fields = self.fields["examples"].select(images.keys).values
        apart = (self.to_fields(images).values - fields).abs()
        return torch.where(fields.isnan(), 0.0, apart).flatten(1).amax(1)


UNSEEN = "held-out images that no method has seen"


@dataclass(frozen=True)
class Domain:
    """Examples; ``held``: of the rest ``references``, and ``real`` images to compare with them (empty if too few).

    ``available`` images are in the source. ``finish`` keeps the channel law in decoded images; ``physical`` is None
    for pictures.
    """

    examples: Images
    held: dict[str, Images]
    available: int
    finish: Callable[[Tensor], Tensor] | None = None
    physical: Physical | None = None
    notes: tuple[str, ...] = ()

    def shown(self, images: Images) -> Images:
        """Images as measures take them: pictures as a viewer sees them, fields as they are."""
        return images if self.physical else Images(images.keys, as_shown(images.values))

    def digest(self) -> str:
        """Of the examples' keys and pixels, or physical values."""
        return self._part("examples").digest()

    def inputs(self, name: str) -> dict[str, Images | Fields]:
        """All that was read of it, as `study.bench.run.Run` takes it: the examples under this name, and what was held out."""
        return {name: self._part("examples"), **{f"{name}_{part}": self._part(part) for part in self.held}}

    def _part(self, name: str) -> Images | Fields:
        """A set as it was read: fields before their stretch."""
        if self.physical:
            return self.physical.fields[name]
        return self.examples if name == "examples" else self.held[name]


@dataclass(frozen=True)
class Split:
    """How a source is divided into examples and held-out images.

    Args:
        count: examples that are drawn; all up to 100, if None.
        n: how many images will be made; at least a third of the held-out ones stay references.
        most: references.
    """

    count: int | None = None
    n: int = 64
    most: int = MOST_REFERENCES
    seed: int = 0

    def examples(self, keys: Sequence[str], source: str) -> tuple[list[str], list[str]]:
        """The keys of the examples, and the rest; refused if fewer than 2."""
        count = min(len(keys), 100) if self.count is None else self.count
        if count > len(keys):
            raise FarfieldError(f"{source}: {count} examples asked for, but it holds {len(keys)} images")
        if count < 2 or len(keys) < 2:
            raise FarfieldError(
                f"{source}: expected at least 2 examples, found {min(count, len(keys))}; one image has no spread"
            )
        return choose(keys, count, self.seed)

    def examples_by_map(self, keys: Sequence[str], source: str) -> tuple[list[str], list[str]]:
        """`examples` of patches: no map gives both examples and held-out patches, which would be neighbours.

        As few maps as have ``count`` patches give the examples; the patches of the others are held out. Where that takes
        every map, patches are divided as images are.
        """
        maps = sorted(_maps(keys))
        wanted = min(len(keys), 100) if self.count is None else self.count
        for k in range(1, len(maps)):
            inside = set(choose(maps, k, self.seed)[0])
            ours = [key for key in keys if key.rpartition("/")[0] in inside]
            if len(ours) >= wanted >= 2:
                return choose(ours, wanted, self.seed)[0], [key for key in keys if key.rpartition("/")[0] not in inside]
        return self.examples(keys, source)

    def held(self, keys: Sequence[str]) -> dict[str, list[str]]:
        """Held-out keys as ``references`` (at most ``most``) and about ``n`` ``real``; empty if fewer than `LEAST_HELD`."""
        if len(keys) < LEAST_HELD:
            return {}
        real, references = choose(keys, max(4, min(self.n, len(keys) // 3)), self.seed + 1)
        references, _ = choose(references, min(self.most, len(references)), self.seed + 2)
        return {"references": references, "real": real}


def open_domain(
    source: str,
    shape: Sequence[int],
    reading: Reading = Reading(),
    split: Split = Split(),
    *,
    heldout: str | None = None,
    units: Units | None = None,
) -> Domain:
    """Open a source, a path or a bundled domain, for a model of ``shape`` [C, H, W].

    Args:
        heldout: a source of held-out images of its own, of the same kind.
        units: the model's own, as `units_of` has them.
    """
    opened = partial(_fields, units=units) if reads_fields(source, reading) else _pictures
    return opened(source, heldout, shape, reading, split)


def open_source(
    source: str,
    shape: Sequence[int],
    reading: Reading = Reading(),
    *,
    draw: Callable[[list[str]], list[str]] | None = None,
    limit: int | None = None,
    units: Units | None = None,
) -> Domain:
    """A source as examples alone, for a model of ``shape`` [C, H, W]: none held out, no channel law.

    Args:
        draw: takes some of the source's keys, or refuses them; without it all are taken, or the first ``limit``. The
            stretch of fields is fitted on those taken.
        units: the model's own (`units_of`), if it has some.
    """
    if reads_fields(source, reading):
        every, read = _opened(source, shape, reading)
        fields = read(choose_keys(source, every, draw(every) if draw else None, limit))
        physical = Physical.fit(reading.stretch or "auto", fields, units)
        return Domain(physical.to_model(fields, shape[0]), {}, len(every), physical=physical)
    every = list_keys(source, strict=reading.strict) if draw else []
    given = load_images(source, shape, keys=draw(every) if draw else None, limit=limit, strict=reading.strict)
    return Domain(given, {}, len(every) or len(given))


def _can_be_fields(source: str) -> bool:
    """Whether a source has files that fields are read from, whatever is in them."""
    try:
        return bool(field_files(locate(source)[0]))
    except FarfieldError:
        return False


def _pictures(source: str, heldout: str | None, shape: Sequence[int], reading: Reading, split: Split) -> Domain:
    strict = reading.strict
    keys = list_keys(source, strict=strict)
    chosen, rest = split.examples(keys, source)
    given = load_images(source, shape, keys=chosen, strict=strict)
    if len(given) < 2:
        raise FarfieldError(
            f"{source}: only {len(given)} of the {len(chosen)} examples can be read; expected at least 2"
        )
    check_spread(given, source)
    origin = source
    if heldout is not None:
        if is_physical(heldout):
            raise FarfieldError(f"{heldout}: holds physical fields, but {source} pictures; expected the same kind")
        origin, rest = heldout, list_keys(heldout, strict=strict)
    held = split.held(rest)
    wanted = [*held["real"], *held["references"]] if held else rest
    sets: dict[str, Images] = {}
    if wanted:
        both = load_images(origin, shape, keys=wanted, strict=strict)
        why = None if heldout is None else UNSEEN
        rows = apart(both.keys, both.values, [given.values], origin, f"the examples of {source}", why)
        good = {both.keys[i] for i in rows}
        sets = {name: both.select([k for k in part if k in good]) for name, part in held.items()}
    return Domain(given, sets, len(keys), channel_law(given.values), notes=_few(rest, origin))


def _fields(
    source: str, heldout: str | None, shape: Sequence[int], reading: Reading, split: Split, units: Units | None
) -> Domain:
    keys, read = _opened(source, shape, reading)
    by_map = reading.patch is not None and heldout is None
    chosen, rest = (split.examples_by_map if by_map else split.examples)(keys, source)
    examples = read(chosen)
    physical = Physical.fit(reading.stretch or "auto", examples, units)
    if heldout is not None:
        rest, read = _opened(heldout, shape, reading)
        both = read(rest)
        seen = f"the examples of {source}"
        rest = [rest[i] for i in apart(both.keys, both.values, [examples.values], heldout, seen, UNSEEN)]
    fields = {name: read(part) for name, part in split.held(rest).items()}
    for part in fields.values():
        if part.unit != examples.unit or part.values.shape[1] != examples.values.shape[1]:
            held_out, ours = (f"{f.values.shape[1]} channels in {f.unit or 'no unit'}" for f in (part, examples))
            raise FarfieldError(f"{heldout}: {held_out}, but {source}: {ours}; expected the same")
    physical = replace(physical, fields={**physical.fields, **fields})
    given = physical.to_model(examples, shape[0])
    check_spread(given, source)
    held = {name: physical.to_model(part, shape[0]) for name, part in fields.items()}
    notes = [*_few(rest, heldout or source)]
    if by_map and (shared := sorted(_maps(chosen) & _maps(rest))):
        notes.append(
            f"Held-out patches come from the same maps as examples ({some(shared)}): they are neighbours, and the floor "
            "is kind. Give --heldout a map of its own."
        )
    if masked := examples.masked:
        notes.append(
            f"{masked:.1%} of the examples' pixels are masked: the model sees the median of the field there, or its "
            "own draws (--field-fill drawn); field measures leave them out, descriptors cannot."
        )
    law = channel_law(given.values) if examples.values.shape[1] == 1 else None
    return Domain(given, held, len(keys), law, physical, tuple(notes))


def _opened(source: str, shape: Sequence[int], reading: Reading) -> tuple[list[str], Callable[[Sequence[str]], Fields]]:
    """The keys of a source, and what gives the fields of some: files are read once, clouds made as they are asked for."""
    if (made := field_keys(source)) is not None:
        return made, partial(open_fields, source, shape, reading)
    every = open_fields(source, shape, reading)
    return list(every.keys), every.select


def _few(rest: Sequence[str], origin: str) -> tuple[str, ...]:
    """Why held-out images that are there are not used."""
    if not 0 < len(rest) < LEAST_HELD:
        return ()
    return (f"{origin}: {len(rest)} held-out images are too few to compare with, at least {LEAST_HELD} are needed.",)


def _maps(keys: Sequence[str]) -> set[str]:
    return {key.rpartition("/")[0] for key in keys}


def check_spread(given: Images, source: str) -> None:
    """Refuse examples that are all the same image."""
    if bool(torch.eq(given.values, given.values[0]).all()):
        raise FarfieldError(f"{source}: all {len(given)} examples are the same image; there is no spread to learn")
