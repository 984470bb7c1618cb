"""A command from its words to its last line."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

from farfield.command.commands import Command
from farfield.command.result import Result
from farfield.core.terminal import echo


def work(command: Command, given: dict[str, Any], out: Path | None, as_json: bool, quiet: bool) -> None:
    """Do a command, and say from the main process what it found or where its result is."""
    settings = command.settings.of(**given)
    from farfield.study.perform import perform

    gc.enable()

    done = perform(command, settings, out, quiet=quiet)
    lines = done.lines
    if lines and as_json and done.folder is not None and isinstance(done.result, Result):
        lines = [(done.folder / "summary.json").read_text()]
    for line in lines:
        echo(line)
