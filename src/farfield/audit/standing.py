"""Can new images be told from real ones that were held out? Every measure counts, in every descriptor; copies and fields too.

One measure that came out well says little: of many, some do so by chance. Here each is held against the same measure of real
images. It tells the two apart where their 95 % intervals do not meet; a distance of fields, where it is more than chance gives.
Where none does, the two are not shown to be equal: more images might tell.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from farfield.command.measures import (
    BySet,
    FieldChannel,
    FieldMeasures,
    LocalCopies,
    Measures,
    Novelty,
    Passed,
    Standing,
    StandingRow,
)
from farfield.core.score import Relation, relation

SIZED = ("frechet_distance", "recall", "coverage", "c2st", "vendi")
"""Measures that depend on how many images are measured: compared between sets of one size only."""
BESIDE = ("c2st_null", "frechet_infinity")
"""What stands beside a measure and is not counted once more."""


def standing(
    measures: Mapping[str, BySet],
    novelty: Mapping[str, Novelty] | None = None,
    *,
    local_copies: LocalCopies | None = None,
    fields: FieldMeasures | None = None,
    same_size: bool = True,
) -> Standing:
    """New images beside held-out ones, a row for each measure that both have.

    Args:
        measures: descriptor → set (``samples``, ``real``), all against the same references.
        novelty: by descriptor.
        fields: of the samples.
        same_size: whether ``samples`` and ``real`` have as many images; if not, SIZED are left out.
    """
    rows: list[StandingRow] = []

    def add(measure: str, space: str, stands: Relation | None) -> None:
        if stands is not None:
            rows.append(StandingRow(measure=measure, space=space, stands=stands))

    for descriptor, sets in measures.items():
        for name, stands in _measured(sets, "samples", same_size):
            add(name, descriptor, stands)
    for descriptor, news in (novelty or {}).items():
        add("copies", descriptor, relation(news.copies or None, news.copies_floor or None))
        add("duplicates", descriptor, relation(news.duplicates or None, news.duplicates_floor or None))
    if local_copies and local_copies.parts:
        for part in local_copies.parts:
            add("copies", f"{part.scale} in {part.space}", relation(part.samples, part.floor))
    elif local_copies:
        add("copies", "quarters", relation(local_copies.samples, local_copies.floor))
    channels: Sequence[FieldChannel] = [] if fields is None else fields.channels or [fields]
    for i, channel in enumerate(channels, start=1):
        space = "fields" if len(channels) == 1 else f"fields, channel {i}"
        for name, spectrum in (("spectrum", channel.spectrum), ("log_spectrum", channel.log_spectrum)):
            if spectrum:
                add(name, space, _beyond_chance(spectrum.worst.value, spectrum.worst.chance))
        if pixels := channel.pixels:
            add("wasserstein", space, _beyond_chance(pixels.wasserstein.value, pixels.chance.wasserstein))
            add("ks", space, _beyond_chance(pixels.ks.value, pixels.chance.ks))
        for name, moment in (channel.moments or {}).items():
            add(name, space, relation(moment.generated, moment.real))
    without = [stands for sets in measures.values() for _, stands in _measured(sets, "control", same_size) if stands]
    control = Passed(compared=len(without), apart=_apart(without)) if without else None
    return Standing(compared=len(rows), apart=_apart([row.stands for row in rows]), rows=rows, control=control)


def _measured(sets: BySet, which: str, same_size: bool) -> Iterator[tuple[str, Relation | None]]:
    """Where one of the sets stands beside ``real``, by the measures of a descriptor."""
    ours, real = sets.get(which, Measures()), sets.get("real", Measures())
    for name, score in vars(ours).items():
        if name not in BESIDE and (same_size or name not in SIZED):
            yield name, relation(score, getattr(real, name))


def _apart(rows: Sequence[Relation]) -> int:
    return sum(stands != "overlapping" for stands in rows)


def _beyond_chance(distance: float, chance: float) -> Relation:
    """``above`` where a distance of two sets of fields is more than two sets of one law and these sizes have."""
    return "above" if distance > chance else "overlapping"
