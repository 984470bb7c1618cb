"""A command is done: its study, and the page of what that leaves."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farfield.command.commands import Command
from farfield.command.result import Result
from farfield.command.settings import Settings
from farfield.command.shared import Printing
from farfield.core import note


@dataclass(frozen=True)
class Done:
    """What a command ends with: its result, and the lines to print, from the main process alone."""

    result: Any
    lines: list[str]


@note.kept()
def perform(command: Command, settings: Settings, out: Path | None = None, *, quiet: bool = False) -> Done:
    """Do what the settings say; of a command with a page, write that too.

    Args:
        out: the run folder, of a command that has one.
    """
    study = command.load_study()
    if command.result is None:
        result = study(settings)
        as_json = getattr(settings, "printing", Printing()).as_json
        return Done(result, [json.dumps(result.to_json(), indent=1, default=str) if as_json else str(result)])
    folder = Path(out or command.folder)
    result = study(settings, folder, quiet=quiet)
    from farfield.core.runtime import Ranks

    main = Ranks.current().main
    if not isinstance(result, Result):  # nothing was finished: lines to print
        return Done(result, result if main else [])
    written = command.load_page()
    if written is None or not main:
        return Done(result, [str(folder)] if main else [])
    if not command.drawn:
        return Done(result, [*written(folder, result).lines, str(folder)])
    from farfield.present.report import draw

    page, lines = draw(folder, command)
    return Done(result, [*lines, str(page)])
