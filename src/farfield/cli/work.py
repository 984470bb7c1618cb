"""A command from its words to its last line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from farfield.command.commands import Command
from farfield.command.result import Result
from farfield.core.terminal import echo


def work(command: Command, given: dict[str, Any], out: Path | None, as_json: bool, quiet: bool) -> None:
    """Do a command, and say from the main process where its result is."""
    settings = command.settings.of(**given)
    from farfield.core.runtime import Ranks
    from farfield.study.perform import perform

    done = perform(command, settings, out, quiet=quiet)
    if not Ranks.current().main:
        return
    if as_json and out is not None and isinstance(done.result, Result):
        echo((out / "summary.json").read_text())
    else:
        echo("\n".join(done.lines))
