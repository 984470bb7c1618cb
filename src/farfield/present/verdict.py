"""What a run's numbers allow one to say: a verdict in sentences, key numbers, and what to hold against them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby

from farfield.command.measures import (
    BySet,
    Certificate,
    Labelled,
    LocalCopies,
    Measures,
    Novelty,
    RoundTrip,
    Standing,
    StandingRow,
)
from farfield.core.score import Score, relation
from farfield.present.words import MEASURES, SETS, as_score, count, level, number, score, score_parts, share

FEW = 200  # fewer images than this deserve a caveat
COARSE = 0.05  # relative error of latents from which they deserve one

FIELD_DISTANCES = {
    "spectrum": "power spectrum",
    "log_spectrum": "power spectrum of the logarithm",
    "wasserstein": "Wasserstein distance of the pixels",
    "ks": "Kolmogorov–Smirnov distance of the pixels",
}
MOMENTS = ("mean", "variance", "skewness", "kurtosis")

TO_FLOOR = {
    "overlapping": "the intervals overlap, so at this n the measure does not tell the new images from real ones, "
    "which does not make them equal.",
    "above": "the intervals do not meet, so the new images can still be told from real ones.",
    "below": "the new images stand nearer than real ones do, a sign of copies or of too little variety.",
    None: "without intervals the two cannot be compared with confidence.",
}
TO_CEILING = {
    "below": ": clearly farther away.",
    "overlapping": "; the intervals overlap, so what the examples contributed does not show at this n.",
    "above": ": nearer than the new images, so the examples did not help.",
    None: ".",
}
NEGATIVE = (
    "A value below 0 is no mistake: the estimate has no bias, so for sets of one law it falls on either side of 0."
)
"""Of kernel distances."""
TO_COPIES = {
    "overlapping": "",
    "above": " More than the domain repeats itself: the sampler repeats its examples.",
    "below": " Fewer than the domain repeats itself.",
    None: "",
}

Tile = tuple[str, str, str, str]


def solved(sigma: float, steps: int, solver: str, calls: int, searched: bool = False) -> list[str]:
    """How the ODE was solved, for the line beneath the title."""
    return [
        f"σ {level(sigma)}" + (" (searched)" if searched else ""),
        f"{count(steps, 'step')} of {solver}",
        f"{count(calls, 'network call')} each way",
    ]


def certified(certificate: Certificate | None) -> list[str]:
    """What numerical error latents carry."""
    if certificate is None:
        return []
    error = certificate.error
    return [f"Latents carry a numerical error of {share(error.median)} in the median, {share(error.max)} at most."]


def come_back(trip: RoundTrip | None, domain: str) -> list[str]:
    """How well images come back."""
    if trip is None:
        return []
    if trip.n == 1:
        return [f"The image of {domain} comes back with a PSNR of {number(trip.psnr.median)} dB."]
    return [
        f"The {trip.n} images of {domain} come back with a PSNR of {number(trip.psnr.median)} dB in the median, "
        f"{number(trip.psnr.min)} at worst."
    ]


def caveats(
    measures: Mapping[str, BySet], held: bool, certificate: Certificate | None = None, rate: float = 1.0
) -> list[str]:
    """What a reader should hold against the verdict.

    Args:
        held: whether images were held out.
        rate: the share of proposed latents that were accepted.
    """
    said: list[str] = []
    if measures and held and all(sets.get("real", Measures()) == Measures() for sets in measures.values()):
        said.append(
            "There is no floor, as no held-out real images were compared with each other: a distance is large or small "
            "only beside another one in this report."
        )
    rows = [row.but(clusters=None) for sets in measures.values() for row in sets.values()]  # whose n counts clusters
    counts = [s.n for row in rows for s in vars(row).values() if as_score(s)]
    if counts and min(counts) < FEW:
        said.append(
            f"The sets are small (from n = {min(counts)}): read intervals rather than values, and the Fréchet distance "
            "only along its row."
        )
    if certificate and certificate.error.median > COARSE:
        said.append("The latents are not converged: more steps would move them, and with them the geometry below.")
    if rate < 0.1:
        said.append(f"Only {share(rate)} of the proposed latents were accepted.")
    return said


def distance(sets: BySet, name: str) -> Score | None:
    """The kernel distance of a set, where it was measured."""
    return as_score(sets.get(name, Measures()).kernel_distance)


def of_real(floor: Score | None) -> str:
    """How many of real images are copies, in brackets."""
    return f" (of real images: {score(floor, percent=True)})" if as_score(floor) else ""


def measured_tiles(
    stands: Standing | None, measures: Mapping[str, BySet], novelty: Mapping[str, Novelty] | None = None
) -> list[Tile]:
    """The numbers of samples to see first: title, value, interval or extreme, and what to compare with."""
    tiles: list[Tile] = []
    if stands and stands.compared:
        apart = f"{stands.apart} of {stands.compared}"
        tiles.append(("measures that tell them from real images", apart, "", "95 % intervals that do not meet"))
    for descriptor, sets in list(measures.items())[:1]:
        ours, floor = distance(sets, "samples"), distance(sets, "real")
        if ours:
            beside = f"real to real: {score_parts(floor)[0]}" if floor else f"{descriptor} features"
            beside += by_chance(ours)
            tiles.append(("kernel distance to real", *score_parts(ours), beside))
        if as_score(sets.get("samples", Measures()).c2st):
            told, floor = sets["samples"].c2st, sets.get("real", Measures()).c2st
            beside = f"real to real: {score_parts(floor)[0]}" if floor else f"{descriptor} features"
            tiles.append(("C2ST: told from real images", *score_parts(told), beside))
    for descriptor, news in list((novelty or {}).items())[:1]:
        if as_score(news.copies):
            floor = as_score(news.copies_floor)
            beside = f"real images: {score_parts(floor, True)[0]}" if floor else f"{descriptor} features"
            tiles.append(("copies of an example", *score_parts(news.copies, True), beside))
    return tiles


def trip_tiles(trip: RoundTrip | None, certificate: Certificate | None) -> list[Tile]:
    """The numbers of a round trip to see first."""
    tiles: list[Tile] = []
    if trip:
        worst = f"worst {number(trip.psnr.min)} dB"
        tiles.append(("PSNR of the round trip", f"{number(trip.psnr.median)} dB", worst, f"median of {trip.n}"))
    if certificate:
        error = certificate.error
        tiles.append(
            ("error of the latents", share(error.median), f"worst {share(error.max)}", f"median of {certificate.n}")
        )
    return tiles


def by_chance(value: Score) -> str:
    """What is said in brackets of a kernel distance."""
    return "; below 0 by chance" if value.value < 0 else ""


def below_zero(values: Iterable[Score | None]) -> str:
    """What a negative kernel distance means, where one is among these."""
    return NEGATIVE if any(value is not None and value.value < 0 for value in values) else ""


def standing(stands: Standing | None, domain: str) -> list[str]:
    """How many of all the measures tell the new images from held-out ones, and which (`audit.standing`)."""
    if stands is None or not stands.compared:
        return []
    compared, apart = stands.compared, stands.apart
    rows = sorted((row for row in stands.rows if row.stands != "overlapping"), key=_named)
    if not rows:
        return [
            f"{'None' if compared > 1 else 'Not one'} of {count(compared, 'measure')} tells the new images from held-out "
            f"{domain}: intervals overlap, which does not make the two equal."
        ]
    named = "; ".join(
        f"{title} ({', '.join(row.space for row in group)})" for title, group in groupby(rows, key=_named)
    )
    others = " The others do not, which does not make the two equal." if apart < compared else ""
    tell = "tells" if apart == 1 else "tell"
    return [f"{apart} of {count(compared, 'measure')} {tell} the new images from held-out {domain}: {named}.{others}"]


def _named(row: StandingRow) -> str:
    """A measure that tells apart, and to which side."""
    if row.measure in FIELD_DISTANCES:
        return f"{FIELD_DISTANCES[row.measure]} beyond chance"
    title = MEASURES[row.measure].title if row.measure in MEASURES else row.measure
    title = title if title.startswith(("Fréchet", "C2ST")) else title.lower()
    side = "lower" if row.stands == "below" else "higher"
    return f"{side} {title}{' of the pixels' if row.measure in MOMENTS else ''}"


def distances(measures: Mapping[str, BySet], domain: str, held: bool) -> list[str]:
    """The kernel distance of the new images in the first descriptor in full, in the others in a sentence each."""
    said: list[str] = []
    for descriptor, sets in measures.items():
        floor, ours, ceiling = (distance(sets, name) for name in ("real", "samples", "base"))
        if not ours:
            continue
        if said:
            others = ((SETS["real"], floor), ("the model's own samples", ceiling))
            beside = ", ".join(f"{name} {score(s)}" for name, s in others if s)
            said.append(f"In {descriptor} features it is {score(ours)}" + (f" ({beside})." if beside else "."))
            continue
        whom = f"held-out {domain}" if held else "the examples themselves"
        said.append(f"In {descriptor} features the new images stand at a kernel distance of {score(ours)} from {whom}.")
        if not held:
            said.append("No image was held out: a copy looks perfect by this measure, and it has no floor.")
        if floor:
            said.append(f"Real images stand at {score(floor)} from each other; {TO_FLOOR[relation(ours, floor)]}")
        if ceiling:
            apart = TO_CEILING[relation(ours, ceiling)]
            said.append(f"The model's own samples, made without the examples, stand at {score(ceiling)}{apart}")
    if said and (
        note := below_zero(distance(s, name) for s in measures.values() for name in ("real", "samples", "base"))
    ):
        said.append(note)
    return [" ".join(said)] if said else []


def told(measures: Mapping[str, BySet]) -> list[str]:
    """How often a classifier (C2ST) tells new images from held-out ones, and how densely and widely they lie among them."""
    said: list[str] = []
    for descriptor, sets in measures.items():
        ours, real = sets.get("samples", Measures()), sets.get("real", Measures())
        shares = [f"density {_beside(ours.density, real.density)}", f"coverage {_beside(ours.coverage, real.coverage)}"]
        if as_score(ours.c2st):
            null = ours.c2st_null
            chance = f", by chance up to {number(null.high, 2)}" if null and null.high is not None else ""
            shares.insert(0, f"C2ST {_beside(ours.c2st, real.c2st)}{chance}")
        if as_score(ours.density):
            said.append(f"In {descriptor} features {'; '.join(shares)}.")
    return said


def sure(labels: Mapping[str, Labelled]) -> list[str]:
    """How sure a classifier of the examples' classes is of new images."""
    said = []
    for descriptor, row in labels.items():
        guess = row.accuracy.low is not None and row.accuracy.low <= row.commonest
        weak = " It does not do better than guessing, so this tells nothing." if guess else ""
        said.append(
            f"A classifier of the examples' {row.classes} classes in {descriptor} features, right on "
            f"{score(row.accuracy, percent=True)} of held-out images, is more than 0.9 sure of "
            f"{score(row.samples, percent=True)} of the new images{of_real(row.real)}.{weak}"
        )
    return said


def _beside(ours: Score | None, real: Score | None) -> str:
    return score(ours) + (f" (real images: {score_parts(real)[0]})" if as_score(real) else "")


def copies(novelty: Mapping[str, Novelty], local: LocalCopies | None) -> list[str]:
    """How many of the new images are copies, in every descriptor."""
    said: list[str] = []
    for descriptor, news in novelty.items():
        if as_score(news.copies):
            which = f", in {descriptor} features" if len(novelty) > 1 else ""
            whose = "of them" if said else "of the new images"
            said.append(
                f"{score(news.copies, percent=True)} {whose} are copies of an example{which}{of_real(news.copies_floor)}."
                + TO_COPIES[relation(as_score(news.copies), as_score(news.copies_floor))]
            )
    if local:
        said.append(
            f"{score(local.samples, percent=True)} repeat an example in one of their quarters{of_real(local.floor)}."
        )
        for space, group in groupby(local.parts or [], key=lambda part: part.space):
            shares = ", ".join(f"{p.scale} {score(p.samples, percent=True)}{of_real(p.floor)}" for p in group)
            said.append(f"Of their parts, in {space}, copies are: {shares}.")
    return [" ".join(said)] if said else []
