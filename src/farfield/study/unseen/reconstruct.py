"""`farfield reconstruct` and `farfield invert`: images to latents and back, with the evidence for both."""

from __future__ import annotations

from pathlib import Path

from farfield.checkpoints.load import model_digest
from farfield.command.reconstruct import Budget, ImageTrip, Invert, Reconstruct, ReconstructResult
from farfield.core.artifact import Images, Latents, save, write_json
from farfield.data.picture import save_pngs
from farfield.diffusion.denoiser import Denoiser
from farfield.study.bench.carrier import Carrier, describe_trip
from farfield.study.bench.domain import Physical, open_source
from farfield.study.bench.measure import spread
from farfield.study.bench.numerics import open_model
from farfield.study.bench.opening import Work
from farfield.study.bench.physical import describe_fields
from farfield.study.bench.run import Run
from farfield.study.bench.units import units_of
from farfield.study.unseen.method import search_method
from farfield.unseen.inversion import round_trip
from farfield.unseen.method import Method, budgets


def reconstruct(settings: Invert, out: Path, *, quiet: bool = False) -> ReconstructResult:
    """Invert images, decode them again unless only the latents were asked for, and say how well both went.

    Writes ``latents/``, ``reconstructions/`` (and ``png/``) and ``summary.json`` into the run folder. What a method needs
    beside the latents is written to ``second/`` or ``noise_maps/``. Of physical data the stretch is fitted on all the images
    and written to ``stretch.json``; the largest error is stated in physical units too, the rest in the model's.
    """
    numerics, choice = settings.numerics, settings.choice
    method = None if choice.method == "auto" else Method(choice.method, numerics.solver, choice.eta)
    denoiser = open_model(settings.model, numerics)
    if method:
        method.check(numerics.steps)
    units = units_of(denoiser)
    domain = open_source(settings.images, denoiser.image_shape, settings.reading, limit=settings.limit, units=units)
    images, physical = domain.examples, domain.physical
    inputs = {"model": model_digest(settings.model), **domain.inputs("images")}
    asked = {**settings.asked(), **settings.reading.asked(physical is not None)}
    run = Run.of(out, settings, inputs, quiet, _work(settings, denoiser, len(images), method), **asked)
    steps, searched = numerics.steps, None
    if method is None:
        method, steps, searched = search_method(run, denoiser, images, settings)
    grid = denoiser.schedule.sigmas(steps, settings.sigma)
    carrier = Carrier(denoiser, grid, method, settings.loading.batch_size, choice.seed)
    latents = carrier.up(run, "latents", images, "inverting")
    result = ReconstructResult(
        model=settings.model,
        images=settings.images,
        n=len(images),
        sigma=carrier.sigma,
        steps=carrier.steps,
        solver=method.label,
        network_calls=carrier.calls(run),
        physical=describe_fields(physical, settings.reading) if physical else None,
        method=None if choice.method == "explicit" else method.name,
        method_search=searched,
        latent_certificate=None if method.order is None else carrier.certify(run, images, latents),
    )
    if isinstance(settings, Reconstruct):
        result = _returned(run, carrier, images, latents, physical, result)
    result = result.but(budget=_budget(result))
    if run.ranks.main:
        save(images, out / "images")
        if physical:
            write_json(out / "stretch.json", physical.stretch.to_json())
    return run.finish(result)


def _work(settings: Reconstruct | Invert, denoiser: Denoiser, n: int, method: Method | None) -> Work:
    """By the labels of its bars; what a search for a method takes is not foreseen."""
    steps, way = settings.numerics.steps, method or Method("explicit", settings.numerics.solver)
    up, down = way.calls(steps)
    plan: dict[str, float] = {"inverting": n * up}
    if method is None or method.order is not None:
        plan["certifying"] = min(n, 16) * way.calls(2 * steps)[0]
    if isinstance(settings, Reconstruct):
        plan["decoding"] = n * down
    return Work(denoiser, settings.loading.batch_size, plan)


def _returned(
    run: Run, carrier: Carrier, images: Images, latents: Latents, physical: Physical | None, result: ReconstructResult
) -> ReconstructResult:
    """The result with what came back of the latents."""
    returned = carrier.down(run, "reconstructions", latents, "decoding")
    trip = round_trip(images.values, returned.values)
    rows = zip(images.keys, trip.psnr.tolist(), trip.ssim.tolist(), trip.max_error.tolist(), strict=True)
    reconstruction = describe_trip(trip)
    if physical:
        reconstruction = reconstruction.but(max_error_physical=spread(physical.max_error(returned)))
    if run.ranks.main and images.values.shape[1] in (1, 3):
        save_pngs(returned, run.folder / "png", run.provenance)
    return result.but(
        images={key: ImageTrip(psnr=psnr, ssim=ssim, max_error=error) for key, psnr, ssim, error in rows},
        reconstruction=reconstruction,
        codec=carrier.codec_limit(run, images, returned),
    )


def _budget(result: ReconstructResult) -> Budget | None:
    """Whether the budgets of ``--method auto`` are kept."""
    search, certificate, trip = result.method_search, result.latent_certificate, result.reconstruction
    if search is None:
        return None
    # of a latent model the part that is not its codec's doing, as in the search
    psnr = result.codec.inversion_psnr if result.codec else trip.psnr if trip else None
    return budgets(
        (search.round_trip, search.latent),
        next((row.psnr or 0.0, row.latent or 0.0) for row in search.tried if row.chosen),
        psnr.min if psnr else None,
        certificate.error.max if certificate else None,
    )
