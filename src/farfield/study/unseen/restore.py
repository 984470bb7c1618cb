"""`farfield restore`: draws of what masked, blurred or reduced images may have been, and what they are worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from farfield.audit.named import identity
from farfield.audit.reproducibility import pfd, rp
from farfield.audit.similarity import similarity
from farfield.audit.stored import in_memory
from farfield.audit.tarp import tarp, tarp_ranks
from farfield.checkpoints.load import model_digest
from farfield.command.likeness import Alike, Paired
from farfield.command.restore import Agreement, Coverage, Degraded, Restore, Restored, RestoreResult
from farfield.core.artifact import Images, save, write_json
from farfield.core.error import FarfieldError
from farfield.core.interval import mean_score
from farfield.core.runtime import Advance, exact_matmul
from farfield.core.score import Score
from farfield.data.field_write import write_npz
from farfield.data.image_set import ImageSet
from farfield.data.picture import grey, save_pngs
from farfield.data.science import Fields
from farfield.diffusion.denoiser import Denoiser
from farfield.diffusion.generation import generate
from farfield.diffusion.operator import Whole
from farfield.diffusion.posterior import PosteriorDenoiser
from farfield.diffusion.solver import find_solver
from farfield.study.bench.carrier import as_images, key_seed, place
from farfield.study.bench.domain import Domain, open_source
from farfield.study.bench.likeness import describe, find_thresholds
from farfield.study.bench.numerics import load_model, model_facts
from farfield.study.bench.opening import Work
from farfield.study.bench.physical import describe_fields, write_fields
from farfield.study.bench.run import Run
from farfield.study.bench.units import units_of
from farfield.study.unseen.degrading import (
    Degrading,
    Measurement,
    check_linear,
    check_size,
    measure,
    open_degrading,
)
from farfield.unseen.restoration import plain, psnr, smooth, spread_over_error

FEW = 8
"""Images that are degraded and restored, unless their number is given."""


def restore(settings: Restore, out: Path, *, quiet: bool = False) -> RestoreResult:
    """Draw restorations of each image by posterior sampling; hold them against the images where these are known.

    A draw depends on its image's key, its number and the run's seed alone. Writes what `RestoreResult` lists.

    Raises:
        FarfieldError: bad input, before the run's folder is begun.
    """
    denoiser = _open(settings, settings.model)
    other = None if settings.against is None else _open(settings, settings.against)
    if other is not None and other.shape != denoiser.shape:
        raise FarfieldError(
            f"--against {settings.against}: images of {other.shape}, {settings.model} has {denoiser.shape}; expected the same"
        )
    solver = find_solver(settings.solver)
    sigmas = denoiser.schedule.sigmas(settings.steps)
    degrading = open_degrading(settings, denoiser.shape)
    domain, measured = _read(settings, denoiser, degrading)
    y = measure(settings, degrading, domain, measured)
    inputs = {
        "model": model_digest(settings.model),
        "against": None if settings.against is None else model_digest(settings.against),
        **domain.inputs("images"),
        **degrading.content,
    }
    calls = (solver.calls(settings.steps) + 1) * (1 + settings.iterations)
    plan = {"restoring": float(len(y.keys) * settings.n * calls)}
    work = Work(denoiser, settings.loading.batch_size, plan if other is None else {**plan, "again": plan["restoring"]})
    descriptor = settings.likeness.spec if other is None else identity(settings.likeness.spec)
    run = Run.of(out, settings, inputs, quiet, work, measured=measured, descriptor=descriptor)
    draws = draw(run, settings, denoiser, y, sigmas, "samples", "restoring", settings.n)
    again = None
    if other is not None:
        grid = other.schedule.sigmas(settings.steps)
        again = draw(run, settings, other, y, grid, "against", "again, with the other model", settings.n)
    notes: list[str] = []
    stacked = _stacked(draws, settings.n)
    fallbacks = _plain(run, y)
    agreement = None if again is None or other is None else _agreement(run, settings, other, y, draws, again, notes)
    if run.ranks.main:
        _write(run, domain, y, draws, stacked)
    run.ranks.wait()
    return run.finish(
        RestoreResult(
            model=model_facts(run.request, denoiser),
            images=settings.images,
            n=len(y.keys),
            measured=measured,
            degraded=Degraded(
                kind=settings.kind,
                given=settings.blur or (str(settings.scale) if settings.scale else " ".join(settings.mask) or None),
                shape=list(y.values.shape[1:]),
                missing=1 - float(y.seen.double().mean()),
                noise=settings.noise,
            ),
            draws=settings.n,
            iterations=settings.iterations,
            steps=settings.steps,
            solver=solver.name,
            eta=settings.eta,
            network_calls=calls,
            misfit=_misfit(y, stacked),
            restored=_judge(y, stacked, fallbacks, settings.seed),
            against=agreement,
            physical=describe_fields(domain.physical, settings.fields.reading) if domain.physical else None,
            notes=notes,
        )
    )


def _open(settings: Restore, model: str) -> Denoiser:
    denoiser = load_model(model, settings.loading)
    if denoiser.codec is not None or len(denoiser.shape) != 3:
        raise FarfieldError(f"{model}: restorations are of the pixels of images; expected a pixel model")
    return denoiser


def _read(settings: Restore, denoiser: Denoiser, degrading: Degrading) -> tuple[Domain, bool]:
    """The images, at the size at which they are taken for measurements or truths; and whether they are measurements."""
    units, reading = units_of(denoiser), settings.fields.reading
    asked = settings.measured or not (settings.mask or settings.blur or settings.scale)
    shape = degrading.operator.measured(denoiser.shape) if asked else denoiser.shape
    limit = FEW if settings.limit is None and not asked else settings.limit
    domain = open_source(settings.images, shape, reading, limit=limit, units=units)
    if asked:
        check_size(settings, shape)
    check_linear(settings, domain)
    return domain, asked


def draw(
    run: Run, settings: Restore, denoiser: Denoiser, y: Measurement, sigmas: Tensor, name: str, label: str, n: int
) -> Images:
    """So many draws of every image as artifact ``name``, IMAGE/NUMBER; by the solver, eta, iterations and seed of settings."""
    rows = {f"{key}/{i:03d}": place for place, key in enumerate(y.keys) for i in range(n)}

    def work(part: tuple[str, ...], advance: Advance) -> Images:
        places = torch.tensor([rows[key] for key in part])
        posterior = PosteriorDenoiser(
            denoiser,
            y.operator.rows(places),
            place(denoiser, y.values[places]),
            y.variance,
            settings.iterations,
        )
        seeds = [key_seed(key, settings.seed) for key in part]
        with exact_matmul():
            x = generate(
                posterior,
                seeds,
                sigmas,
                settings.solver,
                eta=settings.eta,
                device=denoiser.device,
                callback=lambda step: advance(len(part)),
            )
        return as_images(part, x, grey if y.grey else None)

    return run.compute(name, Images, list(rows), settings.loading.batch_size, work, label, settings.steps).read()


def _stacked(draws: Images, n: int) -> Tensor:
    """``[images, n, C, H, W]`` float64."""
    return draws.values.double().unflatten(0, (-1, n))


def _plain(run: Run, y: Measurement) -> dict[str, Tensor]:
    """The plain and the smooth restoration of images whose truth is known, kept as artifacts; by their names."""
    if y.truth is None:
        return {}
    name, first = plain(y.operator, y.values)
    made = {name: first, "smooth": smooth(y.operator, y.values, y.variance, first)}
    if run.ranks.main:
        for folder, values in zip(("plain", "smooth"), made.values(), strict=True):
            save(as_images(y.keys, values), run.folder / folder)
    return made


def _misfit(y: Measurement, stacked: Tensor) -> Score:
    """How far draws are from the measurement, in units of its noise; an interval over images."""
    n = stacked.shape[1]
    places = torch.arange(len(y.keys)).repeat_interleave(n)
    left = y.values[places] - y.operator.rows(places).forward(stacked.flatten(0, 1))
    seen = y.seen[places]
    deviation = y.variance / (stacked.shape[2] if y.grey else 1)
    squares = torch.where(seen, left, 0).square().flatten(1).sum(1) / seen.flatten(1).sum(1) / deviation
    return mean_score(squares.unflatten(0, (-1, n)).mean(1), least=0.0)


def _judge(y: Measurement, stacked: Tensor, fallbacks: dict[str, Tensor], seed: int) -> Restored | None:
    if y.truth is None:
        return None
    n, truth = stacked.shape[1], y.truth
    single = torch.stack([psnr(stacked[:, i], truth, y.judged) for i in range(n)], 1).mean(1)
    found = {"mean": psnr(stacked.mean(1), truth, y.judged), "draws": single}
    found |= {name: psnr(values, truth, y.judged) for name, values in fallbacks.items()}
    return Restored(
        psnr={name: mean_score(values) for name, values in found.items()},
        spread_over_error=spread_over_error(stacked, truth, y.judged),
        coverage=_coverage(y, stacked, fallbacks, seed) if len(truth) > 1 else None,
    )


def _coverage(y: Measurement, stacked: Tensor, fallbacks: dict[str, Tensor], seed: int) -> dict[str, Coverage]:
    assert y.truth is not None
    judged = y.judged.expand_as(y.truth)

    def flat(values: Tensor) -> Tensor:
        mask = judged if values.ndim == 4 else judged[:, None]
        return torch.where(mask, values, 0).flatten(values.ndim - 3)

    references = {"another image": y.truth.roll(1, 0), "plain": next(iter(fallbacks.values()))}
    found = {}
    for name, reference in references.items():
        ranks = tarp_ranks(flat(y.truth), flat(stacked), flat(reference))
        found[name] = Coverage(**vars(tarp(ranks, stacked.shape[1], seed)))
    return found


def _agreement(
    run: Run,
    settings: Restore,
    other: Denoiser,
    y: Measurement,
    draws: Images,
    again: Images,
    notes: list[str],
) -> Agreement:
    """Same measurement and noise, two models; chance is the next draw's noise, and other images are what is not alike."""
    sets = {"samples": draws, "against": again}
    vectors, published = describe(
        run,
        {name: ImageSet.of(zip(part.keys, part.values, strict=True)) for name, part in sets.items()},
        ("samples", "against"),
        settings.likeness,
        settings.loading.batch_size,
        settings.loading.device,
    )
    first, second = (in_memory(vectors[name]) for name in ("samples", "against"))
    n, images = settings.n, len(y.keys)

    def moved(keys: Sequence[str], by_images: int, by_draws: int) -> list[str]:
        """The keys of so many images and draws further on."""
        places = torch.arange(images * n).reshape(images, n).roll((-by_images, -by_draws), (0, 1)).flatten()
        return [keys[i] for i in places.tolist()]

    later = again.renamed(moved(again.keys, 0, 1))
    second_later = second.renamed(moved(second.keys, 0, 1))
    different = [similarity(first, second.renamed(moved(second.keys, k, 0))) for k in range(1, images // 2 + 1)]
    try:
        alike = find_thresholds(
            settings.likeness, published, torch.cat(different) if different else torch.empty(0), notes
        )
    except FarfieldError as error:
        notes.append(f"No RP: {error}.")
        alike = Alike(thresholds={}, calibration=None)
    means = _stacked(again, n).mean(1)
    return Agreement(
        model=model_facts({"model": settings.against, "model_digest": run.request["against_digest"]}, other),
        descriptor=first.descriptor,
        **vars(alike),
        rp={
            k: Paired(score=rp(first, second, t), chance=rp(first, second_later, t))
            for k, t in alike.thresholds.items()
        },
        pfd=pfd(draws, again, seed=settings.seed),
        pfd_chance=pfd(draws, later, seed=settings.seed),
        psnr=None if y.truth is None else mean_score(psnr(means, y.truth, y.judged)),
    )


def _write(run: Run, domain: Domain, y: Measurement, draws: Images, stacked: Tensor) -> None:
    """What the page shows, and the files to take away."""
    out = run.folder
    save(as_images(y.keys, y.values), out / "measured")
    save(as_images(y.keys, stacked.mean(1)), out / "mean")
    save(as_images(y.keys, stacked.std(1)), out / "spread")
    if y.truth is not None:
        save(as_images(y.keys, y.truth), out / "images")
    if draws.values.shape[1] in (1, 3):
        save_pngs(draws, out / "png", run.provenance)
    if domain.physical is None:
        return
    write_json(out / "stretch.json", domain.physical.stretch.to_json())
    fields = domain.physical.to_fields(draws)
    if y.truth is None and isinstance(getattr(y.operator, "inner", None), Whole):
        fields = _mended(domain.physical.fields["examples"], fields, y)
    write_fields(out, domain.physical, fields, run.provenance)
    each = fields.values.unflatten(0, (-1, stacked.shape[1]))
    for name, values in (("mean", each.mean(1)), ("spread", each.std(1))):
        write_npz(out / "physical" / f"{name}.npz", y.keys, values.numpy(), fields.unit, run.provenance)


def _mended(given: Fields, drawn: Fields, y: Measurement) -> Fields:
    """The given fields with their missing pixels drawn, and all others as they were to the bit."""
    places = torch.arange(len(y.keys)).repeat_interleave(len(drawn.keys) // len(y.keys))
    kept = y.seen[:, : given.values.shape[1]][places]
    return replace(drawn, values=torch.where(kept, given.values[places], drawn.values))
