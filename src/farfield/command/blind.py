"""`farfield blind`: what it takes and what it leaves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal

from farfield.command.option import Argument, Option
from farfield.command.result import Result
from farfield.command.settings import Settings
from farfield.command.shared import Seed
from farfield.core.error import FarfieldError
from farfield.core.score import Score

Kind = Literal["real", "made"]
"""What a picture is: held out, or of the model."""
USUAL: Final = 40
"""Pictures that are shown, if the run keeps so many."""
LEAST: Final = 6
"""With fewer even faultless answers would be chance: the exact interval of 5 of 5 holds one half."""


@dataclass(frozen=True)
class Blind(Settings):
    """Real or made? Write a page that shows held-out and new images unnamed; then score the answers given there."""

    wing: ClassVar[str] = "New domain"
    epilog: ClassVar[tuple[str, ...]] = (
        "farfield blind runs/expand -o runs/blind",
        "farfield blind runs/expand --answers answers.json -o runs/blind",
    )

    run: Annotated[
        Path,
        Argument(
            "A finished run of `farfield expand` that held images out, or a method's folder in one of `farfield compare`.",
            key=None,
        ),
    ]
    n: Annotated[
        int | None,
        Option(
            "How many pictures to show, half of them real.",
            "-n",
            least=LEAST,
            default=f"{USUAL}, or as many as the run keeps",
        ),
    ] = None
    seed: Seed = 0
    answers: Annotated[Path | None, Option("Score these answers, the file that the page saved.", key=None)] = None

    def check(self) -> None:
        if self.n is not None and self.n % 2:
            raise FarfieldError(f"-n {self.n}: expected an even number, half real and half made")


class Answered(Result):
    """What a reader's answers are worth; `audit.discrimination.discriminate`."""

    right: Annotated[Score, "share of all answers that are right; chance is 0.5"]
    real: Annotated[Score, "share of the real pictures that were taken for real: hits"]
    made: Annotated[Score, "share of the made pictures that were taken for real: false alarms"]
    verdict: Annotated[
        Literal["told", "not told", "reversed"],
        "not told: the interval of `right` holds 0.5; told: it lies above; reversed: below",
    ]
    answers: Annotated[dict[str, Kind], "by the picture's number"]


class BlindResult(Result):
    """Beside it: `blind.html`, the page to answer on; `pictures/`, what it shows, by number; `truth.json`, what each is and its
    key in the run; `answers.json`, of the reader."""

    run: Annotated[str, "as it was given"]
    model: Annotated[str, "of the run"]
    domain: Annotated[str, "the run's source of examples"]
    n: Annotated[int, "pictures, half of them real"]
    pictures: Annotated[str, "sha256 of what the page shows, in its order; answers carry it"]
    answered: Annotated[Answered | None, "null before there are answers"]
    notes: Annotated[list[str], "what may give a picture away"]
