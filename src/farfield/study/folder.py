"""Where a run goes that was given no folder: the next free one, or the one in which the same settings were begun."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from farfield.command.commands import settings_of
from farfield.command.settings import Settings
from farfield.core.run_folder import configuration, is_free, places


def same_run(folder: Path, settings: Settings) -> bool:
    """Whether a folder holds a run of these settings, as far as its command line says."""
    line = configuration(folder).get("command_line")
    before = settings_of(line) if isinstance(line, str) else None
    return type(before) is type(settings) and before is not None and before.request() == settings.request()


def usable(base: Path, settings: Settings) -> Iterator[Path]:
    """Of ``base``, ``base-2`` … those that hold a run of these settings, and then the first that is free."""
    for folder in places(base):
        if is_free(folder):
            yield folder
            return
        if same_run(folder, settings):
            yield folder
