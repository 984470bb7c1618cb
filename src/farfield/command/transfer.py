"""`farfield transfer`: what it takes and what it leaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from farfield.command.facts import ModelFacts, SourceFacts, Spread
from farfield.command.likeness import Descriptors
from farfield.command.measures import BySet, Certificate, Nearest, Novelty, Standing
from farfield.command.option import Argument, Option
from farfield.command.result import Result
from farfield.command.settings import Settings
from farfield.command.shared import Model, Numerics, Seed, Steps, Strict
from farfield.core.error import FarfieldError
from farfield.core.score import Score

Kind = Literal["mean", "isotropic", "diagonal", "channels", "spectrum", "lowrank"]


@dataclass(frozen=True)
class Moving(Numerics):
    """How images come up to where they are moved.

    The higher the level, the more the model repaints, and the farther moved latents stand from any that it knows. Kernel
    distance in the model's features, 32 images, kind ``spectrum``, on the pixels, at 0.1, 0.25, 0.5 and 1: hubble → retina
    0.10, 0.13, 0.18, 0.19, 0.16; brick → grass 1.64, 0.43, 0.16, 0.13, 0.26; digits → ihc 0.82, 0.89, 0.98, 1.11, 1.48.
    """

    steps: Steps = 12
    sigma: Annotated[
        float | None, Option("The noise level of the latents; a higher one changes more and keeps less.")
    ] = 0.25


@dataclass(frozen=True)
class Transfer(Settings):
    """Give images of one domain the style of another by moving their latents, without training."""

    wing: ClassVar[str] = "New domain"
    epilog: ClassVar[tuple[str, ...]] = (
        "farfield transfer cifar10-32 photos/ hubble",
        "farfield transfer cifar10-32 photos/ paintings/ --strength 0.5,1",
    )

    model: Model
    content: Annotated[str, Argument("The images to change: a path, or a bundled domain.", names="source")]
    style: Annotated[
        str, Argument("Images of the domain whose style they get: a path, or a bundled domain.", names="source")
    ]
    n: Annotated[int | None, Option("How many images to change.", "-n", least=2, default="all, up to 100")] = None
    count: Annotated[
        int | None,
        Option(
            "How many examples of the style to use; the rest is held out.",
            "--examples",
            least=2,
            default="all, up to 100",
        ),
    ] = None
    heldout: Annotated[str | None, Option("Take held-out images of the style from here instead.", names="source")] = (
        None
    )
    kind: Annotated[Kind, Option("Which statistics to carry over.")] = "spectrum"
    strength: Annotated[
        tuple[float, ...],
        Option("How far to go: 0 stays, 1 arrives; several, such as 0.5,1, are shown as a strip.", least=0, most=4),
    ] = (0.5, 1.0)
    descriptors: Descriptors = Descriptors()
    seed: Seed = 0
    numerics: Moving = Moving()
    strict: Strict = False

    def check(self) -> None:
        if not self.strength:
            raise FarfieldError("--strength none: expected at least one number")


class KeptContent(Result):
    """How much of the sources is left in images that were made of them; `audit.content.kept`."""

    correlation: Annotated[Score, "of coarse light and dark"]
    recognised: Annotated[Score, "share that correlates with its own source more than with any other"]
    chance: Annotated[float, "what guessing gives"]
    ssim: Annotated[Spread, "with the source"]


class TransferResult(Result):
    model: ModelFacts
    content: SourceFacts
    style: SourceFacts
    references: Annotated[SourceFacts | None, "held-out images of the style that the measures compare with"]
    kind: Annotated[Kind, "what was carried over; `unseen.transfer.fit_transfer`"]
    strengths: Annotated[list[str], "ascending; the last is the result"]
    sigma: Annotated[float, "the level at which latents were moved"]
    steps: int
    solver: str
    network_calls: Annotated[int, "an image, each way"]
    latent_certificate: Certificate
    measures: Annotated[
        dict[str, BySet], "descriptor → set: before, each strength, plain (the same map on the pixels), real"
    ]
    novelty: Annotated[dict[str, dict[str, Novelty]], "descriptor → set"]
    standing: Annotated[Standing, "of the last strength"]
    nearest: Annotated[dict[str, Nearest], "of each image of the last strength, in the first descriptor"]
    kept: Annotated[dict[str, KeptContent], "of each set"]
    notes: list[str]
    evaluations: Annotated[dict[str, int], "images through the network, by stage"]
