"""A command is done: its study, and the page of what that leaves."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farfield.command.commands import Command
from farfield.command.result import Result
from farfield.command.settings import Settings
from farfield.command.shared import Printing
from farfield.core import note
from farfield.core.error import DryRun, OtherRunError
from farfield.core.progress import metered
from farfield.core.run_folder import check_place, is_free
from farfield.core.terminal import browse, tell
from farfield.study.folder import begun, usable


@dataclass(frozen=True)
class Done:
    """What a command ends with: its result; the lines to print, from the main process alone; the run's folder; its page."""

    result: Any
    lines: list[str]
    folder: Path | None = None
    page: Path | None = None


@note.kept()
def perform(
    command: Command,
    settings: Settings,
    out: Path | None = None,
    *,
    quiet: bool = False,
    dry_run: bool = False,
    drawn: bool = True,
) -> Done:
    """Do what the settings say; of a command with a page, write that too.

    Args:
        out: the run folder, of a command that has one; the next free one, or that of the same settings, if not given.
        dry_run: stop before the run is begun, and say what it would do.
        drawn: False leaves the page undrawn.
    """
    from farfield.study.look import look

    look(settings)
    if command.result is None:
        result = command.load_study()(settings)
        page = result if isinstance(result, Path) else getattr(result, "page", None)
        if page is not None and getattr(settings, "show", False):
            browse(page)
        as_json = getattr(settings, "printing", Printing()).as_json
        return Done(result, [json.dumps(result.to_json(), indent=1, default=str) if as_json else str(result)])
    try:
        with metered(dry_run):
            result, folder = _run(command, settings, out, quiet)
    except DryRun as run:
        return Done(None, [str(run)])
    from farfield.core.runtime import Ranks

    main = Ranks.current().main
    if not isinstance(result, Result):  # nothing was finished: lines to print
        return Done(result, result if main else [], folder)
    written = command.load_page()
    if written is None or not main or not drawn:
        return Done(result, [], folder, folder if main else None)
    if not command.drawn:
        return Done(result, written(folder, result).said, folder, folder)
    from farfield.present.report import draw

    page, lines = draw(folder, command)
    return Done(result, list(lines), folder, page)


def _run(command: Command, settings: Settings, out: Path | None, quiet: bool) -> tuple[Any, Path]:
    """A run's result and folder."""
    if out is not None:
        check_place(out)
        return command.load_study()(_precise(settings, out), out, quiet=quiet), out
    for folder in usable(base := Path(command.folder), settings):
        if folder != base and os.environ.get("RANK", "0") == "0":
            tell(f"farfield: {base} holds another run; this one goes to {folder}")
        try:
            return command.load_study()(_precise(settings, folder), folder, quiet=quiet), folder
        except OtherRunError:  # the same settings on other data
            if is_free(folder) or os.environ.get("WORLD_SIZE", "1") != "1":
                raise
    raise AssertionError("there is always a folder that is free")


def _precise(settings: Settings, folder: Path) -> Settings:
    """The settings with a precision in place of ``auto``: that in which the folder's run was begun, if it is one of these."""
    if settings.dtype_asked != "auto":
        return settings
    from farfield.study.precision import decided

    same = begun(folder, settings)
    if same is not None and os.environ.get("RANK", "0") == "0":
        tell(f"farfield: --dtype auto: {same.dtype_asked}, in which this run was begun")
    return same or decided(settings)
