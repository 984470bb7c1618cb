"""`farfield fetch` and `farfield domains`, what is to be had; `farfield report`, a page anew: what they take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from farfield.command.option import Argument, Option
from farfield.command.settings import Settings
from farfield.command.shared import Printing, Show


@dataclass(frozen=True)
class Fetch(Settings):
    """Download a published model or descriptor, and print where it is (FARFIELD_CACHE, or ~/.cache/farfield).

    An interrupted download is continued.
    """

    wing: ClassVar[str] = "Models"
    epilog: ClassVar[tuple[str, ...]] = (
        "farfield fetch",
        "farfield fetch galaxygrad:hsc-64",
    )

    name: Annotated[str | None, Argument("What to download; without a name, everything that can be is listed.")] = None
    url: Annotated[str | None, Option("Download such a file from another address.", default="the published one")] = None
    sha256: Annotated[str | None, Option("Refuse the file unless it has this sha256.")] = None
    printing: Printing = Printing()


@dataclass(frozen=True)
class Domains(Settings):
    """List the images that come along, real and simulated; their names work wherever a path does."""

    wing: ClassVar[str] = "Data"
    epilog: ClassVar[tuple[str, ...]] = (
        "farfield domains",
        "farfield expand cifar10-32 retina",
    )


@dataclass(frozen=True)
class Report(Settings):
    """Write a run's page, charts and tables anew from what it left on disk, without the model or the images."""

    wing: ClassVar[str] = "Runs"
    epilog: ClassVar[tuple[str, ...]] = (
        "farfield report runs/expand",
        "farfield report runs/expand --pdf",
    )

    run: Annotated[Path, Argument("The run folder.")]
    pdf: Annotated[bool, Option("Write each chart as PDF too (figures/*.pdf), with its fonts, for a paper.")] = False
    show: Show = False
