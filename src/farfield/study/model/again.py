"""`farfield again`: the command of a run once more, from its ``config.json``."""

from __future__ import annotations

import shlex

from farfield.command.commands import read_line
from farfield.command.runs import Again
from farfield.core.error import FarfieldError
from farfield.core.run_folder import configuration
from farfield.core.terminal import link
from farfield.study.folder import same_run, usable
from farfield.study.perform import perform

DRY = "--dry-run"
"""The option of every command that `again` gives on, beside those of its settings."""


def again(settings: Again) -> str:
    """Do it, and say what it says.

    Raises:
        FarfieldError: no run whose command line is known, or an option that its command has not.
    """
    line = configuration(settings.run).get("command_line")
    if not isinstance(line, str):
        raise FarfieldError(
            f"{settings.run}: expected a run folder (with config.json and its command line), found none"
        )
    command, words = read_line(shlex.split(line)[1:-2])  # the last two are its folder
    options = [word for word in settings.options if word != DRY]
    given = command.settings.parse(words) | command.settings.parse(options)
    new = command.settings.of(**given)
    out = settings.out
    if out is None:
        out = settings.run if same_run(settings.run, new) else next(usable(settings.run, new))
    done = perform(command, new, out, quiet=settings.quiet, dry_run=DRY in settings.options)
    return "\n".join([*done.lines, *([link(done.page)] if done.page else [])])
