"""What a new image costs: ours, the default before it, the published sampler, and the model's own samples.

All from the same examples, in one run and by turns. Apart stands what is paid once: the calibration, the search for a level,
the inversion of the examples.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.table import format_table
from farfield.checkpoints.load import load_denoiser
from farfield.command.expand import Sampler
from farfield.command.shared import Solving
from farfield.core.artifact import Images
from farfield.data.bundled import load_domain
from farfield.data.subset import choose
from farfield.diffusion.denoiser import Denoiser
from farfield.diffusion.solver import network_calls
from farfield.study.bench.carrier import Carrier
from farfield.study.bench.run import Run
from farfield.study.unseen.control import SAMPLERS
from farfield.study.unseen.proposal import DESCENTS, Producer, fit_chooser, sampler_calls_each
from farfield.study.unseen.way import begin

MODEL, DOMAIN, STEPS = "cifar10-32", "hubble", 24
WAYS = {
    "ours": SAMPLERS["ours"],
    "ours without the network": SAMPLERS["patches"],
    "patchwork, best of 3": Sampler("patchwork", candidates=3, patches=False),
    "published": SAMPLERS["published"],
}
"""The default before ours was the patchwork of inverted examples, the best of three, corrected without patches."""

Figures = dict[str, Any]


def measure(examples: int = 100, images: int = 32, repetitions: int = 3) -> Figures:
    """Seconds and network calls of each way, once for all images and for each image."""
    frozen = load_denoiser(MODEL)
    every = load_domain(DOMAIN, frozen.image_shape)
    given = every.select(choose(every.keys, examples, 0)[0])
    with tempfile.TemporaryDirectory() as folder:
        made = {name: _prepare(Path(folder) / name, frozen, given, sampler) for name, sampler in WAYS.items()}
        made["the model's own"] = (0.0, network_calls("multistep", STEPS), lambda seeds: _own(frozen, seeds))
        seconds: dict[str, list[float]] = {name: [] for name in made}
        for turn in range(repetitions):
            for name, (_, _, make) in made.items():
                start = time.perf_counter()
                make(list(range(turn * images, (turn + 1) * images)))
                seconds[name].append((time.perf_counter() - start) / images)
    rows = [
        {"way": name, "once": once, "calls": calls, "seconds": min(seconds[name])}
        for name, (once, calls, _) in made.items()
    ]
    return {"model": MODEL, "domain": DOMAIN, "examples": examples, "images": images, "rows": rows}


def _prepare(
    folder: Path, frozen: Denoiser, given: Images, sampler: Sampler
) -> tuple[float, int, Callable[[list[int]], Any]]:
    """Seconds before the first image, network calls of an image, and what makes images of seeds."""
    start, run, solving = time.perf_counter(), Run(folder, "expand", {}, {}, True), Solving(STEPS)
    way = begin(run, frozen, given, solving, sampler, None)
    carrier, latents = Carrier.of(solving, way.flow, frozen.schedule.sigmas(STEPS, way.sigma)), None
    if way.sampler.sampler not in DESCENTS:
        latents = carrier.up(run, "latents", given, "inverting")
    producer = Producer(carrier, given, latents, way.sampler)
    chooser = fit_chooser(run, frozen, producer, given) if way.sampler.candidates > 1 else None
    each = sampler_calls_each(way.sampler, way.flow, solving.solver, carrier.sigmas)[1]
    calls = (each + (chooser is not None)) * (way.sampler.candidates if chooser else 1) if way.sampler.network else 0

    def make(seeds: list[int]) -> Any:
        return producer.make(tuple(f"{s:06d}" for s in seeds), lambda n: None, chooser)

    return time.perf_counter() - start, calls, make


def _own(frozen: Denoiser, seeds: list[int]) -> Any:
    carrier = Carrier.of(Solving(STEPS), frozen, frozen.schedule.sigmas(STEPS))
    return carrier.sample([f"{s:06d}" for s in seeds], lambda n: None)


def show(figures: Figures) -> str:
    own = figures["rows"][-1]["seconds"]
    rows = [
        [r["way"], f"{r['once']:.1f}", str(r["calls"]), f"{1e3 * r['seconds']:.1f}", f"{r['seconds'] / own:.2f}"]
        for r in figures["rows"]
    ]
    title = f"A new image of {figures['domain']} from {figures['examples']} examples, {figures['model']}, {STEPS} steps"
    return format_table(title, ["", "once, s", "network calls", "ms an image", "÷ the model's own"], rows)
