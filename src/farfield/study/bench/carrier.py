"""Images go up to latents and come down again, batch by batch: the one place where a run meets the network."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from farfield.core.artifact import Features, Images, Latents, chunks
from farfield.core.runtime import Advance, exact_matmul, resolve_device, state_dtype
from farfield.diffusion.denoiser import Denoiser
from farfield.diffusion.generation import generate
from farfield.diffusion.solver import find_solver
from farfield.study.bench.measure import spread
from farfield.study.bench.run import Run
from farfield.unseen.inversion import convergence, decode, invert, round_trip
from farfield.unseen.method import Method, decode_by, invert_by

if TYPE_CHECKING:
    from farfield.study.bench.numerics import Numerics


class Shuttle:
    """Carries rows up to a level and down again, batch by batch: the one place where a run meets the network."""

    def __init__(self, denoiser: Denoiser, sigmas: Tensor, solver: str):
        self.denoiser, self.sigmas, self.solver = denoiser, sigmas, find_solver(solver).name
        self.device = denoiser.device
        self.sigma = float(sigmas[0])

    @property
    def steps(self) -> int:
        return len(self.sigmas) - 1

    def up(self, images: Images) -> Callable[[tuple[str, ...], Advance], Latents]:
        """Work for `Run.compute`: the latents of these images."""

        def work(keys: tuple[str, ...], advance: Advance) -> Latents:
            x = self._place(images.select(keys).values)
            with exact_matmul():
                z = invert(self.denoiser, x, self.sigmas, self.solver, lambda step: advance(len(keys)))
            return Latents(keys, z.cpu(), sigma=self.sigma)

        return work

    def down(self, latents: Latents) -> Callable[[tuple[str, ...], Advance], Images]:
        """Work for `Run.compute`: the images of these latents, float32, not clipped."""

        def work(keys: tuple[str, ...], advance: Advance) -> Images:
            z = self._place(latents.select(keys).values)
            with exact_matmul():
                x = decode(self.denoiser, z, self.sigmas, self.solver, lambda step: advance(len(keys)))
            return Images(keys, x.float().cpu())

        return work

    def _place(self, values: Tensor) -> Tensor:
        return values.to(self.device, state_dtype(self.device))


def key_seed(key: str, seed: int) -> int:
    """A seed of an image's own, from its key and the run's seed."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{key}".encode(errors="surrogateescape")).digest()[:8]) >> 1


class Carrier:
    """Carries a run's rows up and down by one method; what belongs beside the latents is stored with them."""

    def __init__(self, denoiser: Denoiser, sigmas: Tensor, method: Method, seed: int = 0):
        self.denoiser, self.sigmas, self.method, self.seed = denoiser, sigmas, method, seed
        self.device = denoiser.device
        self.sigma = float(sigmas[0])

    @property
    def steps(self) -> int:
        return len(self.sigmas) - 1

    def up(self, run: Run, name: str, images: Images, size: int, label: str, *, beside: bool = True) -> Latents:
        """The latents of these images as artifact ``name``, and with ``beside`` what decoding needs.

        What stands beside is written before the latents, shard by shard: where the latents' shard is, so is the other.
        """
        keys = images.keys
        other = run.store(self.method.beside, Latents) if beside and self.method.beside else None
        asked = run.store("calls", Features) if beside and self.method.name == "fixed-point" else None
        place = {part[0]: i for i, part in enumerate(chunks(keys, size))}
        needed = [s for s in (other, asked) if s]

        def work(part: tuple[str, ...], advance: Advance) -> Latents:
            x = images.select(part).values.to(self.device, state_dtype(self.device))
            with exact_matmul():
                found = invert_by(
                    self.method, self.denoiser, x, self.sigmas, self._seeds(part), lambda step: advance(len(part))
                )
            if other and found.beside is not None:
                other.write(place[part[0]], Latents(part, found.beside.cpu(), sigma=found.beside_sigma))
            if asked:
                asked.write(place[part[0]], Features(part, found.calls[:, None].double(), "network calls up"))
            return Latents(part, found.latents.cpu(), sigma=self.sigma)

        return run.compute(name, Latents, keys, size, work, label, self.steps, beside=needed)

    def calls(self, run: Run) -> int:
        """Network calls an image on the way up; of a fixed point, the mean as counted."""
        if self.method.name == "fixed-point":
            return round(float(run.store("calls", Features).read().values.mean()))
        return self.method.calls(self.steps)[0]

    def down(self, run: Run, name: str, latents: Latents, size: int, label: str) -> Images:
        """The images of these latents, float32, not clipped."""
        folder = self.method.beside
        other = run.store(folder, Latents).read() if folder else None

        def work(part: tuple[str, ...], advance: Advance) -> Images:
            z = latents.select(part).values.to(self.device)
            second = other.select(part).values.to(self.device) if other else None
            with exact_matmul():
                x = decode_by(self.method, self.denoiser, z, second, self.sigmas, lambda step: advance(len(part)))
            return Images(part, x.float().cpu())

        return run.compute(name, Images, latents.keys, size, work, label, self.steps)

    def _seeds(self, keys: tuple[str, ...]) -> list[int]:
        return [key_seed(k, self.seed) for k in keys]


def own_samples(denoiser: Denoiser, numerics: Numerics) -> Any:
    """Work for `Run.compute`: the model's own samples, from the same seeds."""
    sigmas = denoiser.schedule.sigmas(numerics.steps)
    device = resolve_device(numerics.device)

    def work(keys: tuple[str, ...], advance: Advance) -> Images:
        with exact_matmul():
            x = generate(
                denoiser,
                [int(k) for k in keys],
                sigmas,
                numerics.solver,
                device=device,
                callback=lambda step: advance(len(keys)),
            )
        return Images(keys, x.float().cpu())

    return work


def codec_limit(
    run: Run, denoiser: Denoiser, images: Images, returned: Images, size: int
) -> dict[str, dict[str, float]] | None:
    """Of a latent model what no inversion can do better: ``psnr`` of the images its codec alone returns, without the ODE.

    ``inversion_psnr`` holds the round trip against these: what the inversion itself costs. None without a codec.
    """
    if denoiser.codec is None:
        return None

    def work(keys: tuple[str, ...], advance: Advance) -> Images:
        x = images.select(keys).values.to(denoiser.device, state_dtype(denoiser.device))
        with exact_matmul(), torch.no_grad():
            coded = denoiser.decode(denoiser.encode(x))
        advance(len(keys))
        return Images(keys, coded.float().cpu())

    coded = run.compute("codec", Images, images.keys, size, work, "the autoencoder alone").values
    return {
        "psnr": spread(round_trip(images.values, coded).psnr),
        "inversion_psnr": spread(round_trip(coded, returned.values).psnr),
    }


def certificate(
    run: Run, denoiser: Denoiser, images: Images, latents: Latents, shuttle: Shuttle, numerics: Numerics, most: int = 16
) -> dict[str, Any]:
    """k against 2k steps on the first ``most`` images: the relative error that the latents carry."""
    carrier = Carrier(denoiser, shuttle.sigmas, Method("explicit", shuttle.solver))
    return certify(run, images, latents, carrier, numerics.batch_size, most)


def certify(run: Run, images: Images, latents: Latents, carrier: Carrier, size: int, most: int = 16) -> dict[str, Any]:
    """The same for any method that solves the ODE."""
    keys = images.keys[:most]
    grid = carrier.denoiser.schedule.sigmas(2 * carrier.steps, carrier.sigma)
    fine = Carrier(carrier.denoiser, grid, carrier.method, carrier.seed)
    again = fine.up(run, "certificate", images.select(keys), size, "certifying", beside=False)
    found = convergence(latents.select(keys).values, again.values, carrier.method.order or 1)
    return {
        "steps": [carrier.steps, fine.steps],
        "difference": spread(found.difference),
        "error": spread(found.error),
        "n": len(keys),
    }
