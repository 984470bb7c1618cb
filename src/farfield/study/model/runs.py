"""`farfield runs`: what lies in a folder of runs, and a page of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from farfield.command.runs import Runs
from farfield.core.terminal import link, table
from farfield.present.index import Entry, entries, write_index


@dataclass(frozen=True)
class Listed:
    """The runs of a folder, and the page that shows them."""

    runs: list[Entry]
    page: Path

    def to_json(self) -> list[dict[str, Any]]:
        return [asdict(run) for run in self.runs]

    def __str__(self) -> str:
        rows = [[str(run.folder), run.date, run.title, run.verdict] for run in self.runs]
        return f"{table(['run', 'begun', 'what', 'verdict'], rows)}\n{link(self.page)}"


def runs(settings: Runs) -> Listed:
    """The runs, the newest first.

    Raises:
        FarfieldError: none is there.
    """
    found = entries(settings.folder)
    return Listed(found, write_index(settings.folder, found))
