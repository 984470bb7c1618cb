"""Physical fields without the noise of their instrument, for samplers to mix; and fresh noise for what they make."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from farfield.command.measures import NoiseFacts
from farfield.command.shared import Reading
from farfield.core.artifact import Images
from farfield.core.error import FarfieldError
from farfield.core.note import say
from farfield.core.runtime import generator
from farfield.data.field_source import field_keys
from farfield.data.noise import NoiseLaw, estimate_noise
from farfield.data.science import Fields, fill, load_fields
from farfield.data.signal import signal_of
from farfield.data.variance import above, known_noise
from farfield.study.bench.domain import Domain, Physical


def separate(
    domain: Domain, channels: int, *, asked: bool = True, maps: Tensor | None = None
) -> tuple[Images, Grain | None]:
    """What samplers make new images of, and the noise that these are given; what was found of it is said.

    Of physical fields whose noise can be told that is the examples' signal; of all others, or where it is not asked for, the
    examples as they are.

    Args:
        maps: the noise's deviation in each pixel, as `deviations_of` reads it.
    """
    if not asked or domain.physical is None:
        return domain.examples, None
    examples = domain.physical.fields["examples"]
    law = estimate_noise(examples) if maps is None else known_noise(examples, maps)
    if isinstance(law, str):
        say(f"noise: no law can be told from the examples, {law}; their noise is mixed as it is")
        return domain.examples, None
    grain = Grain(domain.physical, law)
    say(_told(grain.facts(), examples))
    return grain.signal(channels), grain


def deviations_of(domain: Domain, source: str, name: str | None, reading: Reading) -> Fields | None:
    """The noise's standard deviation in each pixel of the examples, from the inverse variance beside them; None if not asked.

    Raises:
        FarfieldError: the examples are pictures, are made as they are asked for, or were resampled (what pixels of other sizes
            share is not known), or no pixel of one has a positive inverse variance.
    """
    if name is None:
        return None
    if domain.physical is None or field_keys(source) is not None:
        raise FarfieldError(f"--ivar {name}: expected files of physical fields, found {source}; leave it out")
    examples = domain.physical.fields["examples"]
    height, width = examples.values.shape[2:]
    if examples.scale != 1:
        raise FarfieldError(
            f"--ivar {name}: expected fields of the model's {height} × {width}, but theirs are resampled by "
            f"{examples.scale:.3g}, which ties the noise of their pixels; cut them with --patch {height}"
        )
    shape = (examples.values.shape[1], height, width)
    read = load_fields(source, shape, patch=reading.patch, hdu=name, mask="none", strict=reading.strict, constant=True)
    known = read.select(examples.keys)
    deviation = torch.where(known.values > 0, known.values, torch.nan).rsqrt()
    if bool((empty := deviation.isnan().flatten(2).all(2).any(1)).any()):
        key = examples.keys[int(empty.nonzero()[0, 0])]
        raise FarfieldError(f"--ivar {name}: expected positive inverse variances, found none in {key}; leave it out")
    return replace(known, values=fill(replace(known, values=deviation)))


def _told(facts: NoiseFacts, examples: Fields) -> str:
    unit = f" {examples.unit}" if examples.unit else ""
    rows = zip(facts.sigma, facts.least, facts.most, facts.length, strict=True)
    each = "; ".join(
        f"{sigma:.3g}{unit} ({least:.3g} to {most:.3g}), correlated over {length:.1f} pixels"
        for sigma, least, most, length in rows
    )
    flat = f"the flat {facts.flat:.0%} of {facts.fields} of {len(examples)} examples"
    if facts.photons is None:
        origin, photons = flat, "The photon noise of sources is not in it: it cannot be told without the gain or --ivar"
    else:
        gains = ", ".join(f"{gain:.3g}" for gain in facts.photons)
        origin = f"their inverse variance (correlations from {flat})" if facts.flat else "their inverse variance"
        photons = f"Sources add {gains} times their brightness to its variance"
    return (
        f"noise: {each}, from {origin}: new fields are made of the signal, and given fresh noise of this law (--no-fresh-noise "
        f"mixes noise and signal as they are). {photons}"
    )


@dataclass(frozen=True)
class Grain:
    """The noise of a domain's fields, apart from their signal."""

    physical: Physical
    law: NoiseLaw

    def signal(self, channels: int) -> Images:
        """The examples without noise, as a model of so many channels takes them."""
        examples = self.physical.fields["examples"]
        return self.physical.to_model(replace(examples, values=signal_of(examples, self.law)), channels)

    def __call__(self, images: Images) -> Images:
        """Images whose keys are their seeds, with fresh noise added in physical units; that of seed k depends on k alone.

        It is as strong as in one of the examples that tell of it, drawn anew for each image; with the photons of its own sources,
        where the examples' variance is known.
        """
        sources = (
            above(self.physical.to_fields(images).values) if self.law.photons is not None else [None] * len(images)
        )
        drawn = [self._draw(int(key), source) for key, source in zip(images.keys, sources, strict=True)]
        return self.physical.plus(images, torch.stack(drawn))

    def _draw(self, seed: int, source: Tensor | None) -> Tensor:
        g, law = generator(seed, "fresh noise"), self.law
        told = law.told.all(1)
        every = law.deviations if law.background is None else law.background
        telling = every[told] if bool(told.any()) else every
        deviation = telling[int(torch.randint(len(telling), (), generator=g))]
        if source is not None and law.photons is not None:
            deviation = (deviation.square() + law.photons[:, None, None] * source).sqrt()
        return law.draw(deviation, g)

    def facts(self) -> NoiseFacts:
        """What a summary says of the law."""
        told = [column[tells] for column, tells in zip(self.law.sigmas.T, self.law.told.T, strict=True)]
        return NoiseFacts(
            sigma=[float(column.median()) for column in told],
            least=[float(column.min()) for column in told],
            most=[float(column.max()) for column in told],
            length=self.law.lengths(),
            flat=self.law.flat,
            fields=int(self.law.told.all(1).sum()),
            photons=None if self.law.photons is None else self.law.photons.tolist(),
        )
