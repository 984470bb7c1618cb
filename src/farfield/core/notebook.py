"""A bar in a notebook, which is no terminal: HTML that is drawn anew in its place, and gone in the end."""

from __future__ import annotations

import html
import sys
import time
from typing import Any, Final

EVERY: Final = 0.25  # seconds between two drawings, at least


def in_notebook() -> bool:
    """Whether a kernel of Jupyter runs this process; IPython in a terminal has none."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and getattr(ipython.get_ipython(), "kernel", None) is not None


class Bar:
    """One task, as `rich.progress.Progress` would show it, without the widgets that rich needs for that."""

    def __init__(self) -> None:
        self.handle: Any = None
        self.drawn = 0.0
        self.said = ""

    def add_task(self, total: float, **now: Any) -> int:
        self.said = _bar(**now)
        return 0

    def start(self) -> None:
        from IPython.display import HTML, display

        self.handle = display(HTML(self.said), display_id=True)

    def update(self, task: int, **now: Any) -> None:
        if time.monotonic() - self.drawn >= EVERY:
            self.drawn = time.monotonic()
            self._draw(_bar(**now))

    def stop(self) -> None:
        self._draw("")

    def _draw(self, text: str) -> None:
        from IPython.display import HTML

        if self.handle is not None:
            self.handle.update(HTML(text))


def _bar(description: str, completed: float, left: str) -> str:
    return f'{html.escape(description)} <progress max="1" value="{completed:.3f}"></progress> {completed:.0%} {left}'
