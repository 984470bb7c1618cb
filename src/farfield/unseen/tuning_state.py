"""What a fine-tuning must keep to be continued to the same bits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from farfield.core.state import StateFile
from farfield.diffusion.average import exchanged
from farfield.diffusion.engine import Engine, Groups


class State:
    """All that a tuning must keep to be continued: weights, Adam's moments, their average, the weights to keep, rows."""

    def __init__(self, weights: dict[str, nn.Parameter], ema: float | None, settings: dict[str, Any]):
        self.weights, self.ema, self.settings = weights, ema, settings
        self.engine = Engine(weights)
        self.mean: dict[str, Tensor] = _copy(weights) if ema is not None else {}
        self.kept: dict[str, Tensor] = _copy(weights)
        self.history: list[dict[str, Any]] = []
        self.step = self.calls = self.best = 0
        self.seconds = 0.0
        self.stopped = ""

    def record(self, train: float | None, heldout: float | None) -> None:
        """A row of history; its weights are kept if its held-out loss is the lowest so far, or if there is none."""
        before = [row["heldout"] for row in self.history if row["heldout"] is not None]
        self.history.append({"step": self.step, "train": train, "heldout": heldout, "calls": self.calls})
        if heldout is None or (math.isfinite(heldout) and (not before or heldout < min(before))):
            self.best = self.step
            with torch.no_grad():
                for name, p in (self.mean or self.weights).items():
                    self.kept[name].copy_(p)
        elif not math.isfinite(heldout):
            self.stopped = f"step {self.step}: the held-out loss became NaN or infinite; use a lower learning rate"

    def unimproved(self) -> int:
        """Validations since the best."""
        return sum(row["step"] > self.best for row in self.history)

    @torch.no_grad()
    def average(self) -> None:
        if self.ema is not None:
            decay = min(self.ema, (1 + self.step) / (10 + self.step))
            for name, p in self.weights.items():
                self.mean[name].lerp_(p, 1 - decay)

    def averaged(self) -> AbstractContextManager[None]:
        """The averaged weights in place of the trained ones, while inside."""
        return exchanged(self.weights, self.mean)

    def save(self, file: StateFile) -> None:
        """All of it; of a finished tuning only the weights that were kept."""
        plain = {k: getattr(self, k) for k in ("history", "step", "calls", "best", "seconds", "stopped")}
        if self.stopped:
            file.write(self.settings, plain, {f"kept/{k}": v for k, v in self.kept.items()})
        else:
            self.engine.save(file, self.settings, plain, self._groups())

    def load(self, file: StateFile) -> None:
        """Go on from a file, if it holds a whole state."""
        vars(self).update(self.engine.load(file, self.settings, self._groups()) or {})

    def _groups(self) -> Groups:
        return {"kept": self.kept, "weights": self.weights, "mean": self.mean}


def _copy(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k: v.detach().clone() for k, v in weights.items()}
