"""The templates of pages."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from farfield.core.score import Score


@cache
def templates() -> Any:
    """Once: what is compiled serves every page."""
    from jinja2 import Environment, PackageLoader

    environment = Environment(
        loader=PackageLoader("farfield", "present"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.tests["score"] = lambda value: isinstance(value, Score)
    environment.filters |= {"coded": coded, "uncoded": lambda text: str(text).replace("`", "")}
    return environment


def coded(text: Any) -> Any:
    """A text in which what stands between backticks, and every ``--option`` outside them, is set as code."""
    from markupsafe import Markup, escape

    parts = re.split(r"(`[^`\n]+`|(?<![\w-])--[a-z][\w-]*)", str(text))
    shown = [Markup("<code>%s</code>") % part.strip("`") if i % 2 else escape(part) for i, part in enumerate(parts)]
    return Markup("").join(shown)
