"""The log of a training for TensorBoard: losses, learning rate and samples against the images seen."""

from __future__ import annotations

import importlib.util
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from farfield.command.train import LogRow
from farfield.core.error import missing

PLACE: Final = "tensorboard"
"""In the run's folder; ``tensorboard --logdir RUN`` shows it."""


def check_installed() -> None:
    """Before anything is read.

    Raises:
        FarfieldError: tensorboard is not installed.
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise missing("--log tensorboard", "tensorboard")


class Board:
    """Rows of the log as they come.

    A training that is taken up again may go over rows once more, and files of events can only be added to. So they are
    written anew from the log, which has each row once.

    Args:
        run: the run's folder; of each row its samples are ``samples/IMAGES.png``, where there are any.
        rows: those that there are.
    """

    def __init__(self, run: Path, rows: Sequence[LogRow]):
        from torch.utils.tensorboard import SummaryWriter

        self.run = run
        shutil.rmtree(run / PLACE, ignore_errors=True)
        self._writer: Any = SummaryWriter(str(run / PLACE))
        after = 0.0
        times: list[float] = []  # when each row was written, as far as the log tells: how long the later ones took
        for row in reversed(rows):
            times.insert(0, time.time() - after)
            after += row.seconds or 0.0
        for row, at in zip(rows, times, strict=True):
            self.add(row, at)

    def add(self, row: LogRow, at: float | None = None) -> None:
        """One more row, written at a time in seconds (now, if not given)."""
        numbers = {"loss/training": row.loss, "loss/held-out": row.heldout, "learning rate": row.rate}
        for name, value in numbers.items():
            if value is not None:
                self._writer.add_scalar(name, value, row.images, at)
        picture = self.run / "samples" / f"{row.images:010d}.png"
        if picture.is_file():
            self._writer.add_image("samples", _pixels(picture), row.images, at, dataformats="HWC")
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


def _pixels(picture: Path) -> Any:
    import numpy as np
    from PIL import Image

    with Image.open(picture) as image:
        return np.asarray(image.convert("RGB"))
