"""How far a command is: one bar for all of it on a terminal or in a notebook, a line a minute where neither is.

A stage that ends within a second is passed over in silence. A command that knows its stages beforehand says so (`Meter.expect`),
and its bar counts them and the time that is left of all.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from farfield.core.notebook import Bar, in_notebook
from farfield.core.terminal import plain, tell

Advance = Callable[[int], None]
"""Called with the number of units of work just finished."""

SILENT: Final = 1.0  # seconds of a stage of which nothing is said
EVERY: Final = 60.0  # seconds between two lines where there is no terminal


class Meter:
    """What is done of a command.

    Args:
        clock: seconds.
        dry: whether to stop before the first stage.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, dry: bool = False):
        self.clock, self.dry, self.opened = clock, dry, False
        self.plan: dict[str, float] = {}
        self.done: dict[str, float] = {}
        self.spent = 0.0  # in stages of the plan
        self.label, self.total, self.count, self.first, self.began = "", 1, 0, 0, 0.0

    def expect(self, plan: Mapping[str, float]) -> None:
        """The stages in their order, each with its work in one measure of all, such as images through a network."""
        self.plan = {**self.plan, **plan}

    def enter(self, label: str, total: int, done: int) -> None:
        label = max((stage for stage in self.plan if label.startswith(stage)), key=len, default=label)
        self.label, self.total, self.count, self.first, self.began = label, max(total, 1), done, done, self.clock()

    def leave(self) -> None:
        if self.label in self.plan:
            self.done[self.label] = self.plan[self.label]
            self.spent += self.clock() - self.began

    @property
    def title(self) -> str:
        """The stage, and which of how many it is."""
        stages = list(self.plan)
        place = (
            f"stage {stages.index(self.label) + 1} of {len(stages)}: "
            if self.label in self.plan and len(stages) > 1
            else ""
        )
        return f"{place}{self.label}"

    @property
    def share(self) -> float:
        """What is done of all that is expected; of a stage that is not in the plan, of the stage."""
        here = min(self.count / self.total, 1.0)
        if self.label not in self.plan:
            return here
        stages = list(self.plan)
        passed = sum(self.plan[stage] for stage in stages[: stages.index(self.label)])
        return (passed + here * self.plan[self.label]) / (sum(self.plan.values()) or 1.0)

    @property
    def left(self) -> float | None:
        """Seconds, at the pace so far: that of the plan's stages, or the stage's own; None before there is one."""
        now = self.clock() - self.began
        here = (self.count - self.first) / self.total
        if self.label not in self.plan:
            return now * (self.total - self.count) / (self.count - self.first) if self.count > self.first else None
        made = sum(self.done.values()) + here * self.plan[self.label]
        return (self.spent + now) * (1 - self.share) * sum(self.plan.values()) / made if made > 0 else None

    def __str__(self) -> str:
        left = "" if self.left is None else f", {clock_time(self.left)} left"
        return f"{self.title}: {self.share:.0%}{left}"


def clock_time(seconds: float) -> str:
    """``1:40``, ``2:03:20``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class _Shown:
    """A stage while it runs: in silence at first, then as a bar or as lines; `end` takes the bar away."""

    def __init__(self, meter: Meter):
        self.meter = meter
        self.bars: Any = None
        self.over, self.lock = False, threading.Lock()
        self.timer = self._later(SILENT)

    def advance(self, count: int) -> None:
        self.meter.count += count
        with self.lock:
            if self.bars is not None:
                self.bars.update(self.task, **self._now())

    def end(self) -> None:
        self.timer.cancel()
        with self.lock:
            self.over = True
            if self.bars is not None:
                self.bars.stop()

    def _later(self, seconds: float) -> threading.Timer:
        timer = threading.Timer(seconds, self._show)
        timer.daemon = True
        timer.start()
        return timer

    def _show(self) -> None:
        with self.lock:
            if self.over:
                return
            if sys.stderr.isatty() or in_notebook():
                bars = Bar() if in_notebook() else _bars()
                self.task = bars.add_task(total=1.0, **self._now())
                bars.start()
                self.bars = bars
            else:
                tell(self.meter)
                self.timer = self._later(EVERY)

    def _now(self) -> dict[str, Any]:
        left = self.meter.left
        said = "" if left is None else f"{clock_time(left)} left"
        return {"description": plain(self.meter.title), "completed": self.meter.share, "left": said}


def _bars() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    columns = (
        TextColumn("{task.description:<34}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[left]}", markup=False),
    )
    return Progress(*columns, console=Console(stderr=True), transient=True)


_meters = [Meter()]


@contextlib.contextmanager
def metered(dry: bool = False) -> Iterator[Meter]:
    """A command, all of whose stages are parts of one whole; one inside another is a part of it."""
    if len(_meters) > 1:
        yield _meters[-1]
        return
    _meters.append(Meter(dry=dry))
    try:
        yield _meters[-1]
    finally:
        _meters.pop()


def current() -> Meter:
    """That of the command that runs."""
    return _meters[-1]


@contextlib.contextmanager
def shown(label: str, total: int, done: int = 0) -> Iterator[Advance]:
    """A stage of the command that runs; inside another it is that one's business alone, and nothing is shown of it."""
    meter = _meters[-1]
    if meter.label:
        yield lambda n: None
        return
    meter.enter(label, total, done)
    stage = _Shown(meter)
    try:
        yield stage.advance
    finally:
        stage.end()
        meter.leave()
        meter.label = ""
