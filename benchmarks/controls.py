"""``python -m benchmarks.controls RUN…``: runs of `farfield compare` as Markdown tables, every method in every descriptor."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from pathlib import Path

from farfield.command.compare import ComparedDomain, CompareResult, Count
from farfield.command.measures import CopiedParts, Measures
from farfield.command.result import from_json
from farfield.core.artifact import read_json
from farfield.core.score import Score

COLUMNS = ("KID", "C2ST", "density", "coverage")


def tables(run: Path) -> Iterator[str]:
    """A table of each domain and number of examples."""
    path = run / "summary.json"
    result: CompareResult = from_json(CompareResult, read_json(path), str(path))
    for domain in result.domains:
        for count in domain.counts:
            yield "\n".join(_table(result, domain, count))


def _table(result: CompareResult, domain: ComparedDomain, count: Count) -> Iterator[str]:
    labels = list(domain.real)
    head = [f"{name} ({label.split('-')[0]})" for label in labels for name in COLUMNS]
    yield f"**{Path(domain.source).name}**, {result.model.name}, {count.count} examples, {domain.references} held-out images"
    yield ""
    yield f"| | {' | '.join(head)} | copies, % |"
    yield "| --- |" + " --- |" * (len(head) + 1)
    parts = next((entry.copied_parts for entry in count.methods.values() if entry.copied_parts), None)
    yield _row("real against real", [domain.real[label] for label in labels], parts, floor=True)
    for name, entry in count.methods.items():
        yield _row(name, [entry.measures[label] for label in labels], entry.copied_parts)


def _row(name: str, measured: list[Measures], parts: list[CopiedParts] | None, *, floor: bool = False) -> str:
    cells = [shown_score(s) for m in measured for s in (m.kernel_distance, m.c2st, m.density, m.coverage)]
    shares = [part.floor if floor else part.samples for part in parts or [] if part.space == "pixels"]
    copies = ", ".join(f"{100 * share.value:.0f}" for share in shares if share)
    return f"| {name} | {' | '.join(cells)} | {copies} |"


def shown_score(score: Score | None) -> str:
    if score is None:
        return ""
    if score.low is None or score.high is None:
        return f"{score.value:.3f}"
    half = (score.high - score.low) / 2
    digits = max(2, 1 - math.floor(math.log10(half))) if half else 2  # two of the half-width
    return f"{score.value:.{digits}f} ± {half:.{digits}f}"


if __name__ == "__main__":
    for run in sys.argv[1:]:
        print("\n\n".join(tables(Path(run))), end="\n\n")
