"""`farfield demo` and `farfield doctor`, for the first minutes: what they take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from farfield.command.option import Option
from farfield.command.settings import Settings
from farfield.command.shared import Printing, Show


@dataclass(frozen=True)
class Demo(Settings):
    """Show what farfield does on bundled models and images: two audits side by side, then new galaxies."""

    wing: ClassVar[str] = "Runs"
    epilog: ClassVar[tuple[str, ...]] = (
        "farfield demo",
        "farfield demo --no-galaxies --open",
    )

    out: Annotated[Path, Option("The folder for the runs; the same command continues them.", "-o", "--out")] = Path(
        "runs/demo"
    )
    galaxies: Annotated[bool, Option("Make galaxies too, which takes minutes on a CPU.")] = True
    n: Annotated[int, Option("How many galaxies to make.", "-n", least=1)] = 64
    show: Show = False
    quiet: Annotated[bool, Option("Show no progress bars.", "-q", "--quiet")] = False


@dataclass(frozen=True)
class Doctor(Settings):
    """Print what a report of a problem needs: versions, devices, threads, the cache, and which extras are installed."""

    wing: ClassVar[str] = "Runs"
    epilog: ClassVar[tuple[str, ...]] = (
        "farfield doctor",
        "farfield doctor --json",
    )

    printing: Printing = Printing()
