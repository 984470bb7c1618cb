"""Keep the frozen model or tune it? One judgement from intervals of the distance to held-out images, copies and cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from farfield.command.compare import Advice, Entry, Verdict
from farfield.command.measures import Measures, Novelty
from farfield.core.score import relation
from farfield.present.words import as_score, number, score

SENTENCES: Final[dict[Verdict, str]] = {
    "keep": "Do not tune: the best tuned model ({name}) stands at {theirs} from held-out images, the frozen model's new "
    "ones at {ours}.",
    "doubt": "The frozen model's new images stand nearer ({ours}; tuned, {name}: {theirs}), but with copies of the "
    "examples.",
    "even": "Tuning shows no gain: the best tuned model ({name}) stands at {theirs} from held-out images, the frozen "
    "model's new ones at {ours}, and the intervals meet.",
    "copies": "Tuning comes nearer ({name}: {theirs}, frozen: {ours}), but with copies of the examples.",
    "tune": "Tune: the tuned model ({name}) stands at {theirs} from held-out images, the frozen model's new ones at "
    "{ours}.",
}


def advise(methods: Mapping[str, Entry]) -> Advice | None:
    """Should one tune, at one number of examples? From intervals of the kernel distance in the first descriptor.

    The best tuned model is picked by the very distance it is judged by, which favours tuning. ``verdict`` is ``keep``
    (its interval lies above that of ``ours``), ``tune`` (below), or ``even``; ``doubt`` for ``keep`` and ``copies`` for
    ``tune`` where the nearer one repeats the examples more than real images do and the other does not.

    Returns:
        None without ``ours``, without a tuned model, or without distances.
    """
    ours = methods.get("ours")
    descriptor = next(iter(ours.measures), None) if ours else None
    if ours is None or descriptor is None:
        return None
    measures = {name: entry.measures.get(descriptor, Measures()) for name, entry in methods.items()}
    distances = {name: as_score(row.kernel_distance) for name, row in measures.items()}
    tuned = {name: d.value for name, d in distances.items() if d and methods[name].trained}
    if not tuned or not distances["ours"]:
        return None
    best = min(tuned, key=lambda name: tuned[name])
    repeats = {name: _repeats(methods[name], descriptor) for name in ("ours", best)}
    verdict: Verdict = "even"
    match relation(distances[best], distances["ours"]):
        case "above":
            verdict = "doubt" if repeats["ours"] and not repeats[best] else "keep"
        case "below":
            verdict = "copies" if repeats[best] and not repeats["ours"] else "tune"
    ratio = methods[best].calls["total"] / ours.calls["total"]
    said = SENTENCES[verdict].format(name=best, theirs=score(distances[best]), ours=score(distances["ours"]))
    said += f" It takes {number(ratio, 2)} times the network calls."
    for name, repeated in repeats.items():
        if repeated:
            said += f" Copies of examples by {name}: {repeated}."
    return Advice(verdict=verdict, best=best, cost_ratio=ratio, descriptor=descriptor, sentence=said)


def _repeats(entry: Entry, descriptor: str) -> str:
    """Copies beside those among real images, where they are more; else empty."""
    news = entry.novelty.get(descriptor, Novelty())
    above = relation(news.copies or None, news.copies_floor or None) == "above"
    return f"{score(news.copies, True)}, among real images {score(news.copies_floor, True)}" if above else ""
