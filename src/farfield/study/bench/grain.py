"""Physical fields without the noise of their instrument, for samplers to mix; and fresh noise for what they make."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from farfield.command.measures import NoiseFacts
from farfield.core.artifact import Images
from farfield.core.note import say
from farfield.core.runtime import generator
from farfield.data.noise import NoiseLaw, estimate_noise
from farfield.data.science import Fields
from farfield.data.signal import signal_of
from farfield.study.bench.domain import Domain, Physical


def separate(domain: Domain, channels: int, *, asked: bool = True) -> tuple[Images, Grain | None]:
    """What samplers make new images of, and the noise that these are given; what was found of it is said.

    Of physical fields whose noise can be told that is the examples' signal; of all others, or where it is not asked for, the
    examples as they are.
    """
    if not asked or domain.physical is None:
        return domain.examples, None
    examples = domain.physical.fields["examples"]
    law = estimate_noise(examples)
    if isinstance(law, str):
        say(f"noise: no law can be told from the examples, {law}; their noise is mixed as it is")
        return domain.examples, None
    grain = Grain(domain.physical, law)
    say(_told(grain.facts(), examples))
    return grain.signal(channels), grain


def _told(facts: NoiseFacts, examples: Fields) -> str:
    unit = f" {examples.unit}" if examples.unit else ""
    rows = zip(facts.sigma, facts.least, facts.most, facts.length, strict=True)
    each = "; ".join(
        f"{sigma:.3g}{unit} ({least:.3g} to {most:.3g}), correlated over {length:.1f} pixels"
        for sigma, least, most, length in rows
    )
    return (
        f"noise: {each}, from the flat {facts.flat:.0%} of {facts.fields} of {len(examples)} examples: new fields are made of "
        "the signal, and given fresh noise of this law (--no-fresh-noise mixes noise and signal as they are). The photon noise "
        "of sources is not in it: it cannot be told without the gain"
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

        It is as strong as in one of the examples that tell of it, drawn anew for each image.
        """
        return self.physical.plus(images, torch.stack([self._draw(int(key)) for key in images.keys]))

    def _draw(self, seed: int) -> Tensor:
        g = generator(seed, "fresh noise")
        telling = self.law.sigmas[self.law.told.all(1)] if bool(self.law.told.all(1).any()) else self.law.sigmas
        return self.law.draw(telling[int(torch.randint(len(telling), (), generator=g))], g)

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
        )
