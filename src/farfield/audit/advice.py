"""Keep the frozen model or tune it, and does it add anything? Judged by intervals of the distance to held-out images, and
copies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from farfield.command.compare import CONTROLS, Added, Advice, Entry, Gain, Verdict
from farfield.command.measures import Measures, Novelty
from farfield.core.score import Relation, relation
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

GAINS: Final[dict[Gain, str]] = {
    "adds": "No model-free control comes nearer: {farther} stand farther from held-out images than ours, in every descriptor.",
    "doubt": "Ours stands nearer than every model-free control ({farther}), in every descriptor, but repeats the examples.",
    "even": "No model-free control comes nearer, but the intervals of {even} meet those of ours: what the model adds does not "
    "show.",
    "copies": "{nearer}, without asking a network, stands nearer than ours, but repeats the examples.",
    "less": "{nearer}, without asking a network, stands nearer than ours: the model adds nothing there.",
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


def added(methods: Mapping[str, Entry]) -> Added | None:
    """Does the frozen model add to what its examples give without it? Ours beside every control that asks no network.

    In each descriptor a control stands nearer or farther where its paired difference to ours (`Entry.paired`), or without
    one the interval of its kernel distance, lies on one side. Nearer in a single descriptor is enough to be named.

    Returns:
        None without ``ours``, without a control, or without distances that both have.
    """
    ours = methods.get("ours")
    known = {name: methods[name] for name in CONTROLS if name in methods}
    if ours is None:
        return None
    stands = {
        name: {d: side for d in entry.measures if (side := _side(entry, ours, d))} for name, entry in known.items()
    }
    stands = {name: row for name, row in stands.items() if row}
    if not stands:
        return None
    nearer, even = (
        {name: found for name, row in stands.items() if (found := [d for d, side in row.items() if side == wanted])}
        for wanted in ("below", "overlapping")
    )
    farther = [name for name, row in stands.items() if set(row.values()) == {"above"}]
    repeats = {name: said for name in ("ours", *stands) if (said := _repeated(methods[name]))}
    verdict: Gain = "even" if even else "adds"
    if nearer:
        verdict = "copies" if set(nearer) <= set(repeats) and "ours" not in repeats else "less"
    elif not even and "ours" in repeats and not set(stands) <= set(repeats):
        verdict = "doubt"
    every = len({d for row in stands.values() for d in row})
    sentence = GAINS[verdict].format(farther=", ".join(farther), even=_where(even, every), nearer=_where(nearer, every))
    told = [*nearer, *(["ours"] if verdict == "doubt" else [])]
    sentence += "".join(f" Copies of examples by {name}: {repeats[name]}." for name in told if name in repeats)
    return Added(verdict=verdict, farther=farther, even=even, nearer=nearer, sentence=sentence)


def _side(entry: Entry, ours: Entry, descriptor: str) -> Relation | None:
    """On which side of ours a method stands in one descriptor; None where that is not known."""
    paired = (entry.paired or {}).get(descriptor)
    if paired is not None and paired.low is not None and paired.high is not None:
        return "above" if paired.low > 0 else "below" if paired.high < 0 else "overlapping"
    theirs, own = (one.measures.get(descriptor, Measures()).kernel_distance for one in (entry, ours))
    return relation(theirs, own)


def _where(found: Mapping[str, Sequence[str]], every: int) -> str:
    """Methods in a sentence, with their descriptors where these are not all of them."""
    return ", ".join(
        name if len(where) == every else f"{name} (in {', '.join(where)})" for name, where in found.items()
    )


def _repeated(entry: Entry) -> str:
    """`_repeats` in the first descriptor that has more copies than there are among real images."""
    return next((said for descriptor in entry.novelty if (said := _repeats(entry, descriptor))), "")


def _repeats(entry: Entry, descriptor: str) -> str:
    """Copies beside those among real images, where they are more; else empty."""
    news = entry.novelty.get(descriptor, Novelty())
    above = relation(news.copies or None, news.copies_floor or None) == "above"
    return f"{score(news.copies, True)}, among real images {score(news.copies_floor, True)}" if above else ""
