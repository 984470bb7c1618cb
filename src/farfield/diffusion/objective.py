r"""The denoising loss: how far a denoiser is from the images that were noised, in units of the noise.

.. math:: L = \frac1d\, E\, \|D(x_0 + \sigma n, \sigma) - x_0\|^2 / \sigma^2

The weight :math:`1/\sigma^2` makes it the same number for every parameterization. For a network that predicts the noise,
:math:`D = x - \sigma\,\epsilon(x)`, it IS the loss that DDPM trains with (arXiv 2006.11239, eq. 14),
:math:`\|n - \epsilon(x)\|^2 / d`. Its least value is the minimum mean squared error of the data; for Gaussian data with
eigenvalues l that is :math:`\frac1d \sum_i l_i / (l_i + \sigma^2)`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from farfield.core.error import FarfieldError
from farfield.core.runtime import generator
from farfield.diffusion.denoiser import Denoiser, column
from farfield.diffusion.flow import FlowSchedule
from farfield.diffusion.schedule import DiscreteSchedule, LinearBetas, Scaled, Schedule, VESchedule

LOG_MEAN, LOG_STD = -1.2, 1.2
"""EDM's law of training levels, :math:`\\ln \\sigma \\sim N(-1.2, 1.2^2)` (arXiv 2206.00364, table 1)."""


FLOW_LAW = (0.0, 1.0)
"""Flow matching's, :math:`\\ln \\sigma = \\mathrm{logit}\\,t \\sim N(0, 1)` (arXiv 2403.03206, section 3.1)."""


def denoising_loss(denoiser: Denoiser, x0: Tensor, sigma: Tensor, noise: Tensor, label: Tensor | None = None) -> Tensor:
    r"""Weighted squared error of each image, :math:`\|D(x_0 + \sigma n, \sigma) - x_0\|^2 / (\sigma^2 d)`, ``[B]``.

    Args:
        x0: clean images ``[B, *shape]``; its dtype is that of the arithmetic.
        sigma: levels, a scalar or ``[B]``.
        noise: standard normal, ``[B, *shape]``.
        label: classes ``[B]``, for a network that has them.

    Raises:
        FarfieldError: images and noise differ in shape.
    """
    if noise.shape != x0.shape:
        raise FarfieldError(
            f"denoising loss: noise {tuple(noise.shape)} for images {tuple(x0.shape)}; expected the same"
        )
    s = column(sigma, x0)
    conditions = {} if label is None else {"label": label}
    return ((denoiser(x0 + s * noise, sigma, **conditions) - x0) / s).square().flatten(1).mean(1)


def draw_levels(schedule: Schedule, n: int, g: torch.Generator) -> Tensor:
    """``n`` levels as a model of this schedule is trained on them, float64 ``[n]``.

    Discrete: uniformly over the trained levels, as DDPM. Continuous: as of `levels_at`, within the bounds.
    """
    return levels_at(schedule, torch.rand(n, generator=g, dtype=torch.float64))


def levels_at(schedule: Schedule, quantile: Tensor, law: tuple[float, float] | None = None) -> Tensor:
    """The levels at quantiles in [0, 1) of the law that training draws from, float64 of the same shape.

    Args:
        law: mean and standard deviation of ln sigma, cut off at the schedule's ends; of a discrete schedule the trained
            levels nearest to it. If not given, the family's own: uniform over the trained levels (DDPM), uniform in time
            (VP, sub-VP), uniform in ln sigma (VE), the logit of time normal (flow), and EDM's lognormal.
    """
    if isinstance(schedule, Scaled):
        moved = None if law is None else (law[0] + math.log(schedule.factor), law[1])
        return levels_at(schedule.inner, quantile, moved) / schedule.factor
    q = quantile.double()
    low, high = schedule.sigma_min, schedule.sigma_max
    if law is None and isinstance(schedule, DiscreteSchedule):
        levels = schedule.levels
        return levels[(q * len(levels)).long().clamp(max=len(levels) - 1)]
    if law is None and isinstance(schedule, LinearBetas):
        return schedule.level(schedule.t_min + q * (1 - schedule.t_min))
    if law is None and isinstance(schedule, VESchedule):
        return (math.log(low) + q * math.log(high / low)).exp()
    mean, std = law or (FLOW_LAW if isinstance(schedule, FlowSchedule) else (LOG_MEAN, LOG_STD))
    ends = torch.special.ndtr((torch.tensor([low, high], dtype=torch.float64).log() - mean) / std)
    inside = (ends[0] + q * (ends[1] - ends[0])).clamp(1e-12, 1 - 1e-12)
    sigma = (mean + std * torch.special.ndtri(inside)).exp().clamp(low, high)
    if isinstance(schedule, DiscreteSchedule):
        middles = (schedule.levels[1:] * schedule.levels[:-1]).sqrt()
        return schedule.levels[torch.searchsorted(middles, sigma)]
    return sigma


@torch.no_grad()
def heldout_loss(
    denoiser: Denoiser,
    images: Tensor,
    *,
    draws: int = 8,
    seed: int = 0,
    batch_size: int = 64,
    labels: Tensor | None = None,
) -> Tensor:
    """The loss of each image over ``draws`` fixed levels and noises, ``[n]`` float64; costs ``n * draws`` network calls.

    The levels are spread evenly over the law of training (one in each of ``draws`` equal parts of it), shifted for each
    image. Levels and noises depend on ``seed`` and the image's place only: two models that share a schedule see the same,
    so that the difference of their losses is a paired one and far less noisy than either.

    Args:
        images: ``[n, *shape]``, on any device.
        labels: their classes ``[n]``, for a network that has them.
    """
    if len(images) == 0 or draws < 1:
        raise FarfieldError(
            f"held-out loss: expected images and at least 1 draw, found {len(images)} images, {draws} draws"
        )
    device = images.device
    quantiles, noises = [], []
    for k in range(len(images)):
        g = generator(seed, f"heldout-{k}")
        shift = torch.rand(1, generator=g, dtype=torch.float64)
        quantiles.append((torch.arange(draws) + shift) / draws)
        noises.append(torch.randn(draws, *images.shape[1:], generator=g))
    sigma = levels_at(denoiser.schedule, torch.cat(quantiles))
    noise = torch.cat(noises)
    rows = torch.arange(len(sigma), device=device) // draws
    losses = [
        denoising_loss(
            denoiser,
            images[rows[i : i + batch_size]],
            sigma[i : i + batch_size].to(device, images.dtype),
            noise[i : i + batch_size].to(device, images.dtype),
            None if labels is None else labels.to(device)[rows[i : i + batch_size]],
        )
        for i in range(0, len(sigma), batch_size)
    ]
    return torch.cat(losses).double().cpu().reshape(len(images), draws).mean(1)
