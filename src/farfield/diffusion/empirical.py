r"""The empirical denoiser of many points: points that cannot matter are left out, and what that changes is bounded.

With :math:`h_i = \|y_i\|^2 / 2 - x \cdot y_i` the weight of point i is :math:`w_i \propto e^{-h_i / \sigma^2}`.

**What is left out.** One product in float32 gives :math:`\tilde h_i` with :math:`|\tilde h_i - h_i| \le E`. Kept are the
points with :math:`\tilde h_i \le \min_j \tilde h_j + 2E + \sigma^2 \ln(N / \tau)`. Any other has
:math:`h_i - \min_j h_j > \sigma^2 \ln(N / \tau)`, since each of the two moved by at most E: it weighs less than
:math:`\tau / N` times the best point. All of them together weigh less than :math:`\tau` times the total, and D, a weighted
mean, moves by less than :math:`\tau` times the distance between two points of the set. The kept ones are weighed in float64.

**E.** A product of d terms in float32, summed in any order, is off by at most :math:`\gamma |x| |y|`,
:math:`\gamma = du / (1 - du)`, :math:`u = 2^{-24}` (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1);
reading x and y as float32 adds 2u. A few more are granted for the rest, which is in float64.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor, nn

from farfield.core.error import FarfieldError
from farfield.core.runtime import exact_matmul
from farfield.diffusion.denoiser import Denoiser, per_image
from farfield.diffusion.exact import EmpiricalDenoiser
from farfield.diffusion.schedule import Schedule

TOLERANCE: Final = 1e-6
"""The share of the weight that may be left out."""
SHARE: Final = 8
"""Where more than N / SHARE points are kept, weighing all of them in matrix products is quicker."""
CELLS: Final = 1 << 23
"""Rows of x times points that are weighed at once."""
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
        halves = [c.double().square().sum(1) / 2 for c in full.points.split(full.chunk)]
        self.half_squares = nn.Buffer(torch.cat(halves))
        self.longest = float((2 * self.half_squares.max()).sqrt())

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        level = per_image(sigma, x).to(x.device, torch.float64)
        answer = torch.empty_like(x)
        rows = max(1, CELLS // len(self.half_squares))
        for block in torch.arange(len(x), device=x.device).split(rows):
            kept = self.kept(x[block], level[block])
            count = kept.sum(1)
            many = (count > len(self.half_squares) / SHARE) | (
                count == 0
            )  # none: x is not finite, nor will be the answer
            if bool(many.any()):
                answer[block[many]] = self.full(x[block[many]], level[block[many]])
            for row in (~many).nonzero()[:, 0].tolist():
                answer[block[row]] = self._weigh(x[block[row]], level[block[row]], kept[row].nonzero()[:, 0])
        return answer

    def kept(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Which points can matter, ``[B, N]`` bool, for rows ``[B, *shape]`` at levels ``[B]``."""
        flat = x.flatten(1)
        with exact_matmul():
            near = flat.float() @ self.full.points.float().T
        halves = self.half_squares - near.double()
        slack = self._rounding(flat)
        window = 2 * slack + sigma**2 * math.log(len(self.half_squares) / self.tolerance)
        return halves <= (halves.min(1).values + window)[:, None]

    def _rounding(self, flat: Tensor) -> Tensor:
        """E of each row, ``[B]``."""
        unit = 2.0**-24 * (flat.shape[1] + 8)
        return unit / (1 - unit) * flat.double().norm(dim=1) * self.longest

    def _weigh(self, x: Tensor, sigma: Tensor, index: Tensor) -> Tensor:
        """One row's answer from the points of these places."""
        points = self.full.points[index].double()
        squares = (points - x.double().flatten()).square().sum(1)
        weights = torch.softmax(-squares / (2 * sigma**2), 0)
        return (weights @ points).reshape(x.shape).to(x.dtype)


def empirical_denoiser(points: Tensor, schedule: Schedule | None = None) -> Denoiser:
    """The quickest denoiser of these points ``[N, *shape]``: all of them weighed where they are few."""
    full = EmpiricalDenoiser(points, schedule)
    return full if len(points) <= FEW else PrunedDenoiser(full)
