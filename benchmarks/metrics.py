"""Time and memory of the measures of two sets of features beside the packages that people take for them.

Ours come with their intervals, except where a row says otherwise; the others give the value alone. Run as a module with a
name and the sizes as JSON it prints the peak memory of one implementation: that needs a process which has done nothing else.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.peak import alone, peak_bytes
from benchmarks.table import format_table
from farfield.audit import coverage
from farfield.audit.distribution import frechet_distance, kernel_distance
from farfield.core.runtime import generator, progress

Figures = dict[str, Any]
Measure = Callable[[Tensor, Tensor], list[float]]


class Implementation(NamedTuple):
    """A measure by some package; ``exact`` where it must give what ours gives."""

    measure: str
    package: str
    run: Measure
    exact: bool = True


class Features(nn.Module):
    """Features in the place of images: what torchmetrics takes for a network."""

    def __init__(self, length: int):
        super().__init__()
        self.num_features = length

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)


def our_coverage(x: Tensor, y: Tensor) -> list[float]:
    return [score.value for score in coverage.prdc(real=x, generated=y, manifold_k=5, ball_k=5)]


def prdc(x: Tensor, y: Tensor) -> list[float]:
    compute = importlib.import_module("prdc").compute_prdc
    with contextlib.redirect_stdout(io.StringIO()):
        found = compute(real_features=x.numpy(), fake_features=y.numpy(), nearest_k=5)
    return [float(found[name]) for name in ("precision", "recall", "density", "coverage")]


def our_kernel(x: Tensor, y: Tensor) -> list[float]:
    return [kernel_distance(real=x, generated=y).value]


def their_kernel(x: Tensor, y: Tensor) -> list[float]:
    """100 subsets of 1,000, its defaults: an estimate of the value that the pairs of all give."""
    from torchmetrics.image.kid import KernelInceptionDistance

    metric = KernelInceptionDistance(feature=Features(x.shape[1]), subset_size=min(1000, len(x), len(y)))
    return _asked(metric, x, y)


def our_frechet(x: Tensor, y: Tensor) -> list[float]:
    return [frechet_distance(real=x, generated=y).value]


def our_frechet_alone(x: Tensor, y: Tensor) -> list[float]:
    return [frechet_distance(real=x, generated=y, halves=0).value]


def their_frechet(x: Tensor, y: Tensor) -> list[float]:
    from torchmetrics.image.fid import FrechetInceptionDistance

    length = x.shape[1]
    metric = FrechetInceptionDistance(feature=Features(length), normalize=True, input_img_size=(length, 1, 1))
    return _asked(metric.set_dtype(torch.float64), x.double(), y.double())


def _asked(metric: Any, x: Tensor, y: Tensor) -> list[float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        metric.update(x[..., None, None], real=True)
        metric.update(y[..., None, None], real=False)
        found = metric.compute()
    return [float(found[0] if isinstance(found, tuple) else found)]


COVERAGE, KERNEL, FRECHET = "precision, recall, density, coverage", "kernel distance", "Fréchet distance"
IMPLEMENTATIONS = (
    Implementation(COVERAGE, "farfield", our_coverage),
    Implementation(COVERAGE, "prdc", prdc),
    Implementation(KERNEL, "farfield", our_kernel),
    Implementation(KERNEL, "torchmetrics", their_kernel, exact=False),
    Implementation(FRECHET, "farfield", our_frechet),
    Implementation(FRECHET, "farfield, no interval", our_frechet_alone),
    Implementation(FRECHET, "torchmetrics", their_frechet),
)


def make_inputs(n: int, length: int) -> tuple[Tensor, Tensor]:
    """Correlated features of two laws that differ a little."""
    g = generator(0)
    mixing = torch.randn((length, length), generator=g) / length**0.5 * torch.logspace(0, -1, length)
    return torch.randn((n, length), generator=g) @ mixing, 1.05 * torch.randn((n, length), generator=g) @ mixing


def here(package: str) -> bool:
    """Whether what a row compares with is installed."""
    with contextlib.suppress(PackageNotFoundError):
        return bool(version(package.partition(",")[0]))
    return False


def measure(n: int = 10_000, length: int = 512, repetitions: int = 3) -> Figures:
    """Seconds by turns A B A B …, and the peak memory of each alone.

    Raises:
        SystemExit: two implementations of a measure disagree.
    """
    rivals = [rival for rival in IMPLEMENTATIONS if here(rival.package)]
    x, y = make_inputs(n, length)
    few = make_inputs(64, 16)
    seconds: dict[tuple[str, str], list[float]] = {rival[:2]: [] for rival in rivals}
    values: dict[tuple[str, str], list[float]] = {}
    for rival in rivals:
        rival.run(*few)  # the warm-up
    with progress("metrics", repetitions * len(rivals)) as advance:
        for _ in range(repetitions):
            for rival in rivals:
                start = time.perf_counter()
                values[rival[:2]] = rival.run(x, y)
                seconds[rival[:2]].append(time.perf_counter() - start)
                advance(1)
    rows = []
    for rival in rivals:
        ours, theirs = seconds[rival.measure, "farfield"], seconds[rival[:2]]
        apart = [abs(a - b) / abs(a) for a, b in zip(values[rival.measure, "farfield"], values[rival[:2]], strict=True)]
        if rival.exact and max(apart) > 1e-3:
            raise SystemExit(f"metrics: {rival.package} and farfield disagree on {rival.measure} by {max(apart):.2g}")
        rows.append(
            {
                "measure": rival.measure,
                "implementation": rival.package,
                "seconds": statistics.median(theirs),
                "ratio": statistics.median(b / a for a, b in zip(ours, theirs, strict=True)),
                "difference": max(apart),
                "peak_bytes": alone("benchmarks.metrics", IMPLEMENTATIONS.index(rival), n, length),
            }
        )
    absent = sorted({rival.package for rival in IMPLEMENTATIONS} - {rival.package for rival in rivals})
    return {"n": n, "length": length, "repetitions": repetitions, "rows": rows, "absent": absent}


def memory_alone(index: int, *sizes: int) -> int:
    run = IMPLEMENTATIONS[index].run
    run(*make_inputs(64, 16))  # what the libraries themselves set up is not counted
    x, y = make_inputs(*sizes)
    before = peak_bytes()
    run(x, y)
    return peak_bytes() - before


def show(figures: Figures) -> str:
    rows = [
        [
            f"{row['measure']}: {row['implementation']}",
            f"{row['seconds']:.3g}",
            f"{row['ratio']:.3g}",
            f"{row['difference']:.1g}",
            f"{row['peak_bytes'] / 1e6:.0f}",
        ]
        for row in figures["rows"]
    ]
    return format_table(
        f"Measures of two sets of {figures['n']:,} vectors of {figures['length']}, "
        f"median of {figures['repetitions']} by turns",
        ["", "seconds", "times ours", "apart", "peak MB"],
        rows,
        [
            "farfield's with its intervals, the others' values alone",
            "apart: largest relative difference from ours; torchmetrics draws subsets for its kernel distance",
            "peak MB: above the inputs, each in a fresh process",
            *(f"{package}: not installed, so not compared" for package in figures["absent"]),
        ],
    )


if __name__ == "__main__":
    print(memory_alone(*json.loads(sys.argv[1])))
