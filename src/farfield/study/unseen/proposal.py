"""A domain's latents become new images: the sampler's settings, candidates, and the choice among them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from farfield.audit.activation import DenoiserFeatures
from farfield.audit.local import Parts
from farfield.command.shared import Solving
from farfield.core.artifact import Images, Latents
from farfield.core.error import FarfieldError
from farfield.core.runtime import Advance, generator
from farfield.data.picture import as_shown
from farfield.diffusion.denoiser import Denoiser
from farfield.diffusion.solver import network_calls
from farfield.study.bench.carrier import Carrier, Finish, as_images
from farfield.study.bench.run import Run
from farfield.study.unseen.calibration import calibration_calls
from farfield.unseen.prior import PRIORS, fit_prior
from farfield.unseen.sampler import LEAST, Limits, Proposal, draw, gaussian, interpolation, patchwork, perturbation
from farfield.unseen.selection import Witness, choose

SAMPLERS = ("patchwork", "interpolation", "gaussian", "perturbation", "geometric")

BARREN = 0.2
"""The share of seeds without a new candidate from which it is said."""


@dataclass(frozen=True)
class SamplerSettings:
    """How new latents are drawn.

    ``sampler``: ``patchwork`` of ``parents`` examples, each place mostly one of them over ``reach`` of the image's side;
    ``interpolation`` between examples on their shell; ``gaussian``, draws of the prior; ``perturbation`` of an example
    towards a draw; ``geometric``, draws of the prior accepted by distance and angles. ``t`` is the place (or the range of
    places) between the two ends of an interpolation, ``centre`` whether around the examples' mean, ``partner`` what the
    other end is (``example`` or ``prior``), ``candidates`` how many are decoded per image kept, ``calibrate`` whether the
    frozen denoiser is corrected on the examples (`unseen.calibration`).
    """

    sampler: str = "patchwork"
    prior: str = "isotropic"
    t: tuple[float, float] = (0.25, 0.5)
    centre: bool = True
    partner: str = "example"
    candidates: int = 3
    reach: float = 1 / 16
    calibrate: bool = True
    parents: int = 2

    def __post_init__(self) -> None:
        if self.sampler not in SAMPLERS:
            raise FarfieldError(f"sampler {self.sampler!r}: expected one of {', '.join(SAMPLERS)}")
        if self.prior not in PRIORS:
            raise FarfieldError(f"prior {self.prior!r}: expected one of {', '.join(PRIORS)}")
        if self.partner not in ("example", "prior"):
            raise FarfieldError(f"partner {self.partner!r}: expected example or prior")
        if not 0 <= self.t[0] <= self.t[1] <= 1:
            raise FarfieldError(
                f"t {self.t}: expected a place between two latents, 0 to 1, or two such places, low first"
            )
        if self.candidates < 1:
            raise FarfieldError(f"candidates {self.candidates}: expected at least 1")
        if not 0 < self.reach <= 1:
            raise FarfieldError(f"reach {self.reach:g}: expected a part of the image's side, above 0 and at most 1")
        if self.parents < 2:
            raise FarfieldError(f"parents {self.parents}: expected at least 2 examples to mix")

    def check(self, examples: int) -> None:
        """Refuse what so few examples cannot serve, before a folder is begun with it."""
        if self.sampler == "patchwork" and self.parents > max(examples, 2):
            raise FarfieldError(f"parents {self.parents}: a patchwork of more than the {examples} examples; give fewer")
        if self.sampler == "geometric" and examples < LEAST:
            raise FarfieldError(
                f"sampler geometric: expected at least {LEAST} examples to derive its limits from, found {examples}; use "
                "another sampler"
            )

    def request(self) -> dict[str, Any]:
        """As JSON keeps it."""
        return {**asdict(self), "t": list(self.t)}

    def proposal(self, latents: Tensor) -> tuple[Proposal, Callable[[Tensor], bool] | None]:
        """The proposal that these settings make of a domain's latents, and the geometry that may refuse it."""
        if self.sampler == "patchwork":
            return patchwork(latents, reach=self.reach, parents=self.parents), None
        if self.sampler == "interpolation":
            partner = fit_prior(self.prior, latents) if self.partner == "prior" else None
            return interpolation(latents, t=self.t, centre=self.centre, partner=partner), None
        prior = fit_prior(self.prior, latents)
        if self.sampler == "perturbation":
            return perturbation(latents, prior, t=self.t), None
        if self.sampler == "gaussian":
            return gaussian(prior), None
        limits = Limits.of(latents)
        return gaussian(prior), lambda z: limits.accepts(z, latents)


class Chooser:
    """Keeps, of several decoded candidates, the new one that is most like the examples (see `unseen.selection`).

    It looks at the examples and at a pilot of candidates only, never at held-out images: likeness in the frozen model's
    own features, newness in pixels, of the whole image and of each of its quarters.
    """

    def __init__(
        self, frozen: Denoiser, examples: Images, pilot: Images, batch_size: int, sources: Images | None = None
    ):
        """``sources`` are the images that the pilot was made from and may copy, if not the examples themselves."""
        self.describe = DenoiserFeatures(frozen)
        self.batch_size = batch_size
        self.parts = Parts.of(as_shown((sources or examples).values))
        shown = as_shown(pilot.values)
        new = self._margin(shown) > 1
        self.copies = 1 - float(new.double().mean())
        self.witness = Witness.fit(
            self._features(as_shown(examples.values)), self._features(shown[new] if bool(new.any()) else shown)
        )

    def choose(self, candidates: Sequence[Tensor], seeds: Sequence[int]) -> Tensor:
        """``[n]`` indices, from c candidates of each of n images: c tensors ``[n, C, H, W]``.

        Real images resemble one another now and then. To refuse every resemblance would empty the places where the domain
        is densest, so of as large a share of the seeds as real images would be refused the first candidate stays.
        """
        shown = [as_shown(x) for x in candidates]
        witness = torch.stack([self.witness(self._features(x)) for x in shown], 1)
        chosen = choose(witness, torch.stack([self._margin(x) for x in shown], 1), 1.0)
        lots = torch.stack([torch.rand((), generator=generator(s, "choice")) for s in seeds])
        return chosen.where(lots >= self.parts.usual, 0)

    def discrepancy(self) -> float:
        """Squared maximum mean discrepancy of examples and pilot, biased by the same amount for equal sizes."""
        w = self.witness
        return float(w(w.centre + w.scale * w.examples).mean() - w(w.centre + w.scale * w.pilot).mean())

    def _features(self, images: Tensor) -> Tensor:
        return torch.cat([self.describe(b).cpu() for b in images.split(self.batch_size)])

    def _margin(self, images: Tensor) -> Tensor:
        """How far the part that is nearest to being a copy is from it; 1 is a copy."""
        return self.parts.margins(images).min(1).values


class Producer:
    """Seeds become images: propose, decode, choose. Image k depends on seed k and the examples alone."""

    def __init__(
        self,
        carrier: Carrier,
        latents: Tensor,
        settings: SamplerSettings,
        finish: Finish | None = None,
    ):
        """``finish`` is applied to decoded images ``[n, C, H, W]``: the domain's `data.picture.channel_law`."""
        self.carrier, self.settings, self.finish = carrier, settings, finish
        self.proposal, self.accept = settings.proposal(latents)

    def propose(self, seeds: Sequence[int], candidate: int = 0, stream: str = "sampler") -> tuple[Latents, int]:
        """One candidate latent of each seed, and how many proposals that took."""
        drawn = draw(self.proposal, seeds, self.accept, stream=f"{stream}-{candidate}")
        return Latents(tuple(f"{s:06d}" for s in seeds), drawn.latents, sigma=self.carrier.sigma), int(
            drawn.proposed.sum()
        )

    def pilot(self, run: Run, name: str, keys: Sequence[str], label: str) -> Images:
        """First candidates of a stream of their own, to fit the choice to."""
        carrier = self.carrier

        def work(part: tuple[str, ...], advance: Advance) -> Images:
            return self._decode(self.propose([int(k) for k in part], stream="pilot")[0], advance)

        return run.compute(name, Images, keys, carrier.batch_size, work, label, carrier.steps)

    def make(self, keys: tuple[str, ...], advance: Advance, chooser: Chooser | None) -> tuple[Images, Latents]:
        """The images of these seeds and the latents they were decoded from."""
        seeds = [int(k) for k in keys]
        count = self.settings.candidates if chooser else 1
        latents = [self.propose(seeds, j)[0] for j in range(count)]
        images = [self._decode(z, advance) for z in latents]
        if chooser is None:
            return images[0], latents[0]
        pick = chooser.choose([x.values for x in images], seeds)
        rows = torch.arange(len(keys))
        values, z = (torch.stack([a.values for a in group])[pick, rows] for group in (images, latents))
        return Images(keys, values), Latents(keys, z, sigma=self.carrier.sigma)

    def _decode(self, latents: Latents, advance: Advance) -> Images:
        return as_images(latents.keys, self.carrier.decode(latents, advance=advance), self.finish)


def fit_chooser(run: Run, frozen: Denoiser, producer: Producer, given: Images) -> Chooser:
    keys = [f"{s:06d}" for s in range(max(32, min(150, len(given))))]
    return Chooser(frozen, given, producer.pilot(run, "pilot", keys, "pilot"), producer.carrier.batch_size)


def produce(run: Run, producer: Producer, chooser: Chooser | None, keys: list[str]) -> Images:
    """Samples, with the latents they came from written beside them, shard by shard."""
    size, count = producer.carrier.batch_size, producer.settings.candidates if chooser else 1
    sampled = run.store("sampled", Latents)

    def work(part: tuple[str, ...], advance: Advance) -> Images:
        images, latents = producer.make(part, advance, chooser)
        sampled.write(keys.index(part[0]) // size, latents)
        return images

    steps = producer.carrier.steps * count
    return run.compute("samples", Images, keys, size, work, "sampling", steps, beside=[sampled])


def repeats(copies: float, settings: SamplerSettings) -> str | None:
    """What to say where so large a share of the candidates are ``copies`` that a seed's are often all; None where few are."""
    barren = copies**settings.candidates
    if barren <= BARREN:
        return None
    advice = "Give more --candidates, or another --sampler."
    if settings.sampler == "patchwork" and settings.parents < 4:
        advice = "Mix more examples (--parents 4), or give more --candidates."
    return (
        f"{copies:.0%} of the candidates repeat an example, as a whole or in a quarter: of the seeds about {barren:.0%} have "
        f"none among {settings.candidates} that is new. {advice}"
    )


def sampler_calls(settings: SamplerSettings, count: int, n: int, numerics: Solving) -> dict[str, int]:
    """Network calls (one image through the network once) of making ``n`` images from ``count`` examples, by stage."""
    each = network_calls(numerics.solver, numerics.steps)
    candidates = settings.candidates if count > 2 else 1
    calls = {"inversion": count * each, "sampling": n * candidates * each}
    if settings.calibrate:
        calls["calibration"] = calibration_calls(count, numerics.steps)
    if candidates > 1:
        pilot = max(32, min(150, count))
        calls["choice"] = pilot * (each + 1) + count + n * candidates
    return calls
