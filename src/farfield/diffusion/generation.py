"""Seeds become images: a model's own samples, image k from seed k alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from farfield.core.error import FarfieldError
from farfield.core.runtime import seeded_noise, state_dtype
from farfield.diffusion.denoiser import Denoiser
from farfield.diffusion.solver import Callback, Churn, check_finite, integrate


class Labelled(Denoiser):
    """A class-conditional denoiser whose rows have a class each.

    Args:
        inner: called as ``inner(x, sigma, label=labels)``.
        labels: ``[B]``.

    Raises:
        FarfieldError: a denoiser that is told no class, or one for all.
    """

    def __init__(self, inner: Denoiser, labels: Tensor):
        super().__init__()
        if getattr(inner, "label", None) is None:
            raise FarfieldError(
                f"{type(inner).__name__}: several labels need a class-conditional network; give one label, or none"
            )
        self.shape, self.schedule, self.codec = inner.shape, inner.schedule, inner.codec
        self.inner, self.labels = inner, labels

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        answer: Tensor = self.inner(x, sigma, label=self.labels)
        return answer


def generate(
    denoiser: Denoiser,
    seeds: Sequence[int],
    sigmas: Tensor,
    solver: str = "multistep",
    *,
    eta: float = 0.0,
    churn: Churn | None = None,
    device: torch.device | None = None,
    callback: Callback | None = None,
    noise: Tensor | None = None,
) -> Tensor:
    r"""The images of these seeds, ``[len(seeds), *image_shape]``.

    The start is :math:`x = \sqrt{1 + \sigma_0^2}\, n_k`: at the last level every model's latents are near N(0, I), and models
    of any family and last level begin at the same latent. The end is the denoised state at the lowest level,
    as a picture.

    Args:
        sigmas: descending grid ``[steps + 1]``.
        eta: 0 is deterministic, 1 is ancestral sampling; its noise too depends on the seed alone.
        churn: EDM's stochastic sampler instead; so does its noise.
        noise: :math:`n_k`, ``[len(seeds), *shape]``; that of the seeds if not given.

    Raises:
        NonFiniteError: an image became NaN or infinite; the message has the step's number and the seeds.
    """
    device = device or sigmas.device
    drawn = seeded_noise(seeds, denoiser.shape) if noise is None else noise
    z = drawn.to(device, state_dtype(device))
    start = (1 + sigmas[0] ** 2).sqrt() * z
    x = integrate(denoiser, start, sigmas, solver, eta=eta, churn=churn, seeds=seeds, callback=callback)
    with torch.no_grad():
        images = denoiser.decode(denoiser(x, sigmas[-1]))
    steps = len(sigmas) - 1
    check_finite(images, steps, steps, float(sigmas[-1]), seeds)
    return images
