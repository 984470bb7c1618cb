"""What every training has in common: a step of AdamW, and all that must be kept to continue to the same bits.

What differs comes in: the loss as a function that leaves its gradients in place, the learning rate of each step, and the
tensors besides Adam's moments that belong to the state (weights, buffers, averages), in named groups.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from farfield.core.state import StateFile

RETRIES = 20
"""Steps in a row whose float16 gradients may overflow, while the loss scale is being halved, before it is an error."""

Groups = Mapping[str, Mapping[str, Tensor]]


class Step(NamedTuple):
    """A step's loss before it, the norm of its gradient before it was cut, and whether both were finite and it was made."""

    loss: float
    norm: float
    made: bool


class Engine:
    """AdamW on named weights; plain Adam without weight decay.

    Args:
        clip: largest norm of a gradient.
        half: scale the loss for float16, as far as its gradients allow.
    """

    def __init__(
        self,
        weights: Mapping[str, nn.Parameter],
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 0.0,
        clip: float = 1.0,
        half: bool = False,
    ):
        self.weights, self.clip = weights, clip
        self.optimizer = torch.optim.AdamW(weights.values(), betas=betas, weight_decay=weight_decay)
        self.scaler = torch.amp.GradScaler(next(iter(weights.values())).device.type, enabled=half)
        self.overflows = 0

    def step(self, rate: float, backward: Callable[[], float]) -> Step:
        """One update, unless the loss or its gradient is NaN or infinite.

        Args:
            rate: the learning rate.
            backward: adds gradients of the loss, scaled by ``scaler``, to weights that have none; returns the loss.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        loss = backward()
        self.scaler.unscale_(self.optimizer)
        norm = float(nn.utils.clip_grad_norm_(self.weights.values(), self.clip))
        overflow = self.scaler.is_enabled() and not math.isfinite(norm)
        made = math.isfinite(loss) and (math.isfinite(norm) or overflow) and self.overflows < RETRIES
        if made:
            self.overflows = self.overflows + 1 if overflow else 0
            self.scaler.step(self.optimizer)  # leaves out a step whose gradient overflowed
            self.scaler.update()
        return Step(loss, norm, made)

    def save(self, file: StateFile, settings: Mapping[str, Any], plain: Mapping[str, Any], groups: Groups) -> None:
        """Keep the groups and Adam's moments.

        Args:
            settings: what decides the training.
            plain: what else its caller wants back, JSON values only.
        """
        tensors = {f"{group}/{name}": v for group, values in groups.items() for name, v in values.items()}
        for name, p in self.weights.items():
            tensors |= {f"adam/{moment}/{name}": v for moment, v in self.optimizer.state[p].items()}
        file.write(settings, plain, tensors)

    def load(self, file: StateFile, settings: Mapping[str, Any], groups: Groups) -> dict[str, Any] | None:
        """Set a fresh training to where the file's was; its plain part, or None if there is no whole state.

        Groups that the file leaves out stay as they are.

        Raises:
            FarfieldError: the state of another training.
        """
        state = file.resume(settings)
        if state is None:
            return None
        plain, tensors = state
        kept = {key.partition("/")[0] for key in tensors}
        with torch.no_grad():
            for group in kept & groups.keys():
                for name, v in groups[group].items():
                    v.copy_(tensors[f"{group}/{name}"])
        for key, value in tensors.items():
            if key.startswith("adam/"):
                _, moment, name = key.split("/", 2)
                p = self.weights[name]
                # in the weight's memory layout, as Adam made it: another layout may sum in another order
                self.optimizer.state[p][moment] = (
                    value if moment == "step" else torch.empty_like(p, dtype=value.dtype).copy_(value).detach()
                )
        return plain
