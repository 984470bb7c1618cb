r"""The empirical denoiser of many points: points that cannot matter are left out, and what that changes is bounded.

With c the mean of the points and :math:`h_i = \|y_i - c\|^2 / 2 - (x - c) \cdot y_i` the weight of point i is
:math:`w_i \propto e^{-h_i / \sigma^2}`.

**What is left out.** One product in float32 gives :math:`\tilde h_i` with :math:`|\tilde h_i - h_i| \le E`. Kept are the
points with :math:`\tilde h_i \le \min_j \tilde h_j + 2E + \sigma^2 \ln(N / \tau)`. Any other has
:math:`h_i - \min_j h_j > \sigma^2 \ln(N / \tau)`, since each of the two moved by at most E: it weighs less than
:math:`\tau / N` times the best point. All of them together weigh less than :math:`\tau` times the total, and D, a weighted
mean, moves by less than :math:`\tau` times the distance between two points of the set. The kept ones are weighed as
`EmpiricalDenoiser` does, whose rounding is that of float64.

**E.** A product of d terms, summed in any order, is off by at most :math:`\gamma |x - c| |y|`,
:math:`\gamma = du / (1 - du)`, :math:`u = 2^{-24}` in float32 (Higham, Accuracy and Stability of Numerical Algorithms,
section 3.1); reading x and y as float32 adds 2u. The first term of h, in float64, is off by :math:`\gamma` of
:math:`u = 2^{-53}` times itself. A few more u are granted for the rest.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor

from farfield.core.error import FarfieldError
from farfield.core.runtime import exact_matmul
from farfield.diffusion.denoiser import Denoiser, per_image
from farfield.diffusion.exact import EmpiricalDenoiser
from farfield.diffusion.schedule import Schedule

TOLERANCE: Final = 1e-6
"""The share of the weight that may be left out."""
SHARE: Final = 1 / 64
"""A row that keeps a larger share of the points weighs all of them: 64 such rows keep nearly all between them."""
PROBE: Final = 512
"""So many points, spread over the set, tell whether a row is worth the product with all of them."""
PROMISING: Final = 1 / 4
"""The share of those that it may keep: more than of all points, since the nearest of few is farther away."""
CELLS: Final = 1 << 24
"""Rows of x times points that are looked at at once, in 13 bytes each."""
FEW: Final = 2048
"""So few points are not worth choosing among."""


class PrunedDenoiser(Denoiser):
    """An `EmpiricalDenoiser` that weighs, for each row, only the points that can matter (see above).

    Rows with too many of those, which is at high noise, get the full pass. Not differentiable through ``torch.func``:
    which points are kept depends on the numbers; wrap fewer points, or use ``full``.

    Args:
        full: the denoiser of all points.
        tolerance: τ, the most weight left out; 0 < τ < 1.
    """

    def __init__(self, full: EmpiricalDenoiser, tolerance: float = TOLERANCE):
        super().__init__()
        if not 0 < tolerance < 1:
            raise FarfieldError(f"tolerance {tolerance:g}: expected a share between 0 and 1")
        self.shape, self.schedule = full.shape, full.schedule
        self.full = full
        self.tolerance = tolerance
        self.longest = max(
            float(torch.linalg.vector_norm(c.double(), dim=1).max()) for c in full.points.split(full.chunk)
        )

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        level = per_image(sigma, x).to(x.device, torch.float64)
        n = len(self.full.points)
        answer = torch.empty_like(x)
        whole = self.kept(x, level, max(1, n // PROBE)).double().mean(1) > PROMISING
        for rows in (~whole).nonzero()[:, 0].split(max(1, CELLS // n)):
            kept = self.kept(x[rows], level[rows])
            count = kept.sum(1)
            few = (count > 0) & (count <= SHARE * n)
            whole[rows] = ~few
            rows, kept = rows[few], kept[few]
            if len(rows):
                answer[rows] = self.full(x[rows], level[rows], kept)
        if bool(whole.any()):
            answer[whole] = self.full(x[whole], level[whole])
        return answer

    def kept(self, x: Tensor, sigma: Tensor, stride: int = 1) -> Tensor:
        """Which points can matter, ``[B, N]`` bool, for rows ``[B, *shape]`` at levels ``[B]``.

        None of a row that is not finite, or too large for float32.

        Args:
            stride: only every ``stride``-th point is looked at, ``[B, ceil(N / stride)]``.
        """
        points, half_norms = self.full.points[::stride], self.full.half_norms[::stride]
        centred = x.double().flatten(1) - self.full.centre
        single = centred.float()
        with exact_matmul():
            near = torch.cat([single @ c.float().T for c in points.split(self.full.chunk)], 1)
        heights = half_norms - near
        window = 2 * self._rounding(centred) + sigma**2 * math.log(len(self.full.points) / self.tolerance)
        limit = heights.min(1, keepdim=True).values + window[:, None]
        return (heights <= limit) & limit.isfinite()

    def _rounding(self, centred: Tensor) -> Tensor:
        """E of each row, ``[B]``."""
        product, halves = ((centred.shape[1] + 8) * u for u in (2.0**-24, 2.0**-53))
        norms = centred.norm(dim=1) * self.longest
        return product / (1 - product) * norms + halves / (1 - halves) * self.full.half_norms.max()


def empirical_denoiser(points: Tensor, schedule: Schedule | None = None) -> Denoiser:
    """The quickest denoiser of these points ``[N, *shape]``: all of them weighed where they are few."""
    full = EmpiricalDenoiser(points, schedule)
    return full if len(points) <= FEW else PrunedDenoiser(full)
