"""The command line: parse, call one study, show. No arithmetic, and nothing heavy imported before it is needed."""

from __future__ import annotations

import sys
import warnings
from typing import Annotated, Any

import typer

from farfield import __version__
from farfield.cli import analyse as analyse
from farfield.cli import audit as audit
from farfield.cli import compare as compare
from farfield.cli import convert as convert
from farfield.cli import dataset as dataset
from farfield.cli import describe as describe
from farfield.cli import dimension as dimension
from farfield.cli import edit as edit
from farfield.cli import expand as expand
from farfield.cli import fetch as fetch
from farfield.cli import generate as generate
from farfield.cli import inspect as inspect
from farfield.cli import molrg as molrg
from farfield.cli import pages as pages
from farfield.cli import prompt as prompt
from farfield.cli import rank as rank
from farfield.cli import reconstruct as reconstruct
from farfield.cli import score as score
from farfield.cli import train as train
from farfield.cli import transfer as transfer
from farfield.cli import transition as transition
from farfield.cli.options import app
from farfield.core.error import FarfieldError, FarfieldNote, FarfieldWarning


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """Entry point: bad input is one clear line and exit code 2."""

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: Any = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, FarfieldWarning | FarfieldNote):
            print(f"farfield: {message}", file=sys.stderr)

    warnings.showwarning = show
    try:
        app()
    except FarfieldError as error:
        print(f"farfield: {error}", file=sys.stderr)
        sys.exit(2)
