"""``farfield report`` and ``farfield domains``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from farfield.cli.options import app
from farfield.core.error import FarfieldError
from farfield.core.terminal import echo


@app.command()
def report(run: Annotated[Path, typer.Argument(help="A run folder.")]) -> None:
    """Write report.html anew from what a run left on disk; needs neither the model nor the images."""
    from farfield.present.report import write_report

    try:
        page = write_report(run)
    except FarfieldError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise FarfieldError(
            f"{run}: its summary.json is not what a finished run leaves ({type(error).__name__}: {error}); give the command "
            "of the run again"
        ) from error
    echo(page)


@app.command()
def domains() -> None:
    """List the domains that come with farfield and its dependencies; their names work wherever a path does."""
    from farfield.data.bundled import DOMAINS, FIELD_DOMAINS

    for name, description in {**DOMAINS, **FIELD_DOMAINS}.items():
        echo(f"{name:<8} {description}")
