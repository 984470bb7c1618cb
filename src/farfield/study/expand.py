"""`farfield expand`: a frozen model makes new images of a domain it never saw, from a few examples.

Invert the examples, propose new latents, decode, choose, measure. Held-out images are seen by the measures only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import farfield
from farfield.audit.network_file import open_descriptor
from farfield.checkpoints.load import model_digest
from farfield.core.artifact import Images, Latents, save, write_json
from farfield.core.error import FarfieldError
from farfield.core.runtime import Advance, exact_matmul, resolve_device
from farfield.data.bundled import choose, open_images, source_keys
from farfield.data.picture import as_shown, save_pngs
from farfield.diffusion.denoiser import Denoiser
from farfield.diffusion.generation import generate
from farfield.diffusion.solver import network_calls
from farfield.study.bandwidth import search_level
from farfield.study.measure import geometry, measure
from farfield.study.proposal import Chooser, Producer, SamplerSettings
from farfield.study.reconstruct import Numerics, Shuttle, certificate, level, spread
from farfield.study.run import Run
from farfield.unseen.inversion import round_trip

SHOWN = 64
"""Held-out images kept for the report."""


def expand(
    model: str,
    source: str,
    out: Path,
    numerics: Numerics,
    settings: SamplerSettings,
    *,
    n: int = 64,
    search: bool = True,
    examples: int | None = None,
    heldout: str | None = None,
    most_references: int = 1500,
    descriptors: Sequence[str] = ("pixels", "model"),
    seed: int = 0,
    strict: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Make ``n`` new images of a domain and measure them; the summary, as written to ``summary.json``.

    Args:
        source: a path or a bundled domain; ``examples`` of its images (all up to 100, if not given) are drawn with
            ``seed``, the others are held out.
        heldout: a source of held-out images of its own.
        search: find the noise level on the examples, instead of taking that of ``numerics``.
        seed: of the choice of examples, and the first of the samples' seeds.
    """
    if n < 1:
        raise FarfieldError(f"n = {n}: expected at least 1 image to make")
    if seed < 0:
        raise FarfieldError(f"seed {seed}: expected a whole number of at least 0")
    denoiser = numerics.load(model)
    _check_descriptors(descriptors)
    given, held, available = _divide(denoiser, source, heldout, examples, most_references, n, seed, strict)
    request = {
        "model": model,
        "model_digest": model_digest(model),
        "examples": source,
        "examples_digest": given.digest(),
        "n": n,
        "count": len(given),
        "search": search,
        "heldout": heldout,
        "most_references": most_references,
        "descriptors": list(descriptors),
        "seed": seed,
        **settings.request(),
        **numerics.request(),
    }
    run = Run(out, "expand", request, quiet)
    notes: list[str] = []
    if settings.candidates > 1 and len(given) < 3:
        settings = replace(settings, candidates=1)
        notes.append(
            "With fewer than 3 examples there is nothing to tell a copy by: the first candidate of each seed was kept."
        )
    tried = search_level(run, denoiser, given, numerics, settings) if search else None
    sigma = next(row["sigma"] for row in tried if row["chosen"]) if tried else numerics.sigma
    sigmas = denoiser.schedule.sigmas(numerics.steps, sigma)
    shuttle = Shuttle(denoiser, sigmas, numerics.solver)
    size = numerics.batch_size

    latents = run.compute("latents", Latents, given.keys, size, shuttle.up(given), "inverting", shuttle.steps)
    returned = run.compute(
        "reconstructions", Images, given.keys, size, shuttle.down(latents), "reconstructing", shuttle.steps
    )
    trip = round_trip(given.values, returned.values)
    proof = certificate(run, denoiser, given, latents, shuttle, numerics)

    producer = Producer(shuttle, latents.values, settings)
    chooser = _chooser(run, producer, given, size) if settings.candidates > 1 else None
    samples = _produce(run, producer, chooser, [f"{s:06d}" for s in range(seed, seed + n)], size)
    drawn = run.store("sampled", Latents).read()
    proposed = n if producer.accept is None else producer.propose(range(seed, seed + n))[1]
    base = run.compute(
        "base", Images, samples.keys, size, _own(denoiser, numerics), "the model's own samples", numerics.steps
    )

    sets = {
        "examples": given,
        "samples": Images(samples.keys, as_shown(samples.values)),
        "base": Images(base.keys, as_shown(base.values)),
        **held,
    }
    measures, news, nearest = measure(run, denoiser, descriptors, sets, size)
    if "references" not in sets:
        notes.append(
            "No held-out images: the measures compare with the examples themselves, where a copy looks perfect, and "
            "there is no floor."
        )
    if denoiser.shape[0] not in (1, 3):
        notes.append(f"Images of {denoiser.shape[0]} channels have no PNG form: the samples are in samples/ only.")
    if chooser:
        notes.append(
            "The descriptor `model` also chose among the candidates: judge the samples by the other descriptors."
        )

    summary = {
        "command": "expand",
        "farfield": farfield.__version__,
        "model": {
            "name": model,
            "digest": request["model_digest"],
            "shape": list(denoiser.shape),
            "parameters": sum(p.numel() for p in denoiser.parameters()),
        },
        "examples": {"source": source, "n": len(given), "available": available, "digest": given.digest()},
        "references": {"source": heldout or source, "n": len(sets["references"])} if "references" in sets else None,
        "sampler": settings.request(),
        "sigma_asked": "auto" if search else numerics.sigma,
        **level(shuttle),
        "sigma_search": tried,
        "reconstruction": {
            "psnr": spread(trip.psnr),
            "ssim": spread(trip.ssim),
            "max_error": spread(trip.max_error),
            "n": len(given),
        },
        "latent_certificate": proof,
        "acceptance": {"proposed": proposed, "accepted": n, "rate": n / proposed},
        "selection": {"candidates": settings.candidates, "pilot_copies": chooser.copies} if chooser else None,
        "measures": measures,
        "novelty": news,
        "nearest": nearest,
        "notes": notes,
        "evaluations": {
            "inversion": len(given) * network_calls(shuttle.solver, shuttle.steps),
            "sampling": n * settings.candidates * network_calls(shuttle.solver, shuttle.steps),
        },
    }
    if run.ranks.main:
        save(given, out / "examples")
        if "references" in sets:
            save(sets["references"].select(sets["references"].keys[:SHOWN]), out / "references")
        if denoiser.shape[0] in (1, 3):
            save_pngs(samples, out / "png")
        write_json(out / "geometry.json", geometry(latents, drawn))
        write_json(out / "summary.json", {**summary, "cost_seconds": run.cost()})
    run.ranks.wait()
    return summary


def _divide(
    denoiser: Denoiser, source: str, heldout: str | None, count: int | None, most: int, n: int, seed: int, strict: bool
) -> tuple[Images, dict[str, Images], int]:
    """Examples, and of the rest ``references`` with ``real`` images to compare with them, where there are enough."""
    keys = source_keys(source, strict=strict, channels=denoiser.shape[0])
    count = min(len(keys), 100) if count is None else count
    if count > len(keys):
        raise FarfieldError(f"{source}: {count} examples asked for, but it holds {len(keys)} images")
    if count < 2 or len(keys) < 2:
        raise FarfieldError(
            f"{source}: expected at least 2 examples, found {min(count, len(keys))}; one image has no spread"
        )
    chosen, rest = choose(keys, count, seed)
    given = open_images(source, denoiser.shape, keys=chosen, strict=strict)
    if len(given) < 2:
        raise FarfieldError(f"{source}: only {len(given)} of the {count} examples can be read; expected at least 2")
    if bool((given.values == given.values[0]).all()):
        raise FarfieldError(f"{source}: all {len(given)} examples are the same image; there is no spread to learn")
    origin = source
    if heldout is not None:
        origin, rest = heldout, source_keys(heldout, strict=strict, channels=denoiser.shape[0])
    if len(rest) < 12:
        return given, {}, len(keys)
    real, references = choose(rest, max(4, min(n, len(rest) // 3)), seed + 1)
    references, _ = choose(references, min(most, len(references)), seed + 2)
    both = open_images(origin, denoiser.shape, keys=[*real, *references], strict=strict)
    readable = set(both.keys)
    return (
        given,
        {
            "references": both.select([k for k in references if k in readable]),
            "real": both.select([k for k in real if k in readable]),
        },
        len(keys),
    )


def _check_descriptors(specs: Sequence[str]) -> None:
    """A file that is no descriptor is refused before anything is computed."""
    for spec in specs:
        if spec not in ("pixels", "model"):
            open_descriptor(spec)


def _chooser(run: Run, producer: Producer, given: Images, size: int) -> Chooser:
    keys = [f"{s:06d}" for s in range(max(32, min(150, len(given))))]
    pilot = run.compute("pilot", Images, keys, size, producer.pilot, "pilot", producer.shuttle.steps)
    return Chooser(producer.shuttle, given, pilot, size)


def _produce(run: Run, producer: Producer, chooser: Chooser | None, keys: list[str], size: int) -> Images:
    """Samples, with the latents they came from written beside them, shard by shard."""
    count = producer.settings.candidates if chooser else 1
    sampled = run.store("sampled", Latents)

    def work(part: tuple[str, ...], advance: Advance) -> Images:
        images, latents = producer.make(part, advance, chooser)
        sampled.write(keys.index(part[0]) // size, latents)
        return images

    return run.compute("samples", Images, keys, size, work, "sampling", producer.shuttle.steps * count)


def _own(denoiser: Denoiser, numerics: Numerics) -> Any:
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
