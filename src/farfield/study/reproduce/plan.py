"""What an experiment is made of: steps, each a command of farfield with a folder of its own, and published curves.

An experiment is a module of this folder with two functions:

    steps(plan) -> list[Step]     what has to be run, in this order
    read(plan) -> Outcome         what the finished steps say beside the published numbers
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from farfield.command.reproduce import Curve
from farfield.command.result import Result, from_json
from farfield.core.artifact import read_json
from farfield.core.score import Score

R = TypeVar("R", bound=Result)


@dataclass(frozen=True)
class Step:
    """``words`` (without ``farfield``) fill ``folder``, where the same command continues."""

    folder: Path
    words: tuple[str, ...]

    @property
    def done(self) -> bool:
        return (self.folder / "summary.json").is_file()

    def line(self) -> str:
        """As it is typed into a shell."""
        return shlex.join(["farfield", *self.words, "-o", str(self.folder)])

    def result(self, kind: type[R]) -> R:
        """What it left."""
        found: R = from_json(kind, read_json(self.folder / "summary.json"), str(self.folder))
        return found


@dataclass(frozen=True)
class Plan:
    """The scale, and where: the folder of all experiments, so that one may use another's steps."""

    out: Path
    small: bool = True
    data: str | None = None
    device: str = "auto"

    def step(self, place: str, *words: str | Path) -> Step:
        """A command that fills ``place`` in the folder."""
        device = () if self.device == "auto" else ("--device", self.device)
        return Step(self.out / place, (*map(str, words), *device))


class Findings:
    """What is said of an experiment, by whether it comes out as published; `Outcome` takes both lists."""

    def __init__(self) -> None:
        self.agrees: list[str] = []
        self.differs: list[str] = []

    def say(self, as_published: bool, sentence: str) -> None:
        (self.agrees if as_published else self.differs).append(sentence)


def published(name: str) -> dict[str, Curve]:
    """The published curves of an experiment by name, our own digitisation: ``published/NAME.json`` has ``{line: [x, y]}``."""
    curves: dict[str, tuple[list[float], list[float]]] = json.loads(_file(name).read_text(encoding="utf-8"))["curves"]
    return {line: Curve(name=line, x=x, y=[Score(v, 0) for v in y]) for line, (x, y) in curves.items()}


def published_values(name: str) -> dict[str, float]:
    """The published single numbers of an experiment, by name."""
    values: dict[str, float] = json.loads(_file(name).read_text(encoding="utf-8"))["values"]
    return values


def _file(name: str) -> Any:
    return files(__package__) / "published" / f"{name}.json"
