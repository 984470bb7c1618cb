"""`farfield demo` and `farfield doctor`, for the first minutes: what they take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from farfield.command.option import Option
from farfield.command.settings import Settings
from farfield.command.shared import Printing, Show


@dataclass(frozen=True)
class Demo(Settings):
    """Show on bundled models and images what farfield does: two audits side by side, then new galaxies."""

    out: Annotated[Path, Option("The folder for its runs; the same command continues them.", "-o", "--out")] = Path(
        "runs/demo"
    )
    galaxies: Annotated[bool, Option("Make galaxies too, which takes minutes on a CPU.")] = True
    n: Annotated[int, Option("How many galaxies.", "-n", least=1)] = 64
    show: Show = False
    quiet: Annotated[bool, Option("No progress bars.", "-q", "--quiet")] = False


@dataclass(frozen=True)
class Doctor(Settings):
    """Print what a report of a problem needs: versions, devices, threads, the cache, and which extras are installed."""

    printing: Printing = Printing()
