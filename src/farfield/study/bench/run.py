"""A run folder: one command's settings, artifacts and cost, continued when the same command is given again."""

from __future__ import annotations

import contextlib
import json
import platform
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

import farfield
from farfield.command.result import Result, from_json, to_json
from farfield.command.settings import Settings, command_line, leaves
from farfield.core import note
from farfield.core.artifact import Artifact, Store, chunks, read_json, write_json
from farfield.core.disk import sweep, write_bytes, writing
from farfield.core.error import DamagedError, DryRun, FarfieldError, FarfieldWarning, OtherRunError
from farfield.core.hold import Hold, check_holds
from farfield.core.progress import current
from farfield.core.provenance import Provenance
from farfield.core.run_folder import DIGEST, check_place, differences
from farfield.core.runtime import Advance, Ranks, progress
from farfield.core.terminal import tell
from farfield.study.bench.opening import Foreseen, Work, what_was_read

A = TypeVar("A", bound=Artifact)
R = TypeVar("R", bound=Result)


class Digested(Protocol):
    """What knows the digest of its content: artifacts, data sets, domains."""

    def digest(self) -> str: ...


Inputs = Mapping[str, "Digested | str | None"]
"""All that a run reads from outside of its folder, by name: each itself, or the sha256 of its content; None was not given."""


class Run:
    """The folder of one run, in which one process works at a time (or all ranks of one launch).

    ``config.json`` holds the request (everything that changes the result), versions and hashes; ``cost.json`` the
    seconds of each stage, summed over interruptions. It is the first file of a run and is never written again: of
    several processes that begin in one new folder, one wins.

    Args:
        folder: created if absent; refused if it holds anything but a run of the same request.
        command: the farfield command.
        request: its settings, JSON values only.
        inputs: every source and model, by content: it joins the request as ``<name>_digest``, so that a file which has
            changed under its name is never taken for the one that the folder's numbers come from.
        options: what refusals call the keys of the request.

    Raises:
        FarfieldError: the folder is another run's, or another process works in it.
    """

    def __init__(
        self,
        folder: Path,
        command: str,
        request: Mapping[str, Any],
        inputs: Inputs,
        quiet: bool = False,
        line: str | None = None,
        options: Mapping[str, str] | None = None,
    ):
        self.folder = folder
        self.quiet = quiet
        self.line = line
        self.options = options or {}
        self.read = ""
        self.ranks = Ranks.current()
        contents = {f"{name}{DIGEST}": _digest(given) for name, given in inputs.items()}
        # as it will be read: lists, no tuples
        self.request = json.loads(json.dumps({"command": command, **request, **contents}))
        if self.ranks.main:
            self._claim()
            self._hold = Hold(self._config, alone=True)
            sweep(folder, below=True)
        self.ranks.wait()
        if not self.ranks.main:
            self._hold = Hold(self._config, alone=False)

    @classmethod
    def of(
        cls,
        folder: Path,
        settings: Settings,
        inputs: Inputs,
        quiet: bool = False,
        work: Work | Iterable[Work] = (),
        read: str | None = None,
        **resolved: Any,
    ) -> Run:
        """Of a command's settings; says what was read and is about to be done, and ends there if it is a dry run.

        Args:
            work: all that it is about to do, by which its time and the time that is left are told; what is no list is gone
                through only where it is told.
            read: what was read, where the inputs do not say it.
            resolved: what some settings became once data and model were known (`Settings.request`).

        Raises:
            DryRun: nothing more than that was wanted.
        """
        line = command_line(settings, "-o", str(folder))
        options = {leaf.option.key or leaf.name: leaf.said for leaf in leaves(type(settings))}
        works, meter = [work] if isinstance(work, Work) else work, current()
        if read is None:
            read = what_was_read(inputs, sum(part.made for part in works) if isinstance(works, list) else 0)
        if meter.dry:
            raise DryRun("; ".join(filter(None, [read, str(Foreseen.of(works))])) or "ready to begin")
        run = cls(folder, settings.command(), settings.request(**resolved), inputs, quiet, line, options)
        run.read = read
        if run.ranks.main and not quiet and not meter.opened and not (folder / "summary.json").exists():
            foreseen = Foreseen.of(works)
            meter.expect(foreseen.plan)
            if said := "; ".join(filter(None, [read, str(foreseen)])):
                tell(said)
        meter.opened = True
        return run

    @property
    def _config(self) -> Path:
        return self.folder / "config.json"

    def _claim(self) -> None:
        """Take the folder for this request, or refuse it untouched."""
        with writing(self.folder):
            check_place(self.folder)
            if not self._config.exists():
                check_holds(self.folder.parent)  # not its own: a run that is over may have been deleted
                self.folder.mkdir(parents=True, exist_ok=True)
                write_bytes(self._config, self._begun(), new=True)
        self._compare()

    def _begun(self) -> bytes:
        versions = {
            "farfield": farfield.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
        }
        started = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        config = {"request": self.request, "versions": versions, "started": started}
        if self.line is not None:
            config["command_line"] = self.line
        return (json.dumps(config, indent=1) + "\n").encode()

    def _compare(self) -> None:
        """Refuse the folder of another request."""
        try:
            config = read_json(self._config)
        except DamagedError as error:
            raise FarfieldError(
                f"{self._config}: damaged, so what else is in the folder belongs to nothing; delete the whole folder to start "
                "anew, or choose another with -o"
            ) from error
        before = config.get("request") if isinstance(config, dict) else None
        if not isinstance(before, dict):
            raise FarfieldError(
                f"{self._config}: not the configuration of a farfield run; choose another folder with -o"
            )
        if "grid" in self.request and "grid" not in before and before.get("command") == self.request["command"]:
            raise OtherRunError(
                f"{self.folder}: was begun by an earlier farfield, whose solvers stepped over other noise levels; choose another "
                "folder with -o"
            )
        if changed := differences(before, self.request, self.options):
            back = "bring those back" if changed.startswith("other data") else "give the same command"
            raise OtherRunError(
                f"{self.folder}: holds a run with {changed}; {back} to continue it, or another folder with -o"
            )

    def check(self) -> None:
        """Raise MachineError if the folder was deleted under the run."""
        self._hold.check()

    @property
    def provenance(self) -> Provenance:
        """What is written into the files that this run generates."""
        return Provenance.of(self.request)

    def finish(self, result: R) -> R:
        """End the run: ``summary.json`` of the result, with the command, the version, what was said of the data, and the cost."""
        summary = {"command": self.request["command"], "farfield": farfield.__version__, **to_json(result)}
        summary |= {"read": self.read} if self.read else {}
        summary |= {"reading": note.said(), "cost_seconds": summary.get("cost_seconds", self.cost())}
        if self.ranks.main:
            write_json(self.folder / "summary.json", summary)
        self.ranks.wait()
        return result

    def finish_on_main(self, kind: type[R], work: Callable[[], R]) -> R:
        """`finish` with what the main process works out alone; the others wait for it, and read it."""
        if not self.ranks.main:
            self.ranks.wait()
            return from_json(kind, read_json(self.folder / "summary.json"))
        with self.stage("scores"):
            result = work()
        return self.finish(result)

    def store(self, name: str, kind: type[A]) -> Store[A]:
        return Store(self.folder / name, kind)

    def compute(
        self,
        name: str,
        kind: type[A],
        keys: Sequence[str],
        batch_size: int,
        work: Callable[[tuple[str, ...], Advance], A],
        label: str,
        units: int = 1,
        beside: Sequence[Store[Any]] = (),
    ) -> Store[A]:
        """An artifact of these keys on disk, shard by shard; what is there and whole is not done again.

        Shards are given out to the processes by position and gathered from disk, so any number of them ends alike.

        Args:
            batch_size: rows per shard.
            work: rows of some keys; it may tell its progress in units.
            units: units of progress per row.
            beside: what ``work`` writes besides, a shard for a shard, before it returns: both are made again if one is lost.
        """
        store, parts = Store(self.folder / name, kind, keys), chunks(keys, batch_size)
        mine = range(self.ranks.rank, len(parts), self.ranks.world)
        left = [i for i in mine if not all(s.whole(i, parts[i]) for s in (store, *beside))]
        if left:
            done = (len(keys) - sum(len(parts[i]) for i in left)) * units
            with self.stage(name), progress(label, len(keys) * units, done=done, quiet=self.quiet) as advance:
                for i in left:
                    made = work(parts[i], advance)
                    self.check()
                    store.write(i, made)
        self.ranks.wait()
        if self.ranks.main:
            for one in (store, *beside):
                one.trim(len(parts))
        self.ranks.wait()
        return store

    def rows(
        self,
        name: str,
        kind: type[A],
        keys: Sequence[str],
        row: Callable[[str], Tensor | Sequence[float]],
        label: str,
        **attributes: Any,
    ) -> A:
        """An artifact whose float64 rows are computed one by one, a shard each; see `compute`."""

        def work(part: tuple[str, ...], advance: Advance) -> A:
            values = torch.stack([torch.as_tensor(row(key), dtype=torch.float64) for key in part])
            advance(len(part))
            return kind(part, values, **attributes)

        return self.compute(name, kind, keys, 1, work, label).read()

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the seconds spent inside to the run's cost."""
        start = time.perf_counter()
        try:
            yield
        except BaseException:
            with contextlib.suppress(FarfieldError):  # the first error is the one to be read
                self._spent(name, time.perf_counter() - start)
            raise
        self._spent(name, time.perf_counter() - start)

    def _spent(self, name: str, seconds: float) -> None:
        if self.ranks.main:
            cost = self.cost()
            write_json(self.folder / "cost.json", {**cost, name: round(cost.get(name, 0.0) + seconds, 3)})

    def cost(self) -> dict[str, float]:
        """Seconds of each stage so far.

        Raises:
            MachineError: the folder was deleted under the run.
        """
        self.check()
        path = self.folder / "cost.json"
        if not path.exists():
            return {}
        with contextlib.suppress(DamagedError):
            cost = read_json(path)
            if isinstance(cost, dict) and all(type(v) in (int, float) for v in cost.values()):
                return cost
        warnings.warn(FarfieldWarning(f"{path}: damaged; seconds are counted from here on"), stacklevel=2)
        path.unlink()
        return {}


def _digest(given: Digested | str | None) -> str | None:
    return given if given is None or isinstance(given, str) else given.digest()
