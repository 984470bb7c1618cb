"""`farfield score rp`, `score gl` and `score matrix`: what they take and what they leave."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from farfield.command.facts import SourceFacts, Spread
from farfield.command.likeness import Calibrated, FeatureBatch, Likeness, Paired, Thresholds
from farfield.command.option import Argument, Option
from farfield.command.result import Result
from farfield.command.settings import Settings
from farfield.command.shared import DeviceName, Limit, Seed
from farfield.core.error import FarfieldError
from farfield.core.score import Score

SETS = "a run folder, a folder of images named by seed, a zip or npz, or a folder of features"
MaeLimit = Annotated[float, Option("A pair agrees up to this mean absolute pixel difference, in grey levels of 255.")]
Common = Annotated[bool, Option("Leave out seeds that are not in all sets.")]
Pairing = Annotated[
    Literal["name", "order"],
    Option(
        "Pair images by name (their seeds), or by their order, as sets that other codes made may have to be: numbers in names "
        "are put in the order of numbers.",
        "--pair",
        key=None,  # the keys of the images, by which they are in the request, say it
    ),
]
HeldOut = Annotated[SourceFacts | None, "images that were never trained on"]
Descriptor = Annotated[str, "its name, which says all that its numbers depend on; `audit.named.open_descriptor`"]
Notes = Annotated[list[str], "what is missing, and what looks wrong"]


@dataclass(frozen=True)
class ScoreRp(Settings):
    """Do two models make the same images from the same noise? Measure their reproducibility (RP)."""

    wing: ClassVar[str] = "Audit"
    epilog: ClassVar[tuple[str, ...]] = (
        "farfield score rp runs/a runs/b",
        "farfield score rp runs/a another-codes-samples.npz --pair order --descriptor sscd",
    )

    first: Annotated[str, Argument(f"Samples of one model: {SETS}.", metavar="A", names="source")]
    second: Annotated[str, Argument("Samples of another model from the same seeds.", metavar="B", names="source")]
    calibrate: Annotated[
        str | None,
        Option(
            "Set the calibrated threshold by pairs of these images.",
            key="calibrate_on",
            default="pairs of different seeds",
            names="source",
        ),
    ] = None
    likeness: Likeness = Likeness()
    mae_limit: MaeLimit = 15
    common: Common = False
    pairing: Pairing = "name"
    limit: Limit = None
    seed: Seed = 0
    batch_size: FeatureBatch = 256
    device: DeviceName = "auto"


class PixelPaired(Result):
    """`audit.reproducibility.mae_rp`."""

    limit: Annotated[float, "mean absolute difference up to which a pair agrees, of the range from black to white"]
    score: Annotated[Score, "of same-seed pairs"]
    chance: Annotated[Score, "of re-paired seeds"]


class FlowDistance(Result):
    """`audit.reproducibility.pfd`."""

    space: Annotated[str, "pixels, or the descriptor"]
    score: Annotated[Score, "of same-seed pairs"]
    chance: Annotated[Score, "of re-paired seeds"]


class ScoreRpResult(Result):
    first: SourceFacts
    second: SourceFacts
    held_out: Annotated[SourceFacts | None, "what the threshold was calibrated on"] = None
    pairs: Annotated[int, "seeds that both have"]
    descriptor: Descriptor
    thresholds: Thresholds
    calibration: Calibrated
    rp: Annotated[dict[str, Paired], "the share of seeds of one image, by threshold; `audit.reproducibility.rp`"]
    similarity: Annotated[Spread, "cosines of same-seed pairs; `audit.similarity.similarity`"]
    mae: Annotated[PixelPaired | None, "the same by pixels; null where these are not of one size"]
    pfd: Annotated[FlowDistance, "how far two flows carry one noise apart"]
    notes: Notes


@dataclass(frozen=True)
class ScoreGl(Settings):
    """Does a model make new images? Measure how many samples are no training image (GL), the 1/3 test, AuthPct and C_T."""

    wing: ClassVar[str] = "Audit"
    epilog: ClassVar[tuple[str, ...]] = (
        "farfield score gl runs/a train-images/ --heldout other-images/",
        "farfield score gl samples/ train-images/ --search hnsw",
    )

    samples: Annotated[str, Argument(f"What a model made: {SETS}.", names="source")]
    training: Annotated[str, Argument("The images it was trained on.", metavar="TRAIN", names="source")]
    heldout: Annotated[
        str | None,
        Option(
            "Images of the domain that were never trained on. Every score is held against theirs, and the "
            "threshold is calibrated on them.",
            default="no floor; calibrated on training images and their nearest others",
            names="source",
        ),
    ] = None
    likeness: Likeness = Likeness()
    search: Annotated[
        Literal["exact", "ivf", "hnsw"],
        Option("Search exactly, or for millions of training features by ivf or hnsw, with their measured recall."),
    ] = "exact"
    limit: Limit = None
    seed: Seed = 0
    batch_size: FeatureBatch = 256
    device: DeviceName = "auto"


class Search(Result):
    kind: Annotated[str, "exact, ivf or hnsw"]
    recall: Annotated[Score | None, "share of nearest images that it found; `audit.index.neighbours_in_shards`"]


class Generalization(Result):
    """`audit.generalization.generalization`."""

    score: Annotated[Score, "GL = 1 − M"]
    memorized: Annotated[Score, "M, the share of samples more alike a training image than the threshold"]
    held_out: Annotated[Score | None, "M of images that were never trained on"]
    threshold: float


class Shares(Result):
    """A share of the samples, and of images that were never trained on."""

    samples: Score
    held_out: Score | None = None


class RatioTest(Result):
    """The share far nearer to one training image than to the next; `audit.generalization.ratio_test`."""

    space: Annotated[str, "pixels, or the descriptor"]
    samples: Score
    held_out: Score | None = None
    duplicates: Annotated[int, "training images that repeat another and were left out"]
    ratio: Annotated[Spread, "of a sample's distance to its nearest training image over that to the second nearest"]


class CopyingTest(Result):
    """The data-copying test; `audit.authenticity.data_copying`."""

    statistic: Annotated[Score, "C_T, below 0 where samples are nearer to the training images than held-out ones"]
    null_sd: Annotated[float, "its standard deviation where nothing is copied"]
    p: Annotated[float, "probability of so low a value then"]
    cells: Annotated[int, "that were tested"]
    left_out: Annotated[float, "share of held-out images in cells that held too few"]


class DataCopying(Result):
    whole: Annotated[CopyingTest, "over the whole space"]
    cells: Annotated[CopyingTest | None, "cell by cell, where there are enough images"]


class Comparison(Result):
    """Samples beside the training images, and held-out images beside them."""

    search: Search
    thresholds: Thresholds
    calibration: Calibrated
    gl: Annotated[dict[str, Generalization], "by threshold"]
    similarity: Annotated[dict[str, Spread], "cosines with the nearest training image, by set"]
    ratio_test: RatioTest | None
    authenticity: Annotated[Shares | None, "AuthPct; `audit.authenticity.authenticity`"]
    data_copying: DataCopying | None
    notes: Notes


class _GlSets(Result):
    samples: SourceFacts
    held_out: HeldOut = None
    training: SourceFacts
    descriptor: Descriptor


class ScoreGlResult(Comparison, _GlSets):  # keys of the last base come first
    pass


@dataclass(frozen=True)
class ScoreMatrix(Settings):
    """Which of several models make the same images? Measure the reproducibility of every two of them."""

    wing: ClassVar[str] = "Audit"
    epilog: ClassVar[tuple[str, ...]] = (
        "farfield score matrix runs/a runs/b runs/c",
        "farfield score matrix runs/a runs/b runs/c --common",
    )

    sources: Annotated[
        tuple[str, ...], Argument(f"Samples of several models: {SETS}.", metavar="A B ...", names="source")
    ]
    likeness: Likeness = Likeness()
    mae_limit: MaeLimit = 15
    common: Common = False
    pairing: Pairing = "name"
    limit: Limit = None
    seed: Seed = 0
    batch_size: FeatureBatch = 256
    device: DeviceName = "auto"

    def check(self) -> None:
        if len(self.sources) < 2:
            raise FarfieldError(f"matrix of {len(self.sources)}: expected at least 2 sets of samples; give more")


Matrix = Annotated[list[list[Score]], "of every two models, a row for each"]


class PairedMatrix(Result):
    score: Matrix
    chance: Annotated[Matrix, "of re-paired seeds"]


class PixelMatrix(Result):
    limit: Annotated[float, "mean absolute difference up to which a pair agrees, of the range from black to white"]
    score: Annotated[Matrix, "`audit.reproducibility.mae_rp`"]


class ScoreMatrixResult(Result):
    sets: Annotated[dict[str, SourceFacts], "by a short name"]
    pairs: Annotated[int, "seeds that all have"]
    descriptor: Descriptor
    thresholds: Thresholds
    calibration: Calibrated
    rp: Annotated[dict[str, PairedMatrix], "by threshold; `audit.reproducibility.rp`"]
    mae: Annotated[PixelMatrix | None, "the same by pixels; null where these are not of one size"]
    notes: Notes
