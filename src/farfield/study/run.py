"""A run folder: one command's settings, artifacts and cost, continued when the same command is given again."""

from __future__ import annotations

import contextlib
import json
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch

import farfield
from farfield.core.artifact import Artifact, Store, chunks, read_json, write_json
from farfield.core.error import FarfieldError
from farfield.core.runtime import Advance, Ranks, progress

A = TypeVar("A", bound=Artifact)


class Run:
    """The folder of one run.

    ``config.json`` holds the request (everything that changes the result), versions and hashes; ``cost.json`` the
    seconds of each stage, summed over interruptions.

    Args:
        folder: created if absent; refused if it holds anything but a run of the same request.
        command: the farfield command.
        request: its settings, JSON values only.
    """

    def __init__(self, folder: Path, command: str, request: dict[str, Any], quiet: bool = False):
        self.folder = folder
        self.quiet = quiet
        self.ranks = Ranks.current()
        self.request = json.loads(json.dumps({"command": command, **request}))  # as it will be read: lists, no tuples
        if self.ranks.main:
            self._claim()
        self.ranks.wait()

    def _claim(self) -> None:
        """Take the folder for this request, or refuse it untouched."""
        config = self.folder / "config.json"
        if config.exists():
            found = read_json(config, "restore it, or choose another folder with -o")
            before = found.get("request") if isinstance(found, dict) else None
            if not isinstance(before, dict):
                raise FarfieldError(f"{config}: not the configuration of a farfield run; choose another folder with -o")
            changed = sorted(
                (k for k in {*before, *self.request} if before.get(k) != self.request.get(k)),
                key=lambda k: (k != "command", k),
            )
            if changed:
                first = changed[0]
                raise FarfieldError(
                    f"{self.folder}: holds a run with other settings ({first} was {before.get(first)!r}, now "
                    f"{self.request.get(first)!r}); give the same command to continue it, or another folder with -o"
                )
        elif self.folder.is_file():
            raise FarfieldError(f"{self.folder}: a file; expected a folder for the run, choose another with -o")
        elif self.folder.is_dir() and any(p for p in self.folder.iterdir() if not p.name.startswith(".writing-")):
            raise FarfieldError(f"{self.folder}: not empty and not a farfield run; choose another folder with -o")
        else:
            versions = {
                "farfield": farfield.__version__,
                "python": platform.python_version(),
                "torch": torch.__version__,
            }
            started = time.strftime("%Y-%m-%dT%H:%M:%S%z")
            write_json(config, {"request": self.request, "versions": versions, "started": started})

    def store(self, name: str, kind: type[A]) -> Store[A]:
        return Store(self.folder / name, kind)

    def compute(
        self,
        name: str,
        kind: type[A],
        keys: Sequence[str],
        size: int,
        work: Callable[[tuple[str, ...], Advance], A],
        label: str,
        units: int = 1,
    ) -> A:
        """An artifact of these keys, shard by shard; what is on disk is not done again.

        Shards are given out to the processes by position and gathered from disk, so any number of them ends alike.

        Args:
            size: rows per shard.
            work: rows of some keys; it may tell its progress in units.
            units: units of progress per row.
        """
        store, parts = self.store(name, kind), chunks(keys, size)
        done = sum(len(part) for i, part in enumerate(parts) if store.has(i)) * units
        if done < len(keys) * units:
            with self.stage(name), progress(label, len(keys) * units, done=done, quiet=self.quiet) as advance:
                for i, part in enumerate(parts):
                    if i % self.ranks.world == self.ranks.rank and not store.has(i):
                        store.write(i, work(part, advance))
        self.ranks.wait()
        found = store.read()
        if found.keys != tuple(keys):
            raise FarfieldError(
                f"{self.folder / name}: holds other rows than this command makes; delete that folder and run the "
                "command again"
            )
        return found

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the seconds spent inside to the run's cost."""
        start = time.perf_counter()
        try:
            yield
        finally:
            if self.ranks.main:
                path = self.folder / "cost.json"
                seconds = read_json(path) if path.exists() else {}
                seconds[name] = round(seconds.get(name, 0.0) + time.perf_counter() - start, 3)
                write_json(path, seconds)

    def cost(self) -> dict[str, float]:
        path = self.folder / "cost.json"
        seconds: dict[str, float] = read_json(path) if path.exists() else {}
        return seconds
