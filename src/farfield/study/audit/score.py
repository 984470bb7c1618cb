"""`farfield score rp` and `farfield score matrix`: do models make the same images from the same noise?

Sets are samples under their seeds, or features that were described before. Features are kept in the run's folder, so that
an interrupted run continues with them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from farfield.audit.reproducibility import MAE_LIMIT, mae_rp, mean_absolute_differences, pfd, rp
from farfield.audit.similarity import paired, repaired, similarity
from farfield.audit.stored import in_memory
from farfield.core import note
from farfield.core.artifact import Features, Score, write_bytes, write_json
from farfield.core.error import FarfieldError
from farfield.data.image_set import ImageSet
from farfield.present.score import heat_map
from farfield.study.bench.likeness import Likeness, describe, finished, open_set
from farfield.study.bench.measure import spread
from farfield.study.bench.run import Run


@note.kept()
def score_rp(
    first: str,
    second: str,
    out: Path,
    likeness: Likeness,
    *,
    calibrate_on: str | None = None,
    mae_limit: float = MAE_LIMIT,
    common: bool = False,
    limit: int | None = None,
    seed: int = 0,
    batch_size: int = 256,
    device: str = "auto",
    quiet: bool = False,
) -> dict[str, Any]:
    """Compare same-seed images of two models; the summary, as in ``summary.json``, with each pair in ``pairs.json``.

    Args:
        first, second: sources, see `study.bench.likeness.open_set`.
        calibrate_on: held-out images, whose pairs calibrate the threshold [default: pairs of different seeds].
        common: leave seeds that only one has aside.
        seed: of the re-paired seeds that are the chance level.
    """
    sets = {"first": open_set(first, limit), "second": open_set(second, limit)}
    a, b = paired(sets["first"].rows, sets["second"].rows, common)
    rows: dict[str, ImageSet | Features] = {"first": a, "second": b}
    if calibrate_on is not None:
        sets["held_out"] = open_set(calibrate_on)
        rows["held_out"] = sets["held_out"].rows
    request = {
        "first": first,
        "second": second,
        "calibrate_on": calibrate_on,
        **likeness.request(rows.values()),
        "mae_limit": mae_limit,
        "common": common,
        "limit": limit,
        "seed": seed,
    }
    run = Run(out, "score rp", request, rows, quiet)
    described, published = describe(run, rows, ("first", "second"), likeness, batch_size, device)
    found = {name: in_memory(vectors) for name, vectors in described.items()}

    def work() -> dict[str, Any]:
        notes: list[str] = []
        strangers = repaired(found["second"], seed)
        different = (
            similarity(found["held_out"], repaired(found["held_out"], seed))
            if "held_out" in found
            else similarity(found["first"], strangers)
        )
        chosen = likeness.thresholds(published, different, notes)
        alike = similarity(found["first"], found["second"])
        images = (a, b) if isinstance(a, ImageSet) and isinstance(b, ImageSet) else None
        if images is None or a.shape != b.shape:
            images = None
            notes.append("No pixel differences: they need images of one size on both sides.")
        apart = mean_absolute_differences(*images).tolist() if images else [None] * len(a)
        table = zip(sorted(a.keys), alike.tolist(), apart, strict=True)
        write_json(out / "pairs.json", {key: {"similarity": s, "mae": d} for key, s, d in table})
        return {
            **{name: one.described() for name, one in sets.items()},
            "pairs": len(a),
            "descriptor": found["first"].descriptor,
            **chosen,
            "rp": {
                kind: {"score": rp(found["first"], found["second"], t), "chance": rp(found["first"], strangers, t)}
                for kind, t in chosen["thresholds"].items()
            },
            "similarity": spread(alike),
            "mae": _in_grey_levels(*images, mae_limit, seed) if images else None,
            "pfd": {
                "space": "pixels" if images else found["first"].descriptor,
                "score": pfd(*images, seed=seed) if images else pfd(found["first"], found["second"], seed=seed),
                "chance": pfd(images[0], repaired(images[1], seed), seed=seed)
                if images
                else pfd(found["first"], strangers, seed=seed),
            },
            "notes": notes,
        }

    return finished(run, work)


def _in_grey_levels(first: ImageSet, second: ImageSet, limit: float, seed: int) -> dict[str, Any]:
    score, chance = mae_rp(first, second, limit), mae_rp(first, repaired(second, seed), limit)
    return {"limit": limit, "score": score, "chance": chance}


@note.kept()
def score_matrix(
    sources: Sequence[str],
    out: Path,
    likeness: Likeness,
    *,
    mae_limit: float = MAE_LIMIT,
    common: bool = False,
    limit: int | None = None,
    seed: int = 0,
    batch_size: int = 256,
    device: str = "auto",
    quiet: bool = False,
) -> dict[str, Any]:
    """Every two of several models as in `score_rp`; matrices in ``summary.json``, drawn as ``rp.png`` and ``mae.png``.

    The threshold is calibrated on the re-paired seeds of all pairs of models together; its interval is that of as many
    independent pairs, and a little narrow.
    """
    if len(sources) < 2:
        raise FarfieldError(f"matrix of {len(sources)}: expected at least 2 sets of samples; give more")
    sets = [open_set(source, limit) for source in sources]
    names = [f"set-{i}" for i in range(len(sets))]
    keys = sorted(set.intersection(*(set(s.rows.keys) for s in sets)))
    if not common:
        for other in sets[1:]:
            paired(sets[0].rows, other.rows)  # raises, naming what is missing
    if not keys:
        raise FarfieldError(f"matrix: expected seeds that are in all {len(sets)} sets, found none")
    rows: dict[str, ImageSet | Features] = {name: s.rows.select(keys) for name, s in zip(names, sets, strict=True)}
    request = {
        "sources": list(sources),
        **likeness.request(rows.values()),
        "mae_limit": mae_limit,
        "common": common,
        "limit": limit,
        "seed": seed,
    }
    run = Run(out, "score matrix", request, rows, quiet)
    described, published = describe(run, rows, names, likeness, batch_size, device)
    found = {name: in_memory(vectors) for name, vectors in described.items()}

    def work() -> dict[str, Any]:
        notes: list[str] = []
        strangers = {name: repaired(found[name], seed) for name in names}
        different = [similarity(found[p], strangers[q]) for i, p in enumerate(names) for q in names[i + 1 :]]
        chosen = likeness.thresholds(published, torch.cat(different), notes)
        images = {name: part for name, part in rows.items() if isinstance(part, ImageSet)}
        one_size = len(images) == len(names) and len({part.shape for part in images.values()}) == 1
        if not one_size:
            notes.append("No pixel differences: they need images of one size in all sets.")

        def reproduced(threshold: float) -> dict[str, list[list[Score]]]:
            return {
                "score": _matrix(names, lambda p, q: rp(found[p], found[q], threshold)),
                "chance": _matrix(names, lambda p, q: rp(found[p], strangers[q], threshold)),
            }

        matrices = {kind: reproduced(t) for kind, t in chosen["thresholds"].items()}
        mae = _matrix(names, lambda p, q: mae_rp(images[p], images[q], mae_limit)) if one_size else None
        first = next(iter(chosen["thresholds"]))
        title = f"same seed, cosine above {chosen['thresholds'][first]:.3g}"
        write_bytes(
            out / "rp.png",
            heat_map(_labels(sources), [[s.value for s in row] for row in matrices[first]["score"]], title),
        )
        if mae is not None:
            title = f"same seed, mean pixel difference at most {mae_limit * 255:.3g} / 255"
            write_bytes(out / "mae.png", heat_map(_labels(sources), [[s.value for s in row] for row in mae], title))
        return {
            "sets": {label: one.described() for label, one in zip(_labels(sources), sets, strict=True)},
            "pairs": len(keys),
            "descriptor": found[names[0]].descriptor,
            **chosen,
            "rp": matrices,
            "mae": {"limit": mae_limit, "score": mae} if mae is not None else None,
            "notes": notes,
        }

    return finished(run, work)


def _matrix(names: Sequence[str], score: Callable[[str, str], Score]) -> list[list[Score]]:
    """A symmetric matrix of scores, each pair scored once."""
    upper = {(p, q): score(p, q) for i, p in enumerate(names) for q in names[i:]}
    return [[upper[(p, q)] if (p, q) in upper else upper[(q, p)] for q in names] for p in names]


def _labels(sources: Sequence[str]) -> list[str]:
    """A short name for each source, its last part; the whole where two share that, numbered where they are the same."""
    short = [Path(source).stem or source for source in sources]
    names = [s if short.count(s) == 1 else source for s, source in zip(short, sources, strict=True)]
    return [n if names.count(n) == 1 else f"{n} ({i + 1})" for i, n in enumerate(names)]
