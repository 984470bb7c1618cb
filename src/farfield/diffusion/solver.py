r"""One loop that integrates the probability-flow ODE over a grid of noise levels, in either direction.

In the variance-exploding coordinate the ODE is the same for every model,
:math:`dx/d\sigma = \epsilon(x, \sigma) = (x - D(x, \sigma)) / \sigma` (arXiv 2206.00364, eq. 3 with
:math:`\dot\sigma = 1`). Descending levels decode, ascending levels invert. DDIM with eta 0 (arXiv 2010.02502) is Euler.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor

from farfield.core.error import FarfieldError, NonFiniteError
from farfield.core.runtime import generator
from farfield.data.picture import some
from farfield.diffusion.denoiser import Denoiser

Slope = Callable[[Tensor, Tensor], Tensor]
"""``slope(x, sigma)``: the right-hand side of the ODE, one network call."""

Past = list[tuple[Tensor, Tensor]]
"""Levels and slopes at the starts of the steps taken so far, oldest first."""


class Solver(ABC):
    """Abstract: one step of the ODE from level ``s0`` to ``s1``, given the slope ``e0`` where it starts."""

    name: ClassVar[str]
    order: ClassVar[int]

    @abstractmethod
    def step(
        self, slope: Slope, x: Tensor, e0: Tensor, s0: Tensor, s1: Tensor, past: Past
    ) -> tuple[Tensor, Tensor | None]:
        """The state at level ``s1``, and the slope there if the step has learned it (else it is called for)."""

    @abstractmethod
    def calls(self, steps: int) -> int:
        """Network calls in one direction."""


class Euler(Solver):
    r""":math:`x_1 = x_0 + (\sigma_1 - \sigma_0) \epsilon_0`: DDIM, as everyone runs it."""

    name, order = "euler", 1

    def step(
        self, slope: Slope, x: Tensor, e0: Tensor, s0: Tensor, s1: Tensor, past: Past
    ) -> tuple[Tensor, Tensor | None]:
        return x + (s1 - s0) * e0, None

    def calls(self, steps: int) -> int:
        return steps


class Heun(Solver):
    r"""Trapezoid with an Euler predictor (arXiv 2206.00364, algorithm 1)."""

    name, order = "heun", 2

    def step(
        self, slope: Slope, x: Tensor, e0: Tensor, s0: Tensor, s1: Tensor, past: Past
    ) -> tuple[Tensor, Tensor | None]:
        e1 = slope(x + (s1 - s0) * e0, s1)
        return x + (s1 - s0) * (e0 + e1) / 2, None

    def calls(self, steps: int) -> int:
        return 2 * steps


class Midpoint(Solver):
    r"""Explicit midpoint in log sigma, the inner level at :math:`\sqrt{\sigma_0 \sigma_1}` (DPM-Solver-2, arXiv 2206.00927)."""

    name, order = "midpoint", 2

    def step(
        self, slope: Slope, x: Tensor, e0: Tensor, s0: Tensor, s1: Tensor, past: Past
    ) -> tuple[Tensor, Tensor | None]:
        middle = (s0 * s1).sqrt()
        return x + (s1 - s0) * slope(x + (middle - s0) * e0, middle), None

    def calls(self, steps: int) -> int:
        return 2 * steps


class Multistep(Solver):
    r"""Second-order exponential predictor-corrector: one network call a step, and one more at the start.

    Between two levels the slope is a straight line in :math:`\ln\sigma`, integrated exactly in :math:`d\sigma`
    (exponential integrators: DEIS, arXiv 2204.13902; DPM-Solver, arXiv 2206.00927). The predictor draws the line through
    the last two slopes and lands at :math:`\hat x`; the network is called there, :math:`\hat\epsilon`; the corrector draws
    it through both ends of the step, :math:`x_1 = x_0 + w_0 \epsilon_0 + w_1 \epsilon(x_1)`. That equation is solved
    without another call by taking for the slope's own slope what it is for unit Gaussian data,
    :math:`J = \sigma / (1 + \sigma^2)`:

    .. math:: x_1 = \hat x + \frac{x_0 + w_0 \epsilon_0 + w_1 \hat\epsilon - \hat x}{1 - w_1 J}, \qquad
              \epsilon_1 = \hat\epsilon + J (x_1 - \hat x).

    The J keeps it stable at few steps, where the bare corrector breaks down.
    """

    name, order = "multistep", 2

    def step(
        self, slope: Slope, x: Tensor, e0: Tensor, s0: Tensor, s1: Tensor, past: Past
    ) -> tuple[Tensor, Tensor | None]:
        if past:
            before, e = past[-1]
            w0, w = _line_weights(s0, before, s0, s1)
            predicted = x + w0 * e0 + w * e
        else:
            predicted = x + (s1 - s0) * e0
        e1 = slope(predicted, s1)
        w1, w0 = _line_weights(s1, s0, s0, s1)
        j = s1 / (1 + s1**2)
        move = (x + w0 * e0 + w1 * e1 - predicted) / (1 - w1 * j)
        return predicted + move, e1 + j * move

    def calls(self, steps: int) -> int:
        return steps + 1


def _line_weights(a: Tensor, b: Tensor, s0: Tensor, s1: Tensor) -> tuple[Tensor, Tensor]:
    r"""Weights of the values at levels a and b in :math:`\int_{s_0}^{s_1} f\,d\sigma`, f a straight line in :math:`\ln\sigma`."""
    width = s1 - s0
    logs = s1 * s1.log() - s1 - s0 * s0.log() + s0
    run = (a / b).log()
    return (logs - b.log() * width) / run, (a.log() * width - logs) / run


SOLVERS: dict[str, Solver] = {s.name: s for s in (Euler(), Heun(), Midpoint(), Multistep())}


@dataclass(frozen=True)
class Step:
    """What a callback learns: step ``index`` of ``steps`` has just reached level ``sigma`` with state ``x``."""

    index: int
    steps: int
    sigma: float
    x: Tensor


Callback = Callable[[Step], None]


@dataclass(frozen=True)
class Churn:
    r"""EDM's stochastic sampler (arXiv 2206.00364, algorithm 2): noise is put in before a step that takes more away.

    A step from a level :math:`\sigma` in [``low``, ``high``] begins at :math:`\hat\sigma = (1 + \gamma)\,\sigma`,
    :math:`\gamma = \min(S / steps, \sqrt 2 - 1)`, though never above the highest level that the model knows, after noise of
    standard deviation ``noise`` :math:`\sqrt{\hat\sigma^2 - \sigma^2}`.

    Attributes:
        amount: S; 0 is deterministic.
        low, high: the levels it is for.
        noise: scales what is put in; a little above 1 makes up for detail that a network smooths away.
    """

    amount: float = 0.0
    low: float = 0.0
    high: float = math.inf
    noise: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.amount < math.inf or not 0 <= self.low <= self.high or not 0 < self.noise < math.inf:
            raise FarfieldError(
                f"churn {self.amount:g} at levels {self.low:g} to {self.high:g}, noise {self.noise:g}: expected at least 0, "
                "0 <= low <= high and noise above 0"
            )

    def raised(self, sigma: Tensor, steps: int, most: float) -> Tensor:
        """The level at which the step from ``sigma`` begins."""
        if not self.low <= float(sigma) <= self.high:
            return sigma
        gamma = min(self.amount / steps, math.sqrt(2) - 1)
        return torch.maximum(sigma, (sigma * (1 + gamma)).clamp(max=most))


@torch.no_grad()
def integrate(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    solver: str = "multistep",
    *,
    eta: float = 0.0,
    churn: Churn | None = None,
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
        churn: noise put in before each step of a descent, instead. Needs ``seeds``.
        seeds: ``[B]``, one for each row's noise, and its name in errors.
        callback: told of each step.

    Raises:
        NonFiniteError: the state became NaN or infinite; the message has the step's number.
        FarfieldError: unknown solver, a grid that is not monotone, noise asked of an inversion.
    """
    rule = find_solver(solver)
    moves = check_grid(sigmas)
    churn = churn or Churn()
    stream = check_noise(rule, eta, churn)
    if stream and bool((moves > 0).any()):
        raise FarfieldError(
            f"{stream}: an inversion is deterministic, noise cannot be put in on the way up; use {stream} 0"
        )
    if stream and (seeds is None or len(seeds) != len(x)):
        raise FarfieldError(f"{stream}: expected one seed for each of the {len(x)} images")
    streams = [generator(s, stream) for s in seeds or ()] if stream else []

    def draw() -> Tensor:
        return torch.stack([torch.randn(x.shape[1:], generator=g) for g in streams]).to(x)

    slope = slope_of(denoiser)
    grid = sigmas.to(x.device, x.dtype)
    past: Past = []
    known: Tensor | None = None
    for i, (s0, s) in enumerate(pairwise(grid)):
        if churn.amount > 0:
            raised = churn.raised(s0, len(moves), denoiser.schedule.sigma_max)
            if raised > s0:
                x = x + churn.noise * (raised**2 - s0**2).sqrt() * draw()
                s0 = raised
        up = eta * s * (1 - (s / s0) ** 2).clamp(min=0).sqrt()
        s1 = (s**2 - up**2).sqrt()
        e0 = slope(x, s0) if known is None else known
        x, known = rule.step(slope, x, e0, s0, s1, past)
        past = [*past, (s0, e0)][-rule.order :]
        if eta > 0:
            x = x + up * draw()
        check_finite(x, i + 1, len(moves), float(s), seeds)
        if callback:
            callback(Step(i + 1, len(moves), float(s), x))
    return x


def check_noise(rule: Solver, eta: float, churn: Churn) -> str:
    """The name of the noise that a solver is to put in, ``eta`` or ``churn``; empty for none.

    Raises:
        FarfieldError: eta out of range, both of them, or a solver that can do neither.
    """
    if not 0 <= eta <= 1:
        raise FarfieldError(f"eta {eta:g}: expected 0 (deterministic) to 1 (ancestral)")
    if eta > 0 and churn.amount > 0:
        raise FarfieldError(f"eta {eta:g} and churn {churn.amount:g}: both put noise in; leave one of the two out")
    name = "eta" if eta > 0 else "churn" if churn.amount > 0 else ""
    if name and isinstance(rule, Multistep):
        raise FarfieldError(
            f"{name}: fresh noise makes the slopes of earlier steps useless to the multistep solver; use euler, heun or "
            "midpoint"
        )
    return name


def check_grid(sigmas: Tensor) -> Tensor:
    """The moves ``[steps]`` between the levels of a grid, or an error if they do not all go one way."""
    moves = sigmas.diff()
    if (
        sigmas.ndim != 1
        or len(sigmas) < 2
        or not (bool((moves > 0).all()) or bool((moves < 0).all()))
        or float(sigmas.min()) <= 0
    ):
        raise FarfieldError(
            "sigmas: expected a grid [steps + 1] of positive levels, strictly ascending or strictly descending"
        )
    return moves


def slope_of(denoiser: Denoiser) -> Slope:
    """The right-hand side of the ODE of a denoiser."""

    def slope(x: Tensor, sigma: Tensor) -> Tensor:
        return (x - denoiser(x, sigma)) / sigma

    return slope


def check_finite(x: Tensor, index: int, steps: int, sigma: float, seeds: Sequence[int] | None = None) -> None:
    """Stop at the step that made a state NaN or infinite; the rows are named by their seeds, where they have any."""
    if not bool(torch.isfinite(x).all()):
        bad = (~torch.isfinite(x.flatten(1)).all(1)).nonzero()[:, 0].tolist()
        which = f" (seeds {some([str(seeds[i]) for i in bad])})" if seeds else ""
        raise NonFiniteError(
            f"step {index} of {steps}: {len(bad)} of {len(x)} states{which} became NaN or infinite on the way to sigma "
            f"{sigma:.4g}; use --dtype float32 or more steps"
        )


def find_solver(name: str) -> Solver:
    if name == "ddim":
        name = "euler"
    if name not in SOLVERS:
        raise FarfieldError(f"solver {name!r}: expected one of {', '.join(SOLVERS)} (ddim is euler)")
    return SOLVERS[name]


def network_calls(solver: str, steps: int) -> int:
    """How many times a solver asks the network in one direction."""
    return find_solver(solver).calls(steps)
