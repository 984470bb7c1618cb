"""`farfield gain`: what it takes and what it leaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from farfield.command.contribution import ModelGain
from farfield.command.facts import ModelFacts, SourceFacts
from farfield.command.measures import PhysicalFacts
from farfield.command.option import Argument, Option
from farfield.command.result import Result
from farfield.command.settings import Settings
from farfield.command.shared import Examples, Loading, Reading, Seed
from farfield.core.error import FarfieldError
from farfield.core.score import Score


@dataclass(frozen=True)
class Gain(Settings):
    """Is this model of use for my domain, and which one should I freeze? Denoise left-out examples with it and without."""

    wing: ClassVar[str] = "New domain"
    epilog: ClassVar[tuple[str, ...]] = (
        "farfield gain hubble cifar10-32",
        "farfield gain cutouts/ cifar10-32 galaxies-64 --examples 50",
    )

    examples: Examples
    models: Annotated[
        tuple[str, ...],
        Argument(
            "One or more models, named as for the other commands; several are ranked.",
            metavar="MODEL...",
            names="model",
        ),
    ]
    count: Annotated[
        int | None, Option("How many of the examples to use.", "--examples", least=2, default="all, up to 100")
    ] = None
    seed: Seed = 0
    reading: Reading = Reading()
    loading: Loading = Loading()

    def check(self) -> None:
        if not self.models or len(set(self.models)) < len(self.models):
            raise FarfieldError(f"models {', '.join(self.models)}: expected at least one, each only once")


class GainedModel(Result):
    """One model on the examples."""

    model: ModelFacts
    folder: Annotated[str, "of its calibration"]
    gain: Annotated[ModelGain | None, "null where the model knows too few levels at which something is to be found"]
    behind: Annotated[
        Score | None,
        "by how much less it adds than the first, paired by example; null of the first; `unseen.gain.overall`",
    ]
    physical: Annotated[PhysicalFacts | None, "of physical data, as this model takes them"] = None


class GainResult(Result):
    """In the folder of each model `calibration/`: a row a level, as `farfield expand` keeps it."""

    examples: SourceFacts
    models: Annotated[list[GainedModel], "the one that adds most first; `unseen.gain.rank`"]
    says: Annotated[str, "which model to freeze; `unseen.gain.advise`, of one model `unseen.gain.headline`"]
    notes: Annotated[list[str], "what has to be kept in mind"]
