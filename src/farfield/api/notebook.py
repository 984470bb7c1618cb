"""A run in a notebook: what it found, a strip of what it made, and its first numbers."""

from __future__ import annotations

import base64
from html import escape
from typing import Any, Final

from farfield.core.artifact import Images
from farfield.data.picture import png
from farfield.present.sheet import grid

STRIP: Final = 8
"""Images of the strip."""


def html(content: Any, images: Images | None, name: str) -> str:
    """A page's content as a few lines of HTML: its sentences, the first images, the numbers that it shows first.

    Args:
        content: of a page (`present.page.Content`), or None.
        images: of the run, if it made any.
    """
    parts = [f"<p><b>farfield {escape(name)}</b></p>"]
    if content is not None:
        parts = [f"<p><b>{escape(content.model)}</b>, {escape(content.domain)}: {escape(', '.join(content.facts))}</p>"]
        parts += [f"<p>{escape(line)}</p>" for line in content.verdict]
    if images is not None:
        shown = images.select(images.keys[:STRIP])
        data = base64.b64encode(png(grid(shown, columns=STRIP))).decode()
        parts.append(f'<img alt="the first {len(shown)} of {len(images)} images" src="data:image/png;base64,{data}">')
    if content is not None and content.key_numbers:
        cells = (
            (title, " ".join(filter(None, (value, about))), beside)
            for title, value, about, beside in content.key_numbers
        )
        rows = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in cells)
        parts.append(f"<table>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>")
    return "\n".join(parts)
