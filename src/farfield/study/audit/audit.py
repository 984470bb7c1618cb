"""`farfield audit`: does a model memorize or generalize? Every score of the wing beside its null, and one verdict.

What models make lies in ``made/``, an ordinary run of `farfield generate` for each: the one that is judged, others to
compare it with seed by seed, and the empirical denoiser of the training images.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from farfield.audit.search import Neighbours
from farfield.audit.similarity import paired
from farfield.audit.stored import in_memory
from farfield.audit.threshold import calibrate
from farfield.checkpoints.load import model_digest
from farfield.checkpoints.place import is_empirical
from farfield.command.audit import Audit, AuditResult, Subject
from farfield.command.facts import SourceFacts
from farfield.command.generate import Generate, Sampling
from farfield.command.likeness import Likeness
from farfield.command.settings import LEFT_OUT
from farfield.command.shared import Loading
from farfield.core.artifact import Images, save, write_json
from farfield.core.error import FarfieldError
from farfield.core.seeds import show_numbers
from farfield.data.image_set import ImageSet
from farfield.data.samples import open_image_set
from farfield.data.subset import shuffled
from farfield.diffusion.solver import find_solver
from farfield.study.audit.audit_sets import holds_fields, is_model, open_sets, seeds_of
from farfield.study.audit.evidence import distances_of, duplicates_of, judged, notes_on, other_model, strangers
from farfield.study.audit.gl import Beside, compare
from farfield.study.bench.likeness import describe, find_thresholds, named
from farfield.study.bench.numerics import load_model
from farfield.study.bench.opening import Work
from farfield.study.bench.run import Run
from farfield.study.model.generate import generate

CLOSEST = 36
"""Pairs of an image and its nearest training image that are shown, the most alike first."""

DRAWN = 18
"""Pairs that are shown besides, drawn at random."""

SEEDS = 512
"""Samples of a model."""


def audit(settings: Audit, out: Path, *, quiet: bool = False) -> AuditResult:
    """Hold a model, or samples, against the images it was trained on.

    ``nearest.json`` names the nearest training image of each sample and held-out image; ``pairs/`` holds some to
    look at.
    """
    subject, training, likeness, seed = settings.subject, settings.train, settings.likeness, settings.seed
    seeds, limit = settings.seeds, settings.n
    sampling = Sampling(
        solver=settings.solver,
        steps=settings.steps,
        labels=settings.labels,
        form="shards",
        loading=Loading(batch_size=settings.batch_size, device=settings.device, dtype=settings.dtype),
    )
    if is_model(subject):
        seeds, limit = tuple(range(SEEDS if limit is None else limit)) if seeds is None else seeds, None
    elif seeds is not None:
        raise FarfieldError(f"{subject}: holds samples, which have their seeds; leave seeds out, or name a model")
    real = open_sets(subject, training, settings.heldout, limit)
    given = real.pop("samples", None)
    if (settings.theory or settings.other) and holds_fields(training):
        raise FarfieldError("others: models cannot be compared in physical units; leave --other and --theory out")
    if given is not None and (settings.theory or any(map(is_model, settings.other))):
        seeds = tuple(seeds_of(given, subject))
    sources = {f"other-{i + 1}": other for i, other in enumerate(settings.other)}
    if settings.theory:
        sources["theory"] = f"empirical:{training}"
    models = {folder: name for folder, name in {"subject": subject, **sources}.items() if is_model(name)}
    opened = {folder: open_image_set(source) for folder, source in sources.items() if folder not in models}
    making = (
        sampling.request() if models else dict.fromkeys(("solver", "steps", "batch_size", "dtype", "labels"), LEFT_OUT)
    )
    run = Run.of(
        out,
        settings,
        {**real, "samples": given, **opened, **{folder: model_digest(name) for folder, name in models.items()}},
        quiet,
        _work(models, sampling, len(seeds or ())),
        seeds=show_numbers(seeds) if seeds else None,
        limit=limit,
        descriptor=named(likeness, real.values()),
        **making,
    )
    batch_size, device = settings.batch_size, settings.device
    _, published = describe(run, real, ("training",), likeness, batch_size, device)
    _check_enough(real, likeness, published)

    def made(folder: str, source: str) -> ImageSet:
        if folder in opened:
            return opened[folder]
        with run.stage(f"made/{folder}"):
            generate(Generate(source, tuple(seeds or ()), sampling), out / "made" / folder, quiet=quiet)
        return open_image_set(out / "made" / folder)

    samples = made("subject", subject) if given is None else given
    sets = {**real, "samples": samples}
    sets |= {folder: paired(made(folder, source), samples, common=True)[0] for folder, source in sources.items()}
    vectors, _ = describe(run, sets, ("training",), likeness, batch_size, device)

    def work() -> AuditResult:
        beside = compare(sets, vectors, settings, published, quiet=quiet)
        _write_pairs(out, beside, sets, seed)
        distances = distances_of(vectors, beside, seed)
        different, notes = strangers(vectors, seed), beside.comparison.notes + notes_on(beside, distances)
        ours = samples, in_memory(vectors["samples"])
        others = []
        for name, source in sources.items():
            alike = find_thresholds(likeness, published, different, notes)
            theirs = sets[name], in_memory(vectors[name])
            others.append(other_model(ours, theirs, source, name == "theory", alike, seed))
        about = (
            {"kind": "model", "steps": sampling.steps, "solver": sampling.rule}
            if given is None
            else {"kind": "samples"}
        )
        held = None
        if settings.heldout is not None:
            held = SourceFacts(source=settings.heldout, n=len(sets["held_out"]))
        comparison = vars(beside.comparison) | {"notes": list(dict.fromkeys(notes))}
        return AuditResult(
            subject=Subject(source=subject, n=len(samples), **about),
            training=SourceFacts(source=training, n=len(sets["training"])),
            held_out=held,
            descriptor=vectors["samples"].descriptor,
            verdict=judged(beside, distances),
            **comparison,
            distances=distances,
            duplicates=duplicates_of(vectors, beside, seed),
            reproducibility=others,
        )

    return run.finish_on_main(AuditResult, work)


def _work(models: Mapping[str, str], sampling: Sampling, n: int) -> list[Work]:
    """What models have to make; the first alone is measured."""
    names = [name for name in models.values() if not is_empirical(name)]
    if not names:
        return []
    loading = sampling.labelled
    plan = {"generating": float(n * len(names) * (find_solver(sampling.rule).calls(sampling.steps) + 1))}
    return [Work(load_model(names[0], loading), loading.batch_size, plan, n * len(names))]


def _check_enough(real: Mapping[str, ImageSet], likeness: Likeness, published: float | None) -> None:
    """Refuse, before anything is made, too few images to set a threshold with."""
    if likeness.threshold is None and published is None:
        name = "held_out" if "held_out" in real else "training"
        try:
            calibrate(torch.zeros(len(real[name])), likeness.rate)
        except FarfieldError as error:
            raise FarfieldError(f"{name.replace('_', '-')} images: {error}, or a cosine with --threshold") from error


def _write_pairs(out: Path, beside: Beside, sets: Mapping[str, ImageSet], seed: int) -> None:
    """Each image's nearest training image, and pairs of both to look at, under the image's key."""
    parts = {"samples": beside.near, **({} if beside.held is None else {"held_out": beside.held})}
    table = {}
    for name, near in parts.items():
        pairs = zip(near.keys, near.nearest_keys, near.similarity.tolist(), strict=True)
        table[name] = {key: {"training": other, "similarity": s} for key, other, s in pairs}
        place = {key: i for i, key in enumerate(near.keys)}
        for kind, keys in (("closest", _ranked(near)[:CLOSEST]), ("drawn", sorted(shuffled(near.keys, seed)[:DRAWN]))):
            folder, rows = out / "pairs" / f"{kind}_{name}", near.index[[place[key] for key in keys]]
            save(sets[name].select(keys).images(), folder / "images")
            save(Images(tuple(keys), sets["training"].at(rows)), folder / "training")
    write_json(out / "nearest.json", table)


def _ranked(near: Neighbours) -> list[str]:
    """Keys, the nearest to a training image first."""
    return [key for _, key in sorted(zip(near.distance.tolist(), near.keys, strict=True))]
