"""Seeds become images: a model's own samples, image k from seed k alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from farfield.core.runtime import seeded_noise, state_dtype
from farfield.diffusion.denoiser import Denoiser
from farfield.diffusion.solver import Callback, integrate


def generate(
    denoiser: Denoiser,
    seeds: Sequence[int],
    sigmas: Tensor,
    solver: str = "multistep",
    *,
    eta: float = 0.0,
    device: torch.device | None = None,
    callback: Callback | None = None,
) -> Tensor:
    r"""The images of these seeds, ``[len(seeds), *shape]``.

    The start is :math:`x = \sqrt{1 + \sigma_0^2}\, n_k`: at the last level every model's latents are near N(0, I). The end
    is the denoised state at the lowest level.

    Args:
        sigmas: descending grid ``[steps + 1]``.
        eta: 0 is deterministic, 1 is ancestral sampling; its noise too depends on the seed alone.
    """
    device = device or sigmas.device
    z = seeded_noise(seeds, denoiser.shape).to(device, state_dtype(device))
    x = integrate(denoiser, (1 + sigmas[0] ** 2).sqrt() * z, sigmas, solver, eta=eta, seeds=seeds, callback=callback)
    with torch.no_grad():
        return denoiser(x, sigmas[-1])
