"""`farfield reconstruct` and `farfield invert`: images to latents and back, with the evidence for both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from farfield.checkpoints.load import load_denoiser, model_digest
from farfield.core.artifact import Images, Latents, save, write_json
from farfield.core.error import FarfieldError
from farfield.core.runtime import Advance, exact_matmul, resolve_device, resolve_dtype, state_dtype
from farfield.data.bundled import open_images
from farfield.data.picture import save_pngs
from farfield.diffusion.denoiser import Denoiser
from farfield.diffusion.solver import find_solver, network_calls
from farfield.study.run import Run
from farfield.unseen.inversion import convergence, decode, invert, round_trip


@dataclass(frozen=True)
class Numerics:
    """How a model is run; shared by every command that inverts or decodes."""

    sigma: float | None = None
    steps: int = 24
    solver: str = "multistep"
    batch_size: int = 64
    device: str = "auto"
    dtype: str = "float32"
    label: int | None = None

    def load(self, model: str) -> Denoiser:
        """The frozen denoiser, on its device."""
        if self.batch_size < 1:
            raise FarfieldError(f"batch size {self.batch_size}: expected at least 1")
        denoiser = load_denoiser(
            model, device=resolve_device(self.device), dtype=resolve_dtype(self.dtype), label=self.label
        )
        self._check(denoiser)
        return denoiser

    def _check(self, denoiser: Denoiser) -> None:
        """Refuse a solver, level or number of steps that the model cannot do, before a folder is begun with them."""
        find_solver(self.solver)
        denoiser.schedule.sigmas(self.steps, self.sigma)
        try:
            denoiser.schedule.sigmas(2 * self.steps, self.sigma)
        except FarfieldError as error:
            raise FarfieldError(
                f"{self.steps} steps: the latents are certified with twice as many, and {error}; use half of that"
            ) from error

    def request(self) -> dict[str, Any]:
        """What changes a result: everything but the device."""
        return {k: v for k, v in asdict(self).items() if k != "device"}


class Shuttle:
    """Carries rows up to a level and down again, batch by batch: the one place where a run meets the network."""

    def __init__(self, denoiser: Denoiser, sigmas: Tensor, solver: str):
        self.denoiser, self.sigmas, self.solver = denoiser, sigmas, find_solver(solver).name
        self.device = next(denoiser.parameters()).device
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


def reconstruct(
    model: str,
    source: str,
    out: Path,
    numerics: Numerics,
    *,
    limit: int | None = None,
    strict: bool = False,
    quiet: bool = False,
    back: bool = True,
) -> dict[str, Any]:
    """Invert images, decode them again, and say how well both went.

    Writes ``latents/``, ``reconstructions/`` (and ``png/``) and ``summary.json`` into the run folder.

    Args:
        back: decode as well; without it (`farfield invert`) only the latents and their certificate are made.
    """
    denoiser = numerics.load(model)
    images = open_images(source, denoiser.shape, limit=limit, strict=strict)
    sigmas = denoiser.schedule.sigmas(numerics.steps, numerics.sigma)
    shuttle = Shuttle(denoiser, sigmas, numerics.solver)
    request = {
        "model": model,
        "model_digest": model_digest(model),
        "images": source,
        "images_digest": images.digest(),
        **numerics.request(),
    }
    run = Run(out, "reconstruct" if back else "invert", request, quiet)
    latents = run.compute(
        "latents", Latents, images.keys, numerics.batch_size, shuttle.up(images), "inverting", shuttle.steps
    )
    summary: dict[str, Any] = {
        "command": run.request["command"],
        "model": model,
        "images": source,
        "n": len(images),
        **level(shuttle),
    }
    summary["latent_certificate"] = certificate(run, denoiser, images, latents, shuttle, numerics)
    if back:
        returned = run.compute(
            "reconstructions",
            Images,
            images.keys,
            numerics.batch_size,
            shuttle.down(latents),
            "decoding",
            shuttle.steps,
        )
        trip = round_trip(images.values, returned.values)
        summary["reconstruction"] = {
            "psnr": spread(trip.psnr),
            "ssim": spread(trip.ssim),
            "max_error": spread(trip.max_error),
            "n": len(images),
        }
        rows = zip(trip.psnr.tolist(), trip.ssim.tolist(), trip.max_error.tolist(), strict=True)
        summary["images"] = {
            k: {"psnr": p, "ssim": s, "max_error": e} for k, (p, s, e) in zip(images.keys, rows, strict=True)
        }
        if run.ranks.main and denoiser.shape[0] in (1, 3):
            save_pngs(returned, out / "png")
    if run.ranks.main:
        save(images, out / "images")
        write_json(out / "summary.json", {**summary, "cost_seconds": run.cost()})
    return summary


def level(shuttle: Shuttle) -> dict[str, Any]:
    """The numerical settings as they were used: the trained level, not the one asked for."""
    return {
        "sigma": shuttle.sigma,
        "steps": shuttle.steps,
        "solver": shuttle.solver,
        "network_calls": network_calls(shuttle.solver, shuttle.steps),
    }


def certificate(
    run: Run, denoiser: Denoiser, images: Images, latents: Latents, shuttle: Shuttle, numerics: Numerics, most: int = 16
) -> dict[str, Any]:
    """k against 2k steps on the first ``most`` images: the relative error that the latents carry."""
    keys = images.keys[:most]
    fine = Shuttle(denoiser, denoiser.schedule.sigmas(2 * shuttle.steps, shuttle.sigma), shuttle.solver)
    again = run.compute("certificate", Latents, keys, numerics.batch_size, fine.up(images), "certifying", fine.steps)
    found = convergence(latents.select(keys).values, again.values, shuttle.solver)
    return {
        "steps": [shuttle.steps, fine.steps],
        "difference": spread(found.difference),
        "error": spread(found.error),
        "n": len(keys),
    }


def spread(values: Tensor | Sequence[float]) -> dict[str, float]:
    """Median and extremes of a per-image quantity."""
    v = torch.as_tensor(values, dtype=torch.float64)
    return {"median": float(v.median()), "min": float(v.min()), "max": float(v.max())}
