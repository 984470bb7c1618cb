r"""Directions to edit an image along: what moves the denoiser's answer most inside a mask, and least outside it.

At a point x of level :math:`\sigma` with Jacobian J, M the rows of the mask's pixels and :math:`\bar M` the others, a
direction is a right singular vector of

.. math:: M J\, (I - \bar V \bar V^\top),

where :math:`\bar V` are the first right singular vectors of :math:`\bar M J`, so many as are to be left alone (LOCO, arXiv
2409.02374, which projects the singular vectors of :math:`M J` after they are found; taken together the directions stay
orthonormal, and in the order of what they change). The latent is moved to :math:`z + \sum_i s_i v_i`: a unit
of strength is one standard deviation of the model's own latents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from farfield.core.artifact import Artifact
from farfield.core.error import FarfieldError
from farfield.core.runtime import generator
from farfield.manifold.jacobian import Jacobian

ROUNDS = 40
"""Of the block power iteration, at most."""
NOTHING = 1e-6
"""Singular values below this times the largest are rounding."""
SPARE = 6
"""Vectors of a block beyond those asked for: what makes them converge."""

FEW = 10
"""Rows, or columns, up to so many blocks are taken one by one: the iteration would take as many."""


@dataclass(frozen=True)
class Directions(Artifact):
    """Directions ``direction-1``, …, unit vectors ``[k, *shape]`` of the latents at level ``sigma`` of one model.

    ``gains[i]`` is how far the answer moves inside the mask for a step of 1 in x, ``leaks[i]`` how far outside; ``kept`` is
    how many directions that move the outside were left alone. ``model`` is the digest of the model.
    """

    sigma: float = 0.0
    model: str = ""
    image: str = ""
    kept: int = 0
    gains: list[float] = field(default_factory=list)
    leaks: list[float] = field(default_factory=list)
    kind: ClassVar[str] = "directions"

    def attributes(self) -> dict[str, Any]:
        names = ("sigma", "model", "image", "kept", "gains", "leaks")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class Found:
    """Unit vectors ``[k, d]`` with what they move inside and outside the mask, ``[k]`` each; ``kept`` are left alone."""

    vectors: Tensor
    gains: Tensor
    leaks: Tensor
    kept: int


def find_directions(jacobian: Jacobian, mask: Tensor, count: int, *, keep: int = 0, seed: int = 0) -> Found:
    """The first directions of a point.

    Args:
        mask: ``[d]`` bool, the numbers of the answer to change.
        count: how many directions.
        keep: how many directions that move the rest are to be left alone, the strongest first; fewer where fewer move it.
            With all of them nothing outside moves to first order.
        seed: of the iteration's start.

    Raises:
        FarfieldError: a mask of another size or an empty one, a full one with ``keep``, or more directions than there are
            or than move anything inside.
    """
    d, inside = jacobian.dimension, int(mask.sum())
    if mask.shape != (d,) or not inside:
        raise FarfieldError(f"mask of {tuple(mask.shape)} with {inside} numbers inside: expected [{d}], not empty")
    if keep and inside == d:
        raise FarfieldError(f"keep {keep}: the mask covers everything, nothing outside can be left alone; give 0")
    if keep < 0 or not 1 <= count <= min(inside, d - keep) or keep > d - inside:
        raise FarfieldError(
            f"{count} directions with {keep} kept: expected 1 to {min(inside, d - keep)} directions of a mask of {inside} of "
            f"{d} numbers, and 0 to {d - inside} kept"
        )
    outside, scale = None, 0.0
    if keep:
        vectors, moves = right_singular(jacobian, ~mask, keep, seed=seed)
        outside, scale = vectors[moves > NOTHING * moves[0]], float(moves[0])
    vectors, gains = right_singular(jacobian, mask, count, without=outside, seed=seed)
    able = int((gains > NOTHING * max(scale, float(gains[0]))).sum())
    if able < count:
        raise FarfieldError(
            f"{count} directions with {keep} kept: only {able} move the answer inside the mask; give fewer, keep fewer, or take "
            "another level"
        )
    leaks = jacobian.columns(vectors)[:, ~mask].norm(dim=1)
    return Found(vectors, gains, leaks, 0 if outside is None else len(outside))


def right_singular(
    jacobian: Jacobian,
    rows: Tensor,
    count: int,
    *,
    without: Tensor | None = None,
    seed: int = 0,
    tolerance: float = 1e-4,
) -> tuple[Tensor, Tensor]:
    """The first right singular vectors ``[count, d]`` and singular values of some rows of J.

    A mask of few numbers is taken row by row, a point of few column by column, which is exact; else a block power iteration
    with rows and columns of J runs until the singular values move by less than ``tolerance`` of the largest in a round.

    Args:
        rows: ``[height]`` bool, those of J that count.
        without: orthonormal ``[r, d]``, directions that the vectors must be orthogonal to.
    """
    x, d, size = jacobian.x, jacobian.dimension, min(count + SPARE, jacobian.dimension)
    mask = rows.to(x.device)

    def allowed(vectors: Tensor) -> Tensor:
        if without is None:
            return vectors
        # Twice: what rounding leaves of a projection is gone after the second.
        vectors = vectors - (vectors @ without.T) @ without
        return vectors - (vectors @ without.T) @ without

    if min(int(mask.sum()), d) <= FEW * size:
        if int(mask.sum()) <= d:
            units = torch.zeros(int(mask.sum()), jacobian.height).to(x)
            units[torch.arange(len(units), device=x.device), mask.nonzero()[:, 0]] = 1
            matrix = jacobian.rows(units)
        else:
            matrix = jacobian.columns(torch.eye(d).to(x)).T[mask]
        _, values, vectors = torch.linalg.svd(allowed(matrix), full_matrices=False)
        return _signed(vectors[:count]), values[:count]
    vectors = _rows_orthonormal(allowed(torch.randn(size, d, generator=generator(seed, "edit")).to(x)))
    before = torch.zeros(count).to(x)
    for _ in range(ROUNDS):
        moved = jacobian.columns(vectors) * mask
        # The singular vectors within the block, so that each direction converges and not only their span.
        left = torch.linalg.svd(moved.T, full_matrices=False).U.T * mask
        pulled = allowed(jacobian.rows(left))
        _, values, vectors = torch.linalg.svd(pulled, full_matrices=False)
        done = bool((values[:count] - before).abs().max() <= tolerance * values[0])
        before = values[:count]
        if done:
            break
    return _signed(vectors[:count]), before


def compose(directions: Directions, strengths: Sequence[float]) -> Tensor:
    """What is added to a latent, ``[*shape]``: the sum of the directions, each times its strength.

    Raises:
        FarfieldError: more strengths than directions.
    """
    if len(strengths) > len(directions):
        raise FarfieldError(f"{len(strengths)} strengths: expected at most {len(directions)}, one a direction")
    weights = torch.tensor(list(strengths), dtype=directions.values.dtype)
    return torch.einsum("k,k...->...", weights, directions.values[: len(weights)])


@dataclass(frozen=True)
class Change:
    """Mean absolute change of each image, inside the mask and outside it, ``[n]`` each; ``outside`` is NaN of a full mask."""

    inside: Tensor
    outside: Tensor


def change(edited: Tensor, before: Tensor, mask: Tensor) -> Change:
    """How much images ``[n, C, H, W]`` were changed on either side of a mask ``[H, W]``."""
    moved = (edited.double() - before.double()).abs().mean(1).flatten(1)
    return Change(moved[:, mask.flatten()].mean(1), moved[:, ~mask.flatten()].mean(1))


def departure(together: Tensor, parts: Sequence[Tensor], before: Tensor) -> Tensor:
    r"""How far several edits at once are from the sum of each alone, ``[n]``: 0 where edits add, as for Gaussian data.

    :math:`\|\Delta - \sum_i \Delta_i\| / \|\sum_i \Delta_i\|` of the changes against ``before``, images ``[n, C, H, W]`` all.
    """
    total = sum((part.double() - before.double() for part in parts), torch.zeros_like(before, dtype=torch.float64))
    apart = together.double() - before.double() - total
    return apart.flatten(1).norm(dim=1) / total.flatten(1).norm(dim=1)


def _signed(vectors: Tensor) -> Tensor:
    """Singular vectors have no sign of their own: the largest entry of each becomes positive."""
    largest = vectors.gather(1, vectors.abs().argmax(1, keepdim=True))
    return vectors * largest.sign()


def _rows_orthonormal(vectors: Tensor) -> Tensor:
    return torch.linalg.qr(vectors.T).Q.T.contiguous()
