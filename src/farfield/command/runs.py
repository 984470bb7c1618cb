"""`farfield runs` lists runs, `farfield again` gives one again: what they take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from farfield.command.option import Argument, Option
from farfield.command.settings import Settings
from farfield.command.shared import Printing, Show


@dataclass(frozen=True)
class Runs(Settings):
    """List runs with their verdicts, the newest first, and write index.html with a picture of each."""

    wing: ClassVar[str] = "Runs"
    epilog: ClassVar[tuple[str, ...]] = (
        "farfield runs",
        "farfield runs runs/demo --open",
    )

    folder: Annotated[Path, Argument("The folder that the runs are in.")] = Path("runs")
    show: Show = False
    printing: Printing = Printing()


@dataclass(frozen=True)
class Again(Settings):
    """Give the command of a run again, as it was or with other options.

    With the same settings the run is continued in its folder; with others a new one begins beside it.
    """

    wing: ClassVar[str] = "Runs"
    epilog: ClassVar[tuple[str, ...]] = (
        "farfield again runs/audit",
        "farfield again runs/audit -n 256",
    )

    run: Annotated[Path, Argument("The run folder, finished or not.")]
    options: Annotated[tuple[str, ...], Option("Options of the run's command to change.", rest=True)] = ()
    out: Annotated[Path | None, Option("Write the new run to this folder.", "-o", "--out", default="beside RUN")] = None
    quiet: Annotated[bool, Option("Show no progress bars.", "-q", "--quiet")] = False
