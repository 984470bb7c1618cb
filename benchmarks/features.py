"""Images a second that the bundled copy descriptor describes, beside the same network on one image at a time."""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch

from benchmarks.table import format_table
from farfield.audit.copy_descriptor import CopyDescriptor
from farfield.audit.descriptor import describe
from farfield.core.artifact import Features, Images
from farfield.core.runtime import generator

Figures = dict[str, Any]

SINGLY = 16
"""The share of the images that are described one at a time, 1 in so many: their time is proportional to it."""


def measure(n: int = 4096, repetitions: int = 5) -> Figures:
    """Medians over repetitions in which the two take turns; both must give the same features."""
    descriptor = CopyDescriptor()
    values = torch.rand((n, 3, 32, 32), generator=generator(0)) * 2 - 1
    images = Images(tuple(map(str, range(n))), values)
    few = images.select(images.keys[: max(1, n // SINGLY)])
    seconds: dict[str, list[float]] = {"in batches": [], "one at a time": []}
    for _ in range(repetitions):
        together, spent = _timed(descriptor, images, 256)
        seconds["in batches"].append(spent / len(images))
        singly, spent = _timed(descriptor, few, 1)
        seconds["one at a time"].append(spent / len(few))
        if not torch.allclose(together.values[: len(few)], singly.values, atol=1e-4):
            raise SystemExit("features: batches and single images disagree")
    speeds = {name: 1 / statistics.median(each) for name, each in seconds.items()}
    return {"images": n, "repetitions": repetitions, "images_per_second": speeds}


def show(figures: Figures) -> str:
    rows = [[name, f"{speed:,.0f}"] for name, speed in figures["images_per_second"].items()]
    title = f"Features of the copy descriptor: {figures['images']} images of 32×32, median of {figures['repetitions']}"
    return format_table(title, ["described", "images/s"], rows)


def _timed(descriptor: CopyDescriptor, images: Images, batch_size: int) -> tuple[Features, float]:
    start = time.perf_counter()
    found = describe(descriptor, images, batch_size)
    return found, time.perf_counter() - start
