"""How `expand` and `dimension` grow with the pixels of an image: seconds, and the most memory that they hold.

The network is a light diffusers U-Net without attention and with new weights: a call costs in proportion to the pixels, so that
what farfield itself adds shows. Run as a module with a command, a model and a side it does that once. The rank is left out: the
Jacobian of a network that has learned nothing has a flat spectrum, for which its ways need a call for each pixel.
"""

from __future__ import annotations

import contextlib
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peak import alone, peak_bytes
from benchmarks.table import format_table
from farfield.core.runtime import progress

Figures = dict[str, Any]

EXAMPLES, MADE, STEPS, POINTS = 16, 4, 2, 1


def measure(sides: Sequence[int] = (64, 128)) -> Figures:
    """Each command at each size, in a process of its own."""
    rows: list[Figures] = []
    with progress("sides", len(COMMANDS) * len(sides)) as advance, tempfile.TemporaryDirectory() as place:
        for side in sides:
            light(Path(place) / str(side), side)
        for name in COMMANDS:
            before: Figures | None = None
            for side in sides:
                seconds, peak = alone("benchmarks.sides", name, str(Path(place) / str(side)), side)
                row: Figures = {"command": name, "side": side, "seconds": seconds, "peak_bytes": peak}
                if before:
                    row["exponent"] = math.log(seconds / before["seconds"]) / (2 * math.log(side / before["side"]))
                rows.append(row)
                before = row
                advance(1)
    return {"rows": rows}


def light(folder: Path, side: int) -> None:
    """A checkpoint for pictures of this side."""
    import torch
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

    torch.manual_seed(0)
    blocks = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    network = UNet2DModel(
        sample_size=side, block_out_channels=(32, 32), layers_per_block=1, add_attention=False, **blocks
    )
    DDPMPipeline(network, DDPMScheduler()).save_pretrained(folder)


def once(name: str, model: str, side: int) -> list[float]:
    """Seconds and peak memory of one command on smooth random pictures."""
    images = pictures(max(2 * EXAMPLES, POINTS), side)
    with contextlib.redirect_stdout(sys.stderr):
        start = time.perf_counter()
        COMMANDS[name](model, images)
        return [time.perf_counter() - start, peak_bytes()]


def pictures(n: int, side: int) -> np.ndarray:
    """``[n, side, side, 3]`` uint8."""
    from PIL import Image

    g = np.random.default_rng(0)
    coarse = [Image.fromarray(g.integers(0, 256, (5, 5, 3), dtype=np.uint8)) for _ in range(n)]
    return np.stack([np.asarray(c.resize((side, side), Image.Resampling.BICUBIC)) for c in coarse])


def _expand(model: str, images: np.ndarray) -> None:
    import farfield

    options = {"count": EXAMPLES, "n": MADE, "steps": STEPS, "sampler": "sdedit", "sigma": 1.1, "control": False}
    farfield.expand(model, images, batch_size=4, quiet=True, **options)


def _dimension(model: str, images: np.ndarray) -> None:
    import farfield

    farfield.dimension(model, images=images[:POINTS], sigmas=[0.1], batch_size=4, quiet=True)


COMMANDS: dict[str, Callable[[str, np.ndarray], None]] = {"expand": _expand, "dimension": _dimension}


def show(figures: Figures) -> str:
    rows = [
        [
            row["command"],
            f"{row['side']}×{row['side']}",
            f"{row['seconds']:.3g}",
            f"{row['exponent']:.2f}" if "exponent" in row else "",
            f"{row['peak_bytes'] / 1e6:.0f}",
        ]
        for row in figures["rows"]
    ]
    return format_table(
        f"Growth with the pixels of an image, a light U-Net: expand of {EXAMPLES} examples to {MADE} images in {STEPS} steps, "
        f"the dimension of {POINTS} image at one level",
        ["command", "images", "seconds", "exponent in pixels", "peak MB"],
        rows,
        ["seconds and peak MB: of the whole command, libraries included, each in a fresh process"],
    )


if __name__ == "__main__":
    print(json.dumps(once(*json.loads(sys.argv[1]))))
