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

import torch
from torch import Tensor

from farfield.audit.authenticity import authenticity, data_copying, partition
from farfield.audit.blocks import ENTRIES, nearest_in_blocks
from farfield.audit.generalization import Ratios, distinct, generalization, ratio_test
from farfield.audit.index import SHARD, Approximate, neighbours_in_shards, search_of
from farfield.audit.search import Neighbours
from farfield.audit.similarity import unit
from farfield.audit.stored import StoredFeatures, UnitVectors, in_memory
from farfield.audit.vectors import Vectors, at_once
from farfield.command.audit import Audit
from farfield.command.facts import SourceFacts
from farfield.command.score import (
    Comparison,
    CopyingTest,
    DataCopying,
    Generalization,
    RatioTest,
    ScoreGl,
    ScoreGlResult,
    Search,
    Shares,
)
from farfield.core.artifact import Features, Score, file_digest, write_bytes, write_json
from farfield.core.error import FarfieldError, FarfieldWarning
from farfield.core.provenance import Provenance
from farfield.core.runtime import progress
from farfield.data.image_set import ImageSet
from farfield.data.picture import png, some
from farfield.data.subset import shuffled
from farfield.present.sheet import pairs
from farfield.study.bench.likeness import describe, feature_store, find_thresholds, named, open_set
from farfield.study.bench.measure import spread
from farfield.study.bench.run import Inputs, Run

SHOWN = 32
"""Pairs of a sample and its nearest training image in the gallery, the most alike first."""

STAND_INS = 10_000
"""Training images that stand in for held-out ones, at most."""

CELL = 200
"""Samples and held-out images for each cell of the data-copying test, about; at most 20 cells."""


def gl(settings: ScoreGl, out: Path, *, quiet: bool = False) -> ScoreGlResult:
    """Compare samples with the images a model was trained on.

    ``nearest.json`` names each sample's nearest training image, ``closest.png`` shows the most alike.
    """
    likeness, training = settings.likeness, settings.training
    store = feature_store(training)
    given = {"samples": open_set(settings.samples, settings.limit)}
    if settings.heldout is not None:
        given["held_out"] = open_set(settings.heldout)
    if store is None:
        given["training"] = open_set(training)
    rows = {name: one.rows for name, one in given.items()}
    search = search_of(settings.search, out / "index")
    inputs: Inputs = {**rows, **({"training": file_digest(store.shards())} if store else {})}
    run = Run.of(out, settings, inputs, quiet, descriptor=named(likeness, rows.values()))
    vectors, published = describe(run, rows, ("training",), likeness, settings.batch_size, settings.device)
    if store:
        vectors["training"] = StoredFeatures(store)

    def work() -> ScoreGlResult:
        beside = compare(rows, vectors, settings, published, search, quiet)
        _write_nearest(out, beside.near, rows, run.provenance)
        return ScoreGlResult(
            samples=given["samples"].facts(),
            held_out=given["held_out"].facts() if "held_out" in given else None,
            training=SourceFacts(source=training, n=beside.near.references),
            descriptor=vectors["samples"].descriptor,
            **vars(beside.comparison),
        )

    return run.finish_on_main(ScoreGlResult, work)


@dataclass(frozen=True)
class Beside:
    """Samples and held-out images beside the training images: who is nearest to whom, and every statistic."""

    near: Neighbours
    held: Neighbours | None
    comparison: Comparison


def compare(
    rows: Mapping[str, ImageSet | Features],
    vectors: Mapping[str, Vectors],
    settings: ScoreGl | Audit,
    published: float | None,
    approximate: Approximate | None = None,
    quiet: bool = False,
) -> Beside:
    """All that `gl` says of sets that are described: thresholds, GL, ratio test, authenticity, data copying, notes.

    Args:
        rows: the sets as given, ``samples`` and, where there are any, ``held_out`` and ``training``.
        vectors: their features, ``training`` among them.
        published: the descriptor's threshold.
    """
    likeness, seed = settings.likeness, settings.seed
    notes: list[str] = []
    with progress("comparing", 4, quiet=quiet) as advance:
        training = UnitVectors(vectors["training"])
        rows_at_once = at_once(training.shape, ENTRIES) if approximate is None else SHARD

        def searched(name: str) -> tuple[Neighbours, Score | None]:
            queries = unit(in_memory(vectors[name]))
            return neighbours_in_shards(queries, training.parts(rows_at_once), approximate, seed=seed)

        near, recall = searched("samples")
        advance(1)
        held = None
        if "held_out" in vectors:
            held = _never_trained_on(searched("held_out")[0], settings.heldout or "held-out images")
            different = held.similarity
        else:
            notes.append("No held-out images: there is no floor, and training images stand in for new ones.")
            different = _stand_ins(training, seed)
        alike = find_thresholds(likeness, published, different, notes)
        advance(1)
        sets = {"samples": near, **({"held_out": held} if held is not None else {})}
        authentic = None
        if len(training) > 1 and approximate is None:
            authentic = Shares(**{name: authenticity(one, training) for name, one in sets.items()})
        copying = None if held is None else _copying(near, held, training, seed)
        advance(1)
        ratios = _ratios(rows, vectors, held, notes)
        advance(1)
    comparison = Comparison(
        search=Search(kind=approximate.kind if approximate else "exact", recall=recall),
        **vars(alike),
        gl={kind: Generalization(**vars(generalization(near, t, held))) for kind, t in alike.thresholds.items()},
        similarity={name: spread(one.similarity) for name, one in sets.items()},
        ratio_test=ratios,
        authenticity=authentic,
        data_copying=copying,
        notes=notes,
    )
    return Beside(near, held, comparison)


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


def _copying(near: Neighbours, held: Neighbours, training: Vectors, seed: int) -> DataCopying | None:
    """The data-copying test over the whole space, and in cells where there are enough images for several."""
    fewest = min(len(near.keys), len(held.keys))
    if fewest < CELL // 4:
        return None

    def tested(cells: Tensor | None) -> CopyingTest:
        return CopyingTest(**vars(data_copying(samples=near, held_out=held, cells=cells, seed=seed)))

    cells = min(20, fewest // CELL, near.references)
    return DataCopying(whole=tested(None), cells=tested(partition(training, cells, seed)) if cells > 1 else None)


def _ratios(
    rows: Mapping[str, ImageSet | Features],
    vectors: Mapping[str, Vectors],
    held: Neighbours | None,
    notes: list[str],
) -> RatioTest | None:
    """The 1/3 test in pixels where all sets are images of one size, else in features."""
    keys = {"samples": vectors["samples"].keys, **({} if held is None else {"held_out": held.keys})}
    images = {name: part for name, part in rows.items() if isinstance(part, ImageSet)}
    in_pixels = {"training", *keys} <= images.keys() and len({i.shape for i in images.values()}) == 1
    known: Vectors = RawPixels(images["training"]) if in_pixels else vectors["training"]
    if not in_pixels:
        notes.append("The distance ratio is one of features: pixels need images of one size in all sets.")
    if len(known) < 2:
        notes.append("No distance ratio: it needs at least 2 training images.")
        return None
    kept = distinct(known)
    tested: dict[str, Ratios] = {}
    for name, own in keys.items():
        part: Vectors = RawPixels(images[name].select(own)) if in_pixels else vectors[name].select(own)
        tested[name] = ratio_test(samples=part, training=known, kept=kept)
    return RatioTest(
        space="pixels" if in_pixels else known.descriptor,
        **{name: one.memorized for name, one in tested.items()},
        duplicates=tested["samples"].duplicates,
        ratio=spread(tested["samples"].ratio),
    )


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
