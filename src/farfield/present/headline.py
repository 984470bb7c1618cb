"""The first sentence of a page: what all measures together say of new images, for anyone to repeat."""

from __future__ import annotations

from collections.abc import Mapping

from farfield.command.measures import BySet, LocalCopies, Novelty, Standing
from farfield.core.score import relation
from farfield.present.words import as_score, count, share

FEWEST = 30
"""New images, fewer than which tell little: the sentence says so."""


def headline(
    n: int,
    domain: str,
    stands: Standing | None,
    measures: Mapping[str, BySet],
    novelty: Mapping[str, Novelty] | None = None,
    local: LocalCopies | None = None,
) -> str:
    """What all the measures say of ``n`` new images, physical ones and copies too, in a sentence that anyone can repeat.

    They pass by a measure where it does not tell them from held-out images. Of several descriptors the one that finds most
    copies, and the one in which they cover least, speak.
    """
    new = f"the {count(n, 'new image')}" if n != 1 else "the new image"
    if stands and stands.compared:
        passed = stands.compared - stands.apart
        said = f"{new} {_verb(n, 'pass')} for held-out {domain} by {passed} of {count(stands.compared, 'measure')}"
        if beside := stands.control:
            said += f", the same seeds without the network by {beside.compared - beside.apart} of {beside.compared}"
        said += ", though so few can tell little" * (n < FEWEST)
    else:
        said = f"whether {new} {_verb(n, 'pass')} for {domain} could not be measured"
    first = _more_copied(novelty or {}, local)
    copied = _copied(novelty or {}, local, " new images" * first)
    # a copy passes by every measure: where copies are more than among real images, that comes first
    parts = [copied, said] if first else [said, copied]
    parts.append(_kinds(measures, stands))
    sentence = "; ".join(filter(None, parts))
    return f"{sentence[0].upper()}{sentence[1:]}."


def _verb(n: int, verb: str) -> str:
    return f"{verb}es" if n == 1 else verb


def _more_copied(novelty: Mapping[str, Novelty], local: LocalCopies | None) -> bool:
    """Whether more whole images are copies than of real ones, beyond both intervals."""
    pairs = [(news.copies, news.copies_floor) for news in novelty.values()]
    pairs += [(part.samples, part.floor) for part in (local.parts if local else None) or [] if part.scale == "whole"]
    return any(relation(copies, floor) == "above" for copies, floor in pairs if as_score(copies) and as_score(floor))


def _copied(novelty: Mapping[str, Novelty], local: LocalCopies | None, images: str = "") -> str:
    """How many are nearly copies, by whatever finds most."""
    parts = (local.parts if local else None) or []
    found = [(news.copies, news.copies_floor) for news in novelty.values() if as_score(news.copies)]
    found += [(part.samples, part.floor) for part in parts if part.scale == "whole"]
    said = ""
    if found:
        most, floor = max(found, key=lambda pair: pair[0].value)
        copies = round(most.value * most.n)
        real = f" (of real images {share(floor.value)})" if copies and as_score(floor) and floor else ""
        nearly = "are nearly copies" if copies > 1 else "is nearly a copy"
        said = f"{copies or 'none'} of {most.n}{images} {nearly}{real}"
    more = [part for part in parts if part.scale != "whole" and relation(part.samples, part.floor) == "above"]
    if more:
        worst = max(more, key=lambda part: part.samples.value)
        shares = f"{share(worst.samples.value)} of their {worst.scale} are copies" + (
            f", of real images' {share(worst.floor.value)}" if worst.floor else ""
        )
        said += f"{' and ' if said else ''}{shares}"
    return said


def _kinds(measures: Mapping[str, BySet], stands: Standing | None) -> str:
    """Whether they are of as many kinds as real ones, in the descriptor in which they cover least beside these."""
    compared = [row.space for row in (stands.rows if stands else []) if row.measure == "coverage"]
    both = [(measures[s]["samples"].coverage, measures[s]["real"].coverage) for s in compared if s in measures]
    known = [(ours, real) for ours, real in both if ours and real]
    if not known:
        return ""
    fewer = [pair for pair in known if relation(*pair) == "below"]
    ours, real = min(fewer or known, key=lambda pair: pair[0].value - pair[1].value)
    said = "fewer kinds than real ones" if fewer else "no fewer kinds than real ones, as far as that shows"
    return f"{said} (coverage {ours.value:.2f}, real {real.value:.2f})"
