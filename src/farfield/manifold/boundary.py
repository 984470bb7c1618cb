r"""A linear boundary between two sets of points, and the signed distance of a point from it.

The normal is that of linear discriminant analysis (`core.discriminant`): :math:`C^{-1}(\bar a - \bar b)`, of two Gaussians of
one covariance the best there is. BoundaryDiffusion (arXiv 2302.08357) takes a support vector machine's for it, and moves a
latent across at the level where the images of a model begin to be told apart.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from farfield.core.discriminant import dual, midpoint
from farfield.core.error import FarfieldError


@dataclass(frozen=True)
class Boundary:
    """Points x with ``normal · x = offset``; the unit normal ``[*shape]``, float64, points to the positive side."""

    normal: Tensor
    offset: float

    @staticmethod
    def fit(points: Tensor, positive: Tensor) -> Boundary:
        """Between the points ``[n, *shape]`` that are ``positive [n]`` and the others.

        Raises:
            FarfieldError: one of the sets is empty, or the points do not vary.
        """
        x, y = points.detach().cpu().double().flatten(1), positive.cpu().double()[:, None] * 2 - 1
        if not 0 < int(positive.sum()) < len(x):
            raise FarfieldError(
                f"boundary: {int(positive.sum())} of {len(x)} points are positive; expected two sets of points"
            )
        mean = x.mean(0)
        centred = x - mean
        weights, left_out = dual(centred @ centred.T, y, x.shape[1])
        direction = (weights.T @ centred)[0]
        length = float(direction.norm())
        if length == 0:
            raise FarfieldError("boundary: all points are the same; give sets that vary")
        normal = direction / length
        return Boundary(normal.reshape(points.shape[1:]), float(mean @ normal + midpoint(left_out, y)[0] / length))

    def distance(self, points: Tensor) -> Tensor:
        """Signed, positive where the positive points are: ``[n, *shape]`` → ``[n]``."""
        return points.detach().cpu().double().flatten(1) @ self.normal.flatten() - self.offset
