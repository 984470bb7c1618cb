"""`farfield expand`: a frozen model makes new images of a domain it never saw, from a few examples.

Invert the examples, propose new latents, decode, choose, measure. Held-out images are seen by the measures only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from farfield.audit.standing import standing
from farfield.checkpoints.load import model_digest
from farfield.command.expand import Expand, ExpandResult, Sampler
from farfield.command.facts import SourceFacts
from farfield.command.measures import Acceptance, Labelled, Selection
from farfield.command.settings import LEFT_OUT
from farfield.core.artifact import Images, Latents, save, write_json
from farfield.data.picture import as_shown, save_pngs
from farfield.diffusion.denoiser import Denoiser
from farfield.diffusion.solver import network_calls
from farfield.study.bench.carrier import CERTIFIED, Carrier, describe_trip
from farfield.study.bench.copies import local_copies
from farfield.study.bench.domain import MOST_REFERENCES, Domain, Split, open_domain
from farfield.study.bench.grain import deviations_of, separate
from farfield.study.bench.labels import Labels
from farfield.study.bench.measure import SHOWN, descriptions, geometry, identities, measure
from farfield.study.bench.numerics import model_facts, open_model
from farfield.study.bench.opening import Work
from farfield.study.bench.physical import compare, describe_fields, write_fields
from farfield.study.bench.run import Run
from farfield.study.bench.units import units_of
from farfield.study.unseen.ablation import network_adds, without_network
from farfield.study.unseen.bandwidth import search_level, usual_level
from farfield.study.unseen.calibration import calibrate, model_gain
from farfield.study.unseen.fill import fill, fill_calls
from farfield.study.unseen.foreseen import likely, own_calls, search_plan, trying_calls
from farfield.study.unseen.proposal import (
    DESCENTS,
    Chooser,
    Producer,
    check_sampler,
    fit_chooser,
    produce,
    repeats,
    sampler_calls,
    sampler_calls_each,
)
from farfield.study.unseen.start import settle
from farfield.unseen.calibration import CalibratedDenoiser
from farfield.unseen.inversion import round_trip
from farfield.unseen.patchwork import turns


def expand(settings: Expand, out: Path, *, quiet: bool = False) -> ExpandResult:
    """Make new images of a domain and measure them; of physical data samples leave in its units as well."""
    numerics, sampler, seed, n = settings.numerics, settings.sampler, settings.seed, settings.n
    denoiser = open_model(settings.model, numerics)
    named = identities(settings.descriptors.specs)
    domain = open_domain(
        settings.examples,
        denoiser.image_shape,
        settings.reading,
        Split(settings.count, n, seed=seed),
        heldout=settings.heldout,
        units=units_of(denoiser),
    )
    given, physical = domain.examples, domain.physical
    ivar = deviations_of(domain, settings.examples, sampler.ivar, settings.reading)
    maps = None if ivar is None else ivar.values
    sources, grain = separate(domain, denoiser.image_shape[0], asked=sampler.fresh_noise, maps=maps)
    check_sampler(sampler, len(given))
    if sampler.sampler == "auto" and settings.sigma != "usual":
        sampler = replace(sampler, sampler="sdedit")
    run = Run.of(
        out,
        settings,
        {"model": model_digest(settings.model), **domain.inputs("examples"), **({"ivar": ivar} if ivar else {})},
        quiet,
        _work(settings, denoiser, domain),
        count=len(given),
        level=settings.sigma if isinstance(settings.sigma, str) else "usual",
        sigma=numerics.sigma,
        most_references=MOST_REFERENCES,
        descriptors=named,
        **settings.reading.asked(physical is not None),
        fill="drawn" if settings.fill == "drawn" and physical else LEFT_OUT,
    )
    if settings.fill == "drawn":
        given, sources = (fill(run, denoiser, domain, one, numerics) for one in (given, sources))
    notes = list(domain.notes)
    if settings.fill == "drawn" and physical and physical.fields["examples"].masked:
        notes.append("Masked pixels of the examples are draws of the model: what it made of them is no measurement.")
    if sampler.candidates > 1 and len(given) < 3:
        sampler = replace(sampler, candidates=1)
        notes.append(
            "With fewer than 3 examples there is nothing to tell a copy by: the first candidate of each seed was kept."
        )
    searched = search_level(run, denoiser, sources, numerics, sampler) if settings.sigma == "auto" else None
    if searched and searched[0].discrepancy is None:
        notes.append(
            f"{len(given)} examples are too few to search the noise level on: {searched[0].sigma:g} was taken."
        )
    level = next(row.sigma for row in searched if row.chosen) if searched else numerics.sigma
    if settings.sigma == "usual":
        level = usual_level(denoiser)
    grid, batch_size = denoiser.schedule.sigmas(numerics.steps, level), numerics.loading.batch_size
    flow: Denoiser = denoiser
    known, sigmas = None, grid
    if sampler.calibrate:
        flow = calibrated = calibrate(run, denoiser, sources, grid, batch_size, sampler)
        known = model_gain(calibrated)
    if settings.sigma == "usual":
        sampler, searched, said = settle(run, flow, sources, numerics, sampler, domain.finish)
        notes += [said] if said else []
        sigmas = next((denoiser.schedule.sigmas(numerics.steps, row.sigma) for row in searched if row.chosen), grid)
    carrier, each = Carrier.of(numerics, flow, sigmas), sampler_calls_each(sampler, flow, numerics.solver, sigmas)

    latents = trip = codec = proof = None
    if sampler.sampler not in DESCENTS:
        latents = carrier.up(run, "latents", sources, "inverting")
        some = sources.select(sources.keys[:CERTIFIED])
        returned = carrier.down(run, "reconstructions", latents.select(some.keys), "reconstructing")
        codec = carrier.codec_limit(run, some, returned)
        trip = describe_trip(round_trip(some.values, returned.values))
        proof = carrier.certify(run, sources, latents)
        if numerics.loading.dtype not in ("float32", "float64"):
            notes.append(
                f"The examples were inverted in {numerics.loading.dtype}; the round trip and the certificate show its rounding, "
                "and --dtype float32 has less of it."
            )

    producer = Producer(carrier, sources, latents, sampler, domain.finish)
    chooser = fit_chooser(run, denoiser, producer, sources) if sampler.candidates > 1 else None
    samples = produce(run, producer, chooser, [f"{s:06d}" for s in range(seed, seed + n)], fresh=grain)
    drawn = run.store("sampled", Latents).read()
    proposed = n if producer.accept is None else producer.propose(range(seed, seed + n), "sampler-0")[1]
    own = Carrier.of(numerics, denoiser, denoiser.schedule.sigmas(numerics.steps))
    base = own.samples(run, "base", samples.keys, "the model's own samples")

    control = None
    if settings.control and sampler.network and isinstance(flow, CalibratedDenoiser):
        control = without_network(run, flow, sources, sigmas, numerics, sampler, domain.finish, samples.keys, grain)
        notes += [control] if isinstance(control, str) else []

    sets = {
        "examples": given,
        **domain.held,
        "samples": domain.shown(samples),
        **({"control": domain.shown(control)} if isinstance(control, Images) else {}),
        "base": Images(base.keys, as_shown(base.values)),
    }
    measures, novelties, nearest = measure(run, denoiser, settings.descriptors.specs, sets, ["samples"], batch_size)
    news = {label: row["samples"] for label, row in novelties.items()}
    local = local_copies(domain, given, {"samples": sets["samples"]})["samples"] if len(given) > 2 else None
    labels = Labels.read(settings.examples, settings.heldout, domain)
    sure: dict[str, Labelled] = {}
    made_from = producer.parents([int(key) for key in samples.keys])
    of = None if made_from is None else [given.keys[i] for i in made_from]
    started = _started(sampler, len(given), [int(key) for key in samples.keys])
    if started is not None and started < len(given):
        few = f"{len(samples)} image{'s start' if len(samples) != 1 else ' starts'} from {started} of the {len(given)} examples"
        notes.append(f"{few}: with -n {-(-len(given) // sampler.mixed)} or more none is left out.")
    if labels.of:
        seen = {name: sets[name] for name in ("examples", "references", "samples")}
        for label, describe in descriptions(settings.descriptors.specs, sets["references"], batch_size, denoiser):
            if row := labels.sure(**describe(run, sets=seen), parents=of):
                sure[label] = row
    notes += [labels.note] if labels.note else []
    adds = network_adds(run, measures, held="references" in sets) if isinstance(control, Images) else None
    fields = compare(physical, samples) if physical else None
    held, real = sets.get("references"), sets.get("real")
    if run.ranks.main:
        save(given, out / "examples")
        if held:
            save(held.select(held.keys[:SHOWN]), out / "references")
        if denoiser.image_shape[0] in (1, 3):
            save_pngs(samples, out / "png", run.provenance)
        if physical:
            write_fields(out, physical, samples, run.provenance)
        if latents:
            write_json(out / "geometry.json", geometry(latents, drawn))
    return run.finish(
        ExpandResult(
            model=model_facts(run.request, denoiser),
            examples=SourceFacts(
                source=settings.examples, n=len(given), available=domain.available, digest=domain.digest()
            ),
            references=SourceFacts(source=settings.heldout or settings.examples, n=len(held)) if held else None,
            physical=describe_fields(physical, settings.reading, grain) if physical else None,
            sampler=sampler,
            sigma_asked=settings.sigma,
            sigma=carrier.sigma,
            steps=carrier.steps,
            solver="euler" if sampler.sampler in DESCENTS else carrier.method.label,
            network_calls=each[1],
            sigma_search=searched,
            reconstruction=trip,
            codec=codec,
            latent_certificate=proof,
            acceptance=Acceptance(proposed=proposed, accepted=n, rate=n / proposed),
            started=started,
            selection=Selection(candidates=sampler.candidates, pilot_copies=chooser.copies) if chooser else None,
            measures=measures,
            fields=fields,
            novelty=news,
            nearest=nearest.get("samples", {}),
            local_copies=local,
            labels=sure or None,
            standing=standing(
                measures,
                news,
                local_copies=local,
                fields=fields.samples if fields else None,
                same_size=real is not None and len(real) == len(samples),
            ),
            gain=known,
            adds=adds,
            notes=notes + _notes(settings, sampler, chooser, denoiser.image_shape[0], held is not None),
            evaluations=sampler_calls(sampler, len(given), n, numerics, each, searched=searched or (), chooser=chooser),
        )
    )


def _started(sampler: Sampler, n: int, seeds: Sequence[int]) -> int | None:
    """How many of n examples samples of these seeds start from; None where they start from none, or one of several was kept."""
    if sampler.sampler != "sdedit" or sampler.candidates > 1:
        return None
    return len(turns(n, seeds, min(sampler.mixed, n), "sampler-0").unique())


def _work(settings: Expand, denoiser: Denoiser, domain: Domain) -> Work:
    """By the labels of its bars; a search of levels is taken to end at the second."""
    numerics, sampler, n, count = settings.numerics, settings.sampler, settings.n, len(domain.examples)
    calls = sampler_calls(likely(sampler, count), count, n, numerics)
    plan: dict[str, float] = {"calibrating": calls["calibration"]} if "calibration" in calls else {}
    if settings.sigma == "auto":
        found = search_plan(denoiser, likely(sampler, count), count, numerics)
        plan |= {stage: plan.get(stage, 0.0) + more for stage, more in found.items()}
    elif settings.sigma == "usual" and (tried := trying_calls(sampler, count, numerics.steps)):
        plan["trying"] = tried
    if calls["inversion"]:
        checked = min(count, CERTIFIED)
        plan |= {"inverting": calls["inversion"], "reconstructing": calls["inversion"] * checked / count}
        plan["certifying"] = checked * network_calls(numerics.solver, 2 * numerics.steps)
    if "choice" in calls:
        plan["choosing"] = calls["choice"]
    plan |= {"sampling": calls["sampling"], "the model's own samples": n * own_calls(numerics.solver, numerics.steps)}
    if settings.fill == "drawn":
        plan["drawing masked pixels"] = fill_calls(denoiser, domain, numerics)
    if settings.control and sampler.network:
        plan["sampling without"] = n
    return Work(denoiser, numerics.loading.batch_size, plan, n)


def _notes(settings: Expand, sampler: Sampler, chooser: Chooser | None, channels: int, held: bool) -> list[str]:
    """What has to be kept in mind."""
    notes = []
    if chooser and (repeating := repeats(chooser.copies, sampler)):
        notes.append(repeating)
    if not held:
        notes.append(
            "No held-out images: the measures compare with the examples themselves, where a copy looks perfect, and "
            "there is no floor."
        )
    if channels not in (1, 3):
        notes.append(f"Images of {channels} channels have no PNG form: the samples are in samples/ only.")
    if chooser and (used := "model" if sampler.network else "pixels") in settings.descriptors.specs:
        notes.append(
            f"The descriptor `{used}` also chose among the candidates: judge the samples by the other descriptors."
        )
    return notes
