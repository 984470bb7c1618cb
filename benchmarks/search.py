"""Time and memory of the exact nearest-neighbour search beside the formula written down as it stands.

Run as a module with a name and the sizes as JSON it prints the peak memory of one implementation: that needs a process
which has done nothing else.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from benchmarks.empirical import LIMIT
from benchmarks.peak import alone, peak_bytes
from benchmarks.table import format_table
from farfield.audit.search import nearest
from farfield.core.runtime import generator, progress

Figures = dict[str, Any]
Search = Callable[[Tensor, Tensor], Tensor]

OURS, LOOP, BROADCAST, CDIST, FAISS = "nearest", "a loop over queries", "broadcast", "torch.cdist", "faiss, IndexFlatL2"
SLOW = 1 / 128
"""The share of the queries that the slow ones search: their time is proportional to it."""


def ours(queries: Tensor, references: Tensor) -> Tensor:
    return nearest(queries, references)[1][:, 0]


def loop(queries: Tensor, references: Tensor) -> Tensor:
    return torch.stack([((references - x) ** 2).sum(1).argmin() for x in queries])


def broadcast(queries: Tensor, references: Tensor) -> Tensor:
    """All differences at once, as many rows of queries as LIMIT allows for these and their squares."""
    rows = max(1, LIMIT // (2 * references.numel() * references.element_size()))
    return torch.cat([((some[:, None] - references) ** 2).sum(2).argmin(1) for some in queries.split(rows)])


def cdist(queries: Tensor, references: Tensor) -> Tensor:
    """Through a matrix product, 512 queries at a time: what takes two lines and fits in memory."""
    return torch.cat([torch.cdist(some, references).argmin(1) for some in queries.split(512)])


def flat(queries: Tensor, references: Tensor) -> Tensor:
    """The exhaustive search of faiss, in float32 alone."""
    import faiss

    index = faiss.IndexFlatL2(references.shape[1])
    index.add(references.numpy())
    return torch.from_numpy(index.search(queries.numpy(), 1)[1][:, 0])


IMPLEMENTATIONS: dict[str, Search] = {OURS: ours, LOOP: loop, BROADCAST: broadcast, CDIST: cdist}
if find_spec("faiss"):
    IMPLEMENTATIONS[FAISS] = flat


def make_inputs(queries: int, references: int, length: int) -> tuple[Tensor, Tensor]:
    """Vectors of unit length, as descriptors give them; a tenth of the queries lie near a reference."""
    g = generator(0)
    y = torch.randn((references, length), generator=g)
    x = torch.randn((queries, length), generator=g)
    x[::10] = y[torch.arange(len(x[::10])) % references] + 0.3 * x[::10]
    return torch.nn.functional.normalize(x), torch.nn.functional.normalize(y)


def share(name: str, queries: int) -> int:
    return queries if name in (OURS, CDIST, FAISS) else max(1, round(SLOW * queries))


def measure(queries: int = 10_000, references: int = 32_768, length: int = 512, repetitions: int = 3) -> Figures:
    """Seconds by turns A B A B …, peak memory of each alone, and how many answers are those of float64."""
    memory = {name: alone("benchmarks.search", name, queries, references, length) for name in IMPLEMENTATIONS}
    x, y = make_inputs(queries, references, length)
    checked = share(LOOP, queries)
    truth = loop(x[:checked].double(), y.double())
    for search in IMPLEMENTATIONS.values():
        search(x[:64], y)  # the warm-up
    seconds: dict[str, list[float]] = {name: [] for name in IMPLEMENTATIONS}
    right = {}
    with progress("search", repetitions) as advance:
        for _ in range(repetitions):
            for name, search in IMPLEMENTATIONS.items():
                some = x[: share(name, queries)]
                start = time.perf_counter()
                answer = search(some, y)
                seconds[name].append((time.perf_counter() - start) * queries / len(some))
                right[name] = float((answer[:checked] == truth).double().mean())
            advance(1)
    rows = []
    for name, spent in seconds.items():
        ratios = [s / best for s, best in zip(spent, seconds[OURS], strict=True)]
        rows.append(
            {
                "implementation": name,
                "seconds": statistics.median(spent),
                "ratio": statistics.median(ratios),
                "ratio_range": [min(ratios), max(ratios)],
                "peak_bytes": memory[name],
                "searched": share(name, queries),
                "right": right[name],
            }
        )
    sizes = {"queries": queries, "references": references, "length": length}
    return {**sizes, "repetitions": repetitions, "checked": checked, "rows": rows}


def memory_alone(name: str, *sizes: int) -> int:
    search = IMPLEMENTATIONS[name]
    search(*make_inputs(64, 256, 16))  # what the libraries themselves set up is not counted
    x, y = make_inputs(*sizes)
    before = peak_bytes()
    search(x[: share(name, len(x))], y)
    return peak_bytes() - before


def show(figures: Figures) -> str:
    rows = [
        [
            row["implementation"],
            f"{row['seconds']:.3g}",
            f"{row['ratio']:.3g}",
            "{:.3g} – {:.3g}".format(*row["ratio_range"]),
            f"{row['peak_bytes'] / 1e6:.0f}",
            f"{row['searched']:,}",
            f"{row['right']:.4g}",
        ]
        for row in figures["rows"]
    ]
    return format_table(
        f"Nearest neighbours: {figures['queries']:,} queries, {figures['references']:,} references, "
        f"{figures['length']} features, {figures['repetitions']} repetitions by turns",
        ["implementation", "seconds", "times ours", "min – max", "peak MB", "searched", "right"],
        rows,
        [
            "seconds: for all queries, in proportion to those searched",
            "peak MB: above the inputs, each in a fresh process",
            f"right: share of {figures['checked']} queries whose nearest is that of a loop in float64; "
            f"broadcast: as many rows as fit in {LIMIT / 1e9:g} GB",
        ],
    )


if __name__ == "__main__":
    print(memory_alone(*json.loads(sys.argv[1])))
