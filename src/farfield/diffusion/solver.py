r"""One loop that integrates the probability-flow ODE over a grid of noise levels, in either direction.

In the variance-exploding coordinate the ODE is the same for every model,
:math:`dx/d\sigma = \epsilon(x, \sigma) = (x - D(x, \sigma)) / \sigma` (arXiv 2206.00364, eq. 3 with
:math:`\dot\sigma = 1`). Descending levels decode, ascending levels invert. DDIM with eta 0 (arXiv 2010.02502) is Euler.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from farfield.core.error import FarfieldError, NonFiniteError
from farfield.core.runtime import generator
from farfield.diffusion.denoiser import Denoiser

Slope = Callable[[Tensor, Tensor], Tensor]
"""``slope(x, sigma)``: the right-hand side of the ODE, one network call."""

Past = list[tuple[Tensor, Tensor]]
"""Levels and slopes at the starts of the steps taken so far, oldest first."""


class Solver(ABC):
    """Abstract: one step of the ODE from level ``s0`` to ``s1``, given the slope ``e0`` where it starts."""

    name: ClassVar[str]
    order: ClassVar[int]
    calls: ClassVar[int]
    """Network calls a step."""

    @abstractmethod
    def step(self, slope: Slope, x: Tensor, e0: Tensor, s0: Tensor, s1: Tensor, past: Past) -> Tensor:
        """The state at level ``s1``."""


class Euler(Solver):
    r""":math:`x_1 = x_0 + (\sigma_1 - \sigma_0) \epsilon_0`: DDIM, as everyone runs it."""

    name, order, calls = "euler", 1, 1

    def step(self, slope: Slope, x: Tensor, e0: Tensor, s0: Tensor, s1: Tensor, past: Past) -> Tensor:
        return x + (s1 - s0) * e0


class Heun(Solver):
    r"""Trapezoid with an Euler predictor (arXiv 2206.00364, algorithm 1)."""

    name, order, calls = "heun", 2, 2

    def step(self, slope: Slope, x: Tensor, e0: Tensor, s0: Tensor, s1: Tensor, past: Past) -> Tensor:
        e1 = slope(x + (s1 - s0) * e0, s1)
        return x + (s1 - s0) * (e0 + e1) / 2


class Midpoint(Solver):
    r"""Explicit midpoint in log sigma, the inner level at :math:`\sqrt{\sigma_0 \sigma_1}` (DPM-Solver-2, arXiv 2206.00927)."""

    name, order, calls = "midpoint", 2, 2

    def step(self, slope: Slope, x: Tensor, e0: Tensor, s0: Tensor, s1: Tensor, past: Past) -> Tensor:
        middle = (s0 * s1).sqrt()
        return x + (s1 - s0) * slope(x + (middle - s0) * e0, middle)


class Multistep(Solver):
    r"""Second-order exponential Adams–Bashforth: one network call a step.

    The slope is extrapolated linearly in :math:`u = \ln\sigma` through the last two steps and integrated exactly,
    :math:`x_1 = x_0 + (\sigma_1 - \sigma_0)\epsilon_0 + \frac{\epsilon_0 - \epsilon_{-1}}{u_0 - u_{-1}}
    \int_{\sigma_0}^{\sigma_1} (\ln\sigma - u_0)\,d\sigma` (DEIS, arXiv 2204.13902; DPM-Solver, arXiv 2206.00927). The
    first step has no past and is taken by the midpoint rule.
    """

    name, order, calls = "multistep", 2, 1

    def step(self, slope: Slope, x: Tensor, e0: Tensor, s0: Tensor, s1: Tensor, past: Past) -> Tensor:
        if not past:
            return Midpoint().step(slope, x, e0, s0, s1, past)
        s, e = past[-1]
        integral = s1 * (s1 / s0).log() - (s1 - s0)
        return x + (s1 - s0) * e0 + integral / (s0 / s).log() * (e0 - e)


SOLVERS: dict[str, Solver] = {s.name: s for s in (Euler(), Heun(), Midpoint(), Multistep())}


@dataclass(frozen=True)
class Step:
    """What a callback learns: step ``index`` of ``steps`` has just reached level ``sigma`` with state ``x``."""

    index: int
    steps: int
    sigma: float
    x: Tensor


Callback = Callable[[Step], None]


@torch.no_grad()
def integrate(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    solver: str = "multistep",
    *,
    eta: float = 0.0,
    seeds: Sequence[int] | None = None,
    callback: Callback | None = None,
) -> Tensor:
    r"""Follow the ODE from ``sigmas[0]`` to ``sigmas[-1]``; never clips, keeps the dtype of ``x``.

    Args:
        denoiser: the model.
        x: ``[B, *shape]``, the state at ``sigmas[0]``; float64 where the device has it.
        sigmas: ``[steps + 1]`` strictly descending (decode) or ascending (invert).
        solver: ``euler``, ``heun``, ``midpoint`` or ``multistep``.
        eta: noise put back in at each step of a descent, as DDIM's eta: a step to level s ends at
            :math:`\sqrt{s^2 - s_{up}^2}` and gets noise of :math:`s_{up} = \eta\, s \sqrt{1 - s^2 / s_0^2}`
            (arXiv 2010.02502, eq. 16, in this coordinate; 1 is ancestral sampling). Needs ``seeds``.
        seeds: ``[B]``, one for each row's noise.
        callback: told of each step.

    Raises:
        NonFiniteError: the state became NaN or infinite; the message has the step's number.
        FarfieldError: unknown solver, a grid that is not monotone, noise asked of an inversion.
    """
    rule = find_solver(solver)
    moves = sigmas.diff()
    if sigmas.ndim != 1 or len(sigmas) < 2 or not (bool((moves > 0).all()) or bool((moves < 0).all())) or float(sigmas.min()) <= 0:
        raise FarfieldError("sigmas: expected a grid [steps + 1] of positive levels, strictly ascending or strictly descending")
    if not 0 <= eta <= 1:
        raise FarfieldError(f"eta {eta:g}: expected 0 (deterministic) to 1 (ancestral)")
    if eta > 0 and bool((moves > 0).any()):
        raise FarfieldError("eta: an inversion is deterministic, noise cannot be put in on the way up; use eta 0")
    if eta > 0 and isinstance(rule, Multistep):
        raise FarfieldError("eta: fresh noise makes the slopes of earlier steps useless to the multistep solver; use euler, heun or midpoint")
    if eta > 0 and (seeds is None or len(seeds) != len(x)):
        raise FarfieldError(f"eta: expected one seed for each of the {len(x)} images")
    noise = [generator(s, "eta") for s in seeds or ()] if eta > 0 else []

    def slope(x: Tensor, sigma: Tensor) -> Tensor:
        return (x - denoiser(x, sigma)) / sigma

    grid = sigmas.to(x.device, x.dtype)
    past: Past = []
    for i, (s0, s) in enumerate(zip(grid[:-1], grid[1:], strict=True)):
        up = eta * s * (1 - (s / s0) ** 2).clamp(min=0).sqrt()
        s1 = (s**2 - up**2).sqrt()
        e0 = slope(x, s0)
        x = rule.step(slope, x, e0, s0, s1, past)
        past = [*past, (s0, e0)][-rule.order :]
        if noise:
            x = x + up * torch.stack([torch.randn(x.shape[1:], generator=g) for g in noise]).to(x)
        if not bool(torch.isfinite(x).all()):
            bad = int((~torch.isfinite(x.flatten(1)).all(1)).sum())
            raise NonFiniteError(f"step {i + 1} of {len(moves)}: {bad} of {len(x)} states became NaN or infinite on the way to sigma {float(s):.4g}; use --dtype float32 or more steps")
        if callback:
            callback(Step(i + 1, len(moves), float(s), x))
    return x


def find_solver(name: str) -> Solver:
    if name == "ddim":
        name = "euler"
    if name not in SOLVERS:
        raise FarfieldError(f"solver {name!r}: expected one of {', '.join(SOLVERS)} (ddim is euler)")
    return SOLVERS[name]


def network_calls(solver: str, steps: int) -> int:
    """How many times a solver asks the network in one direction."""
    rule = find_solver(solver)
    return rule.calls * steps + int(isinstance(rule, Multistep))
