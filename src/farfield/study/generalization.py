"""`farfield score gl`: does a model make new images, or those it was trained on?

Every statistic stands beside the same one for held-out images. Training features that lie in a folder are read shard by
shard; what needs the training images all at once is left out where they are too many.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from farfield.audit.authenticity import authenticity, data_copying, partition
from farfield.audit.generalization import Ratios, distinct, generalization, ratio_test
from farfield.audit.index import Approximate, neighbours_in_shards, regrouped
from farfield.audit.search import Neighbours, nearest
from farfield.audit.similarity import unit
from farfield.core import note
from farfield.core.artifact import Features, Images, Score, Store, file_digest, write_bytes, write_json
from farfield.core.error import FarfieldError, FarfieldWarning
from farfield.core.provenance import Provenance
from farfield.core.runtime import progress
from farfield.data.picture import png, some
from farfield.data.subset import shuffled
from farfield.present.sheet import pairs
from farfield.study.likeness import Likeness, describe, feature_store, finished, open_set
from farfield.study.reconstruct import spread
from farfield.study.run import Run

SHOWN = 32
"""Pairs of a sample and its nearest training image in the gallery, the most alike first."""

HELD = 1 << 30
"""Bytes of training features that are read as a whole; more are searched shard by shard."""

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
        samples, training: sources, see `study.likeness.open_set`.
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
    references = Training(store, found.get("training"))

    def work() -> dict[str, Any]:
        result = compared(
            rows,
            found,
            references,
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
class Training:
    """The training images' features: from the run, or in a folder, where they may be more than memory holds."""

    store: Store[Features] | None
    described: Features | None

    def shards(self) -> Iterable[Features]:
        """At unit length."""
        if self.store is None:
            return [] if self.described is None else [unit(self.described)]
        return map(unit, regrouped(self.store.parts()))

    def raw(self) -> Features | None:
        """All of them as they were described; None where that is too much to hold."""
        if self.store is None:
            return self.described
        return self.store.read() if sum(path.stat().st_size for path in self.store.shards()) <= HELD else None

    def whole(self) -> Features | None:
        """All of them at unit length; None where that is too much to hold."""
        raw = self.raw()
        return None if raw is None else unit(raw)


@dataclass(frozen=True)
class Compared:
    """Samples and held-out images beside the training images: who is nearest to whom, and every statistic by name."""

    near: Neighbours
    held: Neighbours | None
    summary: dict[str, Any]


def compared(
    rows: Mapping[str, Images | Features],
    found: Mapping[str, Features],
    training: Training,
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
        found: their features.
        published: the descriptor's threshold.
        source: where the held-out images come from, for what is said about them.
    """
    notes: list[str] = []
    with progress("comparing", 4, quiet=quiet) as advance:
        near, recall = neighbours_in_shards(unit(found["samples"]), training.shards(), approximate, seed=seed)
        advance(1)
        held, whole = None, training.whole()
        if whole is None:
            notes.append("Authenticity and cells are left out: there are too many training features to hold.")
        if "held_out" in found:
            held = neighbours_in_shards(unit(found["held_out"]), training.shards(), approximate, seed=seed)[0]
            held = _never_trained_on(held, source or "held-out images")
            different = held.similarity
        else:
            notes.append("No held-out images: there is no floor, and training images stand in for new ones.")
            different = torch.empty(0) if whole is None else _stand_ins(whole, seed)
        chosen = likeness.thresholds(published, different, notes)
        advance(1)
        sets = {"samples": near, **({"held_out": held} if held is not None else {})}
        authentic = None
        if whole is not None and len(whole) > 1 and approximate is None:
            authentic = {name: authenticity(one, whole) for name, one in sets.items()}
        copying = None if held is None else _copying(near, held, whole, seed)
        advance(1)
        ratios = _ratios(rows, found, held, training, notes)
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


def _stand_ins(training: Features, seed: int) -> Tensor:
    """The similarity of training images to their nearest others, duplicates left out."""
    kept = [training.keys[i] for i in distinct(training)]
    if len(kept) < 2:
        return torch.empty(0)
    vectors, place = training.select(kept).values, {key: i for i, key in enumerate(kept)}
    drawn = torch.tensor([place[key] for key in shuffled(kept, seed)[:STAND_INS]])
    return 1 - nearest(vectors[drawn], vectors, exclude=drawn)[0][:, 0].square() / 2


def _copying(near: Neighbours, held: Neighbours, whole: Features | None, seed: int) -> dict[str, Any] | None:
    """The data-copying test over the whole space, and in cells where there are enough images for several."""
    fewest = min(len(near.keys), len(held.keys))
    if fewest < CELL // 4:
        return None
    cells = min(20, fewest // CELL, near.references)
    several = None
    if whole is not None and cells > 1:
        several = data_copying(samples=near, held_out=held, cells=partition(whole, cells, seed), seed=seed)
    return {"whole": data_copying(samples=near, held_out=held, seed=seed), "cells": several}


def _ratios(
    rows: Mapping[str, Images | Features],
    found: Mapping[str, Features],
    held: Neighbours | None,
    training: Training,
    notes: list[str],
) -> dict[str, Any] | None:
    """The 1/3 test in pixels where all sets are images of one size, else in features."""
    names = ["samples", *(["held_out"] if held is not None else [])]
    images = {name: part for name, part in rows.items() if isinstance(part, Images)}
    in_pixels = {"training", *names} <= images.keys() and len({i.values.shape[1:] for i in images.values()}) == 1
    if in_pixels:
        known: Features | None = _flat(images["training"])
        given = {name: _flat(images[name]) for name in names}
    else:
        notes.append("The distance ratio is one of features: pixels need images of one size in all sets.")
        known = training.raw()
        given = {name: found[name] for name in names}
    if known is None or len(known) < 2:
        notes.append("No distance ratio: it needs at least 2 training images, and all of them at once.")
        return None
    if held is not None:
        given["held_out"] = given["held_out"].select(held.keys)
    tested: dict[str, Ratios] = {name: ratio_test(samples=part, training=known) for name, part in given.items()}
    shares: dict[str, Score] = {name: one.memorized for name, one in tested.items()}
    return {
        "space": "pixels" if in_pixels else known.descriptor,
        **shares,
        "duplicates": tested["samples"].duplicates,
        "ratio": spread(tested["samples"].ratio),
    }


def _flat(images: Images) -> Features:
    return Features(images.keys, images.values.flatten(1), "raw pixels")


def _write_nearest(out: Path, near: Neighbours, rows: Mapping[str, Images | Features], made: Provenance) -> None:
    """Each sample's nearest training image, and the most alike of them side by side."""
    table = zip(near.keys, near.nearest_keys, near.similarity.tolist(), strict=True)
    write_json(out / "nearest.json", {key: {"training": other, "similarity": s} for key, other, s in table})
    samples, training = rows["samples"], rows.get("training")
    if not isinstance(samples, Images) or not isinstance(training, Images):
        return
    closest = sorted(range(len(near.keys)), key=lambda i: (float(near.distance[i]), near.keys[i]))[:SHOWN]
    sheet = pairs(
        samples.select([near.keys[i] for i in closest]).values,
        training.values[near.index[closest]],
        captions=[f"{float(near.similarity[i]):.3f}" for i in closest],
    )
    write_bytes(out / "closest.png", png(sheet, made.record()))
