"""`farfield distances`: what it takes and what it leaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from farfield.command.facts import SourceFacts
from farfield.command.likeness import Descriptors
from farfield.command.measures import BySet, Standing
from farfield.command.option import Argument, Option
from farfield.command.result import Result
from farfield.command.settings import Settings
from farfield.command.shared import DeviceName, Seed


@dataclass(frozen=True)
class Distances(Settings):
    """How far are generated images from real ones? Measure every distance beside that of real images from each other."""

    wing: ClassVar[str] = "Audit"
    epilog: ClassVar[tuple[str, ...]] = (
        "farfield distances real/ generated/",
        "farfield distances hubble runs/expand --descriptor inception",
    )

    real: Annotated[
        str, Argument("Real images: a folder, zip, npz or file of images, or a bundled domain.", names="source")
    ]
    generated: Annotated[
        str, Argument("The generated images: a run folder, a folder of images, a zip or npz.", names="source")
    ]
    descriptors: Descriptors = Descriptors()
    limit: Annotated[int | None, Option("Take only this many generated images, the first.", least=4)] = None
    seed: Seed = 0
    batch_size: Annotated[int, Option("How many images to process at a time.", least=1, key=None)] = 256
    device: DeviceName = "auto"


class DistancesResult(Result):
    real: Annotated[SourceFacts, "brought to the size of the generated images"]
    generated: SourceFacts
    references: Annotated[int, "real images that both sets are compared with; the other real ones are `real`"]
    measures: Annotated[dict[str, BySet], "descriptor → set (`samples`, `real`) → all against the same references"]
    notes: Annotated[list[str], "what is missing"]
    standing: Annotated[Standing | None, "`audit.standing.standing`"] = None
