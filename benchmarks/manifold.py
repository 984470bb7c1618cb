"""The rank of a denoiser's Jacobian: by torch's own tools, by `manifold.spectrum.exact`, and by its matrix-free way.

All at one point of one model in one process, one after the other: image 0 of the bundled galaxies with noise.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.table import format_table
from farfield.checkpoints.load import load_denoiser
from farfield.core.runtime import generator, progress
from farfield.data.image import load_images
from farfield.manifold.jacobian import Jacobian
from farfield.manifold.rank import numerical_rank
from farfield.manifold.spectrum import Spectrum, TooFlatError, exact, matrix_free
from farfield.manifold.trace import Estimate

Figures = dict[str, Any]
REFERENCE = "torch: jacobian and svd"


def measure(model: str = "cifar10-32", sigma: float = 10.0) -> Figures:
    """Seconds and rank of each way; a way that refuses says so in place of a rank."""
    denoiser = load_denoiser(model)
    x0 = load_images("digits" if denoiser.shape[0] == 1 else "hubble", denoiser.shape, limit=1).values[0].double()
    x = x0 + sigma * torch.randn(x0.shape, generator=generator(0, "benchmark"), dtype=torch.float64)
    level, d = torch.tensor(sigma), x.numel()

    def reference() -> Spectrum:
        found = torch.autograd.functional.jacobian(lambda y: denoiser(y[None], level)[0], x.float())
        _, values, _ = torch.linalg.svd(found.reshape(d, d))
        none, values = Estimate(0.0), values.double()
        energy = Estimate(float(values.square().sum()))
        return Spectrum(values, d, energy, none, none, none, None, None, "exact", d + 1)

    ways: dict[str, Callable[[], Spectrum]] = {
        REFERENCE: reference,
        "farfield: exact": lambda: exact(Jacobian(denoiser, x, sigma)),
        "farfield: matrix-free": lambda: matrix_free(Jacobian(denoiser, x, sigma), generator(0)),
    }
    Jacobian(denoiser, x, sigma).rows(
        torch.ones((2, d), dtype=torch.float64)
    )  # what the libraries set up is not counted
    rows: list[Figures] = []
    with progress("manifold", len(ways)) as advance:
        for name, way in ways.items():
            start = time.perf_counter()
            try:
                found = way()
                rank, refused = numerical_rank(found).value, ""
                calls, asymmetry = found.calls, found.asymmetry.value
            except TooFlatError as error:
                rank, calls, asymmetry, refused = 0, 0, 0.0, str(error)
            seconds = time.perf_counter() - start
            first = rows[0]["seconds"] if rows else seconds
            rows.append(
                {
                    "way": name,
                    "seconds": seconds,
                    "faster": first / seconds,
                    "rank": rank,
                    "calls": calls,
                    "asymmetry": asymmetry,
                    "refused": refused,
                }
            )
            advance(1)
    return {"model": model, "sigma": sigma, "dimension": d, "rows": rows}


def show(figures: Figures) -> str:
    rows = [
        [
            row["way"],
            f"{row['seconds']:.2f}",
            f"{row['faster']:.2f}",
            "refused" if row["refused"] else str(row["rank"]),
            f"{row['calls']:,}",
        ]
        for row in figures["rows"]
    ]
    return format_table(
        f"Rank of the Jacobian of {figures['model']}, {figures['dimension']:,} dimensions, noise level {figures['sigma']:g}",
        ["", "seconds", "times faster", "rank", "network passes"],
        rows,
        [row["refused"] for row in figures["rows"] if row["refused"]],
    )
