"""What a training must keep to be continued to the same bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from farfield.core.state import resume, write_state
from farfield.diffusion.training import Training


def save_training(training: Training, path: Path, settings: dict[str, Any], beside: dict[str, Any]) -> None:
    """Weights, their averages, Adam's moments and the loss scale.

    Args:
        settings: what decides the training.
        beside: what else its caller wants back, JSON values only.
    """
    tensors: dict[str, Tensor] = {}
    for group, values in _groups(training).items():
        tensors |= {f"{group}/{name}": v for name, v in values.items()}
    for name, p in training.weights.items():
        tensors |= {f"adam/{key}/{name}": v for key, v in training.optimizer.state[p].items()}
    plain = {
        "seen": training.seen,
        "overflows": training.overflows,
        "scaler": training.scaler.state_dict(),
        "beside": beside,
    }
    write_state(path, "training", settings, plain, tensors)


def load_training(training: Training, path: Path, settings: dict[str, Any]) -> dict[str, Any] | None:
    """Set a fresh `Training` to where the file's was; returns what was put beside it, or None if there is no whole state.

    Raises:
        FarfieldError: the state of another training.
    """
    state = resume(path, "training", settings)
    if state is None:
        return None
    plain, tensors = state
    with torch.no_grad():
        for group, values in _groups(training).items():
            for name, v in values.items():
                v.copy_(tensors[f"{group}/{name}"])
    for key, value in tensors.items():
        group, _, rest = key.partition("/")
        if group == "adam":
            moment, _, name = rest.partition("/")
            weight = training.weights[name]
            training.optimizer.state[weight][moment] = value if moment == "step" else _like(weight, value)
    training.seen, training.overflows = plain["seen"], plain["overflows"]
    training.scaler.load_state_dict(plain["scaler"])
    found: dict[str, Any] = plain["beside"]
    return found


def _groups(training: Training) -> dict[str, dict[str, Tensor]]:
    averages = {f"average-{i}": average.values for i, average in enumerate(training.averages)}
    return {"weights": dict(training.weights), "buffers": training.buffers, **averages}


def _like(weight: Tensor, value: Tensor) -> Tensor:
    """On the weight's device and in its memory layout, as Adam made it: another layout sums in another order."""
    return torch.empty_like(weight, dtype=value.dtype).copy_(value).detach()
