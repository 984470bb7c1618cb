"""What a run says before its first bar: what was read, what is done to it, and how long that takes with how much memory."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from farfield.core import note
from farfield.core.runtime import exact_matmul, generator, state_dtype
from farfield.diffusion.denoiser import Denoiser

FEW = 8  # images of the batch that is measured on a CPU, where more take as long each
QUICK, SLOW = 0.02, 1.0  # seconds of one image: a whole batch is measured, or no more than that
HELD = ("references", "real", "held_out", "heldout")


@dataclass(frozen=True)
class Work:
    """What a command is about to do.

    Attributes:
        plan: by stage, as its bar is labelled: images through the network.
        made: images that it makes.
    """

    denoiser: Denoiser
    batch_size: int
    plan: Mapping[str, float] = field(default_factory=dict)
    made: int = 0

    def cost(self) -> tuple[float, float]:
        """About how many seconds it takes, and bytes: one batch is measured."""
        model = self.denoiser
        device, dtype = model.device, state_dtype(model.device)
        sigma = model.schedule.sigmas(1)[0].to(device, dtype)

        def call(rows: int) -> tuple[float, float]:
            """Seconds of a call, and the most bytes so far."""
            x = sigma * torch.randn(rows, *model.shape, generator=generator(0, "opening")).to(device, dtype)
            start = time.perf_counter()
            with torch.no_grad(), exact_matmul():
                model(x, sigma).sum().item()
            return time.perf_counter() - start, peak(device)

        before, rows = peak(device), 1
        seconds, most = call(rows)  # which sets things up too
        if seconds < SLOW:
            before, rows = (
                most,
                self.batch_size if device.type == "cuda" or seconds < QUICK else min(self.batch_size, FEW),
            )
            seconds, most = call(rows)
        more = (most - before) * (self.batch_size / rows - 1)
        return seconds / rows * sum(self.plan.values()), most + more


def peak(device: torch.device) -> float:
    """The most bytes in use so far: of the GPU, or of the process; 0 where the system does not say."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(used if sys.platform == "darwin" else used * 1024)


def what_was_read(inputs: Mapping[str, Any], made: int = 0) -> str:
    """``100 images of 423×423 → 32×32, 30 examples, 70 held out``; empty where nothing was."""
    counts = {
        name: len(part)
        for name, part in inputs.items()
        if hasattr(part, "__len__") and not isinstance(part, str) and name != "mask"
    }
    parts: dict[str, int] = {}
    for name, count in counts.items():
        held = name.endswith(HELD)
        word = "held out" if held else name.replace("_", " ").replace("training", "training images")
        parts[word] = parts.get(word, 0) + count
    said = [f"{count:,} {word}" for word, count in parts.items()] if len(parts) > 1 else []
    if total := sum(parts.values()):
        shapes = [part.shape for name, part in inputs.items() if name in counts and hasattr(part, "shape")]
        pictures = not shapes or len(shapes[0]) == 3
        size = (note.fit() or "×".join(map(str, shapes[0][-2:]))) if pictures and shapes else ""
        word = "image" if pictures else "feature vector"
        said.insert(0, f"{total:,} {word}{'s' * (total > 1)}" + (f" of {size}" if size else ""))
    return ", ".join([*said, *([f"{made:,} {'to make' if said else 'images to make'}"] if made else [])])


def what_it_takes(work: Work) -> str:
    """``about 2 min, 1.1 GB``."""
    seconds, memory = work.cost()
    took = (
        f"{seconds:.0f} s"
        if seconds < 90
        else f"{seconds / 60:.0f} min"
        if seconds < 5400
        else f"{seconds / 3600:.1f} h"
    )
    return ("under 1 s" if seconds < 1 else f"about {took}") + (f", {memory / 1e9:.1f} GB" if memory else "")
