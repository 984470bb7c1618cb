r"""How many dimensions the data have around a point, as a denoiser sees them. With d pixels and :math:`x = x_0 + \sigma n`:

- FLIPD (arXiv 2406.03537), :math:`d + \partial \log p_\sigma(x) / \partial \log\sigma`, which is
  :math:`tr J(x_0, \sigma) + |x_0 - D(x_0, \sigma)|^2 / \sigma^2`: evaluated at the image itself, without noise;
- the error of denoising, :math:`E|x_0 - D(x, \sigma)|^2 / \sigma^2`: noise along the data cannot be told from the data and stays,
  noise across it is taken away (for the ideal denoiser it is the mean of tr J over data);
- the normal bundle (arXiv 2212.12611): scores at noisy copies of one image point back to the data, so they span the directions
  across it; the dimension is d minus their rank.

All three count the directions in which the data vary by more than about :math:`\sigma`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from farfield.core.error import FarfieldError
from farfield.core.runtime import exact_matmul
from farfield.diffusion.denoiser import Denoiser
from farfield.manifold.jacobian import BATCH, Jacobian
from farfield.manifold.trace import Estimate, mean_of, trace


def flipd(jacobian: Jacobian, probes: int, g: torch.Generator) -> Estimate:
    """FLIPD at the Jacobian's point, which is an image without noise; the error is that of the trace.

    Raises:
        FarfieldError: fewer than 2 probes, or more than dimensions.
    """
    jacobian_trace = trace(jacobian, probes, g)
    distance = float((jacobian.x.flatten() - jacobian.value).square().sum()) / jacobian.sigma**2
    return Estimate(jacobian_trace.value + distance, jacobian_trace.error, jacobian_trace.n)


def error_dimension(denoiser: Denoiser, x0: Tensor, sigma: float, noise: Tensor, batch: int = BATCH) -> Estimate:
    """The error of denoising one image in units of the level; the error is that of the mean over noises.

    Args:
        x0: ``[*shape]``.
        noise: ``[k, *shape]`` of unit variance, k at least 2.
    """
    answers = denoised(denoiser, x0, sigma, noise, batch)
    return mean_of((answers - x0.flatten()).square().sum(1) / sigma**2)


@dataclass(frozen=True)
class NormalBundle:
    """What scores at noisy copies of one image say.

    Attributes:
        values: ``[d]`` singular values of the k centred scores times :math:`\\sigma / \\sqrt k`, descending: about 1
            across the data, and :math:`\\sigma^2 / (l + \\sigma^2)` along a direction in which they vary by l.
        threshold: dimension by values below ½, that is by l above :math:`\\sigma^2`.
        gap: dimension by the largest step from one value to the next below 1, as the paper has it.
        step: that step; where it is small against 1 there is no gap.
    """

    values: Tensor
    threshold: int
    gap: int
    step: float


def normal_bundle(denoiser: Denoiser, x0: Tensor, sigma: float, noise: Tensor, batch: int = BATCH) -> NormalBundle:
    r"""The normal bundle's dimension of one image.

    The k values across the data scatter between :math:`1 \pm \sqrt{d/k}` (Marchenko and Pastur): with k = 4 d, the paper's
    choice, they just stay above ½.

    Args:
        x0: ``[*shape]``.
        noise: ``[k, *shape]`` of unit variance, k at least 4 d.

    Raises:
        FarfieldError: fewer noisy copies.
    """
    k, d = len(noise), x0.numel()
    if k < 4 * d:
        raise FarfieldError(
            f"{k} noisy copies: expected at least {4 * d}, four times the dimensions; with fewer, chance alone spreads "
            "the singular values too far"
        )
    mean, gram = x0.new_zeros(d).double(), torch.zeros((d, d), dtype=torch.float64, device=x0.device)
    for some in noise.split(max(batch, min(d, 512))):
        moved = (x0 + sigma * some.to(x0)).flatten(1)
        scores = (denoised(denoiser, x0, sigma, some, batch) - moved).double() / sigma
        mean += scores.sum(0) / k
        gram += scores.T @ scores / k
    values = torch.linalg.eigvalsh(gram - torch.outer(mean, mean)).flip(0).clamp(min=0).sqrt()
    steps = values[:-1].clamp(max=1) - values[1:].clamp(max=1)
    place = int(steps.argmax())
    return NormalBundle(values, int((values < 0.5).sum()), d - 1 - place, float(steps[place]))


def denoised(denoiser: Denoiser, x0: Tensor, sigma: float, noise: Tensor, batch: int = BATCH) -> Tensor:
    """D at an image with each of these noises, ``[k, d]``."""
    level = torch.tensor(denoiser.schedule.check(sigma), dtype=x0.dtype, device=x0.device)
    with torch.no_grad(), exact_matmul():
        return torch.cat([denoiser(x0 + sigma * some.to(x0), level).flatten(1) for some in noise.split(batch)])
