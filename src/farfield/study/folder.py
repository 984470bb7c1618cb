"""Where a run goes that was given no folder: the next free one, or the one in which the same settings were begun."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from farfield.command.commands import settings_of
from farfield.command.settings import Settings
from farfield.core.run_folder import configuration, is_free, places


def begun(folder: Path, settings: Settings) -> Settings | None:
    """The settings of the run in a folder, if these are the same as far as its command line says; with what ``auto`` came to."""
    line = configuration(folder).get("command_line")
    before = settings_of(line) if isinstance(line, str) else None
    if before is None or type(before) is not type(settings):
        return None
    if settings.dtype_asked == "auto":
        settings = settings.but(dtype=before.dtype_asked)
    return settings if before.request() == settings.request() else None


def same_run(folder: Path, settings: Settings) -> bool:
    """Whether a folder holds a run of these settings."""
    return begun(folder, settings) is not None


def usable(base: Path, settings: Settings) -> Iterator[Path]:
    """Of ``base``, ``base-2`` … those that hold a run of these settings, and then the first that is free."""
    for folder in places(base):
        if is_free(folder):
            yield folder
            return
        if same_run(folder, settings):
            yield folder
