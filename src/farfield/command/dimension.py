"""`farfield dimension`: what it takes and what it leaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from farfield.command.facts import ModelFacts, OverPoints, SourceFacts
from farfield.command.option import Option
from farfield.command.result import Result
from farfield.command.settings import Settings
from farfield.command.shared import Copying, Levels, Limit, Model, Seed, Source, Strict
from farfield.core.score import Score


@dataclass(frozen=True)
class Dimension(Settings):
    """How many dimensions do the data have around each image? Estimate it in three ways by one denoiser, with error bars."""

    wing: ClassVar[str] = "Geometry"
    epilog: ClassVar[tuple[str, ...]] = (
        "farfield dimension cifar10-32 photos/",
        "farfield dimension digits-generalizing digits --sigmas 0.1,0.3,1",
    )

    model: Model
    images: Source
    sigmas: Levels = None
    probes: Annotated[
        int,
        Option(
            "How many random vectors (for the trace) and noises (for the denoising error) to take per image and level.",
            least=2,
        ),
    ] = 32
    copies: Annotated[
        int | None,
        Option(
            "How many noisy copies the normal bundle takes, at least 4 times the dimension; 0 leaves it out.",
            least=0,
            default="that many up to 1,024 dimensions, 0 above",
        ),
    ] = None
    limit: Limit = 16
    seed: Seed = 0
    loading: Copying = Copying()
    strict: Strict = False


class Recommended(Result):
    """The level at which the data have one dimension: where the median over images changes least."""

    sigma: Annotated[float, "the level"]
    slope: Annotated[float | None, "change around it per factor of e in the level, in units of its value"]
    plateau: Annotated[bool, "whether that is flat"]


class DimensionLevel(Result):
    """All images at one noise level."""

    sigma: Annotated[float, "the level"]
    flipd: Annotated[OverPoints, "FLIPD; `manifold.dimension.flipd`"]
    error: Annotated[OverPoints, "from the denoising error; `manifold.dimension.error_dimension`"]


class ImageDimension(Result):
    """One image at every level."""

    flipd: Annotated[list[Score], "by level; `manifold.dimension.flipd`"]
    error: Annotated[list[Score], "by level; `manifold.dimension.error_dimension`"]


class BundleImage(Result):
    """The normal bundle of one image."""

    threshold: Annotated[float, "dimension: singular values below a share of the largest"]
    gap: Annotated[float, "dimension: behind the largest step between singular values"]
    step: Annotated[float, "that step, of 1 at most"]


class Bundle(Result):
    """The normal bundle at the recommended level; `manifold.dimension.normal_bundle`."""

    threshold: Annotated[OverPoints, "dimension, as of each image"]
    gap: Annotated[OverPoints, "dimension, as of each image"]
    without_gap: Annotated[int, "images in whose values no step is a gap"]
    images: Annotated[dict[str, BundleImage], "each image, by its key"]


class DimensionResult(Result):
    model: Annotated[ModelFacts, "that was measured"]
    examples: Annotated[SourceFacts, "around which"]
    n: Annotated[int, "images"]
    dimension: Annotated[int, "of the model's space"]
    probes: Annotated[int, "random vectors of a trace"]
    copies: Annotated[int, "noisy copies of the normal bundle"]
    recommended: Annotated[Recommended, "the level at which the estimate changes least"]
    levels: Annotated[list[DimensionLevel], "a row for each noise level"]
    images: Annotated[dict[str, ImageDimension], "each image, by its key"]
    bundle: Annotated[
        Bundle | None, "the normal bundle at that level, if asked for; `manifold.dimension.normal_bundle`"
    ]
