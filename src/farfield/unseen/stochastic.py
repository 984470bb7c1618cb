r"""Edit-friendly stochastic inversion: noise maps with which a stochastic decoder returns an image exactly.

After arXiv 2304.06140. The levels above an image x are not reached one from another: each gets noise of its own,
:math:`x_i = x + \sqrt{\sigma_i^2 - \sigma_{min}^2}\, n_i` with independent :math:`n_i`. A step of the decoder with eta
(arXiv 2010.02502, eq. 16, as in `integrate`) goes from :math:`\sigma_0` to :math:`\sigma_1`:
:math:`x_1 = \mu(x_0) + \sigma_{up} w`, :math:`\mu(x) = x + (\sigma_{down} - \sigma_0)\, \epsilon(x, \sigma_0)`. The map w is
what is left over, :math:`w = (x_1 - \mu(x_0)) / \sigma_{up}`, and decoding with the maps walks the very same states.

The maps are not standard normal: they carry the image, have a larger variance, and two in a row are negatively
correlated. Moving or mixing them edits the image; as a latent in the sense of the ODE they mean nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from farfield.core.error import FarfieldError
from farfield.core.runtime import generator
from farfield.diffusion.denoiser import Denoiser
from farfield.diffusion.solver import Callback, Step, check_finite, check_grid, slope_of


@torch.no_grad()
def noise_maps(
    denoiser: Denoiser,
    images: Tensor,
    sigmas: Tensor,
    seeds: Sequence[int],
    eta: float = 1.0,
    callback: Callback | None = None,
) -> tuple[Tensor, Tensor]:
    """The noised image at the top of a grid and the noise map of every step down from there.

    Args:
        images: ``[n, *shape]``, taken to live at the lowest level.
        sigmas: the decoder's descending grid ``[steps + 1]``.
        seeds: ``[n]``; row k's noise depends on seed k alone.
        eta: above 0, up to 1.

    Returns:
        ``[n, *shape]``, the state at ``sigmas[0]`` (not in unit variance), and maps ``[n, steps, *shape]``.
    """
    _check(sigmas, eta)
    if len(seeds) != len(images):
        raise FarfieldError(f"noise maps: expected one seed for each of the {len(images)} images, found {len(seeds)}")
    grid = sigmas.to(images.device, images.dtype)
    noise = [generator(s, "maps") for s in seeds]

    def noised(sigma: Tensor) -> Tensor:
        drawn = torch.stack([torch.randn(images.shape[1:], generator=g, dtype=torch.float64) for g in noise])
        return images + (sigma**2 - grid[-1] ** 2).clamp(min=0).sqrt() * drawn.to(images)

    top = x = noised(grid[0])
    maps = []
    for i, (s0, s1) in enumerate(pairwise(grid)):
        mean, up = _step(denoiser, x, s0, s1, eta)
        x = noised(s1) if i < len(grid) - 2 else images
        maps.append((x - mean) / up)
        # What the decoder will walk: rounding left in the map is not handed on.
        x = mean + up * maps[-1]
        _report(x, i, len(grid) - 1, s1, callback)
    return top, torch.stack(maps, 1)


@torch.no_grad()
def decode_maps(
    denoiser: Denoiser,
    x: Tensor,
    maps: Tensor | None,
    sigmas: Tensor,
    eta: float = 1.0,
    callback: Callback | None = None,
) -> Tensor:
    """Down the grid with given noise, the exact inverse of `noise_maps`.

    Args:
        x: ``[n, *shape]``, the state at ``sigmas[0]``.
        maps: ``[n, steps, *shape]``.
    """
    _check(sigmas, eta)
    expected = (len(x), len(sigmas) - 1, *x.shape[1:])
    if maps is None or tuple(maps.shape) != expected:
        raise FarfieldError(
            f"noise maps: expected {expected}, a map for each step and image, found "
            f"{'none' if maps is None else tuple(maps.shape)}; they are part of the latent, invert the images again"
        )
    for i, (s0, s1) in enumerate(pairwise(sigmas.to(x.device, x.dtype))):
        mean, up = _step(denoiser, x, s0, s1, eta)
        x = mean + up * maps[:, i].to(x)
        _report(x, i, len(sigmas) - 1, s1, callback)
    return x


def _step(denoiser: Denoiser, x: Tensor, s0: Tensor, s1: Tensor, eta: float) -> tuple[Tensor, Tensor]:
    """Mean of a stochastic step and the spread of its noise."""
    up = eta * s1 * (1 - (s1 / s0) ** 2).sqrt()
    return x + ((s1**2 - up**2).sqrt() - s0) * slope_of(denoiser)(x, s0), up


def _report(x: Tensor, i: int, steps: int, sigma: Tensor, callback: Callback | None) -> None:
    check_finite(x, i + 1, steps, float(sigma))
    if callback:
        callback(Step(i + 1, steps, float(sigma), x))


def _check(sigmas: Tensor, eta: float) -> None:
    if bool((check_grid(sigmas) > 0).any()):
        raise FarfieldError("sigmas: noise maps belong to a decoder; expected a descending grid")
    if not 0 < eta <= 1:
        raise FarfieldError(f"eta {eta:g}: expected more than 0 (a deterministic step has no noise) and at most 1")
