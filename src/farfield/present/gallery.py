"""What the page of one domain's images shows: pictures, round trips, geometry, measures, the search over sigma."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from farfield.core.artifact import Images, Store
from farfield.present import plot, words

if TYPE_CHECKING:
    from PIL import Image

SHOWN = 64  # images of a set on the page
RETURNED, ALL_RETURNED = 12, 32  # round trips among other results, and where they are the result
LISTED = 500  # rows of a per-image table
IMAGE_SETS = ("examples", "images", "reconstructions", "samples", "base", "references")

REAL_SETS = ("examples", "images", "references")

Keep = Callable[[str, "Image.Image", str, bool], dict[str, Any]]
"""Keeps a picture for ``grids/`` under a name with its alternative text, and gives what an ``<img>`` needs; the last argument
is whether it shows generated images."""


class Gallery:
    """The sets of images in a run folder as sheets, pairs and tables."""

    def __init__(self, folder: Path, summary: Mapping[str, Any], keep: Keep):
        self.summary, self._picture = summary, keep
        self.sets = {name: store.read() for name in IMAGE_SETS if (store := Store(folder / name, Images)).shards()}

    @property
    def count(self) -> int:
        """How many new images there are."""
        return len(self.sets.get("samples", ()))

    def context(self) -> dict[str, Any]:
        """What the template sees; parts that are None are left out."""
        return {
            "count": self.count,
            "sheets": self._sheets(),
            "nearest": self._nearest(),
            "trips": self._trips(),
            "tables": self._tables(),
            "search": self._search(),
        }

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
                sheet = plot.grid(images.values[:SHOWN])
                picture = self._picture(name, sheet, f"contact sheet: {title}", name not in REAL_SETS)
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
        picture = self._picture("nearest", image, "each new image beside its nearest example", True)
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
        picture = self._picture("reconstructions", image, "original, reconstruction and amplified difference", True)
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
                    cells = [(*words.score_parts(s), s and s.n) for s in scores]
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
