r"""Style transfer among latents: a map that carries one domain's law onto another's and leaves the rest of a latent alone.

Every map is the optimal transport between two Gaussians, of all maps that carry N(m_A, C_A) onto N(m_B, C_B) the one that
moves the latents least (Dowson and Landau 1982; Peyré and Cuturi 2019, arXiv 1803.00567, remark 2.31):

.. math:: T(z) = m_B + C_A^{-1/2} (C_A^{1/2} C_B C_A^{1/2})^{1/2} C_A^{-1/2} (z - m_A)

The kinds differ in what is taken for the covariances. With strength s the latent goes the part s of its way,
:math:`z + s (T(z) - z)`: 0 is the identity, 1 arrives, and what is between lies on the geodesic between the two laws.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from farfield.core.error import FarfieldError
from farfield.unseen.prior import DiagonalPrior, IsotropicPrior, LowRankPrior

Map = Callable[[Tensor], Tensor]
"""Latents ``[n, *shape]`` to latents of the other domain, float64."""


def fit_transfer(kind: str, source: Tensor, target: Tensor) -> Map:
    """The map of a kind (see `KINDS`) from the examples' latents of both domains, ``[m, *shape]`` each.

    Raises:
        FarfieldError: an unknown kind, latents of two shapes, or fewer than 2 of either.
    """
    if kind not in KINDS:
        raise FarfieldError(f"kind {kind!r}: expected one of {', '.join(KINDS)}")
    if source.shape[1:] != target.shape[1:]:
        raise FarfieldError(
            f"transfer: expected latents of one shape, found {list(source.shape[1:])} and {list(target.shape[1:])}"
        )
    return KINDS[kind](source, target)


def moved(z: Tensor, carry: Map, strength: float) -> Tensor:
    """The part ``strength`` of the way from ``z`` to where it is carried."""
    z = z.double()
    return z + strength * (carry(z) - z)


def shift(source: Tensor, target: Tensor) -> Map:
    """By the difference of the means: both covariances are taken to be the same."""
    a, b = IsotropicPrior.fit(source), IsotropicPrior.fit(target)
    return lambda z: z.double() + (b.mean - a.mean)


def isotropic(source: Tensor, target: Tensor) -> Map:
    """Mean and one scale: s² I each."""
    a, b = IsotropicPrior.fit(source), IsotropicPrior.fit(target)
    return lambda z: b.mean + b.scale / a.scale * (z.double() - a.mean)


def diagonal(source: Tensor, target: Tensor) -> Map:
    """Mean and scale of every coordinate."""
    a, b = DiagonalPrior.fit(source), DiagonalPrior.fit(target)
    return lambda z: b.mean + b.scales / a.scales * (z.double() - a.mean)


def channels(source: Tensor, target: Tensor) -> Map:
    """Mean and scale of every channel, over all images and places: colour and contrast, nothing of the layout.

    It is what AdaIN (arXiv 1703.06868) does to a feature map, with the moments of the domains and not of one image.
    """

    def moments(z: Tensor) -> tuple[Tensor, Tensor]:
        centre = IsotropicPrior.fit(_with_places(z)).mean  # refuses a single example, and equal ones
        return centre.mean((1, 2), keepdim=True), z.double().std((0, 2, 3), keepdim=True)[0]

    (mean_a, scale_a), (mean_b, scale_b) = moments(source), moments(target)
    return lambda z: mean_b + scale_b / scale_a * (z.double() - mean_a)


def spectrum(source: Tensor, target: Tensor) -> Map:
    r"""Mean and a covariance that is the same at every place: the cross spectrum of the channels at every frequency f.

    .. math:: S(f) = \frac{1}{n - 1} \sum_i F_i(f) F_i(f)^*, \quad F_i = \mathrm{FFT}(z_i - m), \quad C \times C

    Such a covariance is diagonal in f, so the map is the formula above at each frequency by itself: a filter that gives
    the latents the colours, contrast and texture of the other domain and leaves everything in its place. To each
    spectrum as many white images of the same power are added as there are channels, so that few examples do.
    """

    def law(z: Tensor) -> tuple[Tensor, Tensor]:
        mean = IsotropicPrior.fit(_with_places(z)).mean
        f = torch.fft.fft2(z.double() - mean, norm="ortho")
        n, c = f.shape[:2]
        cross = torch.einsum("nchw,ndhw->hwcd", f, f.conj()) / (n - 1)
        white = cross.diagonal(dim1=2, dim2=3).real.mean((0, 1)).diag()
        return mean, (n * cross + c * white) / (n + c)

    (mean_a, a), (mean_b, b) = law(source), law(target)
    filters = transport_matrix(a, b)

    def carry(z: Tensor) -> Tensor:
        f = torch.fft.fft2(z.double() - mean_a, norm="ortho")
        return mean_b + torch.fft.ifft2(torch.einsum("hwcd,ndhw->nchw", filters, f), norm="ortho").real

    return carry


def lowrank(source: Tensor, target: Tensor) -> Map:
    """Mean and covariance, Ledoit and Wolf's for each domain (`LowRankPrior.fit`)."""
    return transport(LowRankPrior.fit(source), LowRankPrior.fit(target))


def transport(source: LowRankPrior, target: LowRankPrior) -> Map:
    r"""The optimal-transport map between two low-rank Gaussians: exact, without any d × d matrix.

    Both covariances act alike outside the span U of the two bases, as multiples :math:`r_A, r_B` of the identity. There
    the map is the factor :math:`\sqrt{r_B / r_A}`; inside it is the formula above for :math:`U^\top C U`, a matrix as
    large as the two ranks together.

    Raises:
        FarfieldError: the source holds some direction impossible (a variance of 0), so it cannot be widened there.
    """
    basis = torch.linalg.qr(torch.cat([source.basis, target.basis], 1)).Q
    d, k = basis.shape
    if float(source.variances.min() if len(source.variances) else 1.0) <= 0 or (k < d and source.residual <= 0):
        raise FarfieldError(
            "transfer: the source's covariance has directions without variance; fit it with LowRankPrior.fit"
        )

    def inside(law: LowRankPrior) -> Tensor:
        part = basis.T @ law.basis
        rest = law.residual * torch.eye(k, dtype=basis.dtype, device=basis.device)
        return rest + (part * (law.variances - law.residual)) @ part.T

    stretch = transport_matrix(inside(source), inside(target))
    outside = (target.residual / source.residual) ** 0.5 if k < d else 1.0

    def carry(z: Tensor) -> Tensor:
        centred = (z.double() - source.mean).flatten(1)
        within = centred @ basis
        changed = outside * centred + (within @ stretch - outside * within) @ basis.T
        return target.mean + changed.reshape(z.shape)

    return carry


def transport_matrix(a: Tensor, b: Tensor) -> Tensor:
    r""":math:`A^{-1/2} (A^{1/2} B A^{1/2})^{1/2} A^{-1/2}` of symmetric (Hermitian) matrices ``[..., k, k]``, A positive."""
    values, vectors = torch.linalg.eigh(a)
    root, inverse = (vectors * p[..., None, :] @ vectors.mH for p in (values.sqrt(), values.rsqrt()))
    squared, directions = torch.linalg.eigh(root @ b @ root)
    middle = directions * squared.clamp(min=0).sqrt()[..., None, :] @ directions.mH
    return inverse @ middle @ inverse


KINDS: dict[str, Callable[[Tensor, Tensor], Map]] = {
    "mean": shift,
    "isotropic": isotropic,
    "diagonal": diagonal,
    "channels": channels,
    "spectrum": spectrum,
    "lowrank": lowrank,
}
"""What is taken for the two covariances: equal, one number, a number per coordinate or channel, a spectrum, low rank."""


def _with_places(z: Tensor) -> Tensor:
    if z.ndim != 4:
        raise FarfieldError(f"transfer: this kind needs latents of images [n, C, H, W], found shape {list(z.shape)}")
    return z
