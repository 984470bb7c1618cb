"""How time and memory grow with the images that are read: `audit`, `score gl` and `dataset scan`.

Run as a module with a command and a number it does that once and prints seconds and bytes: memory needs a process which has done
nothing else.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peak import alone, peak_bytes
from benchmarks.table import format_table
from farfield.core.runtime import progress

Figures = dict[str, Any]

SIDE = 32
BESIDE = 200
"""Samples, and as many held-out images."""


def measure(sizes: Sequence[int] = (2000, 8000, 32_768), commands: Sequence[str] = ()) -> Figures:
    """Each command in a process of its own, and what each further image adds to it."""
    names = list(commands or COMMANDS)
    rows: list[Figures] = []
    with progress("growth", len(names) * len(sizes)) as advance, tempfile.TemporaryDirectory() as place:
        for n in sizes:
            write_images(Path(place) / f"{n}.zip", n, 2)
        for i, kind in enumerate(("samples", "heldout")):
            write_images(Path(place) / f"{kind}.zip", BESIDE, i)
        for name in names:
            before: Figures | None = None
            for n in sizes:
                seconds, peak = alone("benchmarks.growth", name, n, place)
                row: Figures = {"command": name, "images": n, "seconds": seconds, "peak_bytes": peak}
                if before:
                    row["bytes_an_image"] = (peak - before["peak_bytes"]) / (n - before["images"])
                    row["exponent"] = math.log(seconds / before["seconds"]) / math.log(n / before["images"])
                rows.append(row)
                before = row
                advance(1)
    return {"stored_bytes": 3 * SIDE**2, "rows": rows}


def once(name: str, n: int, place: str) -> list[float]:
    """Seconds and peak memory of one command on n images of 32×32 in a zip of PNG files."""
    folder = Path(place)
    files = {kind: str(folder / f"{kind}.zip") for kind in ("samples", "heldout", str(n))}
    with tempfile.TemporaryDirectory() as out, contextlib.redirect_stdout(sys.stderr):
        start = time.perf_counter()
        COMMANDS[name](files["samples"], files[str(n)], files["heldout"], Path(out) / "run")
        return [time.perf_counter() - start, peak_bytes()]


def _audit(samples: str, training: str, heldout: str, out: Path) -> None:
    from farfield.command.audit import Audit
    from farfield.study.audit.audit import audit

    audit(Audit(subject=samples, train=training, heldout=heldout, device="cpu"), out, quiet=True)


def _score(samples: str, training: str, heldout: str, out: Path) -> None:
    from farfield.command.score import ScoreGl
    from farfield.study.audit.gl import gl

    gl(ScoreGl(samples=samples, training=training, heldout=heldout, device="cpu"), out, quiet=True)


def _scan(samples: str, training: str, heldout: str, out: Path) -> None:
    from farfield.command.dataset import DatasetScan
    from farfield.command.shared import Printing
    from farfield.study.model.duplicates import scan

    scan(DatasetScan(source=training, printing=Printing(quiet=True)))


COMMANDS: dict[str, Callable[[str, str, str, Path], None]] = {
    "audit": _audit,
    "score gl": _score,
    "dataset scan": _scan,
}


def write_images(path: Path, n: int, seed: int) -> None:
    """Smooth random pictures."""
    from PIL import Image

    g = np.random.default_rng(seed)
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(n):
            coarse = Image.fromarray(g.integers(0, 256, (5, 5, 3), dtype=np.uint8))
            buffer = io.BytesIO()
            coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(buffer, "PNG")
            archive.writestr(f"{i:06d}.png", buffer.getvalue())


def show(figures: Figures) -> str:
    rows = [
        [
            row["command"],
            f"{row['images']:,}",
            f"{row['seconds']:.3g}",
            f"{row['exponent']:.2f}" if "exponent" in row else "",
            f"{row['peak_bytes'] / 1e6:.0f}",
            f"{row['bytes_an_image']:.0f}" if "exponent" in row else "",
        ]
        for row in figures["rows"]
    ]
    return format_table(
        f"Growth with the images read: {SIDE}×{SIDE}, {figures['stored_bytes']} bytes each, and {BESIDE} samples",
        ["command", "images", "seconds", "exponent", "peak MB", "bytes a further image"],
        rows,
        ["peak MB: of the whole process, libraries included, each in a fresh one"],
    )


if __name__ == "__main__":
    print(json.dumps(once(*json.loads(sys.argv[1]))))
