"""`farfield score rp` and `farfield score matrix`: do models make the same images from the same noise?

Sets are samples under their seeds, or features that were described before. Features are kept in the run's folder, so that
an interrupted run continues with them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from farfield.audit import reproducibility
from farfield.audit.reproducibility import mae_rp, mean_absolute_differences, pfd
from farfield.audit.similarity import paired, repaired, similarity
from farfield.audit.stored import in_memory
from farfield.command.likeness import Paired
from farfield.command.score import (
    FlowDistance,
    PairedMatrix,
    PixelMatrix,
    PixelPaired,
    ScoreMatrix,
    ScoreMatrixResult,
    ScoreRp,
    ScoreRpResult,
)
from farfield.core.artifact import Features, Score, write_json
from farfield.core.error import FarfieldError
from farfield.data.image_set import ImageSet
from farfield.study.bench.likeness import describe, find_thresholds, named, open_set
from farfield.study.bench.measure import spread
from farfield.study.bench.run import Run


def rp(settings: ScoreRp, out: Path, *, quiet: bool = False) -> ScoreRpResult:
    """Compare same-seed images of two models; ``pairs.json`` has each pair."""
    likeness, seed, limit = settings.likeness, settings.seed, settings.mae_limit / 255
    ordered = settings.pairing == "order"
    sets = {name: open_set(getattr(settings, name), settings.limit, ordered=ordered) for name in ("first", "second")}
    a, b = paired(sets["first"].rows, sets["second"].rows, settings.common)
    rows: dict[str, ImageSet | Features] = {"first": a, "second": b}
    if settings.calibrate is not None:
        sets["held_out"] = open_set(settings.calibrate)
        rows["held_out"] = sets["held_out"].rows
    run = Run.of(out, settings, rows, quiet, descriptor=named(likeness, rows.values()), mae_limit=limit)
    vectors, published = describe(run, rows, ("first", "second"), likeness, settings.batch_size, settings.device)

    def work() -> ScoreRpResult:
        features = {name: in_memory(part) for name, part in vectors.items()}
        notes: list[str] = []
        x, y = features["first"], features["second"]
        strangers = repaired(y, seed)
        held = features.get("held_out")
        different = similarity(x, strangers) if held is None else similarity(held, repaired(held, seed))
        alike = find_thresholds(likeness, published, different, notes)
        cosines = similarity(x, y)
        images = (a, b) if isinstance(a, ImageSet) and isinstance(b, ImageSet) and a.shape == b.shape else None
        if images is None:
            notes.append("No pixel differences: they need images of one size on both sides.")
        apart = mean_absolute_differences(*images).tolist() if images else [None] * len(a)
        table = zip(sorted(a.keys), cosines.tolist(), apart, strict=True)
        write_json(out / "pairs.json", {key: {"similarity": s, "mae": d} for key, s, d in table})
        return ScoreRpResult(
            first=sets["first"].facts(),
            second=sets["second"].facts(),
            held_out=sets["held_out"].facts() if "held_out" in sets else None,
            pairs=len(a),
            descriptor=x.descriptor,
            **vars(alike),
            rp=reproduced(x, y, alike.thresholds, seed),
            similarity=spread(cosines),
            mae=reproduced_in_pixels(*images, limit, seed) if images else None,
            pfd=FlowDistance(
                space="pixels" if images else x.descriptor,
                score=pfd(*images, seed=seed) if images else pfd(x, y, seed=seed),
                chance=pfd(a, repaired(b, seed), seed=seed) if images else pfd(x, strangers, seed=seed),
            ),
            notes=notes,
        )

    return run.finish_on_main(ScoreRpResult, work)


def reproduced(first: Features, second: Features, thresholds: Mapping[str, float], seed: int = 0) -> dict[str, Paired]:
    """The reproducibility score at each threshold, beside that of re-paired seeds."""
    rp, strangers = reproducibility.rp, repaired(second, seed)
    return {kind: Paired(score=rp(first, second, t), chance=rp(first, strangers, t)) for kind, t in thresholds.items()}


def reproduced_in_pixels(first: ImageSet, second: ImageSet, limit: float, seed: int) -> PixelPaired:
    """The same by mean absolute pixel differences."""
    return PixelPaired(
        limit=limit, score=mae_rp(first, second, limit), chance=mae_rp(first, repaired(second, seed), limit)
    )


def matrix(settings: ScoreMatrix, out: Path, *, quiet: bool = False) -> ScoreMatrixResult:
    """Every two of several models as in `rp`.

    The threshold is calibrated on the re-paired seeds of all pairs of models together; its interval is that of as many
    independent pairs, and a little narrow.
    """
    likeness, seed, limit = settings.likeness, settings.seed, settings.mae_limit / 255
    sets = [open_set(source, settings.limit, ordered=settings.pairing == "order") for source in settings.sources]
    names = [f"set-{i}" for i in range(len(sets))]
    keys = sorted(set.intersection(*(set(s.rows.keys) for s in sets)))
    if not settings.common:
        for other in sets[1:]:
            paired(sets[0].rows, other.rows)  # raises, naming what is missing
    if not keys:
        raise FarfieldError(f"matrix: expected seeds that are in all {len(sets)} sets, found none")
    rows: dict[str, ImageSet | Features] = {name: s.rows.select(keys) for name, s in zip(names, sets, strict=True)}
    run = Run.of(out, settings, rows, quiet, descriptor=named(likeness, rows.values()), mae_limit=limit)
    vectors, published = describe(run, rows, names, likeness, settings.batch_size, settings.device)

    def work() -> ScoreMatrixResult:
        features = {name: in_memory(part) for name, part in vectors.items()}
        notes: list[str] = []
        strangers = {name: repaired(features[name], seed) for name in names}
        different = [similarity(features[p], strangers[q]) for i, p in enumerate(names) for q in names[i + 1 :]]
        alike = find_thresholds(likeness, published, torch.cat(different), notes)
        images = {name: part for name, part in rows.items() if isinstance(part, ImageSet)}
        one_size = len(images) == len(names) and len({part.shape for part in images.values()}) == 1
        if not one_size:
            notes.append("No pixel differences: they need images of one size in all sets.")

        def at(threshold: float) -> PairedMatrix:
            return PairedMatrix(
                score=_matrix(names, lambda p, q: reproducibility.rp(features[p], features[q], threshold)),
                chance=_matrix(names, lambda p, q: reproducibility.rp(features[p], strangers[q], threshold)),
            )

        mae = _matrix(names, lambda p, q: mae_rp(images[p], images[q], limit)) if one_size else None
        return ScoreMatrixResult(
            sets={label: one.facts() for label, one in zip(_labels(settings.sources), sets, strict=True)},
            pairs=len(keys),
            descriptor=features[names[0]].descriptor,
            **vars(alike),
            rp={kind: at(t) for kind, t in alike.thresholds.items()},
            mae=None if mae is None else PixelMatrix(limit=limit, score=mae),
            notes=notes,
        )

    return run.finish_on_main(ScoreMatrixResult, work)


def _matrix(names: Sequence[str], score: Callable[[str, str], Score]) -> list[list[Score]]:
    """A symmetric matrix of scores, each pair scored once."""
    upper = {(p, q): score(p, q) for i, p in enumerate(names) for q in names[i:]}
    return [[upper[(p, q)] if (p, q) in upper else upper[(q, p)] for q in names] for p in names]


def _labels(sources: Sequence[str]) -> list[str]:
    """A short name for each source, its last part; the whole where two share that, numbered where they are the same."""
    short = [Path(source).stem or source for source in sources]
    names = [s if short.count(s) == 1 else source for s, source in zip(short, sources, strict=True)]
    return [n if names.count(n) == 1 else f"{n} ({i + 1})" for i, n in enumerate(names)]
