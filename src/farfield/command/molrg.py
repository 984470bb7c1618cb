"""`farfield molrg`: what it takes and what it leaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from farfield.command.option import Option
from farfield.command.result import Result
from farfield.command.settings import Settings
from farfield.command.shared import DeviceName, amount
from farfield.core.error import FarfieldError
from farfield.core.score import Score


class Schooling(Result):
    """How the networks are trained and asked."""

    kind: Annotated[str, "mlp, for samples of any dimension, or unet, for those that are a square picture"]
    precond: Annotated[str, "sample, where the network answers the sample itself, or edm"]
    images: Annotated[int, "seen in training, with repetition; equally many whatever the number of samples"]
    batch_size: int
    learning_rate: float
    made: Annotated[int, "samples that each network makes"]
    rate: Annotated[float, "of held-out samples, how many may exceed the threshold"]


@dataclass(frozen=True)
class Molrg(Settings):
    """How many samples does it take to find a subspace? Try it on mixtures of low-rank Gaussians, where every answer is known.

    Measures the rank of the exact, a low-rank and a trained denoiser over the noise level, and from how many samples per
    dimension on the subspaces are found.
    """

    wing: ClassVar[str] = "Geometry"
    epilog: ClassVar[tuple[str, ...]] = (
        "farfield molrg",
        "farfield molrg --classes 2 --dimension 4 --network mlp",
    )

    n: Annotated[
        int, Option("How many dimensions the space has (torchrun takes --n for its own).", "--n", "--ambient", least=1)
    ] = 48
    classes: Annotated[int, Option("How many subspaces there are.", least=1, key=None)] = 2
    dimension: Annotated[
        tuple[int, ...],
        Option(
            "The dimension of each subspace: one number for all, or one for each class with commas between.",
            key="dimensions",
        ),
    ] = (7,)
    per_class: Annotated[int, Option("How many training samples each class has where ranks are measured.", least=1)] = (
        350
    )
    noise: Annotated[float, Option("The standard deviation of the noise around the subspaces.", least=0)] = 0.0
    orthogonal: Annotated[bool, Option("Make the subspaces orthogonal to each other, or independent.")] = True
    ratios: Annotated[
        tuple[float, ...],
        Option(
            "The ratios of samples to dimensions at which to look for the transition.",
            above=0,
            default="ten from 1/4 to 4, close about 1",
        ),
    ] = ()
    seeds: Annotated[
        int, Option("How many seeds the transition takes, each with new subspaces and samples.", least=1)
    ] = 10
    starts: Annotated[
        int, Option("How many random starts the low-rank model gets, the best of which counts; 0 gives none.", least=0)
    ] = 4
    sigmas: Annotated[tuple[float, ...], Option("The noise levels at which to measure the rank.", above=0)] = (
        0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0
    )  # fmt: skip
    points: Annotated[int, Option("At how many points to measure the rank at each level.", least=1)] = 8
    share: Annotated[float, Option("The share of the Jacobian's norm that the rank must hold.", above=0, below=1)] = (
        0.99
    )
    network: Annotated[
        Literal["mlp", "unet", "none"],
        Option("Train this network on the samples too; unet takes n = 48 as a picture of 3×4×4, and so on."),
    ] = "mlp"
    precond: Annotated[
        Literal["sample", "edm"],
        Option(
            "Let the network answer the sample itself, or scale it as EDM does, whose levels it is then trained on.",
            key=None,
        ),
    ] = "sample"
    network_counts: Annotated[
        tuple[int, ...], Option("Train networks on this many samples per class too, beside --per-class.", least=1)
    ] = (7, 14, 28, 56, 112)
    network_seeds: Annotated[int, Option("How many networks to train for each number.", least=1)] = 1
    length: Annotated[
        int, amount("How long to train each network, in samples: 200k, 2M.", old=("--images",), key=None)
    ] = 200_000
    device: DeviceName = "auto"

    def check(self) -> None:
        if len(self.dimension) not in (1, self.classes):
            given = ",".join(map(str, self.dimension)) or "none"
            raise FarfieldError(f"--dimension {given}: expected one number, or {self.classes}, one a class")
        if not self.sigmas:
            raise FarfieldError("--sigmas none: expected at least one level")
        if (schooling := self.schooling) and schooling.images < schooling.batch_size:
            raise FarfieldError(f"--length {self.length}: expected at least a batch of {schooling.batch_size}")

    @property
    def dimensions(self) -> tuple[int, ...]:
        """Of the subspaces, one a class."""
        return self.dimension * self.classes if len(self.dimension) == 1 else self.dimension

    @property
    def schooling(self) -> Schooling | None:
        if self.network == "none":
            return None
        return Schooling(
            kind=self.network,
            precond=self.precond,
            images=self.length,
            batch_size=512,
            learning_rate=3e-3,
            made=500,
            rate=0.01,
        )


class Setting(Result):
    """The laws, and where they were looked at."""

    n: Annotated[int, "dimensions of the space"]
    dimensions: Annotated[tuple[int, ...], "of the subspaces, one a class"]
    per_class: Annotated[int, "training samples of each class, where the rank is measured"]
    noise: Annotated[float, "standard deviation around the subspaces"]
    orthogonal: Annotated[bool, "subspaces to each other"]
    ratios: Annotated[list[float], "of samples to dimensions, of the transition"]
    seeds: Annotated[int, "each with subspaces and samples of its own"]
    starts: Annotated[int, "random beginnings of the low-rank model"]
    sigmas: Annotated[tuple[float, ...], "levels of the rank"]
    points: Annotated[int, "where the rank is taken at each level"]
    share: Annotated[float, "of the Jacobian's norm, that the rank holds"]


class Method(Result):
    """A way to find subspaces; `study.manifold.molrg_recovery.find`. Lists have an entry for each ratio."""

    error: Annotated[list[Score], "distance from the true subspaces; `manifold.subspace.recovery_error`"]
    found: Annotated[list[Score], "share of the seeds whose error is below the threshold"]
    transition: Annotated[
        Score, "ratio from which on half of the seeds find them; `study.manifold.molrg_recovery.transition`"
    ]


class Recovery(Result):
    """From how many samples on subspaces are found."""

    threshold: Annotated[float, "error below which they are"]
    expected: Annotated[
        list[float] | None,
        "error of PCA with the classes known, of samples without noise; `study.manifold.molrg_recovery.empty_error`",
    ]
    methods: dict[str, Method]


class Trained(Result):
    """What networks make that were trained on so many samples; `study.manifold.molrg_network.score`."""

    per_class: Annotated[int, "training samples of each class"]
    ratio: Annotated[float, "those over dimensions"]
    new: Annotated[Score, "share of what they make that is no training sample; `audit.generalization.generalization`"]
    inside: Annotated[Score, "share of its energy in the nearest true subspace"]
    held_out_inside: Annotated[float, "the same of held-out samples"]
    threshold: Annotated[float, "cosine beyond which a sample is no longer new; `audit.threshold.calibrate`"]
    loss: Annotated[float, "at the end of training"]


class MolrgResult(Result):
    setting: Setting
    network: Schooling | None
    recovery: Recovery
    networks: Annotated[list[Trained], "by number of samples"]
    ranks: Annotated[
        dict[str, list[Score]], "of each denoiser, a mean over points at each level; `manifold.rank.numerical_rank`"
    ]
