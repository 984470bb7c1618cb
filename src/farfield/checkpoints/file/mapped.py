"""A file seen through the page cache, and the meter of what reading it may take: memory, and work."""

from __future__ import annotations

import mmap
from pathlib import Path

from farfield.core.error import FarfieldError

BASE = 8 << 20
"""Bytes that the contents of any file may take, however small it is."""

TIMES = 3
"""How often a file's size its contents may take on top: the same weights under three names, and no bomb."""

WORK_BASE, WORK_TIMES = 1 << 18, 4
"""The same of work, in steps: what takes an opcode, or a look at one value in a list, some tens of nanoseconds."""


class Mapped:
    """A file's bytes, read only when they are touched, with a budget for what is made of them.

    Whatever makes, copies or goes through something of a length that the file decides takes it from here beforehand, so that
    memory and time are linear in the file's size.

    Attributes:
        path: of the file, for messages.
        data: its bytes, read-only.
        left: how many bytes of memory its contents may still take.
        steps: how many steps of work may still be done on them.

    Raises:
        FarfieldError: no such file, it cannot be read, or it is empty.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise FarfieldError(f"{path}: no such file; expected a checkpoint")
        try:
            with path.open("rb") as file:
                size = path.stat().st_size
                self.data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b"")
        except OSError as error:
            raise FarfieldError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
        if not size:
            raise FarfieldError(f"{path}: an empty file; expected a checkpoint, so fetch or copy it again")
        self.left = BASE + TIMES * size
        self.steps = WORK_BASE + WORK_TIMES * size

    def spend(self, size: int = 0, steps: int = 0) -> None:
        """Take ``size`` bytes, and so many steps, from the budget; called before they are allocated, and done.

        Raises:
            FarfieldError: the file would take far more memory, or work, than it is long.
        """
        self.left -= size
        self.steps -= steps
        if self.left < 0:
            raise self.refused(f"its contents would take more than {TIMES} times its size in memory")
        if self.steps < 0:
            raise self.refused("reading it would take far more work than a file of its size needs")

    def damaged(self, what: str) -> FarfieldError:
        """The error of a file that cannot be what it set out to be."""
        return FarfieldError(
            f"{self.path}: damaged or cut short, {what}; expected a whole checkpoint, so fetch or copy it again"
        )

    def refused(self, what: str) -> FarfieldError:
        """The error of a file that holds what no checkpoint needs."""
        return FarfieldError(
            f"{self.path}: refused, {what}; expected weights and plain data. Nothing in the file was run; if you trust its "
            "source, ask there for the weights alone (safetensors, or the state dict)"
        )

    def other(self, what: str, advice: str = "") -> FarfieldError:
        """The error of a file that is no checkpoint at all.

        Args:
            advice: what to do.
        """
        advice = advice or "expected a pickle of EDM, a file of torch.save, or safetensors"
        return FarfieldError(f"{self.path}: this is {what}; {advice}. Nothing in it was run")
