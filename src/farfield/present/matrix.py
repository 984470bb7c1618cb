"""The pages of `farfield score`: one set beside its training images, two models seed by seed, or every two of several."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from farfield.core.artifact import read_json
from farfield.present.copying import MEANINGS, copying, flipped, likeness, similarities, thresholds
from farfield.present.page import Chart, Content, Picture, Section, Table
from farfield.present.score import lines
from farfield.present.words import number, score_parts, short


def gl(folder: Path, summary: dict[str, Any]) -> Content:
    """The page of `farfield score gl`."""
    held = summary.get("held_out")
    facts = [
        f"{number(summary['samples']['n'])} samples",
        f"{number(summary['training']['n'])} training images",
        f"{number(held['n'])} held-out images" if held else "no held-out images",
        f"{summary['descriptor']} features",
    ]
    tiles = []
    for kind, found in summary["gl"].items():
        beside = flipped(found["held_out"])
        note = f"held-out images: {score_parts(beside)[0]}" if beside else "no held-out images"
        tiles.append((f"GL at the {kind} threshold", *score_parts(found["score"]), note))
    names = short(summary["samples"]["source"]), short(summary["training"]["source"])
    sections = [copying(summary), *likeness(folder), *_closest(folder)]
    return Content(*names, facts, lines(folder)[1:], summary["notes"], tiles, sections)


def rp(folder: Path, summary: dict[str, Any]) -> Content:
    """The page of `farfield score rp`."""
    rows: list[list[Any]] = []
    for kind, found in summary["rp"].items():
        name = f"RP, cosine above {number(summary['thresholds'][kind])} ({kind})"
        rows.append([name, found["score"], found["chance"]])
    if mae := summary["mae"]:
        name = f"MAE-RP, mean pixel difference up to {number(255 * mae['limit'])} / 255"
        rows.append([name, mae["score"], mae["chance"]])
    rows.append([f"PFD, {summary['pfd']['space']}", summary["pfd"]["score"], summary["pfd"]["chance"]])
    pairs = read_json(folder / "pairs.json")
    figure = similarities({"same seed": [row["similarity"] for row in pairs.values()]}, summary["thresholds"])
    section = Section(
        "reproducibility",
        "The same noise in two models",
        "Images of one seed; re-paired seeds are what chance gives.",
        charts=[Chart(figure, "histogram of the similarities of same-seed pairs")],
        tables=[Table(["", "same seed", "re-paired seeds"], rows), thresholds(summary, "pairs of different images")],
        details=[("RP", MEANINGS["RP"])],
    )
    tiles = [
        (f"RP at the {kind} threshold", *score_parts(found["score"]), f"chance: {score_parts(found['chance'])[0]}")
        for kind, found in summary["rp"].items()
    ]
    facts = [f"{number(summary['pairs'])} pairs", f"{summary['descriptor']} features"]
    names = short(summary["first"]["source"]), short(summary["second"]["source"])
    return Content(*names, facts, lines(folder)[1:], summary["notes"], tiles, [section])


def matrix(folder: Path, summary: dict[str, Any]) -> Content:
    """The page of `farfield score matrix`."""
    names = list(summary["sets"])
    titles = {f"{kind}, cosine above {number(summary['thresholds'][kind])}": m for kind, m in summary["rp"].items()}
    tables = [
        Table(["", *names], [[name, *row] for name, row in zip(names, found[which], strict=True)], title)
        for kind, found in titles.items()
        for which, title in (("score", f"RP, {kind}"), ("chance", f"RP of re-paired seeds, {kind}"))
    ]
    if mae := summary["mae"]:
        rows = [[name, *row] for name, row in zip(names, mae["score"], strict=True)]
        tables.append(Table(["", *names], rows, f"MAE-RP, up to {number(255 * mae['limit'])} / 255"))
    tables.append(thresholds(summary, "pairs of different seeds"))
    pictures = [
        Picture(name, image, title, alt=title, generated=False)
        for name, title in (("rp", "Reproducibility"), ("mae", "The same by pixel difference"))
        if (image := _opened(folder / f"{name}.png")) is not None
    ]
    lead = "The share of seeds from which two models make the same image; a model with itself gives 1."
    section = Section(
        "matrix", "Every two models", lead, pictures=pictures, tables=tables, details=[("RP", MEANINGS["RP"])]
    )
    facts = [f"{number(summary['pairs'])} seeds", f"{summary['descriptor']} features"]
    return Content("Reproducibility", f"{len(names)} models", facts, [], summary["notes"], [], [section])


def _closest(folder: Path) -> list[Section]:
    image = _opened(folder / "closest.png")
    if image is None:
        return []
    title = "The closest pairs"
    picture = Picture(
        "closest", image, title, "sample and training image with their cosine, the most alike first", title
    )
    return [Section("pairs", "Samples beside training images", pictures=[picture])]


def _opened(path: Path) -> Any:
    """A picture that the run has left; None if it has not."""
    from PIL import Image

    return Image.open(path).copy() if path.is_file() else None
