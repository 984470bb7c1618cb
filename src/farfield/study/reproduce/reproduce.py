"""`farfield reproduce`: the steps of an experiment, one after the other, and what they say beside the published numbers."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, get_args

from farfield.command.commands import read_line
from farfield.command.reproduce import PUBLISHED, Experiment, Name, Outcome, Reproduce, ReproduceResult
from farfield.command.result import from_json, to_json
from farfield.core.artifact import read_kept, write_kept
from farfield.core.terminal import table, tell
from farfield.data.dataset import open_dataset
from farfield.study.bench.run import Run
from farfield.study.perform import perform
from farfield.study.reproduce.plan import Plan, Step

KEPT = "experiments"
"""The folder of what was found, a file an experiment."""


def reproduce(settings: Reproduce, out: Path, *, quiet: bool = False) -> ReproduceResult | list[str]:
    """Run what is not done of the experiments that are wanted, and read them.

    Returns:
        lines to print where no experiment is named, or where commands alone are asked for.
    """
    if not settings.wanted:
        return [table(("NAME", "published in arXiv"), list(PUBLISHED.items()))]
    plan = Plan(out, settings.small, settings.data, settings.device)
    todo = {name: _module(name).steps(plan) for name in settings.wanted}
    if settings.commands:
        return list(dict.fromkeys(step.line() for steps in todo.values() for step in steps if not step.done))
    run = Run.of(out, settings, {"data": settings.data and open_dataset(settings.data)}, quiet)
    for steps in todo.values():
        for step in steps:
            if not step.done:
                _run(step, quiet)
    for name in settings.wanted if run.ranks.main else ():
        outcome: Outcome = _module(name).read(plan)
        write_kept(_place(out, name), to_json(outcome))
    return run.finish_on_main(ReproduceResult, lambda: _collect(settings, plan))


def _module(name: Name) -> Any:
    return importlib.import_module(f"farfield.study.reproduce.{name}")


def _place(out: Path, name: str) -> Path:
    return out / KEPT / f"{name}.json"


def _run(step: Step, quiet: bool) -> None:
    if not quiet:
        tell(f"$ {step.line()}")
    command, words = read_line(step.words)
    perform(command, command.settings.of(**command.settings.parse(words)), step.folder, quiet=quiet)


def _collect(settings: Reproduce, plan: Plan) -> ReproduceResult:
    found = []
    for name in get_args(Name):
        if kept := read_kept(_place(plan.out, name)):
            lines = [step.line() for step in _module(name).steps(plan)]
            outcome = from_json(Outcome, kept, name)
            found.append(Experiment(name=name, published=PUBLISHED[name], commands=lines, outcome=outcome))
    return ReproduceResult(small=settings.small, data=settings.data, experiments=found, asked=list(settings.wanted))
