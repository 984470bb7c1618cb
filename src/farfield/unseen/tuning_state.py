"""What a fine-tuning must keep to be continued to the same bits."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from farfield.core.state import resume, write_state
from farfield.diffusion.average import exchanged

Weights = dict[str, Tensor]


class State:
    """All that a tuning must keep to be continued: weights, Adam's moments, their average, the weights to keep, rows."""

    def __init__(self, weights: Weights, optimizer: torch.optim.Adam, ema: float | None, settings: dict[str, Any]):
        self.weights, self.optimizer, self.ema, self.settings = weights, optimizer, ema, settings
        self.mean: Weights = _copy(weights) if ema is not None else {}
        self.kept: Weights = _copy(weights)
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

    def save(self, path: Path) -> None:
        """One file, put in place at once; of a finished tuning only the weights that were kept."""
        tensors = {f"kept/{k}": v for k, v in self.kept.items()}
        if not self.stopped:
            tensors |= {f"weights/{k}": v for k, v in self.weights.items()}
            tensors |= {f"mean/{k}": v for k, v in self.mean.items()}
            for name, p in self.weights.items():
                tensors |= {f"adam/{key}/{name}": v for key, v in self.optimizer.state[p].items()}
        write_state(path, "tuning", self.settings, self._plain(), tensors)

    def load(self, path: Path) -> None:
        """Go on from a file, if it holds a whole state."""
        state = resume(path, "tuning", self.settings)
        if state is None:
            return
        plain, tensors = state
        vars(self).update(plain)
        groups = {"kept": self.kept} | ({} if self.stopped else {"weights": self.weights, "mean": self.mean})
        with torch.no_grad():
            for group, target in groups.items():
                for name, p in target.items():
                    p.copy_(tensors[f"{group}/{name}"])
        for key, value in tensors.items():
            group, _, rest = key.partition("/")
            if group == "adam":
                moment, _, name = rest.partition("/")
                p = self.weights[name]
                self.optimizer.state[p][moment] = value if moment == "step" else value.to(p)

    def _plain(self) -> dict[str, Any]:
        return {k: getattr(self, k) for k in ("history", "step", "calls", "best", "seconds", "stopped")}


def _copy(weights: Weights) -> Weights:
    return {k: v.detach().clone() for k, v in weights.items()}
