"""The page of `farfield compare`: does the model add, should I tune? Methods beside each other, in images and in cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from farfield.command.compare import CONTROLS, TUNED, ComparedDomain, CompareResult, Count
from farfield.command.expand import Sampler
from farfield.command.measures import Measures, Novelty
from farfield.core.score import Score
from farfield.present.curve import line
from farfield.present.frontier import COLOURS, MARKERS, TITLES, frontier, titled
from farfield.present.gallery import kept
from farfield.present.measured import PARTS
from farfield.present.methods import gains, meaning, overall
from farfield.present.page import Content, Picture, Section, Table, charts
from farfield.present.plot import PAINT, legend, styled, subplots, ticks
from farfield.present.sheet import grid
from farfield.present.verdict import FEW, below_zero, by_chance, distance
from farfield.present.words import MEASURES, count, duration, number, score_parts, short

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def content(folder: Path, summary: CompareResult) -> Content:
    """The page of a finished comparison."""
    domains = summary.domains
    facts = [f"{count(summary.n, 'image')} of each method", f"{count(summary.steps, 'step')} of {summary.solver}"]
    facts += [f"{short(d.source)}: {count(d.references, 'held-out reference')}" for d in domains]
    said = [(short(d.source), text) for one in (gains, overall) for d in domains if (text := one(d.counts))]
    verdict = [text if len(domains) == 1 else f"{name}: {text}" for name, text in said]
    caveats = [note for d in domains for note in d.notes]
    if summary.n < FEW:
        caveats.append(f"Each method made only {summary.n} images: read intervals rather than values.")
    if any("model" in d.real for d in domains):
        caveats.append(
            "The descriptor `model` also chose among the candidates of `ours`: judge by the other descriptors."
        )
    choosing = [m for m, one in _samplers(domains).items() if one and one.candidates > 1 and not one.network]
    if choosing and any("pixels" in d.real for d in domains):
        named = " and ".join(f"`{name}`" for name in choosing)
        caveats.append(f"The descriptor `pixels` is near what chose among the candidates of {named}, and favours them.")
    return Content(
        summary.model.name,
        ", ".join(short(d.source) for d in domains),
        facts,
        verdict,
        caveats,
        _key_numbers(domains),
        [_section(folder, d) for d in domains],
    )


def _samplers(domains: Sequence[ComparedDomain]) -> dict[str, Sampler | None]:
    """How each method draws its latents, where it does and the run says so."""
    return {name: entry.sampler for d in domains for row in d.counts for name, entry in row.methods.items()}


def _key_numbers(domains: Sequence[ComparedDomain]) -> list[tuple[str, str, str, str]]:
    tiles: list[tuple[str, str, str, str]] = []
    for domain in domains:
        row = domain.counts[-1]
        descriptor = next(iter(domain.real), "")
        controls = {
            c: near for c in CONTROLS if c in row.methods and (near := distance(row.methods[c].measures, descriptor))
        }
        nearest = sorted(controls, key=lambda name: controls[name].value)[:1]
        for name in ["ours", *nearest, *([row.advice.best] if row.advice else [])]:
            if name in row.methods and (near := distance(row.methods[name].measures, descriptor)):
                title = f"kernel distance, {titled(name)}"
                beside = f"{short(domain.source)}, {row.count} examples{by_chance(near)}"
                tiles.append((title, *score_parts(near), beside))
        if real := distance(domain.real, descriptor):
            tiles.append(("kernel distance, real to real", *score_parts(real), short(domain.source)))
    return tiles


def _section(folder: Path, domain: ComparedDomain) -> Section:
    name = short(domain.source)
    rows = domain.counts
    paragraphs = [
        f"{number(r.count)} examples. {' '.join(said)}"
        for r in rows
        if (said := [one.sentence for one in (r.added, r.advice) if one])
    ]
    label = f"kernel distance of each method to held-out {name} against the number of examples"
    beside = f"kernel distance of each method to held-out {name} against its copies, {number(rows[-1].count)} examples"
    tables = [
        _table(domain, row, descriptor, f"{number(row.count)} examples, {descriptor} features")
        for row in rows
        for descriptor in domain.real
    ]
    tables += [table for row in rows if (table := parts_table(row))]
    tables += [table for row in rows if (table := labels_table(row))]
    tables += [table for row in rows if (table := fields_table(domain, row))]
    used = dict.fromkeys(m for row in rows for m in row.methods)
    details = [(titled(m), meaning(m, rows[-1].methods.get(m))) for m in used]
    details += [(MEASURES[m].title, MEASURES[m].meaning) for m in _MEASURED]
    return Section(
        domain.folder,
        f"{name[:1].upper()}{name[1:]}",
        "Every method has the same examples, seeds and held-out images.",
        paragraphs,
        charts(frontier(domain, rows[-1]), beside) + charts(curves(domain), label),
        _strips(folder / domain.folder / "shown", domain, rows[-1]),
        tables,
        details,
    )


_MEASURED = tuple(MEASURES)
PAIRED = (
    "Less ours, paired: the method's kernel distance less that of ours to the same held-out images. Below 0 the method is "
    "nearer; an interval that holds 0 leaves it open."
)


def _table(domain: ComparedDomain, row: Count, descriptor: str, title: str) -> Table:
    """The methods in one descriptor, the nearest first, above the model's own samples and real images."""
    distances = {name: distance(entry.measures, descriptor) for name, entry in row.methods.items()}
    order = sorted(row.methods, key=lambda name: near.value if (near := distances[name]) else math.inf)
    paired = any(entry.paired for entry in row.methods.values())
    sets = [*(entry.measures for entry in row.methods.values()), domain.base, domain.real]
    known = [m for m in _MEASURED if any(getattr(of.get(descriptor, Measures()), m) for of in sets)]
    columns = ["", *(MEASURES[m].title for m in known), *(["Less ours, paired"] if paired else [])]
    columns += ["Copies", "Copied quarters", "Calls", "Time"]
    lines: list[list[Any]] = []
    for name in order:
        entry = row.methods[name]
        less = [(entry.paired or {}).get(descriptor)] if paired else []
        copies = entry.novelty.get(descriptor, Novelty()).copies or None
        cost = [None, None] if entry.source else [entry.calls["total"], duration(entry.seconds)]
        lines.append(
            [titled(name), *_cells(entry.measures, descriptor, known), *less, copies, entry.local_copies, *cost]
        )
    news = [entry.novelty.get(descriptor, Novelty()) for entry in row.methods.values()]
    floor = next((one.copies_floor for one in news if one.copies_floor), None)
    none = [None] * paired
    lines.append([TITLES["base"], *_cells(domain.base, descriptor, known), *none, None, None, None, None])
    lines.append(
        [TITLES["real"], *_cells(domain.real, descriptor, known), *none, floor, row.local_copies_floor, None, None]
    )
    chosen = [i for i, name in enumerate(order) if name == "ours"]
    bounds = (distance(of, descriptor) for of in (domain.base, domain.real))
    notes = [below_zero([*distances.values(), *bounds]), PAIRED if paired else ""]
    return Table(columns, lines, title, chosen, note=" ".join(filter(None, notes)))


def _cells(measures: Mapping[str, Measures], descriptor: str, names: Sequence[str]) -> list[Score | None]:
    return [getattr(measures.get(descriptor, Measures()), name) for name in names]


def parts_table(row: Count) -> Table | None:
    """Copies by the scale of the part, in every space; None of a run that did not count them."""
    copied = {name: entry.copied_parts for name, entry in row.methods.items() if entry.copied_parts}
    if not copied:
        return None
    first = next(iter(copied.values()))
    lines: list[list[Any]] = [[titled(name), *(part.samples for part in parts)] for name, parts in copied.items()]
    lines.append([TITLES["real"], *(part.floor for part in first)])
    columns = ["", *(f"{part.scale}, {part.space}" for part in first)]
    chosen = [i for i, name in enumerate(copied) if name == "ours"]
    return Table(columns, lines, f"{number(row.count)} examples, share of parts that are copies", chosen, note=PARTS)


def labels_table(row: Count) -> Table | None:
    """How sure a classifier of the examples' classes is of each method's images; None without classes."""
    sure = {name: entry.labels for name, entry in row.methods.items() if entry.labels}
    if not sure:
        return None
    first = next(iter(sure.values()))
    lines: list[list[Any]] = [
        [titled(name), *(part for one in rows.values() for part in (one.samples, one.taught))]
        for name, rows in sure.items()
    ]
    lines.append([TITLES["real"], *(part for one in first.values() for part in (one.real, one.accuracy))])
    title = (
        f"{number(row.count)} examples: share of images that a classifier of their classes is more than 0.9 sure of; and how "
        "often one that is taught by a method's images, each in the class of the example that it was made from, is right on "
        "held-out ones (beside the one that the examples teach)"
    )
    columns = ["", *(part for d in first for part in (f"sure, {d} features", f"right, {d} features"))]
    return Table(columns, lines, title, [i for i, n in enumerate(sure) if n == "ours"])


def fields_table(domain: ComparedDomain, row: Count) -> Table | None:
    """Measures of physical fields, where all methods have one channel of them; None for pictures."""
    measured = {titled(name): entry.fields for name, entry in row.methods.items()}
    measured[TITLES["real"]] = domain.fields.real if domain.fields else None
    lines = [
        [name, f.spectrum.worst.score, f.log_spectrum and f.log_spectrum.worst.score, f.pixels.wasserstein, f.pixels.ks]
        for name, f in measured.items()
        if f and f.spectrum and f.pixels
    ]
    if len(lines) < len(measured):
        return None
    columns = ["", "Power spectrum off by at most", "… of the logarithm", "Pixels (Wasserstein, sd)", "Pixels (KS)"]
    return Table(columns, lines, f"{number(row.count)} examples, fields in physical units")


def _strips(folder: Path, domain: ComparedDomain, row: Count) -> list[Picture]:
    """A line of images of each method, from the largest number of examples."""
    count = row.count
    made = {f"{count}-{m}": m for m in row.methods if m != "examples"}
    names = {"real": "real", f"{count}-examples": "", **made, "base": "base"}
    pictures = []
    for stored, method in names.items():
        if images := kept(folder / stored):
            title = titled(method) if method else f"examples ({number(count)})"
            name, generated = f"{domain.folder}-{stored}", method not in ("real", "")
            pictures.append(Picture(name, grid(images), title, alt=f"samples: {title}", generated=generated))
    return pictures


@styled
def curves(domain: ComparedDomain) -> Figure | None:
    """The distance of each method against the number of examples, a panel a descriptor; None without distances."""
    rows = domain.counts
    lines: dict[str, dict[str, list[tuple[float, Score]]]] = {}
    for descriptor in domain.real:
        for row in rows:
            for name, entry in row.methods.items():
                if near := distance(entry.measures, descriptor):
                    lines.setdefault(descriptor, {}).setdefault(name, []).append((row.count, near))
    if not lines:
        return None
    figure, axes = subplots(len(lines), min(len(lines), 2), 3.4)
    for ax, (descriptor, methods) in zip(axes, lines.items(), strict=True):
        values = []
        for i, (name, points) in enumerate(methods.items()):
            # side by side, so that bars do not hide each other
            beside = [(count * 1.03 ** (i - len(methods) / 2), s) for count, s in points]
            colour, solid = COLOURS.get(name, PAINT.muted), name == "ours" or name in TUNED
            style, marker = "-" if solid else (0, (2 + i, 2)), MARKERS.get(name, "P")
            look: Any = {"marker": marker, "linestyle": style, "linewidth": 1.4, "markersize": 4}
            line(ax, beside, colour, titled(name), bar=2, **look)
            values += [s.value for _, s in points]
        for name, paint, bound in (("real", PAINT.real, domain.real), ("base", PAINT.base, domain.base)):
            if near := distance(bound, descriptor):
                ax.axhline(near.value, color=paint, linewidth=1.2, linestyle=(0, (4, 2)), label=TITLES[name])
                if name == "real" and near.low is not None and near.high is not None:
                    ax.axhspan(near.low, near.high, color=PAINT.real, alpha=0.12, linewidth=0)
                values.append(near.value)
        largest = max(map(abs, values))
        finest = max(_half_width(distance(domain.real, descriptor)), 1e-3 * largest)
        # linear around 0, where the floor lies, and logarithmic beyond
        if largest > 20 * finest:
            ax.set_yscale("symlog", linthresh=10 ** math.floor(math.log10(2 * finest)))
            ax.yaxis.set_major_formatter(lambda v, _: number(v, 1) if v else "0")
        ax.set_xscale("log")
        counts = [row.count for row in rows]
        ticks(ax, counts, [number(c) for c in counts])
        ax.set_xlim(counts[0] / 1.3, counts[-1] * 1.3)
        ax.set_xlabel("examples")
        ax.set_title(f"kernel distance, {descriptor} features", parse_math=False)
    legend(figure, axes, 4)
    return figure


def _half_width(score: Score | None) -> float:
    return 0.0 if not score or score.low is None or score.high is None else (score.high - score.low) / 2
