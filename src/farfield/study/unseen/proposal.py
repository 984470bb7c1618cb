"""A domain's latents become new images: proposals, candidates, and the choice among them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from farfield.audit.activation import DenoiserFeatures
from farfield.audit.descriptor import Descriptor
from farfield.audit.local import Parts
from farfield.audit.pixels import Pixels
from farfield.command.expand import Sampler
from farfield.command.measures import SearchedLevel
from farfield.command.shared import Solving
from farfield.core.artifact import Images, Latents
from farfield.core.error import FarfieldError
from farfield.core.runtime import Advance, exact_matmul, generator
from farfield.data.picture import as_shown
from farfield.diffusion.denoiser import Denoiser
from farfield.diffusion.solver import integrate, network_calls
from farfield.study.bench.carrier import Carrier, Finish, as_images, encode, key_seed, place
from farfield.study.bench.run import Run
from farfield.study.unseen.calibration import calibration_calls, calls_each, descent_calls
from farfield.unseen.calibration import CalibratedDenoiser
from farfield.unseen.inversion import from_latent, to_latent
from farfield.unseen.patchwork import patchwork, starts, turns
from farfield.unseen.prior import fit_prior
from farfield.unseen.sampler import LEAST, Limits, Proposal, draw, gaussian, interpolation, perturbation
from farfield.unseen.selection import Witness, choose

DESCENTS = ("sdedit", "noise")
"""Samplers that walk down from a noisy image with fresh noise (arXiv 2108.01073 from an example's), and need no inversion."""

BARREN = 0.2
"""The share of seeds without a new candidate from which it is said."""


def check_sampler(sampler: Sampler, examples: int) -> None:
    """Refuse what so few examples cannot serve, before a folder is begun with it."""
    if sampler.mixed > max(examples, 2):
        raise FarfieldError(f"--parents {sampler.mixed}: more than the {examples} examples; give fewer")
    if sampler.sampler == "patchwork" and sampler.mixed < 2:
        raise FarfieldError("--parents 1: a patchwork mixes at least 2 examples; give more, or --sampler sdedit")
    if sampler.sampler == "geometric" and examples < LEAST:
        raise FarfieldError(
            f"--sampler geometric: expected at least {LEAST} examples to derive its limits from, found {examples}; use "
            "another sampler"
        )


def proposal_of(sampler: Sampler, latents: Tensor) -> tuple[Proposal, Callable[[Tensor], bool] | None]:
    """The proposal that a sampler makes of a domain's latents, and the geometry that may refuse it."""
    t = (sampler.t[0], sampler.t[-1])
    if sampler.sampler == "patchwork":
        return patchwork(latents, reach=sampler.reach, parents=sampler.mixed), None
    if sampler.sampler == "interpolation":
        partner = fit_prior(sampler.prior, latents) if sampler.partner == "prior" else None
        return interpolation(latents, t=t, centre=sampler.centre, partner=partner), None
    prior = fit_prior(sampler.prior, latents)
    if sampler.sampler == "perturbation":
        return perturbation(latents, prior, t=t), None
    if sampler.sampler == "gaussian":
        return gaussian(prior), None
    if sampler.sampler != "geometric":
        raise FarfieldError(f"--sampler {sampler.sampler}: makes no latents from latents; this is a fault of farfield")
    limits = Limits.of(latents)
    return gaussian(prior), lambda z: limits.accepts(z, latents)


class Chooser:
    """Keeps, of several decoded candidates, the new one that is most like the examples (see `unseen.selection`).

    It looks at the examples and at a pilot of candidates only, never at held-out images: likeness in the frozen model's
    own features, or where no network is asked in whitened pixels; newness in pixels, of the whole image and of each of its
    quarters.
    """

    def __init__(
        self, frozen: Denoiser | None, examples: Images, pilot: Images, batch_size: int, sources: Images | None = None
    ):
        """``sources`` are the images that the pilot was made from and may copy, if not the examples themselves."""
        shown = as_shown(pilot.values)
        self.describe: Descriptor
        if frozen is None:
            self.describe = Pixels.fit(torch.cat([as_shown(examples.values), shown]))
        else:
            self.describe = DenoiserFeatures(frozen)
        self.batch_size = batch_size
        self.parts = Parts.of(as_shown((sources or examples).values))
        new = self._margin(shown) > 1
        self.copies = 1 - float(new.double().mean())
        told = shown[new] if bool(new.any()) else shown
        self.calls = len(examples) + len(told)  # of the network, where it is asked
        self.witness = Witness.fit(self._features(as_shown(examples.values)), self._features(told))

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

    def error(self) -> float:
        """A standard error of the discrepancy, by chance of the pilot."""
        w = self.witness
        return float(w(w.centre + w.scale * w.pilot).std()) / len(w.pilot) ** 0.5

    def _features(self, images: Tensor) -> Tensor:
        return torch.cat([self.describe(b).cpu() for b in images.split(self.batch_size)])

    def _margin(self, images: Tensor) -> Tensor:
        """How far the part that is nearest to being a copy is from it; 1 is a copy."""
        return self.parts.margins(images).min(1).values


class Producer:
    """Seeds become images: propose, decode, choose. Image k depends on seed k and the examples alone.

    Args:
        examples: the domain's.
        latents: theirs at the carrier's level; of DESCENTS none are needed.
        finish: applied to decoded images ``[n, C, H, W]``: the domain's `data.picture.channel_law`.
    """

    def __init__(
        self,
        carrier: Carrier,
        examples: Images,
        latents: Latents | None,
        sampler: Sampler,
        finish: Finish | None = None,
    ):
        self.carrier, self.sampler, self.finish = carrier, sampler, finish
        self.proposal: Proposal | None = None
        self.accept: Callable[[Tensor], bool] | None = None
        if latents is None:
            self.x0 = encode(carrier.denoiser, examples)
        else:
            self.proposal, self.accept = proposal_of(sampler, latents.values)

    def propose(self, seeds: Sequence[int], stream: str) -> tuple[Latents, int]:
        """One latent of each seed, and how many proposals that took."""
        if self.proposal is None:
            return self._start(seeds, stream)[0], len(seeds)
        drawn = draw(self.proposal, seeds, self.accept, stream=stream)
        return Latents(_keys(seeds), drawn.latents, sigma=self.carrier.sigma), int(drawn.proposed.sum())

    def parents(self, seeds: Sequence[int]) -> list[int] | None:
        """The number of the example that an image of each seed is made from; None where it is made from none, or from several."""
        if self.sampler.sampler != "sdedit" or self.sampler.candidates > 1 or self.sampler.mixed > 1:
            return None
        return turns(len(self.x0), seeds, 1, "sampler-0")[:, 0].tolist()

    def candidate(self, seeds: Sequence[int], stream: str, advance: Advance) -> tuple[Images, Latents]:
        """One image of each seed, and the latent that it came from."""
        if self.proposal is None:
            latents, parents = self._start(seeds, stream)
            x = self._descend(latents, parents, [key_seed(stream, s) for s in seeds], advance)
        else:
            latents, _ = self.propose(seeds, stream)
            x = self.carrier.decode(latents, advance=advance)
        return as_images(latents.keys, x, self.finish), latents

    def pilot(self, run: Run, name: str, keys: Sequence[str], label: str) -> Images:
        """First candidates of a stream of their own, to judge by."""

        def work(part: tuple[str, ...], advance: Advance) -> Images:
            return self.candidate([int(k) for k in part], "pilot-0", advance)[0]

        return run.compute(name, Images, keys, self.carrier.batch_size, work, label, self.carrier.steps).read()

    def make(self, keys: tuple[str, ...], advance: Advance, chooser: Chooser | None) -> tuple[Images, Latents]:
        """The images of these seeds and the latents they came from."""
        seeds = [int(k) for k in keys]
        count = self.sampler.candidates if chooser else 1
        images, latents = zip(*(self.candidate(seeds, f"sampler-{j}", advance) for j in range(count)), strict=True)
        if chooser is None:
            return images[0], latents[0]
        pick = chooser.choose([x.values for x in images], seeds)
        rows = torch.arange(len(keys))
        values, z = (torch.stack([a.values for a in group])[pick, rows] for group in (images, latents))
        return Images(keys, values), Latents(keys, z, sigma=self.carrier.sigma)

    def _start(self, seeds: Sequence[int], stream: str) -> tuple[Latents, Tensor]:
        """Examples or patchworks of them under noise, or noise around their mean; and the examples' numbers, −1 for none."""
        level = self.x0.new_tensor(self.carrier.sigma)
        if self.sampler.sampler == "sdedit":
            mixed, of = starts(self.x0, seeds, parents=self.sampler.mixed, reach=self.sampler.reach, stream=stream)
        else:
            mixed, of = self.x0.mean(0).expand(len(seeds), *self.x0.shape[1:]), torch.full((len(seeds), 1), -1)
        fresh = [
            torch.randn(self.x0.shape[1:], generator=generator(s, f"{stream}-noise"), dtype=torch.float64)
            for s in seeds
        ]
        z = to_latent(mixed.to(self.x0) + level * torch.stack(fresh).to(self.x0), level).cpu()
        return Latents(_keys(seeds), z, sigma=self.carrier.sigma), of

    def _descend(self, latents: Latents, parents: Tensor, seeds: Sequence[int], advance: Advance) -> Tensor:
        """Ancestral steps (eta 1) to the lowest level, and what is clean there: its noise would be grain that no image has."""
        flow, sigmas = self.carrier.denoiser, self.carrier.sigmas
        if isinstance(flow, CalibratedDenoiser):
            flow = flow.leaving_out(parents)
        z = place(flow, latents.values)
        with exact_matmul(), torch.no_grad():
            x = from_latent(z, sigmas[0].to(z))
            x = integrate(flow, x, sigmas, "euler", eta=1.0, seeds=seeds, callback=lambda step: advance(len(seeds)))
            return flow.decode(flow(x, sigmas[-1].to(x)))


def _keys(seeds: Sequence[int]) -> tuple[str, ...]:
    return tuple(f"{s:06d}" for s in seeds)


def fit_chooser(run: Run, frozen: Denoiser, producer: Producer, given: Images) -> Chooser:
    """The choice among the producer's candidates; without the network's features where its sampler asks no network."""
    keys = [f"{s:06d}" for s in range(max(32, min(150, len(given))))]
    asked = frozen if producer.sampler.network else None
    return Chooser(asked, given, producer.pilot(run, "pilot", keys, "pilot"), producer.carrier.batch_size)


def produce(
    run: Run,
    producer: Producer,
    chooser: Chooser | None,
    keys: Sequence[str],
    within: str = "",
    label: str = "sampling",
    fresh: Callable[[Images], Images] | None = None,
) -> Images:
    """Samples, with the latents they came from written beside them, shard by shard.

    Args:
        within: the folder of the run that both are in, with a slash at its end.
        fresh: what is done to them last: the noise that fields are given.
    """
    batch_size, count = producer.carrier.batch_size, producer.sampler.candidates if chooser else 1
    sampled = run.store(f"{within}sampled", Latents)

    places = {key: i for i, key in enumerate(keys)}

    def work(part: tuple[str, ...], advance: Advance) -> Images:
        images, latents = producer.make(part, advance, chooser)
        sampled.write(places[part[0]] // batch_size, latents)
        return fresh(images) if fresh else images

    steps = producer.carrier.steps * count
    return run.compute(f"{within}samples", Images, keys, batch_size, work, label, steps, beside=[sampled]).read()


def repeats(copies: float, sampler: Sampler) -> str | None:
    """What to say where so large a share of the candidates are ``copies`` that a seed's are often all; None where few are."""
    barren = copies**sampler.candidates
    if barren <= BARREN:
        return None
    advice = "Give more --candidates, or another --sampler."
    if sampler.sampler == "patchwork" and sampler.mixed < 4:
        advice = "Mix more examples (--parents 4), or give more --candidates."
    return (
        f"{copies:.0%} of the candidates repeat an example, as a whole or in a quarter: of the seeds about {barren:.0%} have "
        f"none among {sampler.candidates} that is new. {advice}"
    )


def sampler_calls_each(sampler: Sampler, denoiser: Denoiser, solver: str, sigmas: Tensor) -> tuple[int, int]:
    """Network calls an image, up to a latent and down to a sample; nothing goes up of `DESCENTS`."""
    if sampler.sampler in DESCENTS:
        return 0, descent_calls(denoiser, sigmas)
    return calls_each(denoiser, solver, sigmas)


def sampler_calls(
    sampler: Sampler,
    count: int,
    n: int,
    numerics: Solving,
    each: tuple[int, int] | None = None,
    *,
    searched: Sequence[SearchedLevel] = (),
    chooser: Chooser | None = None,
) -> dict[str, int]:
    """Network calls (one image through the network once) of making ``n`` images from ``count`` examples, by stage.

    Not counted are the two calls with which a chooser finds the network's middle, and what measures and controls ask.

    Args:
        each: those of an image up and down (`sampler_calls_each`); the most that the solver makes, if not given.
        searched: the levels that were tried.
        chooser: of the images; the most that it asks, if not given.
    """
    if not sampler.network:
        return {"inversion": 0, "sampling": 0}
    most = network_calls(numerics.solver, numerics.steps)
    up, down = each or ((0, numerics.steps + 1) if sampler.sampler in DESCENTS else (most, most))
    candidates = sampler.candidates if count > 2 else 1
    calls = {"inversion": count * up, "sampling": n * candidates * down}
    if sampler.calibrate:
        calls["calibration"] = calibration_calls(count, numerics.steps)
    if candidates > 1:
        pilot = max(32, min(150, count))
        calls["choice"] = pilot * down + (chooser.calls if chooser else pilot + count) + n * candidates
    if searched:
        calls["search"] = sum(row.calls for row in searched)
    return calls
