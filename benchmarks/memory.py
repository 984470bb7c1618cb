"""What `farfield audit` holds in memory, by the number of training images: it should not grow with them.

Run as a module with a number it prints the peak memory of one audit: that needs a process which has done nothing else.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import tempfile
import zipfile
from collections.abc import Sequence
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


def measure(sizes: Sequence[int] = (2000, 8000, 32_768)) -> Figures:
    """The peak of each audit in a process of its own, and what each further training image adds to it."""
    rows = []
    with progress("memory", len(sizes)) as advance:
        for n in sizes:
            rows.append({"images": n, "peak_bytes": alone("benchmarks.memory", n)})
            advance(1)
    for row, before in zip(rows[1:], rows, strict=False):
        row["bytes_an_image"] = (row["peak_bytes"] - before["peak_bytes"]) / (row["images"] - before["images"])
    return {"stored_bytes": 3 * SIDE**2, "rows": rows}


def peak_of_audit(n: int) -> int:
    """Of n training images of 32×32, in pixels and by the copy descriptor, in a zip of PNG files."""
    from farfield.command.audit import Audit
    from farfield.study.audit.audit import audit

    with tempfile.TemporaryDirectory() as place, contextlib.redirect_stdout(sys.stderr):
        folder = Path(place)
        for i, (name, size) in enumerate({"samples": BESIDE, "heldout": BESIDE, "training": n}.items()):
            write_images(folder / f"{name}.zip", size, i)
        subject, training, heldout = (str(folder / f"{name}.zip") for name in ("samples", "training", "heldout"))
        settings = Audit(subject=subject, train=training, heldout=heldout, device="cpu")
        audit(settings, folder / "run", quiet=True)
    return peak_bytes()


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
        [f"{row['images']:,}", f"{row['peak_bytes'] / 1e6:.0f}", f"{row['bytes_an_image']:.0f}" if i else ""]
        for i, row in enumerate(figures["rows"])
    ]
    return format_table(
        f"Memory of an audit: training images of {SIDE}×{SIDE}, {figures['stored_bytes']} bytes each, and {BESIDE} samples",
        ["training images", "peak MB", "bytes a further image"],
        rows,
        ["peak MB: of the whole process, libraries included, each in a fresh one"],
    )


if __name__ == "__main__":
    print(peak_of_audit(*json.loads(sys.argv[1])))
