r"""Images to latents and back by the same solver, with the checks that say how far either can be believed.

An image is taken to live at the model's lowest level (0.01 for DDPM: about one grey level) and is carried up the
probability-flow ODE to ``sigma``; there :math:`z = x / \sqrt{1 + \sigma^2}` has unit variance. A good round trip does not
prove a good latent, so the two are certified apart: `round_trip` compares images, `convergence` compares latents of k
and 2k steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from farfield.core.error import FarfieldError
from farfield.diffusion.denoiser import Denoiser
from farfield.diffusion.solver import Callback, find_solver, integrate


def to_latent(x: Tensor, sigma: Tensor) -> Tensor:
    r""":math:`z = x / \sqrt{1 + \sigma^2}`."""
    return x / (1 + sigma**2).sqrt()


def from_latent(z: Tensor, sigma: Tensor) -> Tensor:
    r""":math:`x = \sqrt{1 + \sigma^2}\, z`."""
    return z * (1 + sigma**2).sqrt()


def invert(
    denoiser: Denoiser, images: Tensor, sigmas: Tensor, solver: str = "multistep", callback: Callback | None = None
) -> Tensor:
    """Latents of images at the top of a grid.

    Args:
        images: ``[n, *image_shape]``; carried in float64 where the device has it.
        sigmas: the decoder's descending grid ``[steps + 1]``, walked upwards here.

    Returns:
        ``[n, *shape]``, unit-variance latents at level ``sigmas[0]``.
    """
    x0 = denoiser.encode(images)
    _check_shape(denoiser, x0)
    return to_latent(integrate(denoiser, x0, sigmas.flip(0), solver, callback=callback), sigmas[0].to(x0))


def decode(
    denoiser: Denoiser, latents: Tensor, sigmas: Tensor, solver: str = "multistep", callback: Callback | None = None
) -> Tensor:
    """Images of latents at level ``sigmas[0]``: the inverse of `invert` up to the solver's error; never clipped.

    Args:
        latents: ``[n, *shape]``.
        sigmas: descending grid ``[steps + 1]``.
    """
    _check_shape(denoiser, latents)
    x0 = integrate(denoiser, from_latent(latents, sigmas[0].to(latents)), sigmas, solver, callback=callback)
    return denoiser.decode(x0)


@dataclass(frozen=True)
class RoundTrip:
    """Per image, original against reconstruction over a data range of 2: PSNR (dB), SSIM, largest absolute error."""

    psnr: Tensor
    ssim: Tensor
    max_error: Tensor


def round_trip(images: Tensor, reconstructions: Tensor) -> RoundTrip:
    r"""How well images came back, both ``[n, C, H, W]`` in [-1, 1]. An image that is equal to the bit has 300 dB.

    :math:`PSNR = 10 \log_{10}(2^2 / MSE)`; SSIM (Wang et al. 2004) with its 7 × 7 window (less
    for smaller images), per channel, averaged.
    """
    from skimage.metrics import structural_similarity

    a, b = images.double().cpu(), reconstructions.double().cpu()
    side = min(7, min(a.shape[2:]))
    window = side if side % 2 else side - 1
    if window < 3:
        raise FarfieldError(f"SSIM: expected images of at least 3 × 3 pixels, found {tuple(a.shape[2:])}")
    ssim = [
        structural_similarity(p.numpy(), q.numpy(), data_range=2.0, channel_axis=0, win_size=window)
        for p, q in zip(a, b, strict=True)
    ]
    psnr = 10 * torch.log10(4 / (a - b).square().flatten(1).mean(1))
    return RoundTrip(
        psnr.clamp(max=300.0), torch.tensor(ssim, dtype=torch.float64), (a - b).flatten(1).abs().max(1).values
    )


@dataclass(frozen=True)
class Convergence:
    """Relative distance of each image's latents from k and from 2k steps, and the error of k it implies.

    For a solver of order p the 2k-step latent is :math:`2^p` times nearer to the truth, so the error of k steps is about
    ``difference`` · :math:`2^p / (2^p - 1)`. With more than about 200 steps the grids of a model trained at 1,000 levels
    share their lowest points, and the certificate is a little too kind (1e-4 where a free grid shows 8e-4).
    """

    difference: Tensor
    error: Tensor


def convergence(coarse: Tensor, fine: Tensor, solver: str | int) -> Convergence:
    """The certificate of latents: ``coarse`` from k steps, ``fine`` from 2k, both ``[n, *shape]`` at one level.

    Args:
        solver: its name, or the order of a method that is no plain solver.
    """
    gap = (coarse.double() - fine.double()).flatten(1).norm(dim=1) / fine.double().flatten(1).norm(dim=1)
    gain = 2 ** (solver if isinstance(solver, int) else find_solver(solver).order)
    return Convergence(gap, gap * gain / (gain - 1))


def _check_shape(denoiser: Denoiser, x: Tensor) -> None:
    """The channels (or the dimension) must be the model's; height and width may be any that its network takes."""
    if x.ndim != len(denoiser.shape) + 1 or x.shape[1] != denoiser.shape[0]:
        raise FarfieldError(f"images of shape {tuple(x.shape[1:])}: this model takes {tuple(denoiser.shape)}")
