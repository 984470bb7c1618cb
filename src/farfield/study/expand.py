"""`farfield expand`: a frozen model makes new images of a domain it never saw, from a few examples.

Invert the examples, propose new latents, decode, choose, measure. Held-out images are seen by the measures only.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import farfield
from farfield.audit.descriptor import open_descriptor
from farfield.checkpoints.load import model_digest
from farfield.core.artifact import Images, Latents, read_json, save, write_json
from farfield.core.error import FarfieldError, FarfieldWarning
from farfield.core.runtime import Advance, exact_matmul, generator, resolve_device
from farfield.data.bundled import choose, open_images, source_keys
from farfield.data.image import as_shown, save_pngs
from farfield.diffusion.denoiser import Denoiser
from farfield.diffusion.generation import generate
from farfield.diffusion.solver import network_calls
from farfield.study.measure import compare, descriptor_label, features, newness
from farfield.study.proposal import Chooser, Producer, SamplerSettings
from farfield.study.reconstruct import Numerics, Shuttle, certificate, level, spread
from farfield.study.run import Run
from farfield.unseen.geometry import expectation, norms, pair_angles, pair_distances, triangle_angles
from farfield.unseen.inversion import round_trip
from farfield.unseen.prior import IsotropicPrior

SEARCHED = (5.0, 10.0, 20.0)
"""Levels that ``--sigma auto`` tries."""

DEFAULT = 20.0
"""The level where there are too few examples to search."""

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
    denoiser = numerics.load(model)
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
    tried = _search(run, denoiser, given, numerics, settings, seed) if search else None
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
    _, proposed = producer.propose(range(seed, seed + n))
    base = run.compute(
        "base", Images, samples.keys, size, _own(denoiser, numerics), "the model's own samples", numerics.steps
    )

    sets = {
        "examples": given,
        "samples": Images(samples.keys, as_shown(samples.values)),
        "base": Images(base.keys, as_shown(base.values)),
        **held,
    }
    measures, news, nearest = _measure(run, denoiser, descriptors, sets, size)
    if "references" not in sets:
        notes.append(
            "No held-out images: the measures compare with the examples themselves, where a copy looks perfect, and "
            "there is no floor."
        )
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
        save_pngs(samples, out / "png")
        write_json(out / "geometry.json", _geometry(latents, drawn))
        write_json(out / "summary.json", {**summary, "cost_seconds": run.cost()})
    run.ranks.wait()
    return summary


def _divide(
    denoiser: Denoiser, source: str, heldout: str | None, count: int | None, most: int, n: int, seed: int, strict: bool
) -> tuple[Images, dict[str, Images], int]:
    """Examples, and of the rest ``references`` with ``real`` images to compare with them, where there are enough."""
    keys = source_keys(source, strict=strict)
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
    origin = source
    if heldout is not None:
        origin, rest = heldout, source_keys(heldout, strict=strict)
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


def _search(
    run: Run, denoiser: Denoiser, given: Images, numerics: Numerics, settings: SamplerSettings, seed: int
) -> list[dict[str, Any]]:
    """Which level to sample at, judged on the examples alone: first candidates made from one half of them are held
    against the other half in the model's own features, copies of the first half left out. The least discrepancy wins."""
    kept = run.folder / "search.json"
    if kept.exists():
        found: list[dict[str, Any]] = read_json(kept)
        return found
    levels = sorted({min(s, denoiser.schedule.sigma_max) for s in SEARCHED})
    if len(given) < 8:  # two halves of fewer than four say nothing
        return [{"sigma": min(DEFAULT, denoiser.schedule.sigma_max), "chosen": True}]
    first, second = choose(given.keys, len(given) // 2, seed)
    sources, others, size = given.select(first), given.select(second), numerics.batch_size
    keys = [f"{s:06d}" for s in range(64)]
    rows: list[dict[str, Any]] = []
    for sigma in levels:
        # Half the steps: the order of the levels, not the last decibel, is what is asked.
        shuttle = Shuttle(denoiser, denoiser.schedule.sigmas(max(8, numerics.steps // 2), sigma), numerics.solver)
        latents = run.compute(
            f"search/{sigma:g}/latents",
            Latents,
            sources.keys,
            size,
            shuttle.up(sources),
            f"searching {sigma:g}, up",
            shuttle.steps,
        )
        producer = Producer(shuttle, latents.values, settings)
        pilot = run.compute(
            f"search/{sigma:g}/pilot", Images, keys, size, producer.pilot, f"searching {sigma:g}, down", shuttle.steps
        )
        judge = Chooser(shuttle, others, pilot, size, sources=sources)
        rows.append(
            {"sigma": shuttle.sigma, "discrepancy": judge.discrepancy(), "copies": judge.copies, "chosen": False}
        )
    min(rows, key=lambda row: row["discrepancy"])["chosen"] = True
    if run.ranks.main:
        write_json(kept, rows)
    run.ranks.wait()
    return rows


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


def _measure(
    run: Run, denoiser: Denoiser, specs: Sequence[str], sets: dict[str, Images], size: int
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Measures and novelty of every descriptor; each sample's nearest example in the first."""
    measures: dict[str, Any] = {}
    news: dict[str, Any] = {}
    nearest: dict[str, Any] = {}
    against = "references" if "references" in sets else "examples"
    for spec in specs:
        label = descriptor_label(spec, list(measures))
        if spec == "pixels" and len(sets[against]) < 4:
            warnings.warn(
                f"descriptor pixels: left out, it needs at least 4 images to whiten on, found {len(sets[against])}",
                FarfieldWarning,
                stacklevel=2,
            )
            continue
        descriptor = open_descriptor(spec, references=sets[against], denoiser=denoiser)
        found = features(run, descriptor, label, sets, size)
        measures[label] = compare(found[against], {k: found[k] for k in ("real", "samples", "base") if k in found})
        row, rows = newness(found["samples"], found["examples"], found.get("references"))
        news[label] = row
        nearest = nearest or rows
    return measures, news, nearest


def _geometry(latents: Latents, drawn: Latents, most: int = 2000) -> dict[str, Any]:
    """Lengths and angles of the examples' latents and of the new ones, beside the closed form of N(m, s² I)."""

    def figures(z: torch.Tensor) -> dict[str, list[float]]:
        g = generator(0, "figures")
        found = (
            {
                "norm": norms(z),
                "distance": pair_distances(z),
                "angle": pair_angles(z),
                "triangle": triangle_angles(z, g, most),
            }
            if len(z) > 2
            else {"norm": norms(z)}
        )
        return {k: v[torch.randperm(len(v), generator=g)[:most]].tolist() for k, v in found.items()}

    prior = IsotropicPrior.fit(latents.values)
    mean_norm, d = float(prior.mean.norm()), prior.mean.numel()
    return {
        "examples": figures(latents.values),
        "samples": figures(drawn.values),
        "expected": expectation(mean_norm, prior.scale, d),
        "dimension": d,
        "mean_norm": mean_norm,
        "scale": prior.scale,
    }
