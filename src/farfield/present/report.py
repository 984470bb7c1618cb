"""A run folder becomes one page, ``report.html``, that needs nothing else: no network, no script, no model, no GPU.

Everything on it comes from artifacts and JSON on disk, so it can be made anew at any time and ends as the same bytes.
What a run does not have is left out.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from farfield.core.artifact import Images, Store, read_json, write_bytes
from farfield.core.error import FarfieldError
from farfield.present import plot, verdict, words
from farfield.present.command import command_line

if TYPE_CHECKING:
    from PIL import Image

SHOWN = 64  # images of a set on the page
RETURNED, ALL_RETURNED = 12, 32  # round trips among other results, and where they are the result
LISTED = 500  # rows of a per-image table
IMAGE_SETS = ("examples", "images", "reconstructions", "samples", "base", "references")


def write_report(folder: Path) -> Path:
    """Write ``grids/*.png`` and ``report.html`` into a run folder, each atomically, and return the page's path.

    Raises:
        FarfieldError: not a run folder, an unfinished run, or a damaged file in it.
    """
    folder = Path(folder)
    page = _Page(folder)
    html = _template().render(page.context())
    # the pictures first: who finds a report also finds what it shows
    for name, content in page.pictures.items():
        write_bytes(folder / "grids" / f"{name}.png", content)
    write_bytes(folder / "report.html", html.encode())
    return folder / "report.html"


class _Page:
    """Everything that the template shows of one run folder."""

    def __init__(self, folder: Path):
        self.summary = _object(_finished(folder))
        config = _object(folder / "config.json")
        self.request: dict[str, Any] = config.get("request") or {}
        self.versions: dict[str, Any] = config.get("versions") or {}
        self.started = config.get("started")
        self.geometry = _object(folder / "geometry.json")
        self.cost: dict[str, float] = self.summary.get("cost_seconds") or _object(folder / "cost.json")
        self.sets = {name: store.read() for name in IMAGE_SETS if (store := Store(folder / name, Images)).shards()}
        self.pictures: dict[str, bytes] = {}

    def context(self) -> dict[str, Any]:
        """What the template sees; sections that are None are left out."""
        from markupsafe import Markup

        summary, count = self.summary, len(self.sets.get("samples", ()))
        model = summary.get("model") or self.request.get("model")
        model = model.get("name") if isinstance(model, Mapping) else model
        examples = summary.get("examples") or {"source": self.request.get("images"), "n": summary.get("n")}
        domain = words.short(examples.get("source") or "images")
        figures = {
            "geometry": plot.histograms(self.geometry),
            "measures": plot.measures(summary),
            "search": plot.sigma_search(summary.get("sigma_search") or []),
        }
        return {
            "words": words,
            "summary": summary,
            "command": summary.get("command") or self.request.get("command") or "run",
            "model": words.short(model or "model"),
            "domain": domain,
            "examples": examples,
            "count": count,
            "facts": verdict.facts(summary, count, examples),
            "verdict": verdict.verdict(summary, count, domain),
            "caveats": verdict.caveats(summary),
            "key_numbers": verdict.key_numbers(summary),
            "sheets": self._sheets(),
            "nearest": self._nearest(),
            "trips": self._trips(),
            "geometry": self.geometry if figures["geometry"] else None,
            "charts": {name: Markup(plot.svg(figure)) for name, figure in figures.items() if figure is not None},
            "tables": self._tables(),
            "search": self._search(),
            "cost": self._cost(),
            "settings": self._settings(),
            "command_line": command_line(self.request, summary.get("n")),
        }

    def _picture(self, name: str, image: Image.Image, alt: str) -> dict[str, Any]:
        """Keep a picture for ``grids/`` and give what an ``<img>`` needs."""
        buffer = io.BytesIO()
        image.save(buffer, format="PNG")
        self.pictures[name] = buffer.getvalue()
        data = base64.b64encode(buffer.getvalue()).decode()
        return {"src": f"data:image/png;base64,{data}", "width": image.width, "height": image.height, "alt": alt}

    def _sheets(self) -> dict[str, Any]:
        """Contact sheets of whole sets, by name."""
        titles = {
            "samples": "New images",
            "examples": "Examples",
            "base": "The model's own samples",
            "references": "Held-out real images",
        }
        if "reconstructions" not in self.sets:
            titles["images"] = "Images"
        sheets = {}
        for name, title in titles.items():
            if name in self.sets:
                images = self.sets[name]
                # a run keeps only some of its held-out images for show
                total = (self.summary.get("references") or {}).get("n") if name == "references" else None
                picture = self._picture(name, plot.grid(images.values[:SHOWN]), f"contact sheet: {title}")
                sheets[name] = {
                    **picture,
                    "title": title,
                    "note": _shown(min(SHOWN, len(images)), total or len(images), images),
                }
        return sheets

    def _nearest(self) -> dict[str, Any] | None:
        """Each new image beside the example it is nearest to, nearest first."""
        samples, examples = self.sets.get("samples"), self.sets.get("examples")
        if samples is None or examples is None:
            return None
        found, known = self.summary.get("nearest") or {}, set(examples.keys)
        rows = [{**found[k], "key": k} for k in samples.keys if k in found and found[k].get("example") in known]
        rows.sort(key=lambda row: (row["distance"] is None, row["distance"] or 0.0, row["key"]))
        if not rows:
            return None
        shown = rows[:SHOWN]
        image = plot.pairs(
            _rows(samples, [row["key"] for row in shown]),
            _rows(examples, [row["example"] for row in shown]),
            columns=6,
            captions=[f"{'copy · ' if row.get('copy') else ''}{words.number(row['distance'])}" for row in shown],
            framed=[bool(row.get("copy")) for row in shown],
        )
        picture = self._picture("nearest", image, "each new image beside its nearest example")
        copies = sum(bool(row.get("copy")) for row in rows)
        note = _shown(len(shown), len(rows), samples)
        return {**picture, **_listed(rows), "note": note, "copies": copies, "n": len(rows)}

    def _trips(self) -> dict[str, Any] | None:
        """Originals, reconstructions and their amplified differences, worst first where the errors are known."""
        originals, returned = self.sets.get("examples", self.sets.get("images")), self.sets.get("reconstructions")
        if originals is None or returned is None:
            return None
        each = self.summary.get("images")
        each = each if isinstance(each, Mapping) else {}
        psnr = {key: each.get(key, {}).get("psnr") for key in returned.keys}
        keys = [key for key in originals.keys if key in psnr]
        keys.sort(key=lambda key: (psnr[key] is None, psnr[key] or 0.0))
        if not keys:
            return None
        shown = keys[: RETURNED if "samples" in self.sets else ALL_RETURNED]
        first, second = _rows(originals, shown), _rows(returned, shown)
        gap, gain = plot.difference(first, second)
        captions = ["" if psnr[key] is None else f"{words.number(psnr[key])} dB" for key in shown]
        image = plot.pairs(first, second, gap, columns=4, captions=captions if any(captions) else ())
        picture = self._picture("reconstructions", image, "original, reconstruction and amplified difference")
        rows = [{"key": key, **each[key]} for key in keys if key in each]
        note = _shown(len(shown), len(keys), returned)
        return {**picture, **_listed(rows), "gain": gain, "note": note, "sorted": bool(each)}

    def _tables(self) -> list[dict[str, Any]]:
        """The measures, a table for each descriptor: a row a measure, a column a set."""
        tables = []
        for descriptor, found in (self.summary.get("measures") or {}).items():
            present = [s for s in ("samples", "real", "base") if found.get(s)] + sorted(
                s for s in found if s not in words.SETS
            )
            names = [*words.MEASURES, *sorted({m for s in present for m in found[s]} - set(words.MEASURES))]
            rows = []
            for name in names:
                scores = [words.as_score(found[s].get(name)) for s in present]
                if any(scores):
                    cells = [(*words.score_parts(s), (s or {}).get("n")) for s in scores]
                    rows.append({"name": name, "measure": words.MEASURES.get(name), "cells": cells})
            if rows:
                tables.append({"descriptor": descriptor, "sets": present, "rows": rows})
        return tables

    def _search(self) -> dict[str, Any] | None:
        """The search over sigma as a table."""
        rows = self.summary.get("sigma_search")
        if not rows:
            return None
        names = [name for name in dict.fromkeys(k for row in rows for k in row) if name not in ("sigma", "chosen")]
        return {"names": names, "rows": rows}

    def _cost(self) -> dict[str, Any] | None:
        """Seconds of each stage with the length of its bar in percent."""
        if not self.cost:
            return None
        longest, total = max(self.cost.values()) or 1.0, sum(self.cost.values())
        stages = [(name, words.duration(s), round(100 * s / longest, 1)) for name, s in self.cost.items()]
        return {"stages": stages, "total": words.duration(total)}

    def _settings(self) -> list[tuple[str, str]]:
        """What the run was, line by line: what was used, then what else was asked for, then versions."""
        used: dict[str, Any] = {}
        for name in ("model", "examples", "references"):
            if isinstance(part := self.summary.get(name), Mapping):
                used |= {f"{name} {key}": value for key, value in part.items()}
        names = ("sigma", "steps", "solver", "network_calls", "sampler")
        used |= {name.replace("_", " "): self.summary[name] for name in names if name in self.summary}
        for key, value in self.request.items():
            name = key.replace("_", " ")
            if key == "sampler" or (name not in used and f"{name} name" not in used and f"{name} source" not in used):
                used[name] = value  # the request has the sampler's settings line by line
        used.pop("command line", None)
        used |= {f"{name} version": version for name, version in self.versions.items()}
        if self.started:
            used["started"] = self.started
        if shape := used.get("model shape"):
            used["model shape"] = " × ".join(map(str, shape))
        return [(name, words.setting(value)) for name, value in used.items()]


def _finished(folder: Path) -> Path:
    """The summary of a finished run."""
    summary = folder / "summary.json"
    if summary.is_file():
        return summary
    if (folder / "config.json").is_file():
        raise FarfieldError(
            f"{folder}: this run is not finished (no summary.json yet); give its command again to complete it"
        )
    raise FarfieldError(
        f"{folder}: expected a run folder (with summary.json), found none; make one with "
        f"`farfield expand MODEL IMAGES -o {folder}`"
    )


def _object(path: Path) -> dict[str, Any]:
    """A JSON object from disk; empty where the file is absent."""
    if not path.is_file():
        return {}
    found = read_json(path)
    if not isinstance(found, dict):
        raise FarfieldError(
            f"{path}: expected a JSON object written by farfield, found {type(found).__name__}; run the command again"
        )
    return found


def _rows(images: Images, keys: list[str]) -> Any:
    """Values by key; unlike ``Images.select`` a key may come twice, as one example may be nearest to several images."""
    place = {key: i for i, key in enumerate(images.keys)}
    return images.values[[place[key] for key in keys]]


def _listed(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """As many rows as a page bears, and how many were left to the JSON."""
    return {"rows": rows[:LISTED], "more": max(0, len(rows) - LISTED)}


def _shown(shown: int, total: int, images: Images) -> str:
    """How many of how many, and which channels of them."""
    parts = [
        f"all {total}" if shown == total else f"{shown} of {total}",
        plot.channels_shown(images.values.shape[1]),
    ]
    return "; ".join(part for part in parts if part)


def _template() -> Any:
    from jinja2 import Environment, PackageLoader

    environment = Environment(
        loader=PackageLoader("farfield", "present"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("report.html.jinja")
