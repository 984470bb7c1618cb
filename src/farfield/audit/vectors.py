"""What may be compared: feature vectors of one descriptor and one length, finite, and the memory to compare them in."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final, Protocol

import torch
from torch import Tensor

from farfield.core.artifact import Blocks, Features
from farfield.core.error import FarfieldError, NonFiniteError

BLOCK: Final = 1 << 21  # entries of a distance or kernel matrix that are held at once: 16 MB
LARGEST: Final = (
    1e30  # size of an entry: its powers in kernels and covariances stay finite, and no descriptor gives more
)
SMALLEST: Final = 1e-30  # size of the largest entry: the squares of smaller ones vanish


class Vectors(Blocks, Protocol):
    """Feature vectors that are read block by block: `Features`, or what is too much to hold."""

    @property
    def descriptor(self) -> str: ...
    def parts(self, rows: int) -> Iterator[Features]: ...
    def select(self, keys: Sequence[str]) -> Features: ...


def rows(features: Features | Tensor, name: str = "features") -> Tensor:
    """The vectors ``[n, d]`` in float64; errors as of `matrix`."""
    return matrix(features, name).double()


def matrix(features: Features | Tensor, name: str = "features") -> Tensor:
    """The vectors ``[n, d]`` as they are: a large set is not held twice.

    Raises:
        FarfieldError: not a matrix with at least one row and column, or numbers too large or too small to be computed with.
        NonFiniteError: NaN or infinity among them.
    """
    values = features.values if isinstance(features, Features) else features
    if values.ndim != 2 or 0 in values.shape:
        raise FarfieldError(f"{name}: expected vectors [n, d], found shape {list(values.shape)}; describe images first")
    values = values.detach()
    sizes = torch.linalg.vector_norm(values, math.inf, dim=1).double()

    def which(bad: Tensor) -> str:
        row = int(bad.nonzero()[0, 0])
        return f"in image {features.keys[row]!r}" if isinstance(features, Features) else f"in row {row}"

    if not bool(sizes.isfinite().all()):
        raise NonFiniteError(
            f"{name}: expected finite vectors, found NaN or infinity {which(~sizes.isfinite())}; look for broken images"
        )
    if bool((sizes > LARGEST).any()) or 0 < float(sizes.max()) < SMALLEST:
        raise FarfieldError(
            f"{name}: expected numbers of ordinary size, found {float(sizes.max()):.1e} {which(sizes == sizes.max())}; no "
            "descriptor gives such: the file is damaged, or not of features"
        )
    return values


def check_same_descriptor(first: Vectors | Tensor, second: Vectors | Tensor) -> None:
    """Features of different descriptors, or of different lengths, are never compared.

    Raises:
        FarfieldError: they differ.
    """
    names = [v.descriptor for v in (first, second) if not isinstance(v, Tensor)]
    if len(set(names)) > 1:
        raise FarfieldError(
            f"features of {names[0]!r} and of {names[1]!r}: expected one descriptor for both; "
            "describe both sets with the same one"
        )
    a, b = ([len(v), *(v.shape[1:] if isinstance(v, Tensor) else v.shape)] for v in (first, second))
    if a[1:] != b[1:]:
        raise FarfieldError(
            f"features of {a} and {b}: expected vectors of one length; describe both sets with the same descriptor"
        )


def comparable(real: Features | Tensor, generated: Features | Tensor, least: int) -> tuple[Tensor, Tensor]:
    check_same_descriptor(real, generated)
    x, y = rows(real, "real"), rows(generated, "generated")
    for name, values in (("real", x), ("generated", y)):
        if len(values) < least:
            raise FarfieldError(f"{name}: expected at least {least} vectors, found {len(values)}; give more images")
    return x, y


def blocks(n: int, width: int) -> Iterator[slice]:
    rows = max(1, BLOCK // width)
    return (slice(i, min(i + rows, n)) for i in range(0, n, rows))


def at_once(shape: Sequence[int], entries: int = BLOCK) -> int:
    """How many rows of this shape are read together, so that they have no more entries than these."""
    return max(1, entries // math.prod(shape))
