"""A grid of models, size of the training set × width × seed, as ordinary commands that run a few at a time.

A job is a chain of commands that leaves its result in a folder of its own; each is one that a user could give by hand, and
continues where it was stopped. So jobs may run here, under several processes, or be handed to a scheduler.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path
from typing import Literal, get_args

import torch

from farfield.command.transition import Grid
from farfield.core.disk import WINDOWS
from farfield.core.error import FarfieldError
from farfield.core.hold import wait_for_lock
from farfield.core.runtime import Ranks, progress

LAUNCHER = (
    "RANK",
    "WORLD_SIZE",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "GROUP_RANK",
    "ROLE_RANK",
    "MASTER_ADDR",
    "MASTER_PORT",
)
"""Variables by which a launcher tells a process its rank; a job is one process."""


@dataclass(frozen=True, order=True)
class Cell:
    """One model of the grid; of ``half`` 1 on as many other images, with ``labels`` told the classes."""

    size: int
    width: int
    seed: int
    half: int = 0
    labels: bool = False

    @property
    def name(self) -> str:
        return f"n{self.size:05d}-{self.line}"

    @property
    def line(self) -> str:
        """What it shares with cells of other sizes."""
        return f"w{self.width}-s{self.seed}{'-other' * self.half}{'-labels' * self.labels}"

    @property
    def data(self) -> str:
        """Its training set."""
        return data_name(self.size, self.half)


def data_name(size: int, half: int = 0) -> str:
    return f"n{size:05d}{'-other' * half}"


def cells_of(grid: Grid) -> list[Cell]:
    ways = range(1 + grid.halves), (False, True)[: 1 + grid.labels]
    return [Cell(*place) for place in product(grid.sizes, grid.widths, grid.seeds, *ways)]


Thing = Literal["width", "seed", "half", "labels"]


def differ(a: Cell, b: Cell) -> Thing | None:
    """In what two cells of one size differ alone; None where they differ in more."""
    apart = [thing for thing in get_args(Thing) if getattr(a, thing) != getattr(b, thing)]
    return apart[0] if a.size == b.size and len(apart) == 1 else None


def pairs(cells: Sequence[Cell]) -> list[tuple[Cell, Cell]]:
    """Cells of one size that differ in one thing alone."""
    return [(a, b) for a, b in combinations(cells, 2) if differ(a, b)]


@dataclass(frozen=True)
class Step:
    """A command (without ``farfield``) and the file that it ends with."""

    words: tuple[str, ...]
    result: Path

    @property
    def done(self) -> bool:
        return self.result.is_file()


@dataclass(frozen=True)
class Job:
    """``steps``, one after the other, fill ``folder``."""

    folder: Path
    steps: tuple[Step, ...]

    @property
    def done(self) -> bool:
        return all(step.done for step in self.steps)

    def line(self) -> str:
        """What is left of it, as it is typed into a shell."""
        return " && ".join(shlex.join(["farfield", *step.words]) for step in self.steps if not step.done)

    def run(self, environment: Mapping[str, str]) -> None:
        """Take the steps that are left, up to the first that fails. What the commands say is added to ``log.txt``.

        One process at a time works on a folder. The commands hold its lock too, so that those of a session that was
        killed are waited for.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / ".lock", "w") as lock, open(self.folder / "log.txt", "a") as log:
            wait_for_lock(lock.fileno())
            for step in self.steps:
                if step.done:
                    continue
                ended = subprocess.run(
                    [sys.executable, "-m", "farfield", *step.words],
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    pass_fds=() if WINDOWS else (lock.fileno(),),
                )
                if ended.returncode < 0:  # then it said nothing of it itself
                    log.write(f"{step.words[0]} was ended by a signal: {signal.strsignal(-ended.returncode)}\n")
                if ended.returncode:
                    return

    def last_words(self) -> str:
        """The last line of what its commands said."""
        path = self.folder / "log.txt"
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
        return next((line.removeprefix("farfield: ") for line in reversed(lines) if line.strip()), "it said nothing")


def _cores() -> int:
    """Those that this process may use, where the system says (macOS and Windows do not)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_jobs(jobs: Sequence[Job], at_once: int | None = None, quiet: bool = False) -> None:
    """Run the jobs that are not done, ``at_once`` of them at a time (as many as there are cores, if not given).

    They share the cores, or as many threads as OMP_NUM_THREADS says. Several processes share the jobs by position. A job
    that fails does not stop the others.

    Raises:
        FarfieldError: some failed; they are named, the first with its last words.
    """
    ranks = Ranks.current()
    on_machine = _whole("LOCAL_WORLD_SIZE") or 1
    cores = _whole("OMP_NUM_THREADS") or max(1, _cores() // on_machine)
    at_once = at_once or cores
    gpus = visible_gpus()
    mine = jobs[ranks.rank :: ranks.world]
    left = [job for job in mine if not job.done]
    slots = list(range(at_once))

    def work(job: Job) -> None:
        slot = slots.pop()
        try:
            job.run(environment(os.environ, max(1, cores // at_once), gpus, ranks.local + on_machine * slot))
        finally:
            slots.append(slot)

    pool = ThreadPoolExecutor(at_once)
    try:
        with progress("grid", len(mine), done=len(mine) - len(left), quiet=quiet) as advance:
            for future in as_completed([pool.submit(work, job) for job in left]):
                future.result()
                advance(1)
    finally:
        pool.shutdown(cancel_futures=True)
    ranks.wait()
    if missing := [job for job in jobs if not job.done]:
        names = ", ".join(job.folder.name for job in missing[:5]) + (" …" if len(missing) > 5 else "")
        raise FarfieldError(
            f"{len(missing)} of {len(jobs)} jobs failed: {names} ({missing[0].folder / 'log.txt'}: "
            f"{missing[0].last_words()}); the others are done, give the same command to continue"
        )


def _whole(name: str) -> int | None:
    """The first number of a variable; None where it has none, as its own readers do with nonsense. OpenMP takes lists."""
    number = re.match(r"[1-9]\d{0,4}", os.environ.get(name, "").strip())
    return int(number[0]) if number else None


def environment(around: Mapping[str, str], threads: int, gpus: Sequence[str], slot: int) -> dict[str, str]:
    """A job's variables: one process of so many threads, on a GPU of its own where there are several."""
    variables = {k: v for k, v in around.items() if k not in LAUNCHER and not k.startswith("TORCHELASTIC_")}
    variables |= {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
    if gpus:
        variables["CUDA_VISIBLE_DEVICES"] = gpus[slot % len(gpus)]
    return variables


def visible_gpus() -> list[str]:
    """As CUDA_VISIBLE_DEVICES names them."""
    if (named := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [gpu for gpu in named.split(",") if gpu]
    return [str(i) for i in range(torch.cuda.device_count())]
