"""The one run that the pages work at: begun, watched, stopped. It is a process, so that it can be stopped at any moment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from farfield.command.commands import Command
from farfield.command.settings import Settings
from farfield.core.error import FarfieldError
from farfield.core.terminal import plain

PATIENCE: Final = 5.0  # seconds that a process has to end by itself
LINES: Final = 200
"""Of what is said that are kept."""


class Job:
    """A command at work.

    Attributes:
        folder: of the run, once it is known.
        title, share, left: the stage, what is done of all from 0 to 1, and the seconds that are left, if that can be told.
        said: what the command line would have said meanwhile.
        lines: what it ends with.
        error: in one line, why it ended otherwise.
    """

    def __init__(self, command: Command, settings: Settings, runs: Path):
        self.command, self.words = command, [*command.name.split(), *settings.words()]
        self.folder: Path | None = None
        self.title, self.share, self.left = "starting", 0.0, None
        self.said: list[str] = []
        self.lines: list[str] = []
        self.error = ""
        self.stopped = False
        base = runs / Path(command.folder).name
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "farfield.ui.work", str(base), *self.words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, "PYTHONUTF8": "1"},  # what is said is UTF-8 on Windows too
        )
        self._readers = [threading.Thread(target=read, daemon=True) for read in (self._follow, self._listen)]
        for reader in self._readers:
            reader.start()

    @property
    def running(self) -> bool:
        return any(reader.is_alive() for reader in self._readers) or self.process.poll() is None

    def stop(self) -> None:
        """End it now; what is done stays in its folder."""
        self.stopped = self.stopped or self.running
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.wait()

    def wait(self) -> None:
        """Until it has ended, however it does."""
        self.process.wait()
        for reader in self._readers:
            reader.join()

    def _follow(self) -> None:
        for line in self.process.stdout or ():
            said: dict[str, Any] = json.loads(line)
            if folder := said.get("folder"):
                self.folder = Path(folder)
            self.title = said.get("title", self.title)
            self.share, self.left = said.get("share", self.share), said.get("left", self.left)
            self.lines, self.error = said.get("lines", self.lines), said.get("error", self.error)
        if self.process.wait() and not self.stopped and not self.error:
            self.error = f"ended unexpectedly (exit code {self.process.returncode}); give it again to continue"

    def _listen(self) -> None:
        lines: Iterable[str] = self.process.stderr or ()
        for line in lines:
            self.said = [*self.said, plain(line.rstrip("\n"))][-LINES:]


class Desk:
    """Where one run at a time is worked at."""

    def __init__(self, runs: Path):
        self.runs = runs
        self.job: Job | None = None
        self._lock = threading.Lock()

    def start(self, command: Command, settings: Settings) -> Job:
        """Begin or continue a run; one that is already at work is joined.

        Raises:
            FarfieldError: another is at work.
        """
        with self._lock:
            if self.job is not None and self.job.running:
                if self.job.words == [*command.name.split(), *settings.words()]:
                    return self.job
                raise FarfieldError(
                    f"{self.job.folder or self.job.command.name}: still at work; wait until it ends, or stop it"
                )
            self.job = Job(command, settings, self.runs)
            return self.job

    def stop(self) -> None:
        """End what is at work, if anything is."""
        with self._lock:
            if self.job is not None and self.job.running:
                self.job.stop()
