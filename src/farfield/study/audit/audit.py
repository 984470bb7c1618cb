"""`farfield audit`: does a model memorize or generalize? Every score of the wing beside its null, and one verdict.

What models make lies in ``made/``, an ordinary run of `farfield generate` for each: the one that is judged, others to
compare it with seed by seed, and the empirical denoiser of the training images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from farfield.audit.search import Neighbours
from farfield.audit.similarity import paired
from farfield.audit.stored import in_memory
from farfield.audit.threshold import calibrate
from farfield.checkpoints.load import model_digest
from farfield.command.generate import Sampling
from farfield.core import note
from farfield.core.artifact import Images, save, write_json
from farfield.core.error import FarfieldError
from farfield.core.seeds import show_numbers
from farfield.data.image_set import ImageSet
from farfield.data.samples import open_image_set
from farfield.data.subset import shuffled
from farfield.study.audit.audit_sets import holds_fields, is_model, open_sets, seeds_of
from farfield.study.audit.evidence import deciding, distances_of, duplicates_of, judged, notes_on, reproduced, strangers
from farfield.study.audit.gl import Compared, compared
from farfield.study.bench.likeness import Likeness, describe, finished
from farfield.study.bench.run import Run
from farfield.study.model.generate import make_samples

CLOSEST = 36
"""Pairs of an image and its nearest training image that are shown, the most alike first."""

DRAWN = 18
"""Pairs that are shown besides, drawn at random."""

SEEDS = 512
"""Samples of a model."""


@note.kept()
def audit(
    subject: str,
    training: str,
    out: Path,
    sampling: Sampling,
    likeness: Likeness,
    *,
    heldout: str | None = None,
    others: Sequence[str] = (),
    theory: bool = False,
    seeds: Sequence[int] | None = None,
    limit: int | None = None,
    seed: int = 0,
    quiet: bool = False,
) -> dict[str, Any]:
    """Hold a model, or samples, against the images it was trained on; the summary, as in ``summary.json``.

    ``nearest.json`` names the nearest training image of each sample and held-out image; ``pairs/`` holds some to
    look at.

    Args:
        subject: a model, whose samples are made, or samples (see `data.samples.open_image_set`).
        training: the images that it was trained on.
        heldout: images of the same domain that were never trained on.
        others: models, or samples under the same seeds.
        theory: compare with the empirical denoiser of the training images too.
        seeds: of the samples of a model [default: 0 to SEEDS - 1].
        limit: only the first so many of samples that are given.
        seed: of what is drawn at random besides.
    """
    sampling = replace(sampling, form="shards")
    if seeds is not None and not is_model(subject):
        raise FarfieldError(f"{subject}: holds samples, which have their seeds; leave seeds out, or name a model")
    real = open_sets(subject, training, heldout, limit)
    given = real.pop("samples", None)
    if (theory or others) and holds_fields(training):
        raise FarfieldError("others: models cannot be compared in physical units; leave --other and --theory out")
    if given is None:
        seeds = list(range(SEEDS) if seeds is None else seeds)
    else:
        seeds = seeds_of(given, subject) if theory or any(map(is_model, others)) else []
    sources = {f"other-{i + 1}": other for i, other in enumerate(others)}
    if theory:
        sources["theory"] = f"empirical:{training}"
    named = {name for name in (subject, *sources.values()) if is_model(name)}
    opened = {folder: open_image_set(source) for folder, source in sources.items() if source not in named}
    models = {folder: model_digest(name) for folder, name in {"subject": subject, **sources}.items() if name in named}
    run = Run(
        out,
        "audit",
        {
            "subject": subject,
            "training": training,
            "heldout": heldout,
            "others": list(others),
            "theory": theory,
            "seeds": show_numbers(seeds) if seeds else None,
            "limit": limit,
            **(sampling.request() if named else {}),
            **likeness.request(real.values()),
            "seed": seed,
        },
        {**real, "samples": given, **opened, **models},
        quiet,
    )
    batch, device = sampling.loading.batch_size, sampling.loading.device
    _, published = describe(run, real, ("training",), likeness, batch, device)
    _check_enough(real, likeness, published)

    def made(folder: str, source: str) -> ImageSet:
        if folder in opened:
            return opened[folder]
        with run.stage(f"made/{folder}"):
            make_samples(source, seeds, out / "made" / folder, sampling, quiet=quiet)
        return open_image_set(out / "made" / folder)

    samples = made("subject", subject) if given is None else given
    sets = {**real, "samples": samples}
    sets |= {folder: paired(made(folder, source), samples, common=True)[0] for folder, source in sources.items()}
    found, _ = describe(run, sets, ("training",), likeness, batch, device)

    def work() -> dict[str, Any]:
        told = compared(sets, found, likeness, published, source=heldout, seed=seed, quiet=quiet)
        _write_pairs(out, told, sets, seed)
        distances = distances_of(found, told, seed)
        ours, different = (samples, in_memory(found["samples"])), strangers(found, seed)
        notes = told.summary["notes"] + notes_on(told, distances)
        models = [
            {
                "source": source,
                "theory": name == "theory",
                **reproduced(ours, (sets[name], in_memory(found[name])), different, likeness, published, notes, seed),
            }
            for name, source in sources.items()
        ]
        kind, made_by = "samples", {}
        if given is None:
            kind, made_by = "model", {"steps": sampling.steps, "solver": sampling.rule}
        return {
            "subject": {"source": subject, "kind": kind, "n": len(samples), **made_by},
            "training": {"source": training, "n": len(sets["training"])},
            **({"held_out": {"source": heldout, "n": len(sets["held_out"])}} if heldout is not None else {}),
            "descriptor": found["samples"].descriptor,
            "verdict": judged(told, distances),
            **told.summary,
            "distances": distances,
            "duplicates": duplicates_of(found, told, told.summary["thresholds"][deciding(told)[0]], seed),
            "reproducibility": models,
            "notes": list(dict.fromkeys(notes)),
        }

    return finished(run, work)


def _check_enough(real: Mapping[str, ImageSet], likeness: Likeness, published: float | None) -> None:
    """Refuse, before anything is made, too few images to set a threshold with."""
    if likeness.threshold is None and published is None:
        name = "held_out" if "held_out" in real else "training"
        try:
            calibrate(torch.zeros(len(real[name])), likeness.rate)
        except FarfieldError as error:
            raise FarfieldError(f"{name.replace('_', '-')} images: {error}; or give a threshold") from error


def _write_pairs(out: Path, told: Compared, sets: Mapping[str, ImageSet], seed: int) -> None:
    """Each image's nearest training image, and pairs of both to look at, under the image's key."""
    parts = {"samples": told.near, **({} if told.held is None else {"held_out": told.held})}
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
