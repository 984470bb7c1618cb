"""Images go up to latents and come down again, batch by batch: the one place where a run meets the network."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Final

import torch
from torch import Tensor

from farfield.command import measures
from farfield.command.measures import Certificate, Codec
from farfield.command.shared import Solving
from farfield.core.artifact import Features, Images, Latents, chunks
from farfield.core.runtime import Advance, exact_matmul, state_dtype
from farfield.data.noise_file import Noise
from farfield.diffusion.denoiser import Denoiser
from farfield.diffusion.generation import Labelled, generate
from farfield.diffusion.solver import Callback, Churn, integrate, network_calls
from farfield.study.bench.measure import spread
from farfield.study.bench.run import Run
from farfield.unseen.inversion import RoundTrip, convergence, from_latent, round_trip, to_latent
from farfield.unseen.method import Inverted, Method, decode_by, invert_by

CERTIFIED: Final = 16
"""Images that latents are certified on, and that `expand` inverts and decodes again: more would say the same."""
Finish = Callable[[Tensor], Tensor]
"""What is done to decoded images ``[n, C, H, W]`` before they are kept."""


class Carrier:
    """Carries rows up to a level and down again by one method.

    `invert`, `decode`, `stochastic`, `recode` and `sample` take rows; `up`, `down`, `samples`, `codec_limit` and `certify`
    are the same as artifacts of a run.

    Args:
        sigmas: the decoder's descending grid ``[steps + 1]``.
        method: explicit if not given; what belongs beside its latents is stored with them.
        batch_size: rows of a shard.
        seed: of the noise of ``edit-friendly``.
    """

    def __init__(
        self, denoiser: Denoiser, sigmas: Tensor, method: Method | None = None, batch_size: int = 64, seed: int = 0
    ):
        self.denoiser, self.sigmas, self.method = denoiser, sigmas, method or Method()
        self.batch_size, self.seed = batch_size, seed
        self.sigma, self.steps = float(sigmas[0]), len(sigmas) - 1

    @classmethod
    def of(cls, numerics: Solving, denoiser: Denoiser, sigmas: Tensor | None = None) -> Carrier:
        """By the explicit method over a grid; over that of the numerics' level, if not given."""
        grid = denoiser.schedule.sigmas(numerics.steps, numerics.sigma) if sigmas is None else sigmas
        return cls(denoiser, grid, Method(solver=numerics.solver), numerics.loading.batch_size)

    def invert(self, rows: Images | Latents, advance: Advance | None = None) -> Inverted:
        """Latents of images; or of latents at the grid's lowest level, which the explicit method carries further."""
        report = _report(advance, rows.keys)
        x = place(self.denoiser, rows.values)
        with exact_matmul():
            if isinstance(rows, Images):
                seeds = [key_seed(k, self.seed) for k in rows.keys]
                return invert_by(self.method, self.denoiser, x, self.sigmas, seeds, report)
            start = from_latent(x, x.new_tensor(rows.sigma))
            x = integrate(self.denoiser, start, self.sigmas.flip(0), self.method.solver, callback=report)
        calls = torch.full((len(x),), network_calls(self.method.solver, self.steps))
        return Inverted(to_latent(x, self.sigmas[0].to(x)), calls)

    def decode(self, latents: Latents, beside: Latents | None = None, advance: Advance | None = None) -> Tensor:
        """Images of latents on the model's device, in the widest float."""
        z = place(self.denoiser, latents.values)
        second = None if beside is None else place(self.denoiser, beside.values)
        with exact_matmul():
            return decode_by(self.method, self.denoiser, z, second, self.sigmas, _report(advance, latents.keys))

    def stochastic(self, latents: Latents, eta: float, seeds: Sequence[int], advance: Advance | None = None) -> Tensor:
        """Images of latents by Euler with DDIM's noise; row i's depends on ``seeds[i]`` alone."""
        z = place(self.denoiser, latents.values)
        start, report = from_latent(z, self.sigmas[0].to(z)), _report(advance, latents.keys)
        with exact_matmul():
            x = integrate(self.denoiser, start, self.sigmas, "euler", eta=eta, seeds=seeds, callback=report)
            return self.denoiser.decode(x)

    def recode(self, images: Images) -> Tensor:
        """What a latent model's codec alone returns of images; the images themselves without one."""
        with exact_matmul(), torch.no_grad():
            return self.denoiser.decode(encode(self.denoiser, images))

    def sample(
        self,
        keys: Sequence[str],
        advance: Advance,
        *,
        eta: float = 0.0,
        churn: Churn | None = None,
        labels: Sequence[int] = (),
        noise: Noise | None = None,
    ) -> Images:
        """The model's own samples, keyed by their seeds; with several labels, seed k has that at place k modulo their number."""
        seeds, model = [int(k) for k in keys], self.denoiser
        if len(labels) > 1:
            model = Labelled(model, torch.tensor([labels[s % len(labels)] for s in seeds]))
        solver, report, device = self.method.solver, _report(advance, keys), self.denoiser.device
        with exact_matmul():
            begin = None if noise is None else noise.of(seeds)
            x = generate(
                model, seeds, self.sigmas, solver, eta=eta, churn=churn, device=device, callback=report, noise=begin
            )
        return as_images(keys, x)

    def up(self, run: Run, name: str, rows: Images | Latents, label: str, *, beside: bool = True) -> Latents:
        """`invert` as artifact ``name``, and with ``beside`` what decoding needs.

        What stands beside is written before the latents, shard by shard: where the latents' shard is, so is the other.
        """
        other = run.store(self.method.beside, Latents) if beside and self.method.beside else None
        asked = run.store("calls", Features) if beside and self.method.name == "fixed-point" else None
        shard = {part[0]: i for i, part in enumerate(chunks(rows.keys, self.batch_size))}
        needed = [s for s in (other, asked) if s]

        def work(part: tuple[str, ...], advance: Advance) -> Latents:
            inverted = self.invert(rows.select(part), advance)
            if other and inverted.beside is not None:
                other.write(shard[part[0]], Latents(part, inverted.beside.cpu(), sigma=inverted.beside_sigma))
            if asked:
                asked.write(shard[part[0]], Features(part, inverted.calls[:, None].double(), "network calls up"))
            return Latents(part, inverted.latents.cpu(), sigma=self.sigma)

        return run.compute(name, Latents, rows.keys, self.batch_size, work, label, self.steps, beside=needed).read()

    def down(self, run: Run, name: str, latents: Latents, label: str, finish: Finish | None = None) -> Images:
        """`decode` as artifact ``name``: float32, not clipped."""
        other = run.store(self.method.beside, Latents).read() if self.method.beside else None

        def work(part: tuple[str, ...], advance: Advance) -> Images:
            x = self.decode(latents.select(part), other.select(part) if other else None, advance)
            return as_images(part, x, finish)

        return run.compute(name, Images, latents.keys, self.batch_size, work, label, self.steps).read()

    def samples(self, run: Run, name: str, keys: Sequence[str], label: str, finish: Finish | None = None) -> Images:
        """`sample` as artifact ``name``."""

        def work(part: tuple[str, ...], advance: Advance) -> Images:
            return as_images(part, self.sample(part, advance).values, finish)

        return run.compute(name, Images, keys, self.batch_size, work, label, self.steps).read()

    def codec_limit(self, run: Run, images: Images, returned: Images) -> Codec | None:
        """Of a latent model what no inversion can do better: ``psnr`` of the images its codec alone returns, without the ODE.

        ``inversion_psnr`` holds the round trip against these: what the inversion itself costs. None without a codec.
        """
        if self.denoiser.codec is None:
            return None

        def work(part: tuple[str, ...], advance: Advance) -> Images:
            coded = self.recode(images.select(part))
            advance(len(part))
            return as_images(part, coded)

        coded = run.compute("codec", Images, images.keys, self.batch_size, work, "the autoencoder alone").read().values
        return Codec(
            psnr=spread(round_trip(images.values, coded).psnr),
            inversion_psnr=spread(round_trip(coded, returned.values).psnr),
        )

    def certify(self, run: Run, images: Images, latents: Latents, most: int = CERTIFIED) -> Certificate:
        """k against 2k steps on the first ``most`` images, by a method that solves the ODE: the error that latents carry."""
        keys = images.keys[:most]
        grid = self.denoiser.schedule.sigmas(2 * self.steps, self.sigma)
        fine = Carrier(self.denoiser, grid, self.method, self.batch_size, self.seed)
        again = fine.up(run, "certificate", images.select(keys), "certifying", beside=False)
        apart = convergence(latents.select(keys).values, again.values, self.method.order or 1)
        return Certificate(
            steps=[self.steps, fine.steps],
            difference=spread(apart.difference),
            error=spread(apart.error),
            n=len(keys),
        )

    def calls(self, run: Run) -> int:
        """Network calls an image on the way up; of a fixed point, the mean as counted."""
        if self.method.name == "fixed-point":
            return round(float(run.store("calls", Features).read().values.mean()))
        return self.method.calls(self.steps)[0]

    def solved(self) -> dict[str, Any]:
        """The numerical settings of the explicit method as they were used: the trained level, not the one asked for."""
        return {
            "sigma": self.sigma,
            "steps": self.steps,
            "solver": self.method.label,
            "network_calls": self.method.calls(self.steps)[0],
        }


def place(denoiser: Denoiser, values: Tensor) -> Tensor:
    """Rows on the model's device, in the widest float that it has."""
    return values.to(denoiser.device, state_dtype(denoiser.device))


def encode(denoiser: Denoiser, images: Images) -> Tensor:
    """The :math:`x_0` of images ``[n, *shape]``, placed."""
    with exact_matmul(), torch.no_grad():
        return denoiser.encode(place(denoiser, images.values))


def as_images(keys: Sequence[str], values: Tensor, finish: Finish | None = None) -> Images:
    """What came down as it is kept: float32, not clipped."""
    values = values.float().cpu()
    return Images(tuple(keys), finish(values) if finish else values)


def describe_trip(trip: RoundTrip) -> measures.RoundTrip:
    """What a summary says of a round trip: the spread over images of each of its measures."""
    return measures.RoundTrip(
        psnr=spread(trip.psnr), ssim=spread(trip.ssim), max_error=spread(trip.max_error), n=len(trip.psnr)
    )


def key_seed(key: str, seed: int) -> int:
    """A seed of an image's own, from its key and the run's seed."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{key}".encode(errors="surrogateescape")).digest()[:8]) >> 1


def _report(advance: Advance | None, keys: Sequence[str]) -> Callback | None:
    """A solver's step as progress of all the rows that take it."""
    return None if advance is None else lambda step: advance(len(keys))
