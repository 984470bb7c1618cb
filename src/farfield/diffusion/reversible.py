r"""Solvers that can be undone by algebra: the state is a pair, and the way back is exact for any network.

Two families, both with one network call a step.

**Two-step rules** carry the states at two neighbouring levels. With p, c, n for the previous, current and next level,

.. math:: x_n = a\, x_p + (1 - a)\, x_c + \big[(\sigma_n - \sigma_c) - a (\sigma_p - \sigma_c)\big]\, \epsilon(x_c, \sigma_c),

which is exact for straight lines whatever the weight a, and solved for :math:`x_p` is the same rule with weight
:math:`1/a`. So the way back is the same rule as long as :math:`a(p, c, n)\, a(n, c, p) = 1`:

- ``belm``, :math:`a = (\sigma_n - \sigma_c)^2 / (\sigma_p - \sigma_c)^2`: second order on any grid (O-BELM, arXiv 2410.07273);
- ``bdia``, :math:`a = \sqrt{(1 + \sigma_n^2) / (1 + \sigma_p^2)}`: two DDIM steps from c, to n and back to p, joined in unit
  variance (BDIA with :math:`\gamma = 1`, arXiv 2307.10829, in this coordinate); second order where the grid is
  smooth, first order otherwise.

**Reversible Heun** (arXiv 2105.13493) carries a state and its shadow at the same level. In unit variance,
:math:`z = x / \sqrt{1 + \sigma^2}`, with the angle :math:`\beta = \arctan \sigma` for time,
:math:`f = dz/d\beta = \sqrt{1 + \sigma^2}\, \epsilon - \sigma z` and :math:`h = \beta_1 - \beta_0`,

.. math:: \hat z_1 = 2 z_0 - \hat z_0 + h f(\hat z_0), \qquad z_1 = z_0 + \tfrac h2 \big(f(\hat z_0) + f(\hat z_1)\big):

``reversible-heun`` is second order on any grid, and f vanishes for unit Gaussian data.

**Stability.** A second state is a second solution, the parasitic one, and what excites it is the error of each step. Where the
slope is small a step multiplies it by -a, so over a grid by the product of the a: for ``belm`` the square of the ratio of
the last step to the first. It is zero-stable on every fixed ratio of steps, and going down it dies out, but going up a grid
that is geometric in sigma it grows by many powers of ten: the round trip stays exact and the latents are useless at few
steps. For ``bdia`` and ``reversible-heun`` the factor keeps to the size of the state itself: neutral for data of unit variance.
Directions of variance l > 1 feed it going up, by up to l, so that few steps give a poor latent all at once rather than
little by little; directions of l < 1 damp it going up and feed it, by up to 1/l, going down: decoding a latent that has been
changed needs more steps than returning one that has not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor

from farfield.core.error import FarfieldError
from farfield.diffusion.denoiser import Denoiser
from farfield.diffusion.solver import Callback, Step, check_finite, check_grid, integrate, slope_of

Reversible = Literal["belm", "bdia", "reversible-heun"]
REVERSIBLE: tuple[str, ...] = get_args(Reversible)

Weight = Callable[[Tensor, Tensor, Tensor], Tensor]
"""``weight(previous, current, next)`` of a two-step rule, from levels."""


def belm_weight(p: Tensor, c: Tensor, n: Tensor) -> Tensor:
    r""":math:`(\sigma_n - \sigma_c)^2 / (\sigma_p - \sigma_c)^2` (O-BELM)."""
    return ((n - c) / (p - c)) ** 2


def bdia_weight(p: Tensor, c: Tensor, n: Tensor) -> Tensor:
    r""":math:`\sqrt{(1 + \sigma_n^2) / (1 + \sigma_p^2)}` (BDIA)."""
    return ((1 + n**2) / (1 + p**2)).sqrt()


WEIGHTS: dict[str, Weight] = {"belm": belm_weight, "bdia": bdia_weight}


def second_level(sigmas: Tensor, method: str) -> Tensor:
    """The level of the second state at the start of a grid: the next one for a two-step rule, else the same."""
    return sigmas[1] if _check(sigmas, method) in WEIGHTS else sigmas[0]


def reversible_calls(method: str, steps: int, up: bool) -> int:
    """Network calls in one direction; on the way up two-step rules pay two for the second state."""
    if method not in WEIGHTS:
        return steps + 1
    return steps + 1 if up else steps - 1


@torch.no_grad()
def start(denoiser: Denoiser, x: Tensor, sigmas: Tensor, method: str) -> Tensor:
    """A second state for an image (or any state that has none yet): one Heun step, or the state itself.

    Only for setting out. Decoding what was inverted takes the second state that the inversion ended with; with one made
    anew the image does not come back.
    """
    return integrate(denoiser, x, sigmas[:2], "heun") if _check(sigmas, method) in WEIGHTS else x


@torch.no_grad()
def integrate_reversible(
    denoiser: Denoiser,
    x: Tensor,
    second: Tensor | None,
    sigmas: Tensor,
    method: str = "reversible-heun",
    callback: Callback | None = None,
) -> tuple[Tensor, Tensor]:
    """Carry a pair of states along a grid; the same call on the pair it returns and the flipped grid undoes it.

    Args:
        x: ``[B, *shape]``, the state at ``sigmas[0]``; float64 where the device has it.
        second: ``[B, *shape]``, the second state, at `second_level`.
        sigmas: ``[steps + 1]``, at least 2 steps, ascending or descending.
        method: ``belm``, ``bdia`` or ``reversible-heun``.

    Returns:
        The state at ``sigmas[-1]`` and its second state, at `second_level` of the flipped grid.

    Raises:
        FarfieldError: no second state, or one of another shape; an unknown method; too short a grid.
        NonFiniteError: as in `integrate`.
    """
    _check(sigmas, method)
    if second is None:
        raise FarfieldError(
            f"{method}: the second state is missing. It is part of the latent and is stored beside it (second/); without it "
            "there is no way back. Invert the images again, or decode with another method"
        )
    if second.shape != x.shape:
        raise FarfieldError(
            f"{method}: the second state has shape {tuple(second.shape)}, expected {tuple(x.shape)}, one for each state"
        )
    walk = _two_step if method in WEIGHTS else _reversible_heun
    return walk(denoiser, x, second.to(x), sigmas.to(x.device, x.dtype), method, callback)


def _two_step(
    denoiser: Denoiser, x: Tensor, second: Tensor, grid: Tensor, method: str, callback: Callback | None
) -> tuple[Tensor, Tensor]:
    slope, weight, steps = slope_of(denoiser), WEIGHTS[method], len(grid) - 1
    before, now = x, second
    for i in range(1, steps):
        p, c, n = grid[i - 1], grid[i], grid[i + 1]
        a = weight(p, c, n)
        before, now = now, a * before + (1 - a) * now + ((n - c) - a * (p - c)) * slope(now, c)
        _report(now, i, steps, n, callback)
    if callback:
        callback(Step(steps, steps, float(grid[-1]), now))  # of n steps the first was in the pair
    return now, before


def _reversible_heun(
    denoiser: Denoiser, x: Tensor, second: Tensor, grid: Tensor, method: str, callback: Callback | None
) -> tuple[Tensor, Tensor]:
    slope, steps = slope_of(denoiser), len(grid) - 1
    angles, scales = grid.atan(), (1 + grid**2).sqrt()

    def speed(z: Tensor, i: int) -> Tensor:
        return scales[i] * slope(scales[i] * z, grid[i]) - grid[i] * z

    z, shadow = x / scales[0], second / scales[0]
    f = speed(shadow, 0)
    for i in range(1, steps + 1):
        h = angles[i] - angles[i - 1]
        shadow = 2 * z - shadow + h * f
        before, f = f, speed(shadow, i)
        z = z + h / 2 * (before + f)
        _report(scales[i] * z, i, steps, grid[i], callback)
    return scales[-1] * z, scales[-1] * shadow


def _report(x: Tensor, index: int, steps: int, sigma: Tensor, callback: Callback | None) -> None:
    check_finite(x, index, steps, float(sigma))
    if callback:
        callback(Step(index, steps, float(sigma), x))


def _check(sigmas: Tensor, method: str) -> str:
    if method not in REVERSIBLE:
        raise FarfieldError(f"reversible method {method!r}: expected one of {', '.join(REVERSIBLE)}")
    check_grid(sigmas)
    if len(sigmas) < 3:
        raise FarfieldError(f"{method}: expected at least 2 steps, a pair of states has nowhere to go in 1")
    return method
