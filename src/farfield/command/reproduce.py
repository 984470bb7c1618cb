"""`farfield reproduce`: what it takes and what it leaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Final, Literal, get_args

from farfield.command.option import Argument, Option
from farfield.command.result import Result
from farfield.command.settings import Settings
from farfield.command.shared import DeviceName
from farfield.core.error import FarfieldError
from farfield.core.score import Score

Name = Literal[
    "regimes",
    "theory",
    "settings",
    "conditional",
    "inverse",
    "finetune",
    "teacher",
    "halves",
    "time",
    "jacobian",
    "molrg",
    "edits",
    "unseen",
]
PUBLISHED: Final[dict[Name, str]] = {
    "regimes": "2310.05264, Fig 2: from memorizing to generalizing over the number of training images",
    "theory": "2310.05264, Fig 4: agreement of networks with the optimal denoiser of their training set",
    "settings": "2310.05264, Fig 6 and 12: agreement of parameterizations, networks and samplers",
    "conditional": "2310.05264, on conditional models: agreement of these, and with unconditional ones by the best class",
    "inverse": "2310.05264, Section 4: agreement of two networks on inverse problems",
    "finetune": "2310.05264, appendix: fine-tuning of all and of some layers on few images",
    "teacher": "2505.20123: students of a teacher, from memorizing to generalizing by distances of flows",
    "halves": "2310.02557 and 2503.23127: networks trained on disjoint halves of the images",
    "time": "2505.17638: when samples are best and when copies begin, over the training",
    "jacobian": "2409.02426, Fig 3: rank of the denoiser's Jacobian over the noise level",
    "molrg": "2409.02426, Fig 3 and 4: mixtures of low-rank Gaussians, their ranks and how many samples they take",
    "edits": "2409.02374 and 2302.08357: local edits and boundaries, beside rivals",
    "unseen": "2310.09213: what a frozen network makes of domains that it never saw, near and far",
}
"""The experiments, each with where it was published (arXiv)."""


@dataclass(frozen=True)
class Reproduce(Settings):
    """Do the published experiments come out here too? Do one in small and see its curve beside the published one.

    Without a name the experiments are listed. A run folder may be given more of them, and its page shows all.
    """

    wing: ClassVar[str] = "Audit"
    epilog: ClassVar[tuple[str, ...]] = (
        "farfield reproduce regimes",
        "farfield reproduce --all --full --data cifar10-train.zip --commands",
    )

    names: Annotated[tuple[Name, ...], Argument("Which experiments to do.", metavar="NAME...", key=None)] = ()
    every: Annotated[bool, Option("Do all experiments.", "--all", key=None)] = False
    small: Annotated[
        bool, Option("Do them in minutes on bundled data, or at the published scale.", "--small/--full")
    ] = True
    data: Annotated[
        str | None,
        Option(
            "The training images of CIFAR-10, for the experiments that were published on them.",
            default="bundled digits and galaxies take their place",
            names="source",
        ),
    ] = None
    commands: Annotated[
        bool,
        Option(
            "Do nothing, but print the commands that are not done yet; run them in this order, then collect without this option.",
            key=None,
        ),
    ] = False

    device: DeviceName = "auto"

    def check(self) -> None:
        if not self.small and self.data is None:
            raise FarfieldError("--full: expected the training images of CIFAR-10; give --data")

    @property
    def wanted(self) -> tuple[Name, ...]:
        return get_args(Name) if self.every else tuple(name for name in get_args(Name) if name in self.names)


class Curve(Result):
    """Points of one line."""

    name: str
    x: list[float]
    y: list[Score]


class Panel(Result):
    """A chart: the published lines and ours."""

    title: str
    along: Annotated[str, "what the lines run over"]
    published: Annotated[list[Curve], "read off the published figure, ±0.02, where nothing else is said"]
    ours: list[Curve]


class Compared(Result):
    """One number."""

    name: str
    published: Annotated[float | None, "null where the paper shows none"]
    ours: Annotated[Score | None, "null where it was not measured here"]


class Outcome(Result):
    """What an experiment found."""

    scale: Annotated[str, "data, models and numbers that ours is made of, beside the published ones"]
    panels: list[Panel]
    rows: list[Compared]
    agrees: Annotated[list[str], "what comes out as published, in sentences"]
    differs: Annotated[list[str], "what does not, and why"]


class Experiment(Result):
    name: Name
    published: Annotated[str, "where: its arXiv number and figure"]
    commands: Annotated[list[str], "that make it, in their order; each can be given by hand"]
    outcome: Outcome


class ReproduceResult(Result):
    small: Annotated[bool, "or at the published scale"]
    data: Annotated[str | None, "the images of CIFAR-10 as they were given; null for bundled ones"]
    experiments: Annotated[list[Experiment], "all that this folder has"]
    asked: Annotated[list[Name], "those that the last command was for"]
