"""Spectra of Jacobians on disk: a row each, with what else was measured at the point."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from farfield.core.artifact import Artifact
from farfield.manifold.jacobian import Jacobian
from farfield.manifold.linearity import linearity
from farfield.manifold.spectrum import Spectrum
from farfield.manifold.trace import Estimate

DIRECTIONS = 4
STEP = 0.1
"""How far linearity looks: root mean square over the pixels, of a range of 2."""

FACTS = (
    "sigma",
    "energy",
    "energy_error",
    "residual",
    "residual_error",
    "trace",
    "trace_error",
    "skew",
    "skew_error",
    "probes",
    "lowest",
    "negative",
    "calls",
    "cosine",
    "ratio",
    "departure",
)
"""What stands in a row before the singular values."""


@dataclass(frozen=True)
class Spectra(Artifact):
    """A spectrum a row: FACTS, then d singular values, NaN from the first unknown one on; float64."""

    kind: ClassVar[str] = "spectra"


def packed(spectrum: Spectrum, jacobian: Jacobian, g: torch.Generator) -> Tensor:
    """A row: the spectrum, and linearity along random rows of J, the directions that the answer depends on."""
    omega = torch.randn((DIRECTIONS, jacobian.dimension), generator=g, dtype=torch.float64)
    directions = jacobian.rows(omega.to(jacobian.x))
    straight = None
    if bool((directions.norm(dim=1) > 0).all()):
        straight = linearity(jacobian, directions, STEP * math.sqrt(jacobian.dimension))
    facts = {
        "sigma": jacobian.sigma,
        **{f"{name}": getattr(spectrum, name).value for name in ("energy", "residual", "trace", "skew")},
        **{f"{name}_error": getattr(spectrum, name).error for name in ("energy", "residual", "trace", "skew")},
        "probes": spectrum.skew.n,
        "lowest": math.nan if spectrum.lowest is None else spectrum.lowest,
        "negative": math.nan if spectrum.negative is None else spectrum.negative,
        "calls": jacobian.calls,
        **{
            name: math.nan if straight is None else float(getattr(straight, name).mean())
            for name in ("cosine", "ratio", "departure")
        },
    }
    row = torch.full((len(FACTS) + jacobian.dimension,), math.nan, dtype=torch.float64)
    row[: len(FACTS)] = torch.tensor([facts[name] for name in FACTS], dtype=torch.float64)
    row[len(FACTS) : len(FACTS) + len(spectrum.values)] = spectrum.values.cpu()
    return row


def unpacked(row: Tensor) -> tuple[Spectrum, dict[str, float]]:
    """A spectrum from its row, and all its FACTS."""
    facts = dict(zip(FACTS, row[: len(FACTS)].tolist(), strict=True))
    values = row[len(FACTS) :]
    known = values[~values.isnan()]
    exact = not math.isnan(facts["lowest"])
    n = int(facts["probes"])

    def estimate(name: str) -> Estimate:
        return Estimate(facts[name], facts[f"{name}_error"], n)

    spectrum = Spectrum(
        values=known,
        dimension=len(values),
        energy=estimate("energy"),
        residual=estimate("residual"),
        trace=estimate("trace"),
        skew=estimate("skew"),
        lowest=facts["lowest"] if exact else None,
        negative=int(facts["negative"]) if exact else None,
        method="exact" if exact else "matrix-free",
        calls=int(facts["calls"]),
    )
    return spectrum, facts
