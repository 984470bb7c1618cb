r"""A frozen denoiser corrected on a domain's examples in closed form: nothing is trained, no gradient is taken.

Far from its training data a network is off by little that varies from image to image and by much that does not: an offset, a
gain that depends on frequency, a leak between colours. All of that is linear, and known noise put on the examples shows
it. With :math:`x = x_0 + \sigma n`, :math:`a = 1/\sqrt{1 + \sigma^2}` and :math:`q = \sigma a`, the velocity
:math:`v = a n - q x_0` (arXiv 2202.00512) is what a network has to find at every level, high or low, and
:math:`D = a^2 x - q v`. At each level the true v is regressed on the network's, :math:`\hat v`, and on the noisy image
itself, in an orthonormal cosine basis and for each band of frequencies b apart:

.. math:: v_b \approx A_b (\hat v - \bar v)_b + B_b\, a (x - m)_b, \qquad
          D'(x, \sigma) = m + a^2 (x - m) - q\,[\ldots]

with C × C matrices A and B over the channels, m the examples' mean and :math:`\bar v` the mean of :math:`\hat v`. With A = 1,
B = 0 it is the network but for the means; with A = 0 it is the Wiener filter of the examples, the best linear denoiser
(Wiener 1949): least squares takes from each what it is good for.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor, nn

from farfield.core.error import FarfieldError, NonFiniteError
from farfield.core.runtime import generator, state_dtype
from farfield.diffusion.denoiser import Denoiser


def fit_level(
    denoiser: Denoiser,
    examples: Tensor,
    sigma: float,
    *,
    index: int = 0,
    views: int = 200,
    doubt: float = 10.0,
    batch_size: int = 64,
) -> Tensor:
    r"""The correction at one level as a flat vector, to be given to `CalibratedDenoiser`.

    Noise comes in pairs (n, −n), which cancels in the means. A ridge of ``doubt`` imagined coefficients on which the
    network was right keeps bands of few coefficients from being fitted to chance.

    Args:
        denoiser: of images ``[C, H, W]``.
        examples: ``[n, C, H, W]``, n at least 2.
        sigma: the level.
        index: the level's number, which seeds its noise.
        views: at least so many noisy images are shown to the network, the same number of each example.
        doubt: how many, of the mean power of the regressors.
        batch_size: images through the network at a time.

    Raises:
        FarfieldError: images of another shape, or fewer than 2.
        NonFiniteError: the network's answer has NaN or infinity.
    """
    shape = _checked(denoiser, examples)
    dtype = state_dtype(examples.device)
    pairs = max(1, math.ceil(views / (2 * len(examples))))
    clean = examples.to(dtype).repeat(2 * pairs, 1, 1, 1)
    half = torch.randn((len(clean) // 2, *shape), generator=generator(index, "calibration"), dtype=torch.float64)
    noise = torch.cat([half, -half]).to(examples.device, dtype)
    x = clean + sigma * noise
    level = torch.tensor(sigma, dtype=dtype, device=examples.device)
    with torch.no_grad():
        predicted = torch.cat([velocity(part, denoiser(part, level), level) for part in x.split(batch_size)])
    if not bool(torch.isfinite(predicted).all()):
        raise NonFiniteError(
            f"calibration at sigma {sigma:.4g}: the network's answer became NaN or infinite; use --dtype float32"
        )
    offset, centre = predicted.mean(0), examples.to(dtype).mean(0)
    a = (1 + sigma**2) ** -0.5
    u = _cosine(torch.cat([predicted - offset, a * (x - centre)], 1))
    y = _cosine(velocity(x - centre, clean - centre, level))
    keep = torch.eye(2 * shape[0], shape[0], dtype=dtype, device=examples.device)
    places = bands(*shape[1:])
    matrices = []
    for band in range(int(places.max()) + 1):
        given, true = (v[:, :, places == band].permute(0, 2, 1).flatten(0, 1) for v in (u, y))
        gram = given.T @ given
        ridge = doubt / len(given) * gram.diagonal().mean() * torch.eye(len(gram), dtype=dtype, device=gram.device)
        matrices.append(torch.linalg.solve(gram + ridge, given.T @ true + ridge @ keep))
    return torch.cat([offset.flatten(), torch.stack(matrices).flatten()]).cpu()


class CalibratedDenoiser(Denoiser):
    r"""A denoiser with the corrections of `fit_level`, between fitted levels on a straight line in :math:`\ln\sigma`.

    Args:
        denoiser: the frozen one.
        centre: m, the examples' mean ``[C, H, W]``.
        levels: ``[L]`` ascending, at least two; beyond them the correction of the nearest is used.
        corrections: ``[L, k]``, a row of `fit_level` for each.
    """

    def __init__(self, denoiser: Denoiser, centre: Tensor, levels: Tensor, corrections: Tensor):
        super().__init__()
        self.denoiser, self.shape, self.schedule = denoiser, denoiser.shape, denoiser.schedule
        self.codec = denoiser.codec
        c, h, w = centre.shape
        places = bands(h, w)
        size = c * h * w
        if len(levels) < 2 or corrections.shape != (len(levels), size + (int(places.max()) + 1) * 2 * c * c):
            raise FarfieldError(
                f"calibration: expected a correction for each of two or more levels of {tuple(centre.shape)}, found "
                f"{tuple(corrections.shape)} for {len(levels)} levels"
            )
        dtype = state_dtype(centre.device)
        self.levels = nn.Buffer(levels.to(centre.device, dtype))
        self.centre = nn.Buffer(centre.to(dtype))
        self.offsets = nn.Buffer(corrections[:, :size].reshape(-1, c, h, w).to(self.levels))
        self.matrices = nn.Buffer(corrections[:, size:].reshape(len(levels), -1, 2 * c, c).to(self.levels))
        self.places = nn.Buffer(places.to(centre.device))

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        level = torch.as_tensor(sigma, device=x.device)
        if level.ndim and bool((level != level.flatten()[0]).any()):
            rows = [self(x[i : i + 1], level[i]) for i in range(len(x))]
            return torch.cat(rows)
        s = level.flatten()[0].to(self.levels)
        offset, matrix = self._at(s)
        a, centred = (1 + s**2).rsqrt(), x.to(s) - self.centre
        predicted = velocity(x.to(s), self.denoiser(x, s).to(s), s)
        given = _cosine(torch.cat([predicted - offset, a * centred], 1))
        v = _cosine(torch.einsum("nihw,hwio->nohw", given, matrix[self.places]), back=True)
        return (self.centre + a**2 * centred - s * a * v).to(x.dtype)

    def _at(self, sigma: Tensor) -> tuple[Tensor, Tensor]:
        at = sigma.clamp(self.levels[0], self.levels[-1])
        i = int(torch.searchsorted(self.levels, at).clamp(1, len(self.levels) - 1))
        part = (at / self.levels[i - 1]).log() / (self.levels[i] / self.levels[i - 1]).log()
        return self.offsets[i - 1].lerp(self.offsets[i], part), self.matrices[i - 1].lerp(self.matrices[i], part)


def velocity(x: Tensor, clean: Tensor, sigma: Tensor) -> Tensor:
    r""":math:`v = a n - q x_0` of a noisy image and its clean one, or the network's with what it holds for the clean one."""
    return (x - (1 + sigma**2) * clean) / (sigma * (1 + sigma**2).sqrt())


def bands(height: int, width: int) -> Tensor:
    """Bands of cosine frequencies, half an octave each, numbered from the constant up: ``[H, W]``.

    Frequencies count along the longer side, so that a band is a ring in cycles per pixel whatever the aspect ratio.
    """
    y, x = (torch.arange(n, dtype=torch.float64) * (max(height, width) / n) for n in (height, width))
    radius = (y[:, None] ** 2 + x**2).sqrt()
    # the small term: a diagonal lies on the border of two bands and must not fall by rounding
    places: Tensor = (2 * (2 * radius).clamp(min=0.5).log2() + 1e-9).floor().unique(return_inverse=True)[1]
    return places


def _cosine(x: Tensor, back: bool = False) -> Tensor:
    """The orthonormal cosine transform (DCT-II) of ``[..., H, W]``, or its inverse."""
    rows, columns = (_basis(n).to(x) for n in x.shape[-2:])
    return rows.T @ x @ columns if back else rows @ x @ columns.T


@cache
def _basis(n: int) -> Tensor:
    k = torch.arange(n, dtype=torch.float64)
    basis = (math.pi / n * k[:, None] * (k + 0.5)).cos() * math.sqrt(2 / n)
    basis[0] /= math.sqrt(2)
    return basis


def _checked(denoiser: Denoiser, examples: Tensor) -> tuple[int, int, int]:
    if len(denoiser.shape) != 3 or examples.shape[1:] != denoiser.shape or len(examples) < 2:
        raise FarfieldError(
            f"calibration: expected at least 2 images of the model's shape {tuple(denoiser.shape)}, [C, H, W], found "
            f"{tuple(examples.shape)}"
        )
    return denoiser.shape[0], denoiser.shape[1], denoiser.shape[2]
