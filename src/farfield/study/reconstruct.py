"""`farfield reconstruct` and `farfield invert`: images to latents and back, with the evidence for both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from farfield.checkpoints.load import load_denoiser, model_digest
from farfield.core import note
from farfield.core.artifact import Images, Latents, save, write_json
from farfield.core.error import FarfieldError
from farfield.core.runtime import Advance, exact_matmul, resolve_device, resolve_dtype, state_dtype
from farfield.data.picture import save_pngs
from farfield.diffusion.denoiser import Denoiser
from farfield.diffusion.generation import generate
from farfield.diffusion.solver import find_solver, network_calls
from farfield.study.domain import open_source
from farfield.study.method import Carrier, Choice, search_method
from farfield.study.physical import describe_fields
from farfield.study.run import Run
from farfield.unseen.inversion import convergence, decode, invert, round_trip
from farfield.unseen.method import Method, budgets


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


@note.kept()
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
    choice: Choice | None = None,
    stretch: str | None = None,
    patch: int | None = None,
    hdu: str | int | None = None,
    mask: str | None = None,
) -> dict[str, Any]:
    """Invert images, decode them again, and say how well both went.

    Writes ``latents/``, ``reconstructions/`` (and ``png/``) and ``summary.json`` into the run folder.

    Args:
        back: decode as well; without it (`farfield invert`) only the latents and their certificate are made.
        choice: the method; explicit if not given. What a method needs beside the latents is written to ``second/`` or
            ``noise_maps/``, and the trials of ``auto`` are in the summary.
        stretch, patch, hdu, mask: of physical data (see `study.domain.open_domain`). The stretch is fitted on all the images
            and written to ``stretch.json``; the largest error is stated in physical units too, the rest in the model's.
    """
    choice = choice or Choice()
    method = None if choice.method == "auto" else choice.of(numerics.solver)
    denoiser = numerics.load(model)
    if method:
        method.check(numerics.steps)
    domain = open_source(
        source, denoiser.image_shape, limit=limit, strict=strict, stretch=stretch, patch=patch, hdu=hdu, mask=mask
    )
    images, physical = domain.examples, domain.physical
    request = {
        "model": model,
        "images": source,
        **({"stretch": stretch, "patch": patch, "hdu": hdu, "mask": mask} if physical else {}),
        **numerics.request(),
        **choice.request(),
    }
    inputs = {"model": model_digest(model), **domain.inputs("images")}
    run = Run(out, "reconstruct" if back else "invert", request, inputs, quiet)
    size, steps, tried = numerics.batch_size, numerics.steps, None
    if method is None:
        method, steps, tried = search_method(run, denoiser, images, numerics.sigma, choice, size)
    carrier = Carrier(denoiser, denoiser.schedule.sigmas(steps, numerics.sigma), method, choice.seed)
    latents = carrier.up(run, "latents", images, size, "inverting")
    summary: dict[str, Any] = {
        "command": run.request["command"],
        "model": model,
        "images": source,
        "n": len(images),
        "sigma": carrier.sigma,
        "steps": carrier.steps,
        "solver": method.label,
        "network_calls": carrier.calls(run),
    }
    if physical:
        summary["physical"] = describe_fields(physical, stretch, patch, hdu, mask)
    if choice.method != "explicit":
        summary["method"] = method.name
    if tried:
        summary["method_search"] = tried
    if method.order is not None:
        summary["latent_certificate"] = _certificate(run, images, latents, carrier, size)
    if back:
        returned = carrier.down(run, "reconstructions", latents, size, "decoding")
        trip = round_trip(images.values, returned.values)
        summary["reconstruction"] = {
            "psnr": spread(trip.psnr),
            "ssim": spread(trip.ssim),
            "max_error": spread(trip.max_error),
            "n": len(images),
        }
        if alone := codec_limit(run, denoiser, images, returned, size):
            summary["codec"] = alone
        if physical:
            summary["reconstruction"]["max_error_physical"] = spread(physical.max_error(returned))
        rows = zip(trip.psnr.tolist(), trip.ssim.tolist(), trip.max_error.tolist(), strict=True)
        summary["images"] = {
            k: {"psnr": p, "ssim": s, "max_error": e} for k, (p, s, e) in zip(images.keys, rows, strict=True)
        }
        if run.ranks.main and denoiser.image_shape[0] in (1, 3):
            save_pngs(returned, out / "png", run.provenance)
    if tried:
        probe = next((row["psnr"], row["latent"]) for row in tried["tried"] if row.get("chosen"))
        # of a latent model the part that is not its codec's doing, as in the search
        trips = (
            summary["codec"]["inversion_psnr"] if "codec" in summary else summary.get("reconstruction", {}).get("psnr")
        )
        latent = summary["latent_certificate"]["error"]["max"] if "latent_certificate" in summary else None
        summary["budget"] = budgets((choice.round_trip, choice.latent), probe, trips and trips["min"], latent)
    if run.ranks.main:
        save(images, out / "images")
        if physical:
            write_json(out / "stretch.json", physical.stretch.to_json())
    return run.conclude(summary)


def describe_model(request: dict[str, Any], denoiser: Denoiser) -> dict[str, Any]:
    """What a summary says of the model that a request names."""
    return {
        "name": request["model"],
        "digest": request["model_digest"],
        "shape": list(denoiser.image_shape),
        **({"latent_shape": list(denoiser.shape)} if denoiser.codec else {}),
        "parameters": sum(p.numel() for p in denoiser.parameters()),
    }


def solved(shuttle: Shuttle) -> dict[str, Any]:
    """The numerical settings as they were used: the trained level, not the one asked for."""
    return {
        "sigma": shuttle.sigma,
        "steps": shuttle.steps,
        "solver": shuttle.solver,
        "network_calls": network_calls(shuttle.solver, shuttle.steps),
    }


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
    return _certificate(run, images, latents, carrier, numerics.batch_size, most)


def _certificate(
    run: Run, images: Images, latents: Latents, carrier: Carrier, size: int, most: int = 16
) -> dict[str, Any]:
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


def spread(values: Tensor | Sequence[float]) -> dict[str, float]:
    """Median and extremes of a per-image quantity."""
    v = torch.as_tensor(values, dtype=torch.float64)
    return {"median": float(v.median()), "min": float(v.min()), "max": float(v.max())}


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
