r"""Mixtures of low-rank Gaussians (MoLRG, arXiv 2409.02426): data whose subspaces, and whose denoiser, are known.

A sample of class k is :math:`x = U_k a + \delta e` with :math:`a \sim N(0, I_{d_k})`, :math:`e \sim N(0, I_n)` and
orthonormal :math:`U_k`, ``[n, d_k]``: K subspaces in n dimensions, thickened by the noise :math:`\delta`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from farfield.core.error import FarfieldError
from farfield.core.runtime import generator
from farfield.diffusion.exact import GaussianDenoiser, MixtureDenoiser
from farfield.diffusion.schedule import Schedule


@dataclass(frozen=True)
class Law:
    """The law of the samples.

    Attributes:
        bases: K orthonormal matrices ``[n, d_k]``, float64.
        weights: ``[K]``, the shares of the classes.
        noise: standard deviation around the subspaces.
    """

    bases: tuple[Tensor, ...]
    weights: Tensor
    noise: float = 0.0

    @property
    def n(self) -> int:
        return len(self.bases[0])

    @property
    def spread(self) -> float:
        """The standard deviation of a coordinate over all n: what EDM calls that of the data."""
        mean = sum(float(w) * u.shape[1] for w, u in zip(self.weights, self.bases, strict=True)) / self.n
        return float((mean + self.noise**2) ** 0.5)

    def denoiser(self, schedule: Schedule | None = None) -> MixtureDenoiser:
        """Its exact denoiser, of points ``[n]``."""
        inside, outside = 1 + self.noise**2, self.noise**2
        parts = [
            GaussianDenoiser(torch.zeros(self.n), u, torch.full((u.shape[1],), inside), outside) for u in self.bases
        ]
        return MixtureDenoiser(parts, self.weights, schedule)

    def draw(self, counts: Sequence[int], seed: int, stream: str = "molrg-samples") -> tuple[Tensor, Tensor]:
        """So many samples of each class, class by class: ``[N, n]`` float64, and their classes ``[N]``.

        A sample depends on the seed, the stream, its class and its place in it alone.

        Raises:
            FarfieldError: not a count for each class, or none above 0.
        """
        if len(counts) != len(self.bases) or min(counts) < 0 or not sum(counts):
            raise FarfieldError(
                f"samples per class {list(counts)}: expected {len(self.bases)} numbers of at least 0, not all 0"
            )
        drawn = []
        for k, (basis, count) in enumerate(zip(self.bases, counts, strict=True)):
            numbers = basis.new_zeros(count, basis.shape[1] + self.n)
            for i in range(count):
                numbers[i].normal_(generator=generator(seed, f"{stream}-{k}-{i}"))
            inside, around = numbers.split([basis.shape[1], self.n], 1)
            drawn.append(inside @ basis.T + self.noise * around)
        labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(list(counts)))
        return torch.cat(drawn), labels


def draw_law(
    n: int,
    dimensions: Sequence[int],
    seed: int,
    *,
    weights: Sequence[float] | None = None,
    noise: float = 0.0,
    orthogonal: bool = True,
) -> Law:
    """A law with random subspaces.

    Args:
        n: dimensions of the space.
        dimensions: of the subspaces, one a class.
        weights: shares of the classes; equal if not given.
        orthogonal: to each other, as in the source; independent of each other otherwise.

    Raises:
        FarfieldError: subspaces that do not fit into the space, weights that are none, or negative noise.
    """
    dimensions = list(dimensions)
    room = sum(dimensions) if orthogonal else max(dimensions, default=0)
    if not dimensions or min(dimensions) < 1 or room > n:
        kind = "mutually orthogonal subspaces" if orthogonal else "subspaces"
        raise FarfieldError(
            f"{kind} of dimensions {dimensions} in {n} dimensions: expected at least one, each of at least 1, that fit; "
            "give a larger n, fewer classes or smaller dimensions"
        )
    shares = torch.tensor(list(weights) if weights is not None else [1.0] * len(dimensions), dtype=torch.float64)
    if len(shares) != len(dimensions) or not bool((shares > 0).all()):
        raise FarfieldError(f"weights {shares.tolist()}: expected {len(dimensions)} positive numbers")
    if not 0 <= noise < float("inf"):
        raise FarfieldError(f"noise {noise:g}: expected a standard deviation of at least 0")
    g = generator(seed, "molrg-bases")
    if orthogonal:
        bases = random_basis(n, sum(dimensions), g).split(dimensions, 1)
    else:
        bases = tuple(random_basis(n, d, g) for d in dimensions)
    return Law(tuple(b.contiguous() for b in bases), shares / shares.sum(), noise)


def random_basis(n: int, d: int, g: torch.Generator) -> Tensor:
    """Orthonormal columns ``[n, d]`` float64, uniform over all d-dimensional subspaces."""
    return torch.linalg.qr(torch.randn(n, d, generator=g, dtype=torch.float64)).Q
