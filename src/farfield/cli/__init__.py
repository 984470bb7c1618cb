"""The command line: parse, call one study, show. No arithmetic, and nothing heavy imported before it is needed."""

from __future__ import annotations

import io
import os
import re
import sys
import warnings
from collections.abc import MutableMapping
from typing import Annotated, Any

import typer

from farfield import __version__
from farfield.cli.application import app
from farfield.cli.derive import add
from farfield.cli.failure import TRACEBACK, failure
from farfield.command.commands import COMMANDS
from farfield.core.error import FarfieldError, FarfieldNote, FarfieldWarning
from farfield.core.terminal import echo, tell


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        echo(__version__)
        raise typer.Exit


GROUPS = {
    "dataset": "Data sets: convert them, and find what occurs twice in them.",
    "score": "Do models make the same images from the same noise (rp, matrix)? Does a model make new ones (gl)?",
}
"""Commands of commands."""

groups = {"": app} | {name: typer.Typer(no_args_is_help=True, help=about) for name, about in GROUPS.items()}
for name in GROUPS:
    app.add_typer(groups[name], name=name)
for command in COMMANDS.values():
    add(groups[command.name.rpartition(" ")[0]], command)


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
            app()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # whoever reads has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        line, code = failure(error)
        if os.environ.get(TRACEBACK) and not isinstance(error, FarfieldError):
            raise
        tell(f"farfield: {line}")
        sys.exit(code)
