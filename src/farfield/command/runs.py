"""`farfield runs` lists runs, `farfield again` gives one again: what they take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from farfield.command.option import Argument, Option
from farfield.command.settings import Settings
from farfield.command.shared import Printing, Show


@dataclass(frozen=True)
class Runs(Settings):
    """List runs with their verdicts, the newest first, and write index.html with a picture of each."""

    folder: Annotated[Path, Argument("The folder that they lie in.")] = Path("runs")
    show: Show = False
    printing: Printing = Printing()


@dataclass(frozen=True)
class Again(Settings):
    """Give the command of a run again, as it was or with other options: `farfield again runs/audit -n 256`.

    With the same settings the run is continued in its folder; with others a new one begins beside it.
    """

    run: Annotated[Path, Argument("A run folder, finished or not.")]
    options: Annotated[
        tuple[str, ...], Option("Options of the run's command that are to be other ones.", rest=True)
    ] = ()
    out: Annotated[Path | None, Option("Another folder for it.", "-o", "--out", default="beside RUN")] = None
    quiet: Annotated[bool, Option("No progress bars.", "-q", "--quiet")] = False
