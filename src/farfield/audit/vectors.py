"""What may be compared: feature vectors of one descriptor and one length, finite, and the memory to compare them in."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor

from farfield.core.artifact import Features
from farfield.core.error import FarfieldError, NonFiniteError

BLOCK: Final = 1 << 21  # entries of a distance or kernel matrix that are held at once: 16 MB
LARGEST: Final = (
    1e30  # size of an entry: its powers in kernels and covariances stay finite, and no descriptor gives more
)
SMALLEST: Final = 1e-30  # size of the largest entry: the squares of smaller ones vanish


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


def check_same_descriptor(first: Features | Tensor, second: Features | Tensor) -> None:
    """Features of different descriptors, or of different lengths, are never compared.

    Raises:
        FarfieldError: they differ.
    """
    if isinstance(first, Features) and isinstance(second, Features) and first.descriptor != second.descriptor:
        raise FarfieldError(
            f"features of {first.descriptor!r} and of {second.descriptor!r}: expected one descriptor for both; "
            "describe both sets with the same one"
        )
    a, b = (v.values if isinstance(v, Features) else v for v in (first, second))
    if a.shape[1:] != b.shape[1:]:
        raise FarfieldError(
            f"features of {list(a.shape)} and {list(b.shape)}: expected vectors of one length; "
            "describe both sets with the same descriptor"
        )


def comparable(real: Features | Tensor, generated: Features | Tensor, least: int) -> tuple[Tensor, Tensor]:
    check_same_descriptor(real, generated)
    x, y = rows(real, "real"), rows(generated, "generated")
    for name, values in (("real", x), ("generated", y)):
        if len(values) < least:
            raise FarfieldError(f"{name}: expected at least {least} vectors, found {len(values)}; give more images")
    return x, y


def blocks(n: int, width: int) -> Iterator[slice]:
    size = max(1, BLOCK // width)
    return (slice(i, min(i + size, n)) for i in range(0, n, size))
