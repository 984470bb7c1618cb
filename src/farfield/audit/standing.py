"""Can new images be told from real ones that were held out? Every measure counts, in every descriptor; copies and fields too.

One measure that came out well says little: of many, some do so by chance. Here each is held against the same measure of real
images. It tells the two apart where their 95 % intervals do not meet; a distance of fields, where it is more than chance gives.
Where none does, the two are not shown to be equal: more images might tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from farfield.core.artifact import Score

Relation = Literal["below", "overlapping", "above"]

SIZED = ("frechet_distance", "recall", "coverage")
"""Measures that depend on how many images are measured: compared between sets of one size only."""

NEWNESS = {"copies": "copies_floor", "duplicates": "duplicates_floor"}
DISTANCES = (("spectrum", "worst"), ("log_spectrum", "worst"), ("pixels", "wasserstein"), ("pixels", "ks"))

Row = dict[str, Any]


def relation(first: Score | None, second: Score | None) -> Relation | None:
    """Where the first interval lies, seen from the second; None where one is missing or has no interval."""
    if first is None or second is None:
        return None
    if first.low is None or first.high is None or second.low is None or second.high is None:
        return None
    return "below" if first.high < second.low else "above" if first.low > second.high else "overlapping"


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
        for name, score in ours.items():
            if same_size or name not in SIZED:
                add(name, descriptor, relation(score, real.get(name)))
    for descriptor, news in (novelty or {}).items():
        for name, floor in NEWNESS.items():
            add(name, descriptor, relation(news.get(name), news.get(floor)))
    if local_copies:
        add("copies", "quarters", relation(local_copies.get("samples"), local_copies.get("floor")))
    field_scores = (fields or {}).get("samples") or {}
    channels = field_scores.get("channels") or [field_scores]
    for i, channel in enumerate(channels, start=1):
        space = "fields" if len(channels) == 1 else f"fields, channel {i}"
        for group, name in DISTANCES:
            add(group if name == "worst" else name, space, _beyond_chance(channel.get(group) or {}, name))
        for name, moment in (channel.get("moments") or {}).items():
            add(name, space, relation(moment.get("generated"), moment.get("real")))
    return {"compared": len(rows), "apart": sum(row["stands"] != "overlapping" for row in rows), "rows": rows}


def _beyond_chance(group: Mapping[str, Any], name: str) -> Relation | None:
    """``above`` where a distance of two sets of fields is more than two sets of one law and these sizes have."""
    score = group.get(name)
    if score is None:
        return None
    value, chance = (
        (score["value"], score["chance"]) if isinstance(score, Mapping) else (score.value, group["chance"][name])
    )
    return "above" if value > chance else "overlapping"
