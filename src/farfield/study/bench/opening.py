"""What a run says before its first bar: what was read, what is done to it, and how long that takes with how much memory."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from farfield.core import note
from farfield.core.runtime import exact_matmul, generator, state_dtype
from farfield.diffusion.denoiser import Denoiser

FEW = 8  # images of the batch that is measured on a CPU, where more take as long each
QUICK, SLOW, SLOWEST = (
    0.02,
    1.0,
    10.0,
)  # seconds of the first image: a batch is measured, a few, one more, or that alone
HELD = ("references", "real", "held_out", "heldout")


@dataclass(frozen=True)
class Work:
    """Work of one kind that a command is about to do.

    Attributes:
        plan: by stage, as its bar is labelled: images through the network, or through ``once``.
        made: images that it makes.
        once: does what the plan counts for so many images at once, where that is more than a call of the network.
        most: whether the plan is the most that it can come to, as where a search ends early.
        staged: whether the stages come once each in this order, so that one bar can count them all.
    """

    denoiser: Denoiser
    batch_size: int
    plan: Mapping[str, float] = field(default_factory=dict)
    made: int = 0
    once: Callable[[int], object] | None = None
    most: bool = False
    staged: bool = True

    def each(self) -> tuple[float, float]:
        """About how many seconds an image takes, and bytes a batch: one is measured."""
        device, once = self.denoiser.device, self.once or partial(_called, self.denoiser)

        def call(rows: int) -> tuple[float, float]:
            """Seconds of a call, and the most bytes so far."""
            start = time.perf_counter()
            once(rows)
            if device.type in ("cuda", "mps"):
                getattr(torch, device.type).synchronize()
            return time.perf_counter() - start, peak(device)

        before, rows = peak(device), 1
        seconds, most = call(rows)  # which sets things up too
        if seconds < SLOWEST:
            if device.type == "cuda" or seconds < QUICK:
                rows = self.batch_size
            elif seconds < SLOW:
                rows = min(self.batch_size, FEW)
            before = most
            seconds, most = call(rows)
        more = (most - before) * (self.batch_size / rows - 1)
        return seconds / rows, most + more


def _called(model: Denoiser, rows: int) -> None:
    """The network once, on noise of its first level."""
    device, dtype = model.device, state_dtype(model.device)
    sigma = model.schedule.sigmas(1)[0].to(device, dtype)
    x = sigma * torch.randn(rows, *model.shape, generator=generator(0, "opening")).to(device, dtype)
    with torch.no_grad(), exact_matmul():
        model(x, sigma)


@dataclass(frozen=True)
class Foreseen:
    """All the work of a command: seconds of each stage, bytes, and whether that is the most it can come to.

    It reads as ``about 2 min, 1.1 GB``; as nothing, where there is none.
    """

    seconds: Mapping[str, float]
    memory: float
    most: bool
    staged: bool

    @classmethod
    def of(cls, works: Iterable[Work]) -> Foreseen:
        """Each kind is measured on one batch, one after the other."""
        seconds: dict[str, float] = {}
        memory, most, staged = 0.0, False, True
        for work in works:
            each, used = work.each()
            memory, most, staged = max(memory, used), most or work.most, staged and work.staged
            for stage, count in work.plan.items():
                seconds[stage] = seconds.get(stage, 0.0) + each * count
        return cls(seconds, memory, most, staged)

    @property
    def plan(self) -> Mapping[str, float]:
        """By stage, for one bar of all."""
        return self.seconds if self.staged else {}

    def __str__(self) -> str:
        if not self.seconds:
            return ""
        seconds = sum(self.seconds.values())
        took = (
            f"{seconds:.0f} s"
            if seconds < 90
            else f"{seconds / 60:.0f} min"
            if seconds < 5400
            else f"{seconds / 3600:.1f} h"
        )
        took = "under 1 s" if seconds < 1 else f"{'at most ' if self.most else ''}about {took}"
        return took + (f", {self.memory / 1e9:.1f} GB" if self.memory else "")


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
    to_make = f"{made:,} " + ("" if said else f"image{'s' * (made > 1)} ") + "to make"
    return ", ".join([*said, *([to_make] if made else [])])
