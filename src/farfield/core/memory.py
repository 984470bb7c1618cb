"""Out of memory: known by what Python, PyTorch on any device, or numpy call it; and what is then tried."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from farfield.core.terminal import tell

T = TypeVar("T")


def is_of_memory(error: BaseException) -> bool:
    """Whether memory is out."""
    said = str(error).lower()
    words = ("out of memory", "can't allocate memory", "not enough memory", "std::bad_alloc")
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and any(word in said for word in words))


class Rows:
    """How many rows something takes at a time: halved whenever memory is out, and never raised again."""

    def __init__(self) -> None:
        self.most: int | None = None

    def parts(self, count: int, work: Callable[[slice], T]) -> list[T]:
        """``work`` of all rows, in as many slices as it takes.

        Raises:
            RuntimeError, MemoryError: one row alone is too many.
        """
        done: list[T] = []
        at = 0
        while at < count:
            rows = min(self.most or count, count - at)
            try:
                done.append(work(slice(at, at + rows)))
                at += rows
                continue
            except (RuntimeError, MemoryError) as error:
                if rows == 1 or not is_of_memory(error):
                    raise
            # outside of the handler, which holds on to what was in memory
            self.most = rows // 2
            _forget()
            tell(f"farfield: out of memory at {rows} images at a time; going on with {self.most}")
        return done


def _forget() -> None:
    """Give back what the device keeps in reserve."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
