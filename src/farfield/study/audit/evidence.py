"""What an audit says besides the scores of `study.audit.gl`: distances, duplicates, other models, the verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from farfield.audit.blocks import nearest_in_blocks
from farfield.audit.generalization import distinct
from farfield.audit.memorization import duplicates
from farfield.audit.reproducibility import MAE_LIMIT, mae_rp, rp
from farfield.audit.similarity import paired, repaired, similarity, unit
from farfield.audit.stored import UnitVectors, in_memory
from farfield.audit.threshold import Threshold
from farfield.audit.vectors import Vectors
from farfield.audit.verdict import Beside, Verdict, judge
from farfield.core.artifact import Features, Score, find_places
from farfield.core.interval import proportion
from farfield.data.image_set import ImageSet
from farfield.data.subset import shuffled
from farfield.study.audit.gl import Compared
from farfield.study.bench.likeness import Likeness
from farfield.study.bench.measure import compare

MEASURED = 2000
"""Images of each set that distances and precision are computed on, at most."""

LEAST = 6
"""Images of each set without which there are none."""

SCANNED = 10_000
"""Training images whose nearest others are looked for, at most."""

Sets = Mapping[str, Vectors]
"""Features of ``training``, ``samples``, and of ``held_out`` where there are any."""


def deciding(told: Compared) -> tuple[str, Score | None]:
    """The threshold that the verdict reads, and the share of new images that exceed it; None where nothing tells."""
    calibration: Threshold | None = told.summary["calibration"]
    if calibration is not None:
        return "calibrated", Score(calibration.rate, calibration.n, calibration.rate_low, calibration.rate_high)
    kind = next(iter(told.summary["gl"]))
    return kind, told.summary["gl"][kind].held_out


def judged(told: Compared, distances: Mapping[str, Any] | None) -> Verdict:
    """The verdict on everything that was found."""
    (kind, chance), scores = deciding(told), told.summary
    ratio, authentic = (
        Beside(part["samples"], part.get("held_out")) if (part := scores[name]) else None
        for name in ("ratio_test", "authenticity")
    )
    beside = distances["held_out"] if distances else None
    return judge(
        Beside(scores["gl"][kind].memorized, chance),
        ratio=ratio,
        authenticity=authentic,
        copying=scores["data_copying"]["whole"] if scores["data_copying"] else None,
        precision=Beside(beside["samples"]["precision"], beside["training"]["precision"]) if beside else None,
    )


def distances_of(found: Sets, told: Compared, seed: int) -> dict[str, Any] | None:
    """Measures of samples and of training images against held-out ones, and of samples against training images.

    All sets are thinned to the size of the smallest. None without held-out images, or with too few.
    """
    if told.held is None:
        return None
    keys = {"samples": found["samples"].keys, "training": found["training"].keys, "held_out": told.held.keys}
    n = min(MEASURED, *map(len, keys.values()))
    if n < LEAST:
        return None
    drawn = {name: found[name].select(shuffled(part, seed)[:n]) for name, part in keys.items()}
    return {
        "n": n,
        "held_out": compare(drawn["held_out"], {name: drawn[name] for name in ("samples", "training")}),
        "training": compare(drawn["training"], {"samples": drawn["samples"]}),
    }


def duplicates_of(found: Sets, told: Compared, threshold: float, seed: int) -> dict[str, Any]:
    """Shares of images with another one of their own set above the threshold."""
    apart = math.sqrt(2 - 2 * threshold)
    vectors = UnitVectors(found["training"])
    drawn = shuffled(vectors.keys, seed)[:SCANNED]
    training = None
    if len(vectors) > 1:
        own = torch.tensor(find_places(vectors.keys, drawn, Features.kind))
        near = nearest_in_blocks(vectors.select(drawn), vectors, exclude=own)[0][:, 0]
        training = proportion(int((near <= apart).sum()), len(drawn))
    samples = None
    if len(found["samples"]) > 1:
        held = None if told.held is None else unit(found["held_out"].select(told.held.keys))
        samples = duplicates(
            unit(in_memory(found["samples"])), apart, held if held is not None and len(held) > 1 else None, seed
        )
    ratios = told.summary["ratio_test"]
    return {
        "threshold": threshold,
        "training": training,
        "training_exact": ratios["duplicates"] if ratios else None,
        "samples": samples.share if samples else None,
        "held_out": samples.floor if samples else None,
    }


def reproduced(
    ours: tuple[ImageSet, Features],
    theirs: tuple[ImageSet, Features],
    different: Tensor,
    likeness: Likeness,
    published: float | None,
    notes: list[str],
    seed: int,
) -> dict[str, Any]:
    """Samples beside those of another model from the same seeds, and beside re-paired ones.

    Args:
        different: similarities of images that do not belong together, see `strangers`.
        notes: takes what is left out.
    """
    x, y = paired(ours[0], theirs[0], common=True)
    a, b = paired(ours[1], theirs[1], common=True)
    chosen = likeness.thresholds(published, different, notes)
    pixels = None
    if x.shape == y.shape:
        score, chance = mae_rp(x, y, MAE_LIMIT), mae_rp(x, repaired(y, seed), MAE_LIMIT)
        pixels = {"limit": MAE_LIMIT, "score": score, "chance": chance}
    return {
        "pairs": len(a),
        **chosen,
        "rp": {
            kind: {"score": rp(a, b, t), "chance": rp(a, repaired(b, seed), t)}
            for kind, t in chosen["thresholds"].items()
        },
        "mae": pixels,
    }


def strangers(found: Sets, seed: int) -> Tensor:
    """How alike two different real images are: pairs drawn from the larger real set, one image of each group of copies."""
    largest = max((found[name] for name in ("training", "held_out") if name in found), key=len)
    keys = [largest.keys[i] for i in distinct(largest)]
    some = largest.select(shuffled(keys, seed)[:SCANNED])
    return similarity(some, repaired(some, seed)) if len(some) > 1 else torch.empty(0)


def notes_on(told: Compared, distances: Mapping[str, Any] | None) -> list[str]:
    """What is missing, and what looks wrong."""
    if told.held is None:
        return [
            "The distance ratio and AuthPct stand without a null; the data-copying test, distances, precision and recall are "
            "left out, as they need images that the model never saw: give --heldout."
        ]
    if distances is None:
        return [f"No distances to held-out images: they need at least {LEAST} images of each set."]
    ours, own = (distances["held_out"][name]["kernel_distance"] for name in ("samples", "training"))
    if ours.high < own.low:
        return [
            "The samples stand nearer to the held-out images than the training images do: are the two in each other's place, or "
            "are the held-out images of another domain?"
        ]
    return []
