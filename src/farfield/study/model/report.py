"""`farfield report`: the page of a run anew, its charts as files for a paper."""

from __future__ import annotations

from pathlib import Path

from farfield.command.fetch import Report
from farfield.core.error import FarfieldError
from farfield.present.report import write_report


def report(settings: Report) -> Path:
    """The page's path.

    Raises:
        FarfieldError: no finished run, or a summary that none leaves.
    """
    try:
        return write_report(settings.run, settings.pdf)
    except FarfieldError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise FarfieldError(
            f"{settings.run}: its summary.json is not what a finished run leaves ({type(error).__name__}: {error}); give the "
            "command of the run again"
        ) from error
