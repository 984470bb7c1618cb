"""When two images count as alike: the options, and the thresholds that a result states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

from farfield.command.option import Option
from farfield.command.result import Result
from farfield.command.settings import Settings
from farfield.command.shared import Trust
from farfield.core.error import FarfieldError
from farfield.core.score import Score

TRUST: Final = "trust:"
"""Before a descriptor's file, which is then run."""

FeatureBatch = Annotated[
    int,
    Option(
        "How many images to process at a time; an interruption loses at most this many.",
        "--batch-size",
        least=1,
        key=None,
    ),
]


def trusted(descriptors: Sequence[str], files: Sequence[str] | None) -> list[str]:
    """The descriptors as `audit.named` knows them: those whose file is named by --trust with ``trust:`` before it.

    Raises:
        FarfieldError: a file that is none of the descriptors.
    """
    if strange := [file for file in files or () if file not in descriptors]:
        raise FarfieldError(f"--trust {strange[0]}: expected the file of a --descriptor, as it is given there")
    return [TRUST + name if name in (files or ()) else name for name in descriptors]


@dataclass(frozen=True)
class Descriptors(Settings):
    """What images are measured by. The two by default know nothing of the model that made them, nor of each other."""

    descriptors: Annotated[
        tuple[str, ...],
        Option(
            "Measure by "
            "pixels (small and whitened on the references), copy (the bundled network that finds copies of pictures), model "
            "(the frozen model's own features, in which expand also chooses), sscd, sscd-large, inception, dinov2, clip, or a "
            "network's file; may be repeated.",
            "--descriptor",
            names="descriptor",
        ),
    ] = ("pixels", "copy")
    trust: Trust = ()

    def check(self) -> None:
        trusted(self.descriptors, self.trust)

    @property
    def specs(self) -> list[str]:
        """The descriptors as `audit.named.open_descriptor` takes them."""
        return trusted(self.descriptors, self.trust)


@dataclass(frozen=True)
class Likeness(Settings):
    """When two images count as alike."""

    panel: ClassVar[str] = "When two images are alike"

    descriptor: Annotated[
        str,
        Option(
            "Compare images by copy, sscd, sscd-large, inception, dinov2, clip, pixels, or a network's file.",
            names="descriptor",
        ),
    ] = "copy"
    trust: Trust = ()
    threshold: Annotated[
        float | None,
        Option(
            "Call two images alike above this cosine, reported beside the calibrated threshold.",
            least=-1,
            most=1,
            default="the descriptor's published one",
        ),
    ] = None
    rate: Annotated[
        float,
        Option(
            "The share of different images that may exceed the calibrated threshold: the rate of false alarms.",
            above=0,
            below=1,
            old=("--alpha",),
        ),
    ] = 0.01

    def check(self) -> None:
        trusted([self.descriptor], self.trust)

    @property
    def spec(self) -> str:
        """The descriptor as `audit.named.open_descriptor` takes it."""
        return trusted([self.descriptor], self.trust)[0]


class Calibration(Result):
    """The similarity that different images exceed at a stated rate; `audit.threshold.calibrate`."""

    value: Annotated[float, "the calibrated threshold"]
    rate: Annotated[float, "at which different images exceed it, as asked for"]
    n: Annotated[int, "images that it was found from"]
    low: Annotated[float | None, "the lower end of the 95 % interval of the similarity exceeded at that rate"]
    high: Annotated[float | None, "the upper end; null where n is too small for one"]
    rate_low: Annotated[float, "the lower end of the rate at which new images really exceed the value"]
    rate_high: Annotated[float, "the upper end"]


Thresholds = Annotated[dict[str, float], "cosines above which images are alike: given or published, and calibrated"]
Calibrated = Annotated[Calibration | None, "how the calibrated one was found; null where there is none"]


class Alike(Result):
    """Where alike begins."""

    thresholds: Thresholds
    calibration: Calibrated


class Paired(Result):
    """A score of images of one seed, and of seeds that do not belong together."""

    score: Annotated[Score, "of same-seed pairs"]
    chance: Annotated[Score, "of re-paired seeds; `audit.similarity.repaired`"]
