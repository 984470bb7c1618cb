"""The page of `farfield compare`: should I tune? Methods beside each other, in images and in cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from farfield.core.artifact import Images, Store
from farfield.core.score import Score, relation
from farfield.present.page import Chart, Content, Picture, Section, Table, model_name
from farfield.present.plot import PAINT, styled, subplots
from farfield.present.sheet import grid
from farfield.present.verdict import FEW
from farfield.present.words import MEASURES, as_score, duration, number, score, score_parts, short

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLES = {
    "real": "real images",
    "ours": "frozen, ours",
    "published": "frozen, published",
    "geometric": "frozen, geometric",
    "gaussian": "frozen, Gaussian",
    "full": "tuned, all weights",
    "lora": "tuned, low rank",
    "norm": "tuned, norms and biases",
    "release": "tuned, as published",
    "base": "the model's own",
}
MEANINGS = {
    "ours": "`farfield expand` as it stands: the frozen denoiser calibrated on the examples in closed form, patchworks "
    "of two examples' latents, the best new one of several candidates.",
    "published": "Interpolation of the bare latents half-way at the model's last level (arXiv 2310.09213).",
    "geometric": "Draws of an isotropic Gaussian fitted to the latents at the last level, accepted by their distance and "
    "angles to the examples' latents (arXiv 2310.09213).",
    "gaussian": "Draws of an isotropic Gaussian fitted to the latents at the last level.",
    "full": "All weights trained on the examples, stopped early on a part of them, within the budget.",
    "lora": "Low-rank updates of convolutions and linear maps, stopped early, within the budget.",
    "norm": "Normalisation layers and biases alone, stopped early, within the budget.",
    "release": "All weights trained for a fixed number of epochs without early stopping (the baseline of arXiv "
    "2310.09213).",
}
COLOURS = {"ours": PAINT["ours"], "full": "#009e73", "lora": "#56b4e9", "norm": "#e69f00", "release": "#cc79a7"}
VERDICTS = {
    "keep": "no, with {} examples the best tuned model stands farther from held-out images than the frozen model's new ones",
    "doubt": "with {} examples the frozen model's new images stand nearer, but repeat the examples",
    "even": "with {} examples no gain shows, the intervals meet",
    "copies": "no, with {} examples the tuned model comes nearer, but repeats the examples",
    "tune": "yes, with {} examples the best tuned model stands nearer to held-out images",
}


def advise(methods: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    """Should one tune, at one number of examples? From intervals of the kernel distance in the first descriptor.

    The best tuned model is picked by the very distance it is judged by, which favours tuning. ``verdict`` is ``keep``
    (its interval lies above that of ``ours``), ``tune`` (below), or ``even``; ``doubt`` for ``keep`` and ``copies`` for
    ``tune`` where the nearer one repeats the examples more than real images do and the other does not.
    ``cost_ratio`` is its network calls over ours.

    Args:
        methods: as ``summary.json`` has them: ``trained``, ``calls``, ``measures`` and ``novelty`` of each.

    Returns:
        None without ``ours``, without a tuned model, or without distances.
    """
    ours = methods.get("ours")
    descriptor = next(iter((ours or {}).get("measures") or {}), None)
    if ours is None or descriptor is None:
        return None

    def distance(entry: Mapping[str, Any]) -> Score | None:
        return as_score((entry["measures"].get(descriptor) or {}).get("kernel_distance"))

    tuned = {m: d.value for m, e in methods.items() if e.get("trained") and (d := distance(e))}
    if not tuned or not distance(ours):
        return None
    best = min(tuned, key=lambda m: tuned[m])
    entry = methods[best]
    stands = relation(distance(entry), distance(ours))
    repeats = {m: _repeats(methods[m], descriptor) for m in ("ours", best)}
    verdict = {"above": "keep", "below": "tune"}.get(stands or "", "even")
    if verdict == "keep" and repeats["ours"] and not repeats[best]:
        verdict = "doubt"
    if verdict == "tune" and repeats[best] and not repeats["ours"]:
        verdict = "copies"
    ratio = entry["calls"]["total"] / ours["calls"]["total"]
    said = {
        "keep": "Do not tune: the best tuned model ({name}) stands at {theirs} from held-out images, the frozen model's "
        "new ones at {ours}.",
        "doubt": "The frozen model's new images stand nearer ({ours}; tuned, {name}: {theirs}), but with copies of the "
        "examples.",
        "even": "Tuning shows no gain: the best tuned model ({name}) stands at {theirs} from held-out images, the frozen "
        "model's new ones at {ours}, and the intervals meet.",
        "copies": "Tuning comes nearer ({name}: {theirs}, frozen: {ours}), but with copies of the examples.",
        "tune": "Tune: the tuned model ({name}) stands at {theirs} from held-out images, the frozen model's new ones at "
        "{ours}.",
    }[verdict].format(name=best, theirs=score(distance(entry)), ours=score(distance(ours)))
    said += f" It takes {number(ratio, 2)} times the network calls."
    for name, repeated in repeats.items():
        if repeated:
            said += f" Copies of examples by {name}: {repeated}."
    return {"verdict": verdict, "best": best, "cost_ratio": ratio, "descriptor": descriptor, "sentence": said}


def _repeats(entry: Mapping[str, Any], descriptor: str) -> str:
    """Copies beside those among real images, where they are more; else empty."""
    novelty = entry["novelty"].get(descriptor) or {}
    copies, floor = novelty.get("copies"), novelty.get("copies_floor")
    above = relation(as_score(copies), as_score(floor)) == "above"
    return f"{score(copies, True)}, among real images {score(floor, True)}" if above else ""


def overall(rows: Sequence[Mapping[str, Any]]) -> str:
    """The advice over all numbers of examples in one sentence; empty where there is none."""
    advised = [row for row in rows if row.get("advice")]
    if not advised:
        return ""
    parts = []
    for verdict, group in groupby(advised, key=lambda row: row["advice"]["verdict"]):
        counts = [number(row["count"]) for row in group]
        named = counts[0] if len(counts) == 1 else f"{', '.join(counts[:-1])} and {counts[-1]}"
        parts.append(VERDICTS[verdict].format(named))
    ratios = sorted(row["advice"]["cost_ratio"] for row in advised)
    low, high = number(ratios[0], 2), number(ratios[-1], 2)
    cost = f"{low} times" if low == high else f"{low} to {high} times"
    answer = "; ".join(parts)
    return f"Should I tune? {answer[0].upper()}{answer[1:]}; tuning takes {cost} the network calls."


def content(folder: Path, summary: dict[str, Any]) -> Content:
    """The page of a finished comparison."""
    domains = summary["domains"]
    facts = [f"{number(summary['n'])} images of each method", f"{summary['steps']} steps of {summary['solver']}"]
    facts += [f"{short(d['source'])}: {number(d['references'])} held-out references" for d in domains]
    said = [(short(d["source"]), overall(d["counts"])) for d in domains]
    verdict = [text if len(domains) == 1 else f"{name}. {text}" for name, text in said if text]
    caveats = [note for d in domains for note in d["notes"]]
    if summary["n"] < FEW:
        caveats.append(f"Each method made only {summary['n']} images: read intervals rather than values.")
    if any("model" in d["real"] for d in domains):
        caveats.append(
            "The descriptor `model` also chose among the candidates of `ours`: judge by the other descriptors."
        )
    return Content(
        model_name(summary),
        ", ".join(short(d["source"]) for d in domains),
        facts,
        verdict,
        caveats,
        _key_numbers(domains),
        [_section(folder, d) for d in domains],
    )


def _key_numbers(domains: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str, str]]:
    tiles: list[tuple[str, str, str, str]] = []
    for domain in domains:
        row = domain["counts"][-1]
        descriptor = next(iter(domain["real"]), None)
        names = ["ours", *([row["advice"]["best"]] if row.get("advice") else [])]
        for name in names:
            found = (row["methods"].get(name, {}).get("measures", {}).get(descriptor) or {}).get("kernel_distance")
            if as_score(found):
                title = f"kernel distance, {TITLES[name]}"
                tiles.append((title, *score_parts(found), f"{short(domain['source'])}, {row['count']} examples"))
        real = (domain["real"].get(descriptor) or {}).get("kernel_distance")
        if as_score(real):
            tiles.append(("kernel distance, real to real", *score_parts(real), short(domain["source"])))
    return tiles


def _section(folder: Path, domain: Mapping[str, Any]) -> Section:
    name = short(domain["source"])
    rows = domain["counts"]
    paragraphs = [f"{number(r['count'])} examples. {r['advice']['sentence']}" for r in rows if r.get("advice")]
    charts = []
    if (figure := curves(domain)) is not None:
        charts.append(
            Chart(figure, f"kernel distance of each method to held-out {name} against the number of examples")
        )
    tables = [
        _table(domain, row, descriptor, f"{number(row['count'])} examples, {descriptor} features")
        for row in rows
        for descriptor in domain["real"]
    ]
    tables += [table for row in rows if (table := _fields_table(domain, row))]
    used = dict.fromkeys(m for row in rows for m in row["methods"])
    details = [(TITLES[m], MEANINGS[m]) for m in used]
    details += [(MEASURES[m].title, MEASURES[m].meaning) for m in _MEASURED]
    return Section(
        domain["folder"],
        f"{name[:1].upper()}{name[1:]}",
        "Every method has the same examples, seeds and held-out images.",
        paragraphs,
        charts,
        _strips(folder / domain["folder"] / "shown", domain, rows[-1]),
        tables,
        details,
    )


_MEASURED = ("kernel_distance", "frechet_distance", "precision", "recall", "coverage")


def _table(domain: Mapping[str, Any], row: Mapping[str, Any], descriptor: str, title: str) -> Table:
    columns = ["", *(MEASURES[m].title for m in _MEASURED), "Copies", "Copied quarters", "Calls", "Time"]
    lines: list[list[Any]] = []
    for name, entry in row["methods"].items():
        found = entry["measures"].get(descriptor) or {}
        copies = (entry["novelty"].get(descriptor) or {}).get("copies")
        cells = [found.get(m) for m in _MEASURED]
        local = entry.get("local_copies")
        lines.append([TITLES[name], *cells, copies, local, entry["calls"]["total"], duration(entry["seconds"])])
    floor = next(
        (f for e in row["methods"].values() if (f := (e["novelty"].get(descriptor) or {}).get("copies_floor"))), None
    )
    for name in ("base", "real"):
        found = domain[name].get(descriptor) or {}
        floors = (floor, row.get("local_copies_floor")) if name == "real" else (None, None)
        lines.append([TITLES[name], *(found.get(m) for m in _MEASURED), *floors, None, None])
    chosen = [i for i, name in enumerate(row["methods"]) if name == "ours"]
    return Table(columns, lines, title, chosen)


def _fields_table(domain: Mapping[str, Any], row: Mapping[str, Any]) -> Table | None:
    """Measures of physical fields, where all methods have one channel of them; None for pictures."""
    found = {TITLES[name]: entry.get("fields") or {} for name, entry in row["methods"].items()}
    found[TITLES["real"]] = (domain.get("fields") or {}).get("real") or {}
    if not all("spectrum" in fields for fields in found.values()):
        return None
    lines = [
        [
            name,
            f["spectrum"]["worst"],
            (f.get("log_spectrum") or {}).get("worst"),
            f["pixels"]["wasserstein"],
            f["pixels"]["ks"],
        ]
        for name, f in found.items()
    ]
    columns = ["", "Power spectrum off by at most", "… of the logarithm", "Pixels (Wasserstein, sd)", "Pixels (KS)"]
    return Table(columns, lines, f"{number(row['count'])} examples, fields in physical units")


def _strips(folder: Path, domain: Mapping[str, Any], row: Mapping[str, Any]) -> list[Picture]:
    """A line of images of each method, from the largest number of examples."""
    count = row["count"]
    names = {"real": "real", f"{count}-examples": "", **{f"{count}-{m}": m for m in row["methods"]}, "base": "base"}
    pictures = []
    for stored, method in names.items():
        store = Store(folder / stored, Images)
        if store.shards():
            title = TITLES[method] if method else f"examples ({number(count)})"
            name, generated = f"{domain['folder']}-{stored}", method not in ("real", "")
            pictures.append(Picture(name, grid(store.read()), title, alt=f"samples: {title}", generated=generated))
    return pictures


@styled
def curves(domain: Mapping[str, Any], measure: str = "kernel_distance") -> Figure | None:
    """The distance of each method against the number of examples, a panel a descriptor; None without distances."""
    rows = domain["counts"]
    lines: dict[str, dict[str, list[tuple[float, Score]]]] = {}
    for descriptor in domain["real"]:
        for row in rows:
            for name, entry in row["methods"].items():
                if found := as_score((entry["measures"].get(descriptor) or {}).get(measure)):
                    lines.setdefault(descriptor, {}).setdefault(name, []).append((row["count"], found))
    if not lines:
        return None
    figure, axes = subplots(len(lines), min(len(lines), 2), 3.4)
    for ax, (descriptor, methods) in zip(axes, lines.items(), strict=True):
        values = []
        for i, (name, points) in enumerate(methods.items()):
            x = [count * 1.03 ** (i - len(methods) / 2) for count, _ in points]  # bars beside each other
            y = [s.value for _, s in points]
            colour, style = COLOURS.get(name, PAINT["muted"]), "-" if name in COLOURS else (0, (2 + i, 2))
            marker = "o" if name in COLOURS else "sv^D"[i % 4]
            ax.plot(x, y, marker, linestyle=style, color=colour, linewidth=1.4, markersize=4, label=TITLES[name])
            for at, (_, s) in zip(x, points, strict=True):
                if s.low is not None and s.high is not None:
                    ax.plot([at, at], [s.low, s.high], color=colour, linewidth=2, alpha=0.4)
            values += y
        for name in ("real", "base"):
            if found := as_score((domain[name].get(descriptor) or {}).get(measure)):
                ax.axhline(found.value, color=PAINT[name], linewidth=1.2, linestyle=(0, (4, 2)), label=TITLES[name])
                if name == "real" and found.low is not None and found.high is not None:
                    ax.axhspan(found.low, found.high, color=PAINT["real"], alpha=0.12, linewidth=0)
                values.append(found.value)
        largest = max(map(abs, values))
        finest = max(_half_width((domain["real"].get(descriptor) or {}).get(measure)), 1e-3 * largest)
        # linear around 0, where the floor lies, and logarithmic beyond
        if largest > 20 * finest:
            ax.set_yscale("symlog", linthresh=10 ** math.floor(math.log10(2 * finest)))
            ax.yaxis.set_major_formatter(lambda v, _: number(v, 1) if v else "0")
        ax.set_xscale("log")
        ax.minorticks_off()
        counts = [row["count"] for row in rows]
        ax.set_xticks(counts, labels=[number(c) for c in counts])
        ax.set_xlim(counts[0] / 1.3, counts[-1] * 1.3)
        ax.set_xlabel("examples")
        ax.set_title(f"kernel distance, {descriptor} features", parse_math=False)
    handles = {label: h for ax in axes for h, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(list(handles.values()), list(handles), loc="outside lower left", ncols=4)
    return figure


def _half_width(value: Any) -> float:
    found = as_score(value)
    return 0.0 if not found or found.low is None or found.high is None else float(found.high - found.low) / 2
