r"""Is a denoiser locally linear? Its answer along a line against what its Jacobian says (arXiv 2409.02374, section 3).

:math:`D(x + \lambda v)` is held against :math:`l(\lambda) = D(x) + \lambda J v` for a direction v of length 1: by the cosine
between them and by the ratio of their lengths, both 1 for a linear denoiser. Where D hardly moves, both are near 1 whatever J is;
so the same is told of what changes: :math:`|D(x + \lambda v) - l(\lambda)| / |\lambda J v|`, 0 for a linear denoiser and
about 1 where J says nothing of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from farfield.core.error import FarfieldError
from farfield.manifold.jacobian import Jacobian


@dataclass(frozen=True)
class Linearity:
    """Of k directions: ``cosine``, ``ratio`` of lengths, and ``departure`` of what changes, each ``[k]``."""

    cosine: Tensor
    ratio: Tensor
    departure: Tensor


def linearity(jacobian: Jacobian, directions: Tensor, length: float) -> Linearity:
    """How far the denoiser is from its linear part, ``length`` away from the point.

    Args:
        directions: ``[k, d]``, of any length but 0.
        length: how far to move, in the units of x.

    Raises:
        FarfieldError: a direction of length 0, or no distance.
    """
    norms = directions.norm(dim=1, keepdim=True)
    if length <= 0 or bool((norms == 0).any()):
        raise FarfieldError(f"length {length:g}: expected a distance above 0 and directions other than 0")
    v = (directions / norms).to(jacobian.x)
    moved = jacobian.answers(jacobian.x.flatten() + length * v)
    change = length * jacobian.columns(v)
    linear = jacobian.value + change
    return Linearity(
        torch.cosine_similarity(moved, linear, dim=1),
        moved.norm(dim=1) / linear.norm(dim=1),
        (moved - linear).norm(dim=1) / change.norm(dim=1),
    )
