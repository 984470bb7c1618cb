r"""The inverse that is exact for the decoder used: every decoder step is solved for the state that it came from.

A step of a decoder takes y at :math:`\sigma_1` to :math:`F(y)` at :math:`\sigma_0 < \sigma_1`. An explicit inversion
guesses y; here :math:`F(y) = x` is solved by the fixed point :math:`y \leftarrow y + x - F(y)` (the idea of ReNoise,
arXiv 2403.14602, and AIDI, arXiv 2309.04907, there for DDIM), accelerated by Anderson's method. For Gaussian data of variance
l and an Euler decoder with :math:`h = \sigma_1 - \sigma_0`, :math:`g = \sigma_1 / (l + \sigma_1^2)`, the step's inverse
multiplies by :math:`1 / (1 - h g)`, and the plain fixed point contracts at the rate :math:`|h g| < 1`.

The latent has the error of the decoder's order; only the round trip is exact, to the tolerance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from farfield.core.error import FarfieldError
from farfield.diffusion.denoiser import Denoiser
from farfield.diffusion.solver import (
    Callback,
    Multistep,
    Past,
    Slope,
    Solver,
    Step,
    _line_weights,
    check_finite,
    check_grid,
    find_solver,
    slope_of,
)

Residual = Callable[[Tensor, Tensor], Tensor]
"""``residual(y, rows)``: :math:`x - F(y)` for those rows of the batch."""


@dataclass(frozen=True)
class Solution:
    """A solved fixed point: ``y``, and for each row its iterations and last residual (RMS).

    ``history`` holds the largest residual over the rows after each iteration.
    """

    y: Tensor
    iterations: Tensor
    residual: Tensor
    history: list[float]


@dataclass(frozen=True)
class Implicit:
    """The state at the top of the grid, and for each row how often the network was asked on the way."""

    x: Tensor
    calls: Tensor


def solve(residual: Residual, y: Tensor, tolerance: float, most: int = 60, memory: int = 4) -> Solution:
    r"""Fixed point of :math:`y + r(y)` with Anderson acceleration (type II), each row by itself.

    A row that has met the tolerance is left alone, so row k does not depend on the others; so is one whose residual is no
    longer finite, which it keeps.

    Args:
        residual: r.
        y: ``[B, *shape]``, where to start.
        tolerance: on the RMS of r over a row.
        most: iterations.
        memory: earlier iterates that are combined; 0 is the plain fixed point.
    """
    rows = torch.arange(len(y), device=y.device)
    iterations = torch.zeros(len(y), dtype=torch.long)
    last = torch.full((len(y),), torch.inf, dtype=y.dtype, device=y.device)
    history: list[float] = []
    states: list[Tensor] = []
    residuals: list[Tensor] = []
    for _ in range(most):
        r = residual(y[rows], rows)
        iterations[rows.cpu()] += 1
        last[rows] = r.flatten(1).square().mean(1).sqrt()
        history.append(float(last.max()))
        left = torch.isfinite(last[rows]) & (last[rows] > tolerance)
        if not bool(left.any()):
            break
        rows, r = rows[left], r[left]
        states = [s[left] for s in states][-memory:] if memory else []
        residuals = [s[left] for s in residuals][-memory:] if memory else []
        current = y[rows]
        y = y.index_copy(0, rows, current + r - _correction(current, r, states, residuals))
        states.append(current)
        residuals.append(r)
    return Solution(y, iterations, last, history)


def _correction(y: Tensor, r: Tensor, states: list[Tensor], residuals: list[Tensor]) -> Tensor:
    """What Anderson's method takes off the plain step: the part of r that earlier moves have already shown."""
    if not states:
        return torch.zeros_like(y)
    moves = torch.stack([(y - s).flatten(1) for s in states], 2)
    changes = torch.stack([(r - s).flatten(1) for s in residuals], 2)
    # Columns scaled to one length: late moves are smaller than early ones by orders of magnitude.
    scale = changes.norm(dim=1, keepdim=True).clamp(min=torch.finfo(y.dtype).tiny)
    share = torch.linalg.pinv(changes / scale, rtol=1e-10) @ r.flatten(1)[:, :, None]
    return ((moves + changes) / scale @ share)[:, :, 0].reshape(y.shape)


@torch.no_grad()
def integrate_implicit(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    solver: str = "midpoint",
    *,
    tolerance: float = 1e-6,
    most: int = 60,
    memory: int = 4,
    callback: Callback | None = None,
) -> Implicit:
    r"""Up a grid, so that ``integrate`` down the same grid with the same solver returns ``x``.

    Each step starts from an explicit second-order guess that costs no call.

    Args:
        x: ``[B, *shape]``, the state at the lowest level; float64 where the device has it.
        sigmas: ``[steps + 1]`` ascending.
        solver: the decoder: ``euler``, ``heun`` or ``midpoint``. A step of ``multistep`` also depends on slopes from steps
            further up, which are not known yet on the way up.
        tolerance: RMS of :math:`(x - F(y)) / \sqrt{1 + \sigma_0^2}` at which a row's step is solved. A float32 network
            reaches about 1e-7.
        most: iterations a step.
        memory: of Anderson's method; 0 is the plain fixed point.

    Raises:
        FarfieldError: a step did not converge (with its number); a solver without an inverse step; a descending grid.
    """
    rule = find_solver(solver)
    if isinstance(rule, Multistep):
        raise FarfieldError(
            "solver 'multistep': its steps depend on slopes further up, so they cannot be solved one by one; use euler, "
            "heun or midpoint for a fixed-point inverse"
        )
    if not tolerance > 0:
        raise FarfieldError(f"tolerance {tolerance:g}: expected more than 0")
    moves = check_grid(sigmas)
    if bool((moves < 0).any()):
        raise FarfieldError("sigmas: a fixed-point inverse goes up; expected an ascending grid")
    slope = slope_of(denoiser)
    grid = sigmas.to(x.device, x.dtype)
    calls = torch.ones(len(x), dtype=torch.long)
    past: Past = [(grid[0], slope(x, grid[0]))]
    for i, (s0, s1) in enumerate(pairwise(grid)):
        bound = tolerance * float(1 + s0**2) ** 0.5
        solution, e1 = _step_up(rule, slope, x, s0, s1, past, bound, most, memory)
        check_finite(solution.y, i + 1, len(moves), float(s1))
        calls += solution.iterations * rule.calls(1)
        if not bool((solution.residual <= bound).all()):
            raise FarfieldError(_failure(solution, i + 1, len(moves), float(s0), float(s1)))
        x, past = solution.y, [*past, (s1, e1)][-2:]
        if callback:
            callback(Step(i + 1, len(moves), float(s1), x))
    return Implicit(x, calls)


def _step_up(
    rule: Solver,
    slope: Slope,
    x: Tensor,
    s0: Tensor,
    s1: Tensor,
    past: Past,
    tolerance: float,
    most: int,
    memory: int,
) -> tuple[Solution, Tensor]:
    """The solution of one step, and the slope at it."""
    (_, e), slopes = past[-1], torch.zeros_like(x)
    if len(past) > 1:
        before, earlier = past[-2]
        w, w_earlier = _line_weights(s0, before, s0, s1)
        guess = x + w * e + w_earlier * earlier
    else:
        guess = x + (s1 - s0) * e

    def residual(y: Tensor, rows: Tensor) -> Tensor:
        e1 = slope(y, s1)
        slopes[rows] = e1
        return x[rows] - rule.step(slope, y, e1, s1, s0, [])[0]

    return solve(residual, guess, tolerance, most, memory), slopes


def _failure(solution: Solution, index: int, steps: int, s0: float, s1: float) -> str:
    first, last = solution.history[0], solution.history[-1]
    rate = (last / first) ** (1 / max(1, len(solution.history) - 1)) if first > 0 else 1.0
    return (
        f"step {index} of {steps} (sigma {s0:.4g} to {s1:.4g}): the fixed point did not contract to the tolerance in "
        f"{len(solution.history)} iterations (residual {first:.2g} to {last:.2g}, a factor {rate:.2g} each); use more steps, "
        "a higher --dtype, or a reversible method"
    )
