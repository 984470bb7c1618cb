"""`farfield score gl`: does a model make new images, or those it was trained on?

Every statistic stands beside the same one for held-out images. Training images and their features are read block by
block, and may be more than memory holds.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from farfield.audit.authenticity import authenticity, data_copying, partition
from farfield.audit.blocks import ENTRIES, nearest_in_blocks
from farfield.audit.generalization import Ratios, distinct, generalization, ratio_test
from farfield.audit.index import SHARD, Approximate, neighbours_in_shards
from farfield.audit.search import Neighbours
from farfield.audit.similarity import unit
from farfield.audit.stored import StoredFeatures, UnitVectors, in_memory
from farfield.audit.vectors import Vectors, at_once
from farfield.core import note
from farfield.core.artifact import Features, Score, file_digest, write_bytes, write_json
from farfield.core.error import FarfieldError, FarfieldWarning
from farfield.core.provenance import Provenance
from farfield.core.runtime import progress
from farfield.data.image_set import ImageSet
from farfield.data.picture import png, some
from farfield.data.subset import shuffled
from farfield.present.sheet import pairs
from farfield.study.bench.likeness import Likeness, describe, feature_store, finished, open_set
from farfield.study.bench.measure import spread
from farfield.study.bench.run import Run

SHOWN = 32
"""Pairs of a sample and its nearest training image in the gallery, the most alike first."""

STAND_INS = 10_000
"""Training images that stand in for held-out ones, at most."""

CELL = 200
"""Samples and held-out images for each cell of the data-copying test, about; at most 20 cells."""


@note.kept()
def score_gl(
    samples: str,
    training: str,
    out: Path,
    likeness: Likeness,
    *,
    heldout: str | None = None,
    search: str = "exact",
    limit: int | None = None,
    seed: int = 0,
    batch_size: int = 256,
    device: str = "auto",
    quiet: bool = False,
) -> dict[str, Any]:
    """Compare samples with the images a model was trained on; the summary, as in ``summary.json``.

    ``nearest.json`` names each sample's nearest training image, ``closest.png`` shows the most alike.

    Args:
        samples, training: sources, see `study.bench.likeness.open_set`.
        heldout: images of the domain that were never trained on: they calibrate the threshold and are the floor of
            every statistic [default: the training images' own nearest others calibrate it, and there is no floor].
        search: exact, ivf or hnsw, see `audit.index`.
        seed: of what is drawn at random.
    """
    store = feature_store(training)
    given = {"samples": open_set(samples, limit), **({"held_out": open_set(heldout)} if heldout else {})}
    if store is None:
        given["training"] = open_set(training)
    rows = {name: one.rows for name, one in given.items()}
    approximate = None if search == "exact" else Approximate(search, out / "index")
    request = {
        "samples": samples,
        "training": training,
        "heldout": heldout,
        **likeness.request(rows.values()),
        "search": search,
        "limit": limit,
        "seed": seed,
    }
    inputs = {**rows, **({"training": file_digest(store.shards())} if store else {})}
    run = Run(out, "score gl", request, inputs, quiet)
    found, published = describe(run, rows, ("training",), likeness, batch_size, device)
    if store:
        found["training"] = StoredFeatures(store)

    def work() -> dict[str, Any]:
        result = compared(
            rows,
            found,
            likeness,
            published,
            approximate=approximate,
            source=heldout,
            seed=seed,
            quiet=quiet,
        )
        _write_nearest(out, result.near, rows, run.provenance)
        return {
            **{name: one.described() for name, one in given.items()},
            "training": {"source": training, "n": result.near.references},
            "descriptor": found["samples"].descriptor,
            **result.summary,
        }

    return finished(run, work)


@dataclass(frozen=True)
class Compared:
    """Samples and held-out images beside the training images: who is nearest to whom, and every statistic by name."""

    near: Neighbours
    held: Neighbours | None
    summary: dict[str, Any]


def compared(
    rows: Mapping[str, ImageSet | Features],
    found: Mapping[str, Vectors],
    likeness: Likeness,
    published: float | None,
    *,
    approximate: Approximate | None = None,
    source: str | None = None,
    seed: int = 0,
    quiet: bool = False,
) -> Compared:
    """All that `score_gl` says of sets that are described: thresholds, GL, ratio test, authenticity, data copying, notes.

    Args:
        rows: the sets as given, ``samples`` and, where there are any, ``held_out`` and ``training``.
        found: their features, ``training`` among them.
        published: the descriptor's threshold.
        source: where the held-out images come from, for what is said about them.
    """
    notes: list[str] = []
    with progress("comparing", 4, quiet=quiet) as advance:
        training = UnitVectors(found["training"])
        rows_at_once = at_once(training.shape, ENTRIES) if approximate is None else SHARD

        def searched(name: str) -> tuple[Neighbours, Score | None]:
            queries = unit(in_memory(found[name]))
            return neighbours_in_shards(queries, training.parts(rows_at_once), approximate, seed=seed)

        near, recall = searched("samples")
        advance(1)
        held = None
        if "held_out" in found:
            held = _never_trained_on(searched("held_out")[0], source or "held-out images")
            different = held.similarity
        else:
            notes.append("No held-out images: there is no floor, and training images stand in for new ones.")
            different = _stand_ins(training, seed)
        chosen = likeness.thresholds(published, different, notes)
        advance(1)
        sets = {"samples": near, **({"held_out": held} if held is not None else {})}
        authentic = None
        if len(training) > 1 and approximate is None:
            authentic = {name: authenticity(one, training) for name, one in sets.items()}
        copying = None if held is None else _copying(near, held, training, seed)
        advance(1)
        ratios = _ratios(rows, found, held, notes)
        advance(1)
    summary = {
        "search": {"kind": approximate.kind if approximate else "exact", "recall": recall},
        **chosen,
        "gl": {kind: generalization(near, t, held) for kind, t in chosen["thresholds"].items()},
        "similarity": {name: spread(one.similarity) for name, one in sets.items()},
        "ratio_test": ratios,
        "authenticity": authentic,
        "data_copying": copying,
        "notes": notes,
    }
    return Compared(near, held, summary)


def _never_trained_on(held: Neighbours, source: str) -> Neighbours:
    """Held-out images without those that stand among the training images, which are named.

    Raises:
        FarfieldError: that are all of them.
    """
    new = (held.distance > 0).nonzero()[:, 0].tolist()
    if len(new) == len(held.keys):
        return held
    trained = [key for key, d in zip(held.keys, held.distance.tolist(), strict=True) if d == 0]
    if not new:
        raise FarfieldError(
            f"{source}: expected held-out images that were never trained on, found all {len(trained)} among the training "
            "images; give others"
        )
    warnings.warn(
        FarfieldWarning(f"{source}: {len(trained)} held-out images are training images: {some(trained)}; left out"),
        stacklevel=2,
    )
    return replace(
        held,
        keys=tuple(held.keys[i] for i in new),
        nearest_keys=tuple(held.nearest_keys[i] for i in new),
        index=held.index[new],
        distance=held.distance[new],
    )


def _stand_ins(training: Vectors, seed: int) -> Tensor:
    """The similarity of training images to their nearest others, duplicates left out."""
    place = {training.keys[i]: i for i in distinct(training)}
    if len(place) < 2:
        return torch.empty(0)
    drawn = shuffled(place, seed)[:STAND_INS]
    own, kept = torch.tensor([place[key] for key in drawn]), torch.tensor(list(place.values()))
    distance = nearest_in_blocks(training.select(drawn), training, exclude=own, kept=kept)[0]
    return 1 - distance[:, 0].square() / 2


def _copying(near: Neighbours, held: Neighbours, training: Vectors, seed: int) -> dict[str, Any] | None:
    """The data-copying test over the whole space, and in cells where there are enough images for several."""
    fewest = min(len(near.keys), len(held.keys))
    if fewest < CELL // 4:
        return None
    cells = min(20, fewest // CELL, near.references)
    several = None
    if cells > 1:
        several = data_copying(samples=near, held_out=held, cells=partition(training, cells, seed), seed=seed)
    return {"whole": data_copying(samples=near, held_out=held, seed=seed), "cells": several}


def _ratios(
    rows: Mapping[str, ImageSet | Features],
    found: Mapping[str, Vectors],
    held: Neighbours | None,
    notes: list[str],
) -> dict[str, Any] | None:
    """The 1/3 test in pixels where all sets are images of one size, else in features."""
    names = ["samples", *(["held_out"] if held is not None else [])]
    images = {name: part for name, part in rows.items() if isinstance(part, ImageSet)}
    in_pixels = {"training", *names} <= images.keys() and len({i.shape for i in images.values()}) == 1
    known: Vectors = found["training"]
    given: dict[str, Vectors] = {"samples": found["samples"]}
    if held is not None:
        given["held_out"] = found["held_out"].select(held.keys)
    if in_pixels:
        known, given["samples"] = RawPixels(images["training"]), RawPixels(images["samples"])
        if held is not None:
            given["held_out"] = RawPixels(images["held_out"].select(held.keys))
    else:
        notes.append("The distance ratio is one of features: pixels need images of one size in all sets.")
    if len(known) < 2:
        notes.append("No distance ratio: it needs at least 2 training images.")
        return None
    kept = distinct(known)
    tested: dict[str, Ratios] = {
        name: ratio_test(samples=part, training=known, kept=kept) for name, part in given.items()
    }
    shares: dict[str, Score] = {name: one.memorized for name, one in tested.items()}
    return {
        "space": "pixels" if in_pixels else known.descriptor,
        **shares,
        "duplicates": tested["samples"].duplicates,
        "ratio": spread(tested["samples"].ratio),
    }


@dataclass(frozen=True)
class RawPixels:
    """Images as feature vectors: their pixels in [-1, 1], read block by block."""

    images: ImageSet
    descriptor: str = "raw pixels"

    @property
    def keys(self) -> tuple[str, ...]:
        return self.images.keys

    @property
    def shape(self) -> tuple[int]:
        return (math.prod(self.images.shape),)

    def __len__(self) -> int:
        return len(self.images)

    def parts(self, rows: int) -> Iterator[Features]:
        for part in self.images.parts(rows):
            yield Features(part.keys, part.values.flatten(1), self.descriptor)

    def select(self, keys: Sequence[str]) -> Features:
        return Features(tuple(keys), self.images.select(keys).images().values.flatten(1), self.descriptor)


def _write_nearest(out: Path, near: Neighbours, rows: Mapping[str, ImageSet | Features], made: Provenance) -> None:
    """Each sample's nearest training image, and the most alike of them side by side."""
    table = zip(near.keys, near.nearest_keys, near.similarity.tolist(), strict=True)
    write_json(out / "nearest.json", {key: {"training": other, "similarity": s} for key, other, s in table})
    samples, training = rows["samples"], rows.get("training")
    if not isinstance(samples, ImageSet) or not isinstance(training, ImageSet):
        return
    closest = sorted(range(len(near.keys)), key=lambda i: (float(near.distance[i]), near.keys[i]))[:SHOWN]
    sheet = pairs(
        samples.at(closest),
        training.at(near.index[closest]),
        captions=[f"{float(near.similarity[i]):.3f}" for i in closest],
    )
    write_bytes(out / "closest.png", png(sheet, made.record()))
