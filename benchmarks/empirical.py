"""Time and memory of `EmpiricalDenoiser` beside the formula written down as it stands; and of `PrunedDenoiser` beside it.

Run as a module with a name and the sizes as JSON it prints the peak memory of one implementation: that needs a process
which has done nothing else.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.peak import alone, peak_bytes
from benchmarks.table import format_table
from farfield.core.runtime import generator, progress
from farfield.diffusion.empirical import PrunedDenoiser
from farfield.diffusion.exact import EmpiricalDenoiser
from farfield.diffusion.generation import generate
from farfield.diffusion.schedule import ContinuousSchedule

SHAPE = (3, 32, 32)
LIMIT = 2 * 10**9
"""Bytes that the straightforward implementation may spend on its differences and their squares."""
MANY = 50_000
"""Points of the second table: a usual training set."""
LEVELS = (0.002, 0.1, 0.5, 1.0, 2.0, 3.0, 5.0, 80.0)
STEPS = 18

Figures = dict[str, Any]
Denoise = Callable[[Tensor, Tensor], Tensor]


def broadcast(points: Tensor, dtype: torch.dtype) -> Denoise:
    r"""softmax of :math:`-\|x - y\|^2 / 2\sigma^2` over all differences at once, as many rows of x as LIMIT allows."""

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        y = points.flatten(1).to(dtype)
        rows = rows_within_limit(points, dtype)
        answers = []
        for some, level in zip(x.flatten(1).to(dtype).split(rows), sigma.to(dtype).split(rows), strict=True):
            squared = (some[:, None] - y).square().sum(2)
            answers.append(torch.softmax(-squared / (2 * level[:, None] ** 2), 1) @ y)
        return torch.cat(answers).reshape(x.shape)

    return denoise


def rows_within_limit(points: Tensor, dtype: torch.dtype) -> int:
    return max(1, LIMIT // (2 * points.numel() * dtype.itemsize))


OURS, NAIVE, EXACT = "EmpiricalDenoiser", "broadcast, float32", "broadcast, float64"
IMPLEMENTATIONS: dict[str, Callable[[Tensor], Denoise]] = {
    OURS: EmpiricalDenoiser,
    NAIVE: lambda points: broadcast(points, torch.float32),
    EXACT: lambda points: broadcast(points, torch.float64),
}
"""From points to a denoiser; the float64 one is the witness: others' answers are held against it, and it runs once."""


def make_inputs(points: int, batch: int) -> tuple[Tensor, Tensor, Tensor]:
    """Uniform points in [-1, 1]; noisy points as x, at levels from 0.1 (one point has all the weight) to 80 (all share)."""
    g = generator(0)
    y = torch.rand((points, *SHAPE), generator=g).mul_(2).sub_(1)
    sigma = torch.logspace(-1, 1.9, batch)
    noise = torch.randn((batch, *SHAPE), generator=g)
    return y, y[torch.arange(batch) % points] + sigma.reshape(-1, 1, 1, 1) * noise, sigma


@torch.no_grad()
def measure(points: int = 8192, batch: int = 64, repetitions: int = 5) -> Figures:
    """Seconds by turns A B A B …, peak memory of each alone, and the largest difference from float64."""
    memory = {name: alone("benchmarks.empirical", name, points, batch) for name in IMPLEMENTATIONS}
    y, x, sigma = make_inputs(points, batch)
    denoisers = {name: make(y) for name, make in IMPLEMENTATIONS.items()}
    first = {name: time_call(denoise, x, sigma) for name, denoise in denoisers.items()}  # also the warm-up
    seconds: dict[str, list[float]] = {OURS: [], NAIVE: []}
    with progress("empirical", repetitions) as advance:
        for _ in range(repetitions):
            for name, spent in seconds.items():
                spent.append(time_call(denoisers[name], x, sigma)[1])
            advance(1)
    rows = []
    for name, (answer, once) in first.items():
        spent = seconds.get(name, [once])
        ratios = [s / ours for s, ours in zip(spent, seconds[OURS], strict=False)]
        rows.append(
            {
                "implementation": name,
                "seconds": statistics.median(spent),
                "ratio": statistics.median(ratios),
                "ratio_range": [min(ratios), max(ratios)],
                "peak_bytes": memory[name],
                "difference": float((answer.double() - first[EXACT][0]).abs().max()),
            }
        )
    return {
        "points": points,
        "batch": batch,
        "shape": SHAPE,
        "repetitions": repetitions,
        "naive_rows": {n: rows_within_limit(y, d) for n, d in ((NAIVE, torch.float32), (EXACT, torch.float64))},
        "rows": rows,
        "pruned": measure_pruned(batch),
    }


def make_fields(n: int) -> Tensor:
    """Smooth random fields ``[n, *SHAPE]``, in tens that share their coarse part: like images, some alike, and at no cost."""
    g = generator(0)
    fields = torch.zeros((n, *SHAPE))
    for side, amplitude in ((2, 0.5), (4, 0.35), (8, 0.2), (16, 0.1), (32, 0.05)):
        kinds = max(1, n // 10) if side <= 4 else n
        layer = amplitude * torch.randn((kinds, SHAPE[0], side, side), generator=g)
        for places in torch.arange(n).split(4096):
            fields[places] += F.interpolate(layer[places % kinds], SHAPE[1:], mode="bilinear")
    return fields.clamp_(-1, 1)


def measure_pruned(batch: int, points: int = MANY) -> Figures:
    """Seconds of a call at each level by both ways, the better of two by turns, and of a whole generation by pruning.

    The states have the law of a generation's: points with noise.
    """
    y = make_fields(points)
    full = EmpiricalDenoiser(y, ContinuousSchedule(0.002, 80.0))
    pruned = PrunedDenoiser(full)
    whole: list[int] = []
    full.register_forward_pre_hook(lambda _, given: whole.append(len(given[0])) if len(given) == 2 else None)
    g = generator(1)
    clean, noise = y[torch.randperm(points, generator=g)[:batch]].double(), torch.randn((batch, *SHAPE), generator=g)
    rows = []
    with progress("pruned", len(LEVELS)) as advance:
        for level in LEVELS:
            x, sigma = clean + level * noise, torch.full((batch,), level, dtype=torch.float64)
            first, once = time_call(pruned, x, sigma)
            kept_by = 1 - sum(whole) / batch
            truth, long = time_call(full, x, sigma)
            seconds, full_seconds = min(once, time_call(pruned, x, sigma)[1]), min(long, time_call(full, x, sigma)[1])
            whole.clear()
            rows.append(
                {
                    "sigma": level,
                    "seconds": seconds,
                    "full_seconds": full_seconds,
                    "pruned": kept_by,
                    "points_kept": float(pruned.kept(x, sigma).double().mean()),
                    "difference": float((first - truth).flatten(1).norm(dim=1).max()),
                }
            )
            advance(1)
    sigmas = full.schedule.sigmas(STEPS)
    start = time.perf_counter()
    generate(pruned, range(batch), sigmas, "heun")
    return {
        "points": points,
        "batch": batch,
        "shape": SHAPE,
        "rows": rows,
        "bound": pruned.tolerance * 2 * float((2 * full.half_norms.max()).sqrt()),
        "steps": STEPS,
        "generation_seconds": time.perf_counter() - start,
    }


def time_call(denoise: Denoise, x: Tensor, sigma: Tensor) -> tuple[Tensor, float]:
    start = time.perf_counter()
    answer = denoise(x, sigma)
    return answer, time.perf_counter() - start


def memory_alone(name: str, points: int, batch: int) -> int:
    make = IMPLEMENTATIONS[name]
    y, x, sigma = make_inputs(16, 2)
    make(y)(x, sigma)  # what the libraries themselves set up is not counted
    inputs = make_inputs(points, batch)
    before = peak_bytes()
    make(inputs[0])(*inputs[1:])
    return peak_bytes() - before


def show(figures: Figures) -> str:
    rows = [
        [
            row["implementation"],
            f"{row['seconds']:.3g}",
            f"{row['ratio']:.3g}",
            "{:.3g} – {:.3g}".format(*row["ratio_range"]),
            f"{row['peak_bytes'] / 1e6:.0f}",
            f"{row['difference']:.1e}",
        ]
        for row in figures["rows"]
    ]
    shape = "×".join(map(str, figures["shape"]))
    chunks = " and ".join(f"{rows} ({name})" for name, rows in figures["naive_rows"].items())
    table = format_table(
        f"Empirical denoiser: {figures['points']:,} points, batch {figures['batch']}, {shape}, "
        f"{figures['repetitions']} repetitions by turns (float64: one)",
        ["implementation", "seconds", "times ours", "min – max", "peak MB", "difference"],
        rows,
        [
            f"broadcast: all N × B × D differences formed, {chunks} rows of the batch at a time to stay within "
            f"{LIMIT / 1e9:g} GB",
            "peak MB: above the inputs, each in a fresh process; difference: largest, from the float64 row",
        ],
    )
    return f"{table}\n\n{show_pruned(figures['pruned'])}"


def show_pruned(figures: Figures) -> str:
    rows = [
        [
            f"{row['sigma']:g}",
            f"{row['seconds']:.3g}",
            f"{row['full_seconds']:.3g}",
            f"{row['full_seconds'] / row['seconds']:.2g}",
            f"{row['pruned']:.0%}",
            f"{row['points_kept']:.2g}",
            f"{row['difference']:.1e}",
        ]
        for row in figures["rows"]
    ]
    shape = "×".join(map(str, figures["shape"]))
    return format_table(
        f"Pruned: {figures['points']:,} points, batch {figures['batch']}, {shape}",
        ["sigma", "seconds", "full pass", "ratio", "rows pruned", "points kept", "difference"],
        rows,
        [
            f"difference: largest distance between the two answers of a row; bound {figures['bound']:.1e} (tolerance times "
            "twice the farthest point from the mean)",
            f"{figures['steps']} steps of heun, {figures['batch']} images: {figures['generation_seconds']:.0f} s",
        ],
    )


if __name__ == "__main__":
    with torch.no_grad():
        print(memory_alone(*json.loads(sys.argv[1])))
