"""What an audit says besides the scores of `study.audit.gl`: distances, duplicates, other models, the verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from farfield.audit import verdict as verdicts
from farfield.audit.authenticity import Copying
from farfield.audit.blocks import nearest_in_blocks
from farfield.audit.generalization import distinct
from farfield.audit.memorization import duplicates
from farfield.audit.reproducibility import MAE_LIMIT
from farfield.audit.similarity import paired, repaired, similarity, unit
from farfield.audit.stored import UnitVectors, in_memory
from farfield.audit.vectors import Vectors
from farfield.audit.verdict import judge
from farfield.command.audit import Distances, Duplicates, OtherModel, Verdict
from farfield.command.likeness import Alike
from farfield.command.result import from_json, to_json
from farfield.core.artifact import Features, Score, find_places
from farfield.core.interval import proportion
from farfield.core.score import relation
from farfield.data.image_set import ImageSet
from farfield.data.subset import shuffled
from farfield.study.audit.gl import Beside
from farfield.study.audit.score import reproduced, reproduced_in_pixels
from farfield.study.bench.measure import compare

MEASURED = 2000
"""Images of each set that distances and precision are computed on, at most."""

LEAST = 6
"""Images of each set without which there are none."""

SCANNED = 10_000
"""Training images whose nearest others are looked for, at most."""

Sets = Mapping[str, Vectors]
"""Features of ``training``, ``samples``, and of ``held_out`` where there are any."""


def _deciding(beside: Beside) -> tuple[str, Score | None]:
    """The threshold that the verdict reads, and the share of new images that exceed it; None where nothing tells."""
    calibration, gl = beside.comparison.calibration, beside.comparison.gl
    if calibration is not None:
        return "calibrated", Score(calibration.rate, calibration.n, calibration.rate_low, calibration.rate_high)
    kind = next(iter(gl))
    return kind, gl[kind].held_out


def judged(beside: Beside, distances: Distances | None) -> Verdict:
    """The verdict on everything that was found."""
    (kind, chance), scores = _deciding(beside), beside.comparison
    ratio, authentic, copying = scores.ratio_test, scores.authenticity, scores.data_copying
    measures = distances.held_out if distances else None
    verdict = judge(
        verdicts.Beside(scores.gl[kind].memorized, chance),
        ratio=verdicts.Beside(ratio.samples, ratio.held_out) if ratio else None,
        authenticity=verdicts.Beside(authentic.samples, authentic.held_out) if authentic else None,
        copying=Copying(**vars(copying.whole)) if copying else None,
        precision=verdicts.Beside(precision, measures["training"].precision)
        if measures and (precision := measures["samples"].precision)
        else None,
    )
    return from_json(Verdict, to_json(verdict))


def distances_of(vectors: Sets, beside: Beside, seed: int) -> Distances | None:
    """Measures of samples and of training images against held-out ones, and of samples against training images.

    All sets are thinned to the size of the smallest. None without held-out images, or with too few.
    """
    if beside.held is None:
        return None
    keys = {"samples": vectors["samples"].keys, "training": vectors["training"].keys, "held_out": beside.held.keys}
    n = min(MEASURED, *map(len, keys.values()))
    if n < LEAST:
        return None
    drawn = {name: vectors[name].select(shuffled(part, seed)[:n]) for name, part in keys.items()}
    return Distances(
        n=n,
        held_out=compare(drawn["held_out"], {name: drawn[name] for name in ("samples", "training")}),
        training=compare(drawn["training"], {"samples": drawn["samples"]}),
    )


def duplicates_of(sets: Sets, beside: Beside, seed: int) -> Duplicates:
    """Shares of images with another one of their own set above the threshold that the verdict reads."""
    threshold = beside.comparison.thresholds[_deciding(beside)[0]]
    apart = math.sqrt(2 - 2 * threshold)
    vectors = UnitVectors(sets["training"])
    drawn = shuffled(vectors.keys, seed)[:SCANNED]
    training = None
    if len(vectors) > 1:
        own = torch.tensor(find_places(vectors.keys, drawn, Features.kind))
        near = nearest_in_blocks(vectors.select(drawn), vectors, exclude=own)[0][:, 0]
        training = proportion(int((near <= apart).sum()), len(drawn))
    samples = None
    if len(sets["samples"]) > 1:
        held = None if beside.held is None else unit(sets["held_out"].select(beside.held.keys))
        samples = duplicates(
            unit(in_memory(sets["samples"])), apart, held if held is not None and len(held) > 1 else None, seed
        )
    ratios = beside.comparison.ratio_test
    return Duplicates(
        threshold=threshold,
        training=training,
        training_exact=ratios.duplicates if ratios else None,
        samples=samples.share if samples else None,
        held_out=samples.floor if samples else None,
    )


def other_model(
    ours: tuple[ImageSet, Features],
    theirs: tuple[ImageSet, Features],
    source: str,
    theory: bool,
    alike: Alike,
    seed: int,
) -> OtherModel:
    """Samples beside those of another model from the same seeds, and beside re-paired ones."""
    x, y = paired(ours[0], theirs[0], common=True)
    a, b = paired(ours[1], theirs[1], common=True)
    return OtherModel(
        source=source,
        theory=theory,
        pairs=len(a),
        **vars(alike),
        rp=reproduced(a, b, alike.thresholds, seed),
        mae=reproduced_in_pixels(x, y, MAE_LIMIT, seed) if x.shape == y.shape else None,
    )


def strangers(vectors: Sets, seed: int) -> Tensor:
    """How alike two different real images are: pairs drawn from the larger real set, one image of each group of copies."""
    largest = max((vectors[name] for name in ("training", "held_out") if name in vectors), key=len)
    keys = [largest.keys[i] for i in distinct(largest)]
    some = largest.select(shuffled(keys, seed)[:SCANNED])
    return similarity(some, repaired(some, seed)) if len(some) > 1 else torch.empty(0)


def notes_on(beside: Beside, distances: Distances | None) -> list[str]:
    """What is missing, and what looks wrong."""
    if beside.held is None:
        return [
            "The distance ratio and AuthPct stand without a null; the data-copying test, distances, precision and recall are "
            "left out, as they need images that the model never saw: give --heldout."
        ]
    if distances is None:
        return [f"No distances to held-out images: they need at least {LEAST} images of each set."]
    ours, own = (distances.held_out[name].kernel_distance for name in ("samples", "training"))
    if relation(ours, own) == "below":
        return [
            "The samples stand nearer to the held-out images than the training images do: are the two in each other's place, or "
            "are the held-out images of another domain?"
        ]
    return []
