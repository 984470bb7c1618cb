"""Parts that the results of several commands hold."""

from __future__ import annotations

from typing import Annotated

from farfield.command.result import Result
from farfield.core.score import Score


class ModelFacts(Result):
    """The model of a run."""

    name: Annotated[str, "as it was given"]
    digest: Annotated[str, "sha256 of its weights and configuration"]
    shape: Annotated[list[int], "of its images, [C, H, W]"]
    latent_shape: Annotated[list[int] | None, "of what it denoises, where that is no image"] = None
    parameters: Annotated[int | None, "of the network"] = None


class OverPoints(Result):
    """A quantity over points."""

    mean: Annotated[Score, "with its 95 % interval"]
    min: Annotated[float, "of the points"]
    max: Annotated[float, "of the points"]


class Linearity(Result):
    """How far from a point its linear part was held against the denoiser."""

    directions: Annotated[int, "random rows of the Jacobian"]
    step: Annotated[float, "root mean square over the pixels"]


class SourceFacts(Result):
    """Where images came from."""

    source: Annotated[str, "as it was given"]
    n: Annotated[int, "images taken"]
    available: Annotated[int | None, "in the source"] = None
    digest: Annotated[str | None, "sha256 of their keys and values"] = None


class Spread(Result):
    """A quantity over images; `study.bench.measure.spread`."""

    median: float
    min: float
    max: float
