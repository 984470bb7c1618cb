"""`farfield rank`: what it takes and what it leaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from farfield.command.facts import Linearity, ModelFacts, OverPoints
from farfield.command.option import Option
from farfield.command.result import Result
from farfield.command.settings import Settings
from farfield.command.shared import Copying, Levels, Model, Seed
from farfield.core.error import FarfieldError

Along = Literal["noised", "trajectory", "clean"]
SpectrumMethod = Literal["auto", "exact", "matrix-free"]


@dataclass(frozen=True)
class Rank(Settings):
    """How many directions does a denoiser keep? Measure the spectrum and rank of its Jacobian over noise levels."""

    wing: ClassVar[str] = "Geometry"
    epilog: ClassVar[tuple[str, ...]] = (
        "farfield rank cifar10-32",
        "farfield rank cifar10-32 --images photos/ --points 32",
    )

    model: Model
    along: Annotated[
        Along,
        Option(
            "Measure at noised images, along the model's own trajectory from seeds, or at clean images as they are."
        ),
    ] = "noised"
    images: Annotated[
        str | None, Option("Take the points from these images: any source will do.", default="hubble", names="source")
    ] = None
    points: Annotated[int, Option("How many points to measure at.", least=1, key="count")] = 16
    sigmas: Levels = None
    seed: Seed = 0
    method: Annotated[
        SpectrumMethod,
        Option("Compute by exact, matrix-free, or auto: matrix-free until its pace shows that exact is cheaper."),
    ] = "auto"
    share: Annotated[float, Option("The share of the Frobenius norm that the rank must hold.", above=0, below=1)] = 0.99
    loading: Copying = Copying()

    def check(self) -> None:
        if self.along == "trajectory" and self.images is not None:
            raise FarfieldError(f"--images {self.images}: a trajectory begins at noise; leave one of the two out")


class RankLevel(Result):
    """What all points say at one noise level."""

    sigma: Annotated[float, "the level"]
    rank: Annotated[
        OverPoints, "the least number of singular values whose squares sum to share²; `manifold.rank.numerical_rank`"
    ]
    ranks: Annotated[dict[str, OverPoints], "the same by share"]
    interval: Annotated[list[tuple[float, float]], "of each point's rank, as far as a matrix-free spectrum tells it"]
    effective: Annotated[OverPoints, "(Σ s²)² / Σ s⁴; `manifold.rank.effective_rank`"]
    norm: Annotated[OverPoints, "Frobenius norm of the Jacobian; `manifold.spectrum.spectrum`"]
    trace: Annotated[OverPoints, "of the Jacobian; `manifold.spectrum.spectrum`"]
    trace_error: Annotated[float, "the largest standard error of a trace"]
    asymmetry: Annotated[OverPoints, "|J − Jᵀ| / |J|; `manifold.spectrum.Spectrum.asymmetry`"]
    asymmetry_error: Annotated[float, "the largest standard error of one"]
    negative: Annotated[OverPoints | None, "negative eigenvalues of the symmetric part; `manifold.spectrum.exact`"]
    lowest: Annotated[float | None, "the lowest eigenvalue of all points"]
    residual_share: Annotated[float, "largest share of the energy that one leaves out; `manifold.spectrum.matrix_free`"]
    methods: Annotated[dict[str, int], "spectra by method"]
    network_calls: Annotated[int, "images through the network, either way"]
    cosine: Annotated[
        OverPoints | None, "of the denoiser's answer and its linear part's; `manifold.linearity.linearity`"
    ]
    ratio: Annotated[OverPoints | None, "of their lengths; `manifold.linearity.linearity`"]
    departure: Annotated[
        OverPoints | None, "of what changes from the linear part, relative; `manifold.linearity.linearity`"
    ]
    values: Annotated[list[float], "the median over points of each singular value, as far as all know them"]


class RankResult(Result):
    model: Annotated[ModelFacts, "that was measured"]
    along: Annotated[Along, "where the points lie"]
    images: Annotated[str | None, "their source; null along a trajectory"]
    n: Annotated[int, "points"]
    dimension: Annotated[int, "of the model's space"]
    share: Annotated[float, "of the Frobenius norm that the rank holds"]
    linearity: Annotated[Linearity, "how it was measured"]
    levels: Annotated[list[RankLevel], "a row for each noise level"]
    points: Annotated[list[str], "their names"]
