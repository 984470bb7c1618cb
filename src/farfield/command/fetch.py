"""`farfield fetch` and `farfield domains`, what is to be had; `farfield report`, a page anew: what they take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from farfield.command.option import Argument, Option
from farfield.command.settings import Settings
from farfield.command.shared import Printing, Show


@dataclass(frozen=True)
class Fetch(Settings):
    """Download a published model or descriptor to the cache (FARFIELD_CACHE, or ~/.cache/farfield).

    Continues where it was interrupted.
    """

    name: Annotated[str | None, Argument("Of a card; without it, all cards are listed.")] = None
    url: Annotated[str | None, Option("Another address of such a file.", default="the published one")] = None
    sha256: Annotated[str | None, Option("What the file must have, or it is refused.")] = None
    printing: Printing = Printing()


@dataclass(frozen=True)
class Domains(Settings):
    """List the domains that come with farfield and its dependencies; their names work wherever a path does."""


@dataclass(frozen=True)
class Report(Settings):
    """Write report.html anew from what a run left on disk; needs neither the model nor the images."""

    run: Annotated[Path, Argument("A run folder.")]
    show: Show = False
