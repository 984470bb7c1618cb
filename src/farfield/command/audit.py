"""`farfield audit`: what it takes and what it leaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from farfield.command.facts import SourceFacts
from farfield.command.likeness import Calibrated, Likeness, Paired, Thresholds
from farfield.command.measures import BySet
from farfield.command.option import Argument, Option
from farfield.command.result import Result
from farfield.command.score import Comparison, Descriptor, HeldOut, PixelPaired
from farfield.command.settings import Settings
from farfield.command.shared import BatchSize, DeviceName, Dtype, Seed, SolverName
from farfield.command.text import as_range, show_range
from farfield.core.error import FarfieldError
from farfield.core.score import Score

MOST = 2**63 - 1
"""A seed, at most."""


@dataclass(frozen=True)
class Audit(Settings):
    """Does a model memorize or generalize? Score its samples beside new images, show the closest pairs, give one verdict."""

    wing: ClassVar[str] = "Audit"
    epilog: ClassVar[tuple[str, ...]] = (
        "farfield audit MODEL train-images/ --heldout other-images/",
        "farfield audit samples/ train-images/ --heldout other-images/ --descriptor sscd",
    )

    subject: Annotated[
        str,
        Argument(
            "What to judge: a model, or samples (a run folder, a folder of images named by seed, a zip or npz).",
            names="model or source",
        ),
    ]
    train: Annotated[str, Argument("The images it was trained on.", key="training", names="source")]
    heldout: Annotated[
        str | None,
        Option(
            "Images of the domain that were never trained on. Every score is held against theirs; without them "
            "most scores have nothing to be held against.",
            names="source",
        ),
    ] = None
    other: Annotated[
        tuple[str, ...],
        Option(
            "Compare with this model too, or with its samples from the same seeds (RP); may be repeated.",
            key="others",
            names="model or source",
        ),
    ] = ()
    theory: Annotated[
        bool, Option("Compare with the empirical denoiser of TRAIN too, the model that memorizes perfectly (RP).")
    ] = False
    seeds: Annotated[
        tuple[int, ...] | None,
        Option(
            "Make a model's samples from these seeds, such as 0-511, instead of -n.",
            read=as_range,
            show=show_range,
            most=MOST,
        ),
    ] = None
    n: Annotated[
        int | None,
        Option(
            "How many samples to judge: made from the seeds 0 to n - 1, or the first n of those given.",
            "-n",
            least=1,
            key="limit",
            default="512",
        ),
    ] = None
    solver: SolverName = "multistep"
    steps: Annotated[int, Option("How many steps the solver takes.", least=1)] = 24
    batch_size: BatchSize = 64
    dtype: Dtype = "float32"
    labels: Annotated[
        tuple[int, ...],
        Option(
            "The class of all samples; of several (0-9), seed k gets the one at k modulo n.",
            "--label",
            "--labels",
            read=as_range,
            show=show_range,
        ),
    ] = ()
    likeness: Likeness = Likeness()
    seed: Seed = 0
    device: DeviceName = "auto"

    def check(self) -> None:
        if self.n is not None and self.seeds is not None:
            raise FarfieldError(f"-n {self.n} and --seeds: expected either -n or --seeds")


class Subject(Result):
    """What was judged."""

    source: Annotated[str, "as it was given"]
    kind: Literal["samples", "model"]
    n: Annotated[int, "samples"]
    steps: Annotated[int | None, "of the solver that made them"] = None
    solver: Annotated[str | None, "that made them"] = None


class Evidence(Result):
    """What a score says."""

    name: Literal["memorized", "ratio", "authenticity", "data_copying"]
    score: Annotated[Score, "of the samples"]
    null: Annotated[Score | None, "of images that were never trained on"]
    reading: Annotated[
        Literal["copies", "no copies", "no null"], "copies where the two intervals are apart on that side"
    ]


class Verdict(Result):
    """By the rule of `audit.verdict.judge`."""

    kind: Literal["memorizes", "copies some", "generalizes", "strays", "cannot be told"]
    sentence: Annotated[str, "why"]
    evidence: Annotated[list[Evidence], "every score, those that decide first"]
    against: Annotated[list[str], "scores that read otherwise"]


class Distances(Result):
    """By set and measure; `audit.distribution` and `audit.coverage`."""

    n: Annotated[int, "images of each set"]
    held_out: Annotated[BySet, "of samples and of training images, to held-out ones"]
    training: Annotated[BySet, "of samples, to training images"]


class Duplicates(Result):
    """Shares of images with another one of their own set above a threshold; `audit.memorization.duplicates`."""

    threshold: Annotated[float, "a cosine"]
    training: Score | None
    training_exact: Annotated[int | None, "training images that repeat another to the bit"]
    samples: Score | None
    held_out: Score | None


class OtherModel(Result):
    """Another model's images of the same seeds."""

    source: Annotated[str, "as it was given"]
    theory: Annotated[bool, "whether it is the empirical denoiser of the training images"]
    pairs: Annotated[int, "seeds that both have"]
    thresholds: Thresholds
    calibration: Calibrated
    rp: Annotated[dict[str, Paired], "the share of seeds of one image, by threshold; `audit.reproducibility.rp`"]
    mae: Annotated[PixelPaired | None, "the same by pixels; null where these are not of one size"]


class _Judged(Result):
    subject: Subject
    training: SourceFacts
    held_out: HeldOut = None
    descriptor: Descriptor
    verdict: Verdict


class AuditResult(Comparison, _Judged):  # keys of the last base come first
    distances: Distances | None
    duplicates: Duplicates
    reproducibility: list[OtherModel]
