r"""What restorations are held against: trivial ones of the same measurement, and errors against the truth."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from farfield.core.interval import bootstrap
from farfield.core.score import Score
from farfield.diffusion.operator import Blur, Operator, Reduce, Seen

ITERATIONS = 300
"""Of conjugate gradients, for the smooth restoration: more than the side of a gap, across which they carry its edges."""


def plain(operator: Operator, y: Tensor) -> tuple[str, Tensor]:
    """What one would do at once, ``[B, C, H, W]``, and its name: gaps filled with the mean of what was seen of the channel, a
    blurred image as it is, a small one enlarged by bicubic interpolation.
    """
    seen = operator.seen.expand_as(y) if isinstance(operator, Seen) else torch.ones_like(y, dtype=torch.bool)
    mean = torch.where(seen, y, 0).sum((2, 3), keepdim=True) / seen.sum((2, 3), keepdim=True).clamp(min=1)
    filled, inner = torch.where(seen, y, mean), operator.inner if isinstance(operator, Seen) else operator
    if isinstance(inner, Reduce):
        return "bicubic", functional.interpolate(filled, scale_factor=inner.factor, mode="bicubic", antialias=True)
    return ("measurement" if isinstance(inner, Blur) else "filled"), filled


def smooth(operator: Operator, y: Tensor, variance: float, start: Tensor) -> Tensor:
    r"""The image that fits the measurement and is as smooth as it can be, ``[B, C, H, W]``: the least of

    .. math:: |A x - y|^2 / \sigma_y^2 + |\nabla x|^2 / g,

    with g the mean square difference of neighbours in ``start``, by conjugate gradients from there. A gap is filled as a
    soap film would (harmonic); of a blurred image it is Wiener's filter for a spectrum that falls as 1 / f².
    """
    from scipy.sparse.linalg import LinearOperator, cg

    across, down = start.diff(dim=3), start.diff(dim=2)
    g = (across.square().mean((1, 2, 3)) + down.square().mean((1, 2, 3))).div(2).clamp(min=1e-6).view(-1, 1, 1, 1)

    def applied(x: Tensor) -> Tensor:
        rows, columns = x.diff(dim=2), x.diff(dim=3)
        rough = functional.pad(-rows, (0, 0, 0, 1)) + functional.pad(rows, (0, 0, 1, 0))
        rough = rough + functional.pad(-columns, (0, 1)) + functional.pad(columns, (1, 0))
        return operator.adjoint(operator.forward(x)) / variance + rough / g

    def product(flat: Any) -> Any:
        return applied(torch.from_numpy(flat).view(start.shape)).flatten().numpy()

    d = start.numel()
    right = (operator.adjoint(y) / variance).flatten().numpy()
    system = LinearOperator((d, d), matvec=product, dtype=right.dtype)
    found, _ = cg(system, right, start.flatten().numpy(), rtol=1e-9, maxiter=ITERATIONS)
    return torch.from_numpy(found).view(start.shape)


def psnr(found: Tensor, truth: Tensor, judged: Tensor) -> Tensor:
    r""":math:`10 \log_{10}(2^2 / MSE)` over the pixels that are judged, in dB, ``[B]``; an image equal to the bit has 300.

    Args:
        judged: bool, broadcast to the images ``[B, C, H, W]``.
    """
    return (10 * (4 / squared_error(found, truth, judged)).log10()).clamp(max=300)


def squared_error(found: Tensor, truth: Tensor, judged: Tensor) -> Tensor:
    """The mean square difference over the pixels that are judged, ``[B]``."""
    judged = judged.expand_as(truth)
    apart = torch.where(judged, found - truth, 0).double().square()
    return apart.flatten(1).sum(1) / judged.flatten(1).sum(1)


def spread_over_error(draws: Tensor, truth: Tensor, judged: Tensor) -> Score:
    r"""The draws' standard deviation over the error of their mean; of right draws 1.

    Of n right draws the mean has the expected squared error :math:`(1 + 1/n)\,v`, v the posterior's variance. The interval is
    the bootstrap's over images.

    Args:
        draws: ``[B, n, C, H, W]``, n at least 2.
        truth: ``[B, C, H, W]``.
    """
    n = draws.shape[1]
    error = squared_error(draws.mean(1), truth, judged)
    deviation = draws.var(1).sqrt()
    variance = squared_error(deviation, torch.zeros_like(deviation), judged) * (1 + 1 / n)

    def ratio(rows: Tensor) -> float:
        return float((variance[rows].mean() / error[rows].mean()).sqrt())

    return Score(ratio(torch.arange(len(truth))), len(truth), *bootstrap(ratio, len(truth)))
