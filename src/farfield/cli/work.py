"""A command from its words to its last line."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farfield.command.commands import Command
from farfield.command.result import Result
from farfield.core.terminal import browse, echo, link


@dataclass(frozen=True)
class Manner:
    """What every command with a run folder takes besides its settings."""

    out: Path | None = None
    as_json: bool = False
    quiet: bool = False
    dry_run: bool = False
    show: bool = False


def work(command: Command, given: dict[str, Any], manner: Manner) -> None:
    """Do a command, and say from the main process what it found or where its result is."""
    settings = command.settings.of(**given)
    from farfield.study.perform import perform

    gc.enable()
    done = perform(command, settings, manner.out, quiet=manner.quiet, dry_run=manner.dry_run)
    lines = done.lines
    if manner.as_json and done.page is not None and done.folder is not None and isinstance(done.result, Result):
        lines = [(done.folder / "summary.json").read_text(encoding="utf-8")]
    for line in lines:
        echo(line)
    if done.page is None:
        return
    if not manner.as_json:
        echo(link(done.page))
    if manner.show:
        browse(done.page)
