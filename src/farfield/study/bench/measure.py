"""Images to scores: descriptors and measures of the audit room, applied to the sets that a run has made."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from farfield.audit.c2st import LEAST, c2st
from farfield.audit.coverage import prdc
from farfield.audit.descriptor import Descriptor
from farfield.audit.distribution import frechet_distances, kernel_distance
from farfield.audit.diversity import cluster_distance, vendi_score
from farfield.audit.memorization import duplicates, novelty
from farfield.audit.named import identity, open_descriptor
from farfield.audit.stored import StoredFeatures, in_memory
from farfield.command.facts import Spread
from farfield.command.likeness import TRUST
from farfield.command.measures import BySet, Measures, Nearest, Novelty
from farfield.core.artifact import Features, Images, Latents
from farfield.core.error import FarfieldWarning
from farfield.core.runtime import generator
from farfield.core.score import Score
from farfield.data.image_set import ImageSet
from farfield.diffusion.denoiser import Denoiser
from farfield.study.bench.features import features as described
from farfield.study.bench.run import Run
from farfield.unseen.geometry import expectation, lengths_and_angles, norms
from farfield.unseen.prior import IsotropicPrior

Describe = Callable[..., dict[str, Features]]
"""`features` of sets in a run, by a descriptor that is chosen already."""

SHOWN = 64
"""Held-out images that a run keeps for its report."""


def measure(
    run: Run, denoiser: Denoiser, specs: Sequence[str], sets: dict[str, Images], made: Sequence[str], batch_size: int
) -> tuple[dict[str, BySet], dict[str, dict[str, Novelty]], dict[str, dict[str, Nearest]]]:
    """Measures of all sets and the novelty of those that were made, by every descriptor; nearest examples by the first.

    Args:
        sets: ``examples``, ``references`` that all are compared with (the examples, where there are none), and others.
    """
    measures: dict[str, BySet] = {}
    news: dict[str, dict[str, Novelty]] = {}
    nearest: dict[str, dict[str, Nearest]] = {}
    against = "references" if "references" in sets else "examples"
    for label, describe in descriptions(specs, sets[against], batch_size, denoiser):
        known = describe(run, sets=sets)
        compared = {name: part for name, part in known.items() if name not in ("examples", "references")}
        measures[label] = compare(known[against], compared, known["examples"])
        copies = {name: newness(known[name], known["examples"], known.get("references")) for name in made}
        news[label] = {name: row for name, (row, _) in copies.items()}
        nearest = nearest or {name: rows for name, (_, rows) in copies.items()}
    return measures, news, nearest


def descriptions(
    specs: Sequence[str],
    references: Images,
    batch_size: int,
    denoiser: Denoiser | None,
    device: torch.device | None = None,
) -> Iterator[tuple[str, Describe]]:
    """Each descriptor's label, and what describes sets in a run by it: ``describe(run, sets=...)`` is `features`.

    Args:
        references: images that ``pixels`` are whitened on; with too few of them it is left out, which is said, and so is
            ``copy`` where they are neither grey nor colour.
        device: that of the denoiser, if not given.
    """
    place = device or (denoiser.device if denoiser else torch.device("cpu"))
    labels: list[str] = []
    for spec in usable(specs, len(references), references.values.shape[1]):
        labels.append(descriptor_label(spec, labels))
        descriptor = open_descriptor(spec, references=references, denoiser=denoiser, device=place)
        yield labels[-1], partial(features, descriptor=descriptor, label=labels[-1], batch_size=batch_size)


def usable(specs: Sequence[str], available: int, channels: int = 3) -> list[str]:
    """The descriptors without those that such images do not serve, which is said."""
    unfit = {}
    if available < 4:
        unfit["pixels"] = f"it needs at least 4 images to whiten on, found {available}"
    if channels not in (1, 3):
        unfit["copy"] = f"it sees grey or colour pictures, found {channels} channels"
    for spec in specs:
        if spec in unfit:
            warnings.warn(f"descriptor {spec}: left out, {unfit[spec]}", FarfieldWarning, stacklevel=2)
    return [spec for spec in specs if spec not in unfit]


def features(
    run: Run, descriptor: Descriptor, label: str, sets: Mapping[str, Images | ImageSet], batch_size: int
) -> dict[str, Features]:
    """Features of each set in memory, kept under ``features/<label>/<set>``."""
    return {name: in_memory(part) for name, part in stored_features(run, descriptor, label, sets, batch_size).items()}


def stored_features(
    run: Run, descriptor: Descriptor, label: str, sets: Mapping[str, Images | ImageSet], batch_size: int
) -> dict[str, StoredFeatures]:
    """Features of each set where they are kept, ``features/<label>/<set>``."""
    return {
        name: described(
            run, descriptor, images, batch_size, f"features/{label}/{name}", f"describing {name} by {label}"
        )
        for name, images in sets.items()
    }


def compare(references: Features, sets: dict[str, Features], examples: Features | None = None) -> BySet:
    """Every measure of every set against the same references; a set too small for a measure goes without it.

    Args:
        examples: what images gather about, see `cluster_distance`; the references, where there are none.
    """
    table: BySet = {}
    for name, features in sets.items():
        known: dict[str, Score | None] = {}
        if min(len(features), len(references)) >= 4:
            known["kernel_distance"] = kernel_distance(real=references, generated=features)
            finite, limit = frechet_distances(real=references, generated=features)
            known["frechet_distance"], known["frechet_infinity"] = finite, limit
        if min(len(features), len(references)) > 5:
            known |= prdc(real=references, generated=features)._asdict()
        if min(len(features), len(references)) >= LEAST:
            told = c2st(real=references, generated=features)
            known["c2st"], known["c2st_null"] = told.accuracy, told.null
        if len(features) > 1 and bool(features.values.any(1).all()):
            known["vendi"] = vendi_score(features)
        known["clusters"] = cluster_distance(examples=references if examples is None else examples, generated=features)
        table[name] = Measures(**known)
    return table


def newness(samples: Features, examples: Features, held_out: Features | None) -> tuple[Novelty, dict[str, Nearest]]:
    """Copies and duplicates with their floors, and each sample's nearest example; empty with fewer than 3 examples."""
    if len(examples) < 3:
        return Novelty(), {}
    copied = novelty(samples=samples, examples=examples, references=held_out)
    row = Novelty(threshold=copied.threshold, copies=copied.copies, copies_floor=copied.floor)
    if len(samples) > 1:
        floor = held_out if held_out is not None and len(held_out) > 1 else None
        twice = duplicates(samples, copied.threshold, floor)
        row = row.but(duplicates=twice.share, duplicates_floor=twice.floor)
    pairs = zip(copied.keys, copied.nearest_keys, copied.distance.tolist(), copied.is_copy.tolist(), strict=True)
    return row, {key: Nearest(example=near, distance=d, copy=copy) for key, near, d, copy in pairs}


def descriptor_label(spec: str, taken: Sequence[str]) -> str:
    """A short, unique folder name for a descriptor: the word itself, or the file's stem."""
    label = Path(spec.removeprefix(TRUST)).stem or spec
    return label if label not in taken else f"{label}-{len(taken)}"


def geometry(latents: Latents, drawn: Latents, most: int = 2000) -> dict[str, Any]:
    """Lengths and angles of the examples' latents and of the new ones, beside the closed form of N(m, s² I)."""

    def figures(z: torch.Tensor) -> dict[str, list[float]]:
        g = generator(0, "figures")
        values = lengths_and_angles(z, g, most) if len(z) > 2 else {"norm": norms(z)}
        return {k: v[torch.randperm(len(v), generator=g)[:most]].tolist() for k, v in values.items()}

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


def identities(specs: Sequence[str]) -> list[str]:
    """What a run's request says of its descriptors, see `audit.named.identity`; what is none is refused here."""
    return [identity(spec) for spec in specs]


def spread(values: torch.Tensor | Sequence[float]) -> Spread:
    """Median and extremes of a per-image quantity."""
    v = torch.as_tensor(values, dtype=torch.float64)
    return Spread(median=float(v.median()), min=float(v.min()), max=float(v.max()))
