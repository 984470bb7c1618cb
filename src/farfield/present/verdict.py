"""What a run's numbers allow one to say: facts, a verdict in sentences, key numbers, and what to hold against them."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from typing import Any

from farfield.present import method
from farfield.present.words import MEASURES, SETS, as_score, level, number, score, score_parts, share

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
    "": "without intervals the two cannot be compared with confidence.",
}
TO_CEILING = {
    "below": ": clearly farther away.",
    "overlapping": "; the intervals overlap, so what the examples contributed does not show at this n.",
    "above": ": nearer than the new images, so the examples did not help.",
    "": ".",
}
TO_COPIES = {
    "overlapping": "",
    "above": " More than the domain repeats itself: the sampler repeats its examples.",
    "below": " Fewer than the domain repeats itself.",
    "": "",
}


def relation(first: Any, second: Any) -> str:
    """Where the first interval lies, seen from the second: below, above or overlapping; empty if one is missing."""
    a, b = as_score(first), as_score(second)
    if a is None or b is None or a.low is None or a.high is None or b.low is None or b.high is None:
        return ""
    return "below" if a.high < b.low else "above" if a.low > b.high else "overlapping"


def facts(summary: Mapping[str, Any], count: int, examples: Mapping[str, Any]) -> list[str]:
    """What the run was, in a few words each, for the line beneath the title."""
    said: list[str] = []
    if count:
        said.append(f"{count} new images")
    if n := examples.get("n"):
        available = examples.get("available")
        said.append(
            f"{n} {'examples' if count else 'images'}" + (f" of {available}" if available not in (None, n) else "")
        )
    if held := (summary.get("references") or {}).get("n"):
        said.append(f"{held} held-out references")
    sampler = summary.get("sampler") or {}
    if name := sampler.get("name") or sampler.get("sampler"):
        said.append(f"{name} sampler")
    if summary.get("sigma") is not None:
        searched = any("discrepancy" in row for row in summary.get("sigma_search") or [])
        said.append(f"σ {level(summary['sigma'])}" + (" (searched)" if searched else ""))
    if summary.get("steps"):
        said.append(f"{summary['steps']} steps" + (f" of {summary['solver']}" if summary.get("solver") else ""))
    if summary.get("network_calls"):
        said.append(f"{summary['network_calls']} network calls each way")
    return said


def verdict(summary: Mapping[str, Any], count: int, domain: str) -> list[str]:
    """What the numbers say, a paragraph for each matter.

    Args:
        summary: of the run.
        count: how many new images there are.
        domain: what the examples are called.
    """
    said = [standing(summary, domain), _distances(summary, count, domain), _copies(summary)]
    if not any(said) and (trip := summary.get("reconstruction")):
        median, worst = (number(trip["psnr"][k]) for k in ("median", "min"))
        said.append(
            f"The {trip['n']} images of {domain} come back with a PSNR of {median} dB in the median, {worst} at worst."
        )
    if found := method.budget(summary.get("budget") or {}):
        said.insert(0, found)
    if certificate := summary.get("latent_certificate"):
        median, worst = (share(certificate["error"][k]) for k in ("median", "max"))
        said.append(f"Latents carry a numerical error of {median} in the median, {worst} at most.")
    return [paragraph for paragraph in said if paragraph]


def caveats(summary: Mapping[str, Any]) -> list[str]:
    """What a reader should hold against the verdict, with the run's own notes."""
    said: list[str] = []
    measured = summary.get("measures") or {}
    if measured and summary.get("references") and not any(sets.get("real") for sets in measured.values()):
        said.append(
            "There is no floor, as no held-out real images were compared with each other: a distance is large or small "
            "only beside another one in this report."
        )
    scores = [as_score(v) for sets in measured.values() for found in sets.values() for v in (found or {}).values()]
    sizes = [s.n for s in scores if s and s.n]
    if sizes and min(sizes) < FEW:
        said.append(
            f"The sets are small (from n = {min(sizes)}): read intervals rather than values, and the Fréchet distance "
            "only along its row."
        )
    certificate = summary.get("latent_certificate")
    if certificate and (certificate["error"]["median"] or 0) > COARSE:
        said.append("The latents are not converged: more steps would move them, and with them the geometry below.")
    rate = (summary.get("acceptance") or {}).get("rate")
    if rate is not None and rate < 0.1:
        said.append(f"Only {share(rate)} of the proposed latents were accepted.")
    return said + [str(note) for note in summary.get("notes") or []]


def key_numbers(summary: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """The numbers to see first: title, value, interval or extreme, and what to compare with."""
    tiles: list[tuple[str, str, str, str]] = []
    if (stands := summary.get("standing") or {}).get("compared"):
        told = f"{stands['apart']} of {stands['compared']}"
        tiles.append(("measures that tell them from real images", told, "", "95 % intervals that do not meet"))
    for descriptor, sets in list((summary.get("measures") or {}).items())[:1]:
        ours, floor = ((sets.get(s) or {}).get("kernel_distance") for s in ("samples", "real"))
        if as_score(ours):
            beside = f"real to real: {score_parts(floor)[0]}" if as_score(floor) else f"{descriptor} features"
            tiles.append(("kernel distance to real", *score_parts(ours), beside))
    for descriptor, found in list((summary.get("novelty") or {}).items())[:1]:
        copies, floor = found.get("copies"), found.get("copies_floor")
        if as_score(copies):
            beside = f"real images: {score_parts(floor, True)[0]}" if as_score(floor) else f"{descriptor} features"
            tiles.append(("copies of an example", *score_parts(copies, True), beside))
    acceptance = summary.get("acceptance") or {}
    if acceptance.get("rate") is not None:
        made = f"{acceptance.get('accepted')} of {acceptance.get('proposed')} proposed"
        tiles.append(("latents accepted", share(acceptance["rate"]), "", made))
    if trip := summary.get("reconstruction"):
        psnr = trip["psnr"]
        worst = f"worst {number(psnr['min'])} dB"
        tiles.append(("PSNR of the round trip", f"{number(psnr['median'])} dB", worst, f"median of {trip['n']}"))
    if certificate := summary.get("latent_certificate"):
        error = certificate["error"]
        worst = f"worst {share(error['max'])}"
        tiles.append(("error of the latents", share(error["median"]), worst, f"median of {certificate['n']}"))
    return tiles


def standing(summary: Mapping[str, Any], domain: str) -> str:
    """How many of all the measures tell the new images from held-out ones, and which (`audit.standing`)."""
    found = summary.get("standing") or {}
    compared, apart = found.get("compared"), found.get("apart")
    if not compared:
        return ""
    rows = sorted((row for row in found["rows"] if row["stands"] != "overlapping"), key=_named)
    if not rows:
        return (
            f"None of {compared} measures tells the new images from held-out {domain}: intervals overlap in all of them, which "
            "does not make the two equal."
        )
    named = "; ".join(
        f"{title} ({', '.join(row['space'] for row in group)})" for title, group in groupby(rows, key=_named)
    )
    others = " The others do not, which does not make the two equal." if apart < compared else ""
    return f"{apart} of {compared} measures tell the new images from held-out {domain}: {named}.{others}"


def _named(row: Mapping[str, Any]) -> str:
    """A measure that tells apart, and to which side."""
    measure = row["measure"]
    if measure in FIELD_DISTANCES:
        return f"{FIELD_DISTANCES[measure]} beyond chance"
    title = MEASURES[measure].title if measure in MEASURES else measure
    title = title if title.startswith("Fréchet") else title.lower()
    return (
        f"{'lower' if row['stands'] == 'below' else 'higher'} {title}{' of the pixels' if measure in MOMENTS else ''}"
    )


def _distances(summary: Mapping[str, Any], count: int, domain: str) -> str:
    """The kernel distance of the first descriptor in full, of the others in a sentence each."""
    said: list[str] = []
    for descriptor, sets in (summary.get("measures") or {}).items():
        floor, ours, ceiling = ((sets.get(s) or {}).get("kernel_distance") for s in ("real", "samples", "base"))
        if not as_score(ours):
            continue
        if said:
            others = ((SETS["real"], floor), ("the model's own samples", ceiling))
            beside = ", ".join(f"{name} {score(s)}" for name, s in others if as_score(s))
            said.append(f"In {descriptor} features it is {score(ours)}" + (f" ({beside})." if beside else "."))
            continue
        held = f"held-out {domain}" if summary.get("references") else "the examples themselves"
        whom = f"{count} new images" if count else "new images"
        said.append(f"The {whom} stand at a kernel distance of {score(ours)} from {held}, in {descriptor} features.")
        if not summary.get("references"):
            said.append("No image was held out: a copy looks perfect by this measure, and it has no floor.")
        if as_score(floor):
            said.append(f"Real images stand at {score(floor)} from each other; {TO_FLOOR[relation(ours, floor)]}")
        if as_score(ceiling):
            apart = TO_CEILING[relation(ours, ceiling)]
            said.append(f"The model's own samples, made without the examples, stand at {score(ceiling)}{apart}")
    return " ".join(said)


def _copies(summary: Mapping[str, Any]) -> str:
    """How many of the new images are copies, in every descriptor."""
    novelty = summary.get("novelty") or {}
    said: list[str] = []
    for descriptor, found in novelty.items():
        copies, floor = found.get("copies"), found.get("copies_floor")
        if as_score(copies):
            which = f", in {descriptor} features" if len(novelty) > 1 else ""
            beside = f" (of real images: {score(floor, percent=True)})" if as_score(floor) else ""
            whose = "of them" if said else "of the new images"
            share_said = f"{score(copies, percent=True)} {whose} are copies of an example{which}{beside}."
            said.append(share_said + TO_COPIES[relation(copies, floor)])
    local = summary.get("local_copies") or {}
    if as_score(local.get("samples")):
        beside = f" (of real images: {score(local['floor'], percent=True)})" if as_score(local.get("floor")) else ""
        said.append(f"{score(local['samples'], percent=True)} repeat an example in one of their quarters{beside}.")
    return " ".join(said)
