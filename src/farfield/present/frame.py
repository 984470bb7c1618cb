"""The templates of pages."""

from __future__ import annotations

from typing import Any

from farfield.core.score import Score


def templates() -> Any:
    from jinja2 import Environment, PackageLoader

    environment = Environment(
        loader=PackageLoader("farfield", "present"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.tests["score"] = lambda value: isinstance(value, Score)
    return environment
