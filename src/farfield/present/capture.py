"""What a page says of images that came down again: captured or not, and up to which level the domain is kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from farfield.command.analyse import AnalyseResult, Bandwidth, Descended, Walk, WayKept
from farfield.present.curve import Line, curves
from farfield.present.gallery import kept as kept_images
from farfield.present.page import Picture, Section, Table, charts
from farfield.present.plot import PAINT
from farfield.present.sheet import pairs
from farfield.present.words import level, score, share

SHOWN = 6
"""Examples in a strip."""


def interference(folder: Path, summary: AnalyseResult) -> Section:
    judged = summary.interference
    rows = judged.curves
    drawn = []
    for way, paint, what in (("eta", PAINT.ours, "eta"), ("noise", PAINT.real, "turned by")):
        ats = list(dict.fromkeys(r.at for r in rows if r.way == way))
        panels = {
            title: [
                Line(
                    f"{what} {level(at)}",
                    [(r.sigma, getattr(r, name)) for r in rows if (r.way, r.at) == (way, at)],
                    paint,
                    0.25 + 0.75 * (i + 1) / len(ats),
                )
                for i, at in enumerate(ats)
            ]
            for name, title in (("captured", "captured"), ("drift", "drift"), ("distance", "distance to its example"))
        }
        drawn += charts(curves(panels), f"captured, drift and distance against the noise level, {what}")
    table = Table(
        ["way", "from σ", "captured", "probability", "drift", "distance"],
        [[_way(r), level(r.sigma), r.captured, r.probability, r.drift, r.distance] for r in rows],
    )
    return Section(
        "interference",
        "Mode interference",
        f"{judged.decoded} examples come down from every level: with noise put back in at each step (eta 0 is DDIM, 1 "
        "ancestral sampling), and with their latents turned towards fresh N(0, I) noise (1 is the model's own prior).",
        [
            f"A classifier on `{judged.descriptor}` features, judging images of examples it did not see, recognises "
            f"{score(judged.recognised, True)} of the training domain and takes {score(judged.floor, True)} of real "
            "examples for it: the floor. Captured is what it puts into the training domain; drift is the place between "
            "the two domains' means, 0 to 1; distance is measured in pixels, in units of that between two examples."
            + (f" The two domains stand at a kernel distance of {score(judged.gap)}." if judged.gap else "")
        ],
        drawn,
        _strips(folder, summary),
        [table],
    )


def _strips(folder: Path, summary: AnalyseResult) -> list[Picture]:
    """Examples along eta and along noise from the last level, and along the levels at the strongest eta."""
    levels, keys = summary.levels, summary.interference.keys[:SHOWN]
    sets = {s: read for s in levels if (read := kept_images(folder / "decoded" / level(s))) is not None}
    examples = kept_images(folder / "examples")
    if examples is None or len(sets) < len(levels) or examples.values.shape[1] > 4:
        return []
    last = levels[-1]
    ats = {
        way: list(dict.fromkeys(r.at for r in summary.interference.curves if r.way == way)) for way in ("eta", "noise")
    }
    strongest = max(ats["eta"])

    def strip(name: str, columns: Sequence[tuple[float, str]], title: str, note: str) -> Picture:
        parts = [sets[s].select([f"{job}/{key}" for key in keys]) for s, job in columns]
        image = pairs(examples.select(keys), *parts, columns=1)
        return Picture(name, image, title, f"the example, then {note}", f"{title}: {note}")

    pictures = [
        strip(
            f"strip-{way}",
            [(last, f"{way}-{at:g}") for at in values],
            {"eta": "Stochastic decoding", "noise": "Towards the model's own prior"}[way],
            f"{ {'eta': 'eta', 'noise': 'turned by'}[way] } {', '.join(level(at) for at in values)}, from σ {level(last)}",
        )
        for way, values in ats.items()
    ]
    note = f"from σ {', '.join(level(s) for s in levels)} with eta {level(strongest)}"
    return [*pictures, strip("strip-levels", [(s, f"eta-{strongest:g}") for s in levels], "By level", note)]


def bandwidth(kept: Bandwidth) -> Section:
    ways = [w for w in kept.ways if w.at > 0]
    lines = [
        Line(
            _way(w),
            [(r.sigma, r.kept) for r in w.levels],
            PAINT.ours if w.way == "eta" else PAINT.real,
            0.3 + 0.7 * w.at,
        )
        for w in ways
    ]
    table = (
        Table(
            ["disturbance", *(f"σ {level(r.sigma)}" for r in ways[0].levels), "kept up to"],
            [[_way(w), *(r.kept for r in w.levels), w.highest_kept] for w in ways],
            title="Share of images that stay in the examples' domain",
        )
        if ways
        else None
    )
    search = Table(
        ["σ", "discrepancy"],
        [[level(r.sigma), r.discrepancy] for r in kept.search],
        title="The search of expand, beside it",
        chosen=[i for i, r in enumerate(kept.search) if r.chosen],
    )
    return Section(
        "bandwidth",
        "Bandwidth",
        "The highest level that keeps the domain, as all below it do: the share of captured images cannot be told from "
        "that of real examples, their 95 % intervals overlap. An upper bound for a sampler; the search of expand looks for "
        "the best level below it.",
        [advice(kept)],
        charts(curves({"domain kept": lines}, columns=1), "share of images kept against the noise level"),
        tables=[part for part in (table, search if kept.search else None) if part],
    )


def advice(kept: Bandwidth) -> str:
    searched = "" if kept.searched is None else f"; the search of `expand --sigma auto` takes {level(kept.searched)}"
    if kept.recommended is None:
        return f"No level that was tried keeps the domain under noise of eta {level(kept.eta)}{searched}."
    return f"The domain is kept up to σ {level(kept.recommended)} under noise of eta {level(kept.eta)}{searched}."


def walk(folder: Path, walked: Walk) -> Section:
    """Strips from example to example, and where their stops stand between the two domains."""
    images = kept_images(folder / "walk")
    stops = {centre: [s for s in walked.stops if s.centre == centre] for centre in ("mean", "origin")}
    titles = {"mean": "About the mean of the latents", "origin": "About the origin"}
    pictures = []
    for centre, row in stops.items():
        if images is None or images.values.shape[1] > 4:
            continue
        parts = [images.select([f"{centre}-{s.at:g}/{i}" for i in range(len(walked.pairs))]) for s in row]
        note = f"{', '.join(share(s.at) for s in row)} of the way, from σ {level(walked.sigma)}"
        pictures.append(Picture(f"walk-{centre}", pairs(*parts, columns=1), titles[centre], note, f"walk: {note}"))
    lines = [
        Line(titles[centre].lower(), [(s.at, s.drift) for s in row], paint)
        for (centre, row), paint in zip(stops.items(), (PAINT.ours, PAINT.muted), strict=True)
    ]
    half = {centre: next(s.drift for s in row if s.at == 0.5) for centre, row in stops.items()}
    return Section(
        "walk",
        "From example to example",
        "Latents of two examples, and those between them on a great circle, decoded without noise. Latents of one domain share "
        "their mean; turning about it keeps that, turning about the origin stretches it.",
        [
            f"Half-way the images stand at a drift of {score(half['mean'])} about the mean and {score(half['origin'])} about the "
            "origin (0 the examples, 1 the training domain)."
        ],
        charts(
            curves({"drift": lines}, columns=1, xlabel="share of the way"), "drift over the way from example to example"
        ),
        pictures,
        [Table(["about", "share of the way", "drift"], [[s.centre, s.at, s.drift] for s in walked.stops])],
    )


def _way(way: Descended | WayKept) -> str:
    return f"{'eta' if way.way == 'eta' else 'towards noise'} {level(way.at)}"
