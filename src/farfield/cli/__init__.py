"""The command line: parse, call one study, show. No arithmetic, and nothing heavy imported before it is needed."""

from __future__ import annotations

import gc
import io
import os
import re
import sys
import warnings
from collections.abc import MutableMapping
from typing import Any

from farfield import __version__
from farfield.cli.failure import DEBUG, failure
from farfield.core.error import FarfieldError, FarfieldNote, FarfieldWarning
from farfield.core.terminal import echo, tell


def _settle(environment: MutableMapping[str, str]) -> None:
    """Take out of the environment what would stop a library that reads it."""
    # Jupyter and Colab export a backend that only a notebook's own process can use.
    environment["MPLBACKEND"] = "Agg"
    for name in ("COLUMNS", "LINES", "TERMINAL_WIDTH"):
        if not re.fullmatch(r"[1-9]\d{1,3}", environment.get(name, "80")):
            del environment[name]


def main() -> None:
    """Entry point: whatever goes wrong is one line; exit code 2 for bad input, 1 where the machine failed."""

    def heard(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: Any = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, FarfieldWarning | FarfieldNote):
            tell(f"farfield: {message}")

    warnings.showwarning = heard
    _settle(os.environ)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):  # its encoding may not know every character
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            if sys.argv[1:] == ["--version"]:
                return echo(__version__)
            gc.disable()  # nothing that is imported is garbage: a tenth of the time of --help
            from farfield.cli.application import application

            application(None if any(name.endswith("_COMPLETE") for name in os.environ) else sys.argv[1:])()
        finally:
            gc.enable()
            sys.stdout.flush()
    except BrokenPipeError:  # whoever reads has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        line, code = failure(error)
        if os.environ.get(DEBUG) and not isinstance(error, FarfieldError):
            raise
        tell(f"farfield: {line}")
        sys.exit(code)
