"""Can new images be told from real ones that were held out? Every measure counts, in every descriptor; copies and fields too.

One measure that came out well says little: of many, some do so by chance. Here each is held against the same measure of real
images. It tells the two apart where their 95 % intervals do not meet; a distance of fields, where it is more than chance gives.
Where none does, the two are not shown to be equal: more images might tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from farfield.core.score import Relation, Score, relation

SIZED = ("frechet_distance", "recall", "coverage")
"""Measures that depend on how many images are measured: compared between sets of one size only."""

NEWNESS = {"copies": "copies_floor", "duplicates": "duplicates_floor"}
DISTANCES = (("spectrum", "worst"), ("log_spectrum", "worst"), ("pixels", "wasserstein"), ("pixels", "ks"))

Row = dict[str, Any]


def standing(
    measures: Mapping[str, Mapping[str, Mapping[str, Score]]],
    novelty: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    local_copies: Mapping[str, Score] | None = None,
    fields: Mapping[str, Any] | None = None,
    same_size: bool = True,
) -> dict[str, Any]:
    """New images beside held-out ones, a row for each measure that both have.

    Args:
        measures: descriptor → set (``samples``, ``real``) → measure → Score, all against the same references.
        novelty: descriptor → ``copies`` and ``duplicates`` with their ``…_floor``.
        local_copies: ``samples`` and ``floor``.
        fields: ``samples``, as `audit.field.compare_fields` gives it.
        same_size: whether ``samples`` and ``real`` have as many images; if not, SIZED are left out.

    Returns:
        ``compared``, how many measures; ``apart``, how many of them tell the two apart; ``rows``, each with its
        ``measure``, ``space`` (the descriptor, ``quarters`` or ``fields``) and where the new images stand (``stands``).
    """
    rows: list[Row] = []

    def add(measure: str, space: str, stands: Relation | None) -> None:
        if stands is not None:
            rows.append({"measure": measure, "space": space, "stands": stands})

    for descriptor, sets in measures.items():
        ours, real = sets.get("samples") or {}, sets.get("real") or {}
        for name, found in ours.items():
            if same_size or name not in SIZED:
                add(name, descriptor, relation(found, real.get(name)))
    for descriptor, news in (novelty or {}).items():
        for name, floor in NEWNESS.items():
            add(name, descriptor, relation(news.get(name), news.get(floor)))
    if local_copies:
        add("copies", "quarters", relation(local_copies.get("samples"), local_copies.get("floor")))
    told = (fields or {}).get("samples") or {}
    channels = told.get("channels") or [told]
    for i, channel in enumerate(channels, start=1):
        space = "fields" if len(channels) == 1 else f"fields, channel {i}"
        for group, name in DISTANCES:
            add(group if name == "worst" else name, space, _beyond_chance(channel.get(group) or {}, name))
        for name, moment in (channel.get("moments") or {}).items():
            add(name, space, relation(moment.get("generated"), moment.get("real")))
    return {"compared": len(rows), "apart": sum(row["stands"] != "overlapping" for row in rows), "rows": rows}


def _beyond_chance(group: Mapping[str, Any], name: str) -> Relation | None:
    """``above`` where a distance of two sets of fields is more than two sets of one law and these sizes have."""
    found = group.get(name)
    if found is None:
        return None
    value, chance = (
        (found["value"], found["chance"]) if isinstance(found, Mapping) else (found.value, group["chance"][name])
    )
    return "above" if value > chance else "overlapping"
