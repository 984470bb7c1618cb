"""The page of `farfield transfer`: strips from source to style, how near they came, and what was kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from farfield.command.measures import Measures, Novelty
from farfield.command.transfer import TransferResult
from farfield.core.artifact import Images, Store
from farfield.core.score import Score, relation
from farfield.present.page import Content, Picture, Section, Table, charts
from farfield.present.plot import PAINT, dotted, styled, subplots
from farfield.present.sheet import grid, pairs
from farfield.present.verdict import below_zero, by_chance, caveats, distance, of_real, standing
from farfield.present.words import MEASURES, count, level, score, score_parts, share, short

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STRIPS = 24
"""Images on the page."""

KINDS = {
    "mean": "the difference of the means",
    "isotropic": "mean and one scale",
    "diagonal": "mean and scale of every coordinate",
    "channels": "mean and scale of every channel",
    "spectrum": "mean and spectrum",
    "lowrank": "mean and low-rank covariance",
}
TO_BEFORE = {
    "below": ", nearer.",
    "above": ", farther away: it failed.",
    "overlapping": ", no clear change.",
    None: ".",
}
TO_PLAIN = {
    "below": ": the model's latents are what helps.",
    "above": ": the model is in the way here.",
    "overlapping": ", which is not clearly different: most of this is the map's doing.",
    None: ".",
}


def content(folder: Path, summary: TransferResult) -> Content:
    """All of the page, from what the run left on disk."""
    source, style = short(summary.content.source), short(summary.style.source)
    held = summary.references
    facts = [
        f"{count(summary.content.n, 'image')} of {source}",
        f"{count(summary.style.n, 'example')} of {style}",
        *([count(held.n, "held-out reference")] if held else []),
        KINDS[summary.kind],
        f"σ {level(summary.sigma)}",
        f"{count(summary.steps, 'step')} of {summary.solver}",
    ]
    beside = {
        descriptor: {name: sets[key] for name, key in (("samples", _chosen(summary)), ("real", "real")) if key in sets}
        for descriptor, sets in summary.measures.items()
    }
    return Content(
        summary.model.name,
        f"{source} → {style}",
        facts,
        _verdict(summary, source, style),
        caveats(beside, held is not None, summary.latent_certificate) + summary.notes,
        _key_numbers(summary),
        [_strips(folder, summary, source, style), _measures(summary, source, style)],
    )


def _chosen(summary: TransferResult) -> str:
    return summary.strengths[-1]


def _headline(summary: TransferResult, source: str, style: str) -> str:
    """In one sentence: whether the images came nearer to the style, how many keep their own content, how many are copies."""
    moved = [
        relation(distance(sets, _chosen(summary)), distance(sets, "before"))
        for sets in summary.measures.values()
        if distance(sets, _chosen(summary)) and distance(sets, "before")
    ]
    nearer, farther = moved.count("below"), moved.count("above")
    parts = []
    if moved:
        away = f", and farther away in {farther}" if farther else ""
        parts.append(f"come nearer to {style} in {nearer} of {count(len(moved), 'descriptor')}{away}")
    kept = summary.kept[_chosen(summary)].recognised
    parts.append(f"{share(kept.value)} still show what they showed")
    if copies := _copies(summary):
        parts.append(f"{share(copies[1].copies.value)} are nearly copies of an example")
    head = f"the {count(summary.content.n, 'image')} of {source}"
    sentence = f"{head} {parts[0]}; {'; '.join(parts[1:])}" if moved else f"of {head} {'; '.join(parts)}"
    return f"{sentence[0].upper()}{sentence[1:]}."


def _verdict(summary: TransferResult, source: str, style: str) -> list[str]:
    said = [_headline(summary, source, style), *standing(summary.standing, style)]
    for descriptor in summary.measures:
        before, after, plain, real = (
            distance(summary.measures[descriptor], name) for name in ("before", _chosen(summary), "plain", "real")
        )
        if not before or not after:
            continue
        held = f"held-out {style}" if summary.references else f"the examples of {style}"
        text = f"In {descriptor} features the images of {source} stood at a kernel distance of {score(before)} from {held}; "
        text += f"after the transfer {score(after)}{TO_BEFORE[relation(after, before)]}"
        if real:
            gap = before.value - real.value
            closed = (before.value - after.value) / gap if gap > 0 else 0.0
            text += f" Real images of {style} stand at {score(real)}"
            text += f": {share(min(closed, 1.0))} of the gap is closed." if closed > 0 else "."
            if relation(after, real) == "overlapping":
                text += " At this n the measure does not tell the two apart."
        if plain:
            text += f" The same map on the pixels, without the model, reaches {score(plain)}"
            text += TO_PLAIN[relation(after, plain)]
        said.append(" ".join(filter(None, [text, below_zero((before, after, plain, real))])))
    kept = summary.kept[_chosen(summary)]
    text = f"{score(kept.recognised, percent=True)} of the images are more like their own source than like any other"
    text += f" in coarse light and dark (chance: {share(kept.chance)}); they correlate with it by "
    said.append(f"{text}{score(kept.correlation)}.")
    if copies := _copies(summary):
        descriptor, news = copies
        text = f"{score(news.copies, True)} of them are copies of an example of {style}, in {descriptor} features"
        said.append(f"{text}{of_real(news.copies_floor)}.")
    return said


def _copies(summary: TransferResult) -> tuple[str, Novelty] | None:
    """The first descriptor that tells copies, and what it says of the result."""
    rows = ((descriptor, sets[_chosen(summary)]) for descriptor, sets in summary.novelty.items())
    return next((row for row in rows if row[1].copies), None)


def _key_numbers(summary: TransferResult) -> list[tuple[str, str, str, str]]:
    tiles = []
    for descriptor in summary.measures:
        before, after = (distance(summary.measures[descriptor], name) for name in ("before", _chosen(summary)))
        if after:
            note = f"before: {score_parts(before)[0]}, in {descriptor} features{by_chance(after)}"
            tiles.append(("kernel distance to the style", *score_parts(after), note))
    kept = summary.kept[_chosen(summary)]
    tiles.append(
        ("own source recognised", *score_parts(kept.recognised, percent=True), f"chance: {share(kept.chance)}")
    )
    if copies := _copies(summary):
        descriptor, news = copies
        tiles.append(("copies of an example", *score_parts(news.copies, percent=True), f"{descriptor} features"))
    return tiles


def _strips(folder: Path, summary: TransferResult, source: str, style: str) -> Section:
    sources, examples, plain = (Store(folder / name, Images).read() for name in ("content", "examples", "plain"))
    steps = [
        Store(folder / ("samples" if name == _chosen(summary) else f"transferred/{name}"), Images).read()
        for name in summary.strengths
    ]
    keys = list(sources.keys[:STRIPS])
    nearest = summary.nearest
    sets = [sources.select(keys).values, *(s.select(keys).values for s in steps), plain.select(keys).values]
    order = [source, *(f"strength {name}" for name in summary.strengths), "the same map on the pixels"]
    captions: Sequence[str] = ()
    if all(key in nearest for key in keys):
        place = {key: i for i, key in enumerate(examples.keys)}
        sets.append(examples.values[[place[nearest[key].example] for key in keys]])
        order.append(f"nearest example of {style}")
        captions = ["copy" if nearest[key].copy else "" for key in keys]
        captions = captions if any(captions) else ()
    image = pairs(*sets, columns=max(1, 10 // len(sets)), captions=captions, scale=2)
    note = f"{len(keys)} of {len(sources)}; in each strip: {', '.join(order)}"
    pictures = [
        Picture("strips", image, f"From {source} to {style}", note, f"strips: {', '.join(order)}"),
        Picture("style", grid(examples.values[:STRIPS], columns=12), f"Examples of {style}", generated=False),
    ]
    return Section("strips", "From source to style", "Judge with your own eyes before reading on.", pictures=pictures)


def _measures(summary: TransferResult, source: str, style: str) -> Section:
    names = {
        "before": f"{source}, before",
        **{name: f"strength {name}" for name in summary.strengths},
        "plain": "the same map on the pixels",
        "real": f"real {style}",
    }
    descriptors = list(summary.measures)
    columns = ["", *(f"distance, {d}" for d in descriptors), *(f"copies, {d}" for d in descriptors)]
    columns += ["own source recognised", "correlation with it", "SSIM with it"]
    rows: list[list[Any]] = []
    for name, title in names.items():
        distances = [distance(summary.measures[d], name) for d in descriptors]
        if not any(distances):
            continue
        news = [summary.novelty[d] for d in descriptors]
        if name == "real":
            copies = [row[_chosen(summary)].copies_floor or None for row in news]
            rows.append([title, *distances, *copies, None, None, None])
        else:
            copies, kept = [row[name].copies or None for row in news], summary.kept.get(name)
            left = [kept.recognised, kept.correlation, kept.ssim.median] if kept else [None, None, None]
            rows.append([title, *distances, *copies, *left])
    chosen = [i for i, row in enumerate(rows) if row[0] == names[_chosen(summary)]]
    note = below_zero(distance(sets, name) for sets in summary.measures.values() for name in sets)
    nearness = Table(columns, rows, "Nearness to the style, and what is kept", chosen, note=note)
    tables = [nearness, *_all(summary, names)]
    drawn = charts(_chart(summary), "distance to the style, and sources recognised, over strength")
    details = [(m.named, m.meaning) for m in MEASURES.values()]
    details.append(
        (
            "Own source recognised ↑ higher",
            "The share of images whose coarse light and dark (means of 8 × 8 blocks, without what all images of the set "
            "share) correlates with that of their own source more than with that of any other. A style may take colour "
            "and texture; where an image is light and dark is content.",
        )
    )
    lead = "A transfer must do both: come near to the style, and keep each image what it was."
    return Section("measures", "How near, and what was kept", lead, charts=drawn, tables=tables, details=details)


def _all(summary: TransferResult, names: Mapping[str, str]) -> list[Table]:
    """Every measure of every set, a table for each descriptor."""
    tables = []
    for descriptor, sets in summary.measures.items():
        shown = [name for name in names if sets.get(name, Measures()) != Measures()]
        columns = [m for m in MEASURES if any(getattr(sets[name], m) for name in shown)]
        rows = [[names[name], *(getattr(sets[name], m) for m in columns)] for name in shown]
        if rows:
            note = below_zero(distance(sets, name) for name in shown)
            heads = ["", *(MEASURES[m].named for m in columns)]
            tables.append(Table(heads, rows, f"All measures, {descriptor} features", note=note))
    return tables


@styled
def _chart(summary: TransferResult) -> Figure | None:
    """Distance to the style, a panel for each descriptor, and the share recognised, over strength."""
    names = summary.strengths
    known = [d for d in summary.measures if distance(summary.measures[d], names[0])]
    if len(names) < 2 or not known:
        return None
    figure, axes = subplots(len(known) + 1, min(3, len(known) + 1), 2.4)
    for ax, descriptor in zip(axes, known, strict=False):
        before = [] if float(names[0]) == 0 else [(0.0, distance(summary.measures[descriptor], "before"))]
        points = [*before, *((float(s), distance(summary.measures[descriptor], s)) for s in names)]
        _dotted(ax, points)
        if real := distance(summary.measures[descriptor], "real"):
            ax.axhline(real.value, color=PAINT.real, linewidth=1.4)
        ax.set_yscale("symlog", linthresh=0.1)
        ax.set_title(f"distance to the style, {descriptor}", parse_math=False)
    _dotted(axes[-1], [(float(s), summary.kept[s].recognised) for s in names])
    axes[-1].axhline(summary.kept[names[0]].chance, color=PAINT.muted, linewidth=1, linestyle=(0, (4, 2)))
    axes[-1].set_ylim(0, 1.05)
    axes[-1].set_title("own source recognised (dashed: chance)")
    for ax in axes:
        ax.set_xlabel("strength")
    return figure


def _dotted(ax: Any, points: Sequence[tuple[float, Score | None]]) -> None:
    known = [(x, s) for x, s in points if s]
    dotted(ax, known, [PAINT.ours] * len(known))
