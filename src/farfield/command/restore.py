"""`farfield restore`: what it takes and what it leaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from farfield.command.facts import ModelFacts
from farfield.command.likeness import Calibrated, Likeness, Paired, Thresholds
from farfield.command.measures import PhysicalFacts
from farfield.command.option import Option
from farfield.command.result import Result
from farfield.command.settings import Settings
from farfield.command.shared import (
    FieldMask,
    Hdu,
    Loading,
    Model,
    Patch,
    Reading,
    Seed,
    SolverName,
    Source,
    Steps,
    StretchName,
    Strict,
)
from farfield.core.error import FarfieldError
from farfield.core.score import Score

OperatorKind = Literal["mask", "blur", "scale"]


@dataclass(frozen=True)
class Fields(Settings):
    """`Reading`, with the mask of fields under the name of its flag."""

    panel: ClassVar[str] = Reading.panel

    strict: Strict = False
    stretch: StretchName = None
    patch: Patch = None
    hdu: Hdu = None
    field_mask: FieldMask = None

    @property
    def reading(self) -> Reading:
        return Reading(self.strict, self.stretch, self.patch, self.hdu, self.field_mask)


@dataclass(frozen=True)
class Restore(Settings):
    """Restore what is masked, blurred or reduced: draws of what it may have been, by a frozen model.

    Images are degraded first and held against their restorations; with --measured, or where fields have masked pixels and
    nothing else is asked, they are the measurement.
    """

    wing: ClassVar[str] = "New domain"
    epilog: ClassVar[tuple[str, ...]] = (
        "farfield restore cifar10-32 photos/ --mask 8,8,24,24",
        "farfield restore galaxygrad:hsc-64 cutout.fits -n 16 --noise 0.01",
    )

    model: Model
    images: Source
    mask: Annotated[
        tuple[str, ...],
        Option(
            "What is missing: a box x0,y0,x1,y1 in pixels of the model's size, to which images are brought first, the last two "
            "just outside it; or a picture, npy or npz of that size, bright or not 0 where pixels are missing; may be repeated."
        ),
    ] = ()
    blur: Annotated[
        str | None,
        Option(
            "The blur: the standard deviation of a Gaussian in pixels of the model's size, or a file with the kernel (FITS, npy, "
            "npz, TIFF).",
            metavar="WIDTH|FILE",
        ),
    ] = None
    scale: Annotated[
        int | None,
        Option("The reduction: each pixel is the mean of a square with this many on a side.", least=2, most=64),
    ] = None
    noise: Annotated[
        float,
        Option(
            "The standard deviation of the measurement's noise, of the range from black to white: 0.01 is 2.55 of 255 levels.",
            above=0,
            most=1,
        ),
    ] = 0.01
    measured: Annotated[
        bool, Option("The images are the measurement, with --scale of the reduced size: only restore them.")
    ] = False
    n: Annotated[int, Option("How many draws to make of each image.", "-n", least=2, most=1000)] = 8
    limit: Annotated[
        int | None, Option("Take only this many images, the first.", least=1, default="8; of measured ones all")
    ] = None
    against: Annotated[
        str | None,
        Option(
            "Restore with this model too, from the same measurement and noise: do the two agree?",
            metavar="MODEL",
            names="model",
        ),
    ] = None
    likeness: Likeness = Likeness()
    iterations: Annotated[
        int,
        Option(
            "How closely to solve for the measurement at each step, in steps of conjugate residuals; each costs as much as a "
            "network call. 1 is the cheapest.",
            least=1,
            most=100,
        ),
    ] = 3
    eta: Annotated[float, Option("Set DDIM's eta: 0 is deterministic, 1 ancestral sampling.", least=0, most=1)] = 0.0
    seed: Seed = 0
    steps: Steps = 24
    solver: SolverName = "multistep"
    loading: Loading = Loading(batch_size=16)
    fields: Fields = Fields()

    def check(self) -> None:
        given = [f"--{name}" for name in ("mask", "blur", "scale") if getattr(self, name)]
        if len(given) > 1:
            raise FarfieldError(f"{' and '.join(given)}: expected one of the two; an image is degraded in one way")
        if self.eta > 0 and self.solver == "multistep":
            raise FarfieldError(
                "--eta with multistep: its noise makes earlier slopes useless; add --solver euler, heun or midpoint"
            )

    @property
    def kind(self) -> OperatorKind:
        return "blur" if self.blur else "scale" if self.scale else "mask"


class Degraded(Result):
    """What was measured of the images."""

    kind: Annotated[OperatorKind, "what happened to the images"]
    given: Annotated[str | None, "as it was asked for; null where the masks of the fields are all"]
    shape: Annotated[list[int], "of a measurement, [C, h, w]"]
    missing: Annotated[float, "the share of its numbers that were not seen"]
    noise: Annotated[float, "standard deviation of its noise, of the range from black to white"]


class Coverage(Result):
    """Are draws as wide as they should be? `audit.tarp.tarp`."""

    credibility: list[float]
    coverage: Annotated[list[float], "the share of images at each; of right draws the credibility itself"]
    low: Annotated[list[float], "what 95 % of all such sets of images have at each, where draws are right"]
    high: list[float]
    p: Annotated[float, "how often right draws stray as far at their farthest"]
    n: Annotated[int, "images"]


class Restored(Result):
    """Restorations against the truth, over the pixels that were missing; of a blur or a reduction over all of them."""

    psnr: Annotated[
        dict[str, Score],
        "dB: of the `mean` of the draws, of single `draws`, of the `smooth` restoration (`unseen.restoration.smooth`) and of the "
        "plain one, by its name (`unseen.restoration.plain`)",
    ]
    spread_over_error: Annotated[
        Score,
        "the draws' standard deviation over their mean's error, of right draws 1; `unseen.restoration.spread_over_error`",
    ]
    coverage: Annotated[
        dict[str, Coverage] | None,
        "by what distances are taken to: `another image`, or the `plain` restoration; null of one image",
    ]


class Agreement(Result):
    """Two models' restorations of one measurement from the same noise; chance is other noise, the same measurement."""

    model: ModelFacts
    descriptor: str
    thresholds: Thresholds
    calibration: Calibrated
    rp: Annotated[dict[str, Paired], "by threshold: `audit.reproducibility.rp`"]
    pfd: Annotated[Score, "how far the same noise ends apart, in pixels from −1 to 1; `audit.reproducibility.pfd`"]
    pfd_chance: Annotated[Score, "how far other noise ends apart"]
    psnr: Annotated[Score | None, "dB, of the mean of the other model's draws; null of measured images"] = None


class RestoreResult(Result):
    """Beside it: `measured/`, `samples/` (the draws, IMAGE/NUMBER), `mean/`, `spread/` (standard deviations), of images that were
    degraded first `images/`, `plain/` and `smooth/`, with another model `against/`, and `png/`. Of physical data
    `stretch.json`, and in `physical/` the fields in physical units: measured, draws, their mean and spread, and of FITS data a
    FITS file for each draw. Where nothing but a mask stood between, pixels that were measured are there as they were.
    """

    model: ModelFacts
    images: Annotated[str, "as they were given"]
    n: Annotated[int, "images"]
    measured: Annotated[bool, "whether they are the measurement"]
    degraded: Degraded
    draws: Annotated[int, "of each image"]
    iterations: Annotated[int, "of conjugate residuals at each step; `diffusion.posterior.solve`"]
    steps: int
    solver: str
    eta: float
    network_calls: Annotated[int, "a draw: forward, and backward for each iteration"]
    misfit: Annotated[Score, "mean square of (y − A x) over the noise, of the draws; of right draws 1"]
    restored: Annotated[Restored | None, "null of measured images"]
    against: Annotated[Agreement | None, "null without another model"]
    physical: Annotated[PhysicalFacts | None, "of physical data"]
    notes: Annotated[list[str], "what has to be kept in mind"]
