"""`farfield reconstruct` and `farfield invert`: images to latents and back, with the evidence for both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from farfield.checkpoints.load import model_digest
from farfield.command.shared import Numerics, Reading
from farfield.core import note
from farfield.core.artifact import save, write_json
from farfield.data.picture import save_pngs
from farfield.study.bench.carrier import Carrier, describe_trip
from farfield.study.bench.domain import open_source
from farfield.study.bench.measure import spread
from farfield.study.bench.numerics import open_model
from farfield.study.bench.physical import describe_fields
from farfield.study.bench.run import Run
from farfield.study.unseen.method import Choice, search_method
from farfield.unseen.inversion import round_trip
from farfield.unseen.method import budgets


@note.kept()
def reconstruct(
    model: str,
    source: str,
    out: Path,
    numerics: Numerics,
    reading: Reading = Reading(),
    *,
    limit: int | None = None,
    quiet: bool = False,
    back: bool = True,
    choice: Choice | None = None,
) -> dict[str, Any]:
    """Invert images, decode them again, and say how well both went.

    Writes ``latents/``, ``reconstructions/`` (and ``png/``) and ``summary.json`` into the run folder.

    Args:
        back: decode as well; without it (`farfield invert`) only the latents and their certificate are made.
        choice: the method; explicit if not given. What a method needs beside the latents is written to ``second/`` or
            ``noise_maps/``, and the trials of ``auto`` are in the summary.
        reading: of physical data the stretch is fitted on all the images and written to ``stretch.json``; the largest
            error is stated in physical units too, the rest in the model's.
    """
    choice = choice or Choice()
    method = None if choice.method == "auto" else choice.of(numerics.solver)
    denoiser = open_model(model, numerics)
    if method:
        method.check(numerics.steps)
    domain = open_source(source, denoiser.image_shape, reading, limit=limit)
    images, physical = domain.examples, domain.physical
    request = {
        "model": model,
        "images": source,
        **(reading.request() if physical else {}),
        **numerics.request(),
        **choice.request(),
    }
    inputs = {"model": model_digest(model), **domain.inputs("images")}
    run = Run(out, "reconstruct" if back else "invert", request, inputs, quiet)
    size, steps, tried = numerics.loading.batch_size, numerics.steps, None
    if method is None:
        method, steps, tried = search_method(run, denoiser, images, numerics.sigma, choice, size)
    carrier = Carrier(denoiser, denoiser.schedule.sigmas(steps, numerics.sigma), method, size, choice.seed)
    latents = carrier.up(run, "latents", images, "inverting")
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
        summary["physical"] = describe_fields(physical, reading)
    if choice.method != "explicit":
        summary["method"] = method.name
    if tried:
        summary["method_search"] = tried
    if method.order is not None:
        summary["latent_certificate"] = carrier.certify(run, images, latents)
    if back:
        returned = carrier.down(run, "reconstructions", latents, "decoding")
        trip = round_trip(images.values, returned.values)
        summary["reconstruction"] = describe_trip(trip)
        if alone := carrier.codec_limit(run, images, returned):
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
        latent = summary["latent_certificate"]["error"].max if "latent_certificate" in summary else None
        summary["budget"] = budgets((choice.round_trip, choice.latent), probe, trips and trips.min, latent)
    if run.ranks.main:
        save(images, out / "images")
        if physical:
            write_json(out / "stretch.json", physical.stretch.to_json())
    return run.conclude(summary)
