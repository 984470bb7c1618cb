"""`farfield expand`: a frozen model makes new images of a domain it never saw, from a few examples.

Invert the examples, propose new latents, decode, choose, measure. Held-out images are seen by the measures only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import farfield
from farfield.audit.local import Parts
from farfield.audit.standing import standing
from farfield.checkpoints.load import model_digest
from farfield.command.shared import Numerics, Reading
from farfield.core import note
from farfield.core.artifact import Images, Latents, save, write_json
from farfield.core.error import FarfieldError
from farfield.data.picture import as_shown, save_pngs
from farfield.diffusion.denoiser import Denoiser
from farfield.study.bench.carrier import Carrier, describe_trip
from farfield.study.bench.domain import open_domain
from farfield.study.bench.measure import SHOWN, geometry, identities, measure
from farfield.study.bench.numerics import model_facts, open_model
from farfield.study.bench.physical import compare, describe_fields, write_fields
from farfield.study.bench.run import Run
from farfield.study.unseen.bandwidth import Level, search_level, usual_level
from farfield.study.unseen.calibration import calibrate
from farfield.study.unseen.proposal import Producer, SamplerSettings, fit_chooser, produce, repeats, sampler_calls
from farfield.unseen.inversion import round_trip


@note.kept()
def expand(
    model: str,
    source: str,
    out: Path,
    numerics: Numerics,
    settings: SamplerSettings,
    reading: Reading = Reading(),
    *,
    n: int = 64,
    level: Level = "usual",
    examples: int | None = None,
    heldout: str | None = None,
    most_references: int = 1500,
    descriptors: Sequence[str] = ("pixels", "model"),
    seed: int = 0,
    quiet: bool = False,
) -> dict[str, Any]:
    """Make ``n`` new images of a domain and measure them; the summary, as written to ``summary.json``.

    Args:
        source: a path or a bundled domain; ``examples`` of its images (all up to 100, if not given) are drawn with
            ``seed``, the others are held out.
        heldout: a source of held-out images of its own.
        level: the noise level where ``numerics`` has none: the ``usual`` one, the ``last`` one, or ``auto``, searched on the
            examples.
        seed: of the choice of examples, and the first of the samples' seeds.
        reading: of physical data too; samples leave in its units as well.
    """
    if n < 1:
        raise FarfieldError(f"n = {n}: expected at least 1 image to make")
    if seed < 0:
        raise FarfieldError(f"seed {seed}: expected a whole number of at least 0")
    denoiser = open_model(model, numerics)
    named = identities(descriptors)
    domain = open_domain(
        source,
        denoiser.image_shape,
        reading,
        heldout=heldout,
        examples=examples,
        n=n,
        most_references=most_references,
        seed=seed,
    )
    given = domain.examples
    settings.check(len(given))
    request = {
        "model": model,
        "examples": source,
        "n": n,
        "count": len(given),
        "level": level,
        "heldout": heldout,
        "most_references": most_references,
        "descriptors": named,
        "seed": seed,
        **(reading.request() if domain.physical else {}),
        **settings.request(),
        **numerics.request(),
    }
    run = Run(out, "expand", request, {"model": model_digest(model), **domain.inputs("examples")}, quiet)
    notes = list(domain.notes)
    if settings.candidates > 1 and len(given) < 3:
        settings = replace(settings, candidates=1)
        notes.append(
            "With fewer than 3 examples there is nothing to tell a copy by: the first candidate of each seed was kept."
        )
    asked = level if numerics.sigma is None else numerics.sigma
    tried = search_level(run, denoiser, given, numerics, settings) if asked == "auto" else None
    sigma = next(row["sigma"] for row in tried if row["chosen"]) if tried else numerics.sigma
    if tried and "discrepancy" not in tried[0]:
        notes.append(
            f"{len(given)} examples are too few to search the noise level on: {tried[0]['sigma']:g} was taken."
        )
    if asked == "usual":
        sigma = usual_level(denoiser)
    sigmas = denoiser.schedule.sigmas(numerics.steps, sigma)
    size = numerics.loading.batch_size
    flow: Denoiser = calibrate(run, denoiser, given, sigmas, size) if settings.calibrate else denoiser
    carrier = Carrier.of(numerics, flow, sigmas)

    latents = carrier.up(run, "latents", given, "inverting")
    returned = carrier.down(run, "reconstructions", latents, "reconstructing")
    trip = round_trip(given.values, returned.values)
    alone = carrier.codec_limit(run, given, returned)
    proof = carrier.certify(run, given, latents)

    producer = Producer(carrier, latents.values, settings, domain.finish)
    chooser = fit_chooser(run, denoiser, producer, given) if settings.candidates > 1 else None
    samples = produce(run, producer, chooser, [f"{s:06d}" for s in range(seed, seed + n)])
    drawn = run.store("sampled", Latents).read()
    proposed = n if producer.accept is None else producer.propose(range(seed, seed + n))[1]
    own = Carrier.of(numerics, denoiser, denoiser.schedule.sigmas(numerics.steps))
    base = own.samples(run, "base", samples.keys, "the model's own samples")

    sets = {
        "examples": given,
        "samples": domain.shown(samples),
        "base": Images(base.keys, as_shown(base.values)),
        **domain.held,
    }
    measures, news, nearest = measure(run, denoiser, descriptors, sets, size)
    if chooser and (repeating := repeats(chooser.copies, settings)):
        notes.append(repeating)
    if "references" not in sets:
        notes.append(
            "No held-out images: the measures compare with the examples themselves, where a copy looks perfect, and "
            "there is no floor."
        )
    if denoiser.image_shape[0] not in (1, 3):
        notes.append(
            f"Images of {denoiser.image_shape[0]} channels have no PNG form: the samples are in samples/ only."
        )
    if chooser and "model" in descriptors:
        notes.append(
            "The descriptor `model` also chose among the candidates: judge the samples by the other descriptors."
        )

    local = _local_copies(sets) if len(given) > 2 else None
    fields = compare(domain.physical, samples) if domain.physical else None
    same_size = "real" in sets and len(sets["real"]) == len(samples)
    summary = {
        "command": "expand",
        "farfield": farfield.__version__,
        "model": model_facts(run.request, denoiser),
        "examples": {"source": source, "n": len(given), "available": domain.available, "digest": domain.digest()},
        "references": {"source": heldout or source, "n": len(sets["references"])} if "references" in sets else None,
        "physical": describe_fields(domain.physical, reading) if domain.physical else None,
        "sampler": settings.request(),
        "sigma_asked": asked,
        **carrier.solved(),
        "sigma_search": tried,
        "reconstruction": describe_trip(trip),
        **({"codec": alone} if alone else {}),
        "latent_certificate": proof,
        "acceptance": {"proposed": proposed, "accepted": n, "rate": n / proposed},
        "selection": {"candidates": settings.candidates, "pilot_copies": chooser.copies} if chooser else None,
        "measures": measures,
        "fields": fields,
        "novelty": news,
        "nearest": nearest,
        "local_copies": local,
        "standing": standing(measures, news, local_copies=local, fields=fields, same_size=same_size),
        "notes": notes,
        "evaluations": sampler_calls(settings, len(given), n, numerics),
    }
    if run.ranks.main:
        save(given, out / "examples")
        if "references" in sets:
            save(sets["references"].select(sets["references"].keys[:SHOWN]), out / "references")
        if denoiser.image_shape[0] in (1, 3):
            save_pngs(samples, out / "png", run.provenance)
        if domain.physical:
            write_fields(out, domain.physical, samples, run.provenance)
        write_json(out / "geometry.json", geometry(latents, drawn))
    return run.conclude(summary)


def _local_copies(sets: dict[str, Images]) -> dict[str, Any]:
    """The share of new images of which a quarter is a copy, and of held-out ones."""
    parts = Parts.of(sets["examples"].values)
    names = {"samples": "samples", "references": "floor"}
    return {label: parts.copies(sets[name].values) for name, label in names.items() if name in sets}
