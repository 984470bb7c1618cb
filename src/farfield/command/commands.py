"""The commands: what each takes and leaves, and where it is done and shown. Nothing heavy is imported for this list."""

from __future__ import annotations

import importlib
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from farfield.command.analyse import Analyse, AnalyseResult
from farfield.command.audit import Audit, AuditResult
from farfield.command.blind import Blind, BlindResult
from farfield.command.compare import Compare, CompareResult
from farfield.command.convert import Convert
from farfield.command.dataset import DatasetConvert, DatasetScan
from farfield.command.describe import Describe, DescribeResult, TrainDescriptor, TrainDescriptorResult
from farfield.command.dimension import Dimension, DimensionResult
from farfield.command.distances import Distances, DistancesResult
from farfield.command.edit import Edit, EditResult
from farfield.command.expand import Expand, ExpandResult
from farfield.command.fetch import Domains, Fetch, Report
from farfield.command.first import Demo, Doctor
from farfield.command.gain import Gain, GainResult
from farfield.command.generate import Generate, GenerateResult
from farfield.command.inspect import Inspect
from farfield.command.molrg import Molrg, MolrgResult
from farfield.command.prompt import Prompt, PromptResult
from farfield.command.rank import Rank, RankResult
from farfield.command.reconstruct import Invert, Reconstruct, ReconstructResult
from farfield.command.reproduce import Reproduce, ReproduceResult
from farfield.command.restore import Restore, RestoreResult
from farfield.command.result import Result
from farfield.command.runs import Again, Runs
from farfield.command.score import ScoreGl, ScoreGlResult, ScoreMatrix, ScoreMatrixResult, ScoreRp, ScoreRpResult
from farfield.command.settings import Settings
from farfield.command.train import Train, TrainResult
from farfield.command.transfer import Transfer, TransferResult
from farfield.command.transition import Transition, TransitionResult
from farfield.command.ui import Ui
from farfield.core.error import FarfieldError


@dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
        settings: what it takes.
        result: what it leaves as ``summary.json``; None of a command without a run folder.
        study: does it, as ``study(settings, out, quiet=…)`` of a run and ``study(settings)`` of what has no folder: a function,
            or its module in `farfield.study`, where it has the last part's name unless one stands behind a colon. Without a
            folder ``str()`` of what it returns is printed, and ``to_json()`` where the settings' `Printing` says so.
        page: makes a page's content of ``(folder, result)``: a function, or ``content`` of a module in `farfield.present`.
        runs: the folder in ``runs/`` where a run goes if nothing else is said, if that has not the command's name.
        room: where the study's module is.
        drawn: whether the page is drawn as the command ends; else `farfield report` draws it, and the folder is named.
    """

    settings: type[Settings]
    result: type[Result] | None
    study: str | Callable[..., Any]
    page: str | Callable[..., Any] | None = None
    runs: str = ""
    drawn: bool = True
    room: str = "farfield.study"

    @property
    def name(self) -> str:
        return self.settings.command()

    @property
    def folder(self) -> str:
        """Where a run goes if nothing else is said."""
        return f"runs/{self.runs or self.name.replace(' ', '-')}"

    def load_study(self) -> Callable[..., Any]:
        if not isinstance(self.study, str):
            return self.study
        return _load(self.room, self.study, self.study.rpartition(".")[2])

    def load_page(self) -> Callable[..., Any] | None:
        return _load("farfield.present", self.page, "content") if isinstance(self.page, str) else self.page


def _load(room: str, place: str, usual: str) -> Callable[..., Any]:
    module, _, name = place.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(f"{room}.{module}"), name or usual)
    return function


_ALL = (
    Command(Expand, ExpandResult, "unseen.expand", "expand"),
    Command(Gain, GainResult, "unseen.gain", "gain"),
    Command(Compare, CompareResult, "unseen.compare", "compare"),
    Command(Reconstruct, ReconstructResult, "unseen.reconstruct", "reconstruct"),
    Command(Invert, ReconstructResult, "unseen.reconstruct", "reconstruct", drawn=False),
    Command(Restore, RestoreResult, "unseen.restore", "restore"),
    Command(Analyse, AnalyseResult, "unseen.analyse", "analyse"),
    Command(Transfer, TransferResult, "unseen.transfer", "transfer"),
    Command(Prompt, PromptResult, "unseen.prompt", "prompt"),
    Command(Blind, BlindResult, "unseen.blind", "blind"),
    Command(Audit, AuditResult, "audit.audit", "audit"),
    Command(ScoreRp, ScoreRpResult, "audit.score:rp", "score:rp"),
    Command(ScoreGl, ScoreGlResult, "audit.gl", "score:gl"),
    Command(ScoreMatrix, ScoreMatrixResult, "audit.score:matrix", "score:matrix"),
    Command(Distances, DistancesResult, "audit.distances", "distances"),
    Command(Transition, TransitionResult, "audit.transition", "transition"),
    Command(Reproduce, ReproduceResult, "reproduce.reproduce", "reproduce"),
    Command(Describe, DescribeResult, "bench.features:describe"),
    Command(TrainDescriptor, TrainDescriptorResult, "audit.copy_training:train_descriptor", runs="descriptor"),
    Command(Rank, RankResult, "manifold.rank", "rank"),
    Command(Dimension, DimensionResult, "manifold.dimension", "dimension"),
    Command(Edit, EditResult, "manifold.edit", "edit"),
    Command(Molrg, MolrgResult, "manifold.molrg", "molrg"),
    Command(Generate, GenerateResult, "model.generate", "generate", drawn=False),
    Command(Train, TrainResult, "model.train", "train"),
    Command(Inspect, None, "model.inspect"),
    Command(Convert, None, "model.convert"),
    Command(Fetch, None, "model.fetch"),
    Command(Domains, None, "model.fetch:domains"),
    Command(DatasetConvert, None, "model.dataset:convert"),
    Command(DatasetScan, None, "model.duplicates:scan"),
    Command(Demo, None, "demo"),
    Command(Ui, None, "app:serve", room="farfield.ui"),
    Command(Runs, None, "model.runs"),
    Command(Again, None, "model.again"),
    Command(Report, None, "model.report"),
    Command(Doctor, None, "doctor"),
)
COMMANDS: dict[str, Command] = {command.name: command for command in _ALL}
"""By name, in the order of ``farfield --help``."""


def read_line(words: Sequence[str]) -> tuple[Command, list[str]]:
    """The command that words begin with, and those that follow its name.

    Raises:
        FarfieldError: no command of that name.
    """
    for count in (2, 1):
        if command := COMMANDS.get(" ".join(words[:count])):
            return command, list(words[count:])
    raise FarfieldError(f"{' '.join(words[:2])}: no command of farfield; see `farfield --help`")


def settings_of(line: str) -> Settings | None:
    """The settings of a run, from the command line in its ``config.json``; None where it gives none any more."""
    try:
        command, words = read_line(shlex.split(line)[1:-2])  # the last two are its folder
        return command.settings.of(**command.settings.parse(words))
    except (FarfieldError, ValueError):
        return None
