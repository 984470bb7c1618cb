"""Which features belong together, and how alike they are: pairing by key, cosines, and pairs of different keys.

The field's copy-detection descriptors are compared by cosine. Vectors are brought to unit length first: then the nearest
in Euclidean distance are the most alike, ``cos = 1 - distance² / 2``, and the cosine of a copy is 1 exactly. Whitened
pixels are centred on their references, so that their cosines are those of differences from the mean image.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor

from farfield.audit.vectors import at_once, check_same_descriptor, matrix, rows
from farfield.core.artifact import Features, Keyed
from farfield.core.error import FarfieldError
from farfield.core.runtime import generator

A = TypeVar("A", bound=Keyed)

NAMED = 5
"""Keys that an error names."""


def unit(features: Features) -> Features:
    """The vectors at length 1, under the descriptor's name with ``/unit``.

    Raises:
        FarfieldError: a vector of length 0 has no direction.
    """
    values = matrix(features, features.descriptor)
    lengths = torch.linalg.vector_norm(values, dim=1, keepdim=True, dtype=torch.float64)
    if bool((lengths == 0).any()):
        bad = features.keys[int((lengths[:, 0] == 0).nonzero()[0, 0])]
        raise FarfieldError(
            f"{features.descriptor}: expected features with a direction, found zeros for image {bad!r}; look at it"
        )
    wide = torch.promote_types(values.dtype, torch.float32)  # float16 holds no length above 65504
    return Features(features.keys, (values / lengths.to(wide)).to(values.dtype), f"{features.descriptor}/unit")


def paired(first: A, second: A, common: bool = False) -> tuple[A, A]:
    """The rows of the same keys, in the keys' sorted order, so that no order of files matters.

    Args:
        common: take the keys that both have; else they must have the same ones.

    Raises:
        FarfieldError: a key is missing in one of the two, or none is in both.
    """
    a, b = set(first.keys), set(second.keys)
    lacking = [f"{_named(keys)} missing in the {name}" for name, keys in (("second", a - b), ("first", b - a)) if keys]
    if lacking and not common:
        raise FarfieldError(
            f"pairs of {len(a)} and {len(b)}: expected the same seeds in both, {' and '.join(lacking)}; make them, or "
            "compare the common ones alone (--common)"
        )
    if not a & b:
        raise FarfieldError(f"pairs of {len(a)} and {len(b)}: expected seeds that are in both, found none")
    keys = sorted(a & b)
    return first.select(keys), second.select(keys)


def check_threshold(threshold: float) -> None:
    """Refuse what is no cosine.

    Raises:
        FarfieldError: outside [-1, 1].
    """
    if not -1 <= threshold <= 1:
        raise FarfieldError(
            f"threshold {threshold:g}: expected a cosine from -1 to 1; published are 0.6 for SSCD's disc_large and 0.75 for "
            "its disc_mixup"
        )


def _named(keys: set[str]) -> str:
    some = sorted(keys, key=lambda key: (len(key), key))[:NAMED]  # seeds in the order of their numbers
    return f"{len(keys)} ({', '.join(some)}{' …' if len(keys) > NAMED else ''})"


def repaired(artifact: A, seed: int = 0) -> A:
    """The same rows under each other's keys, none under its own: what is paired with it has met chance.

    The keys are shuffled and each row moves on by one. The outcome depends on the set of keys, not on their order.

    Raises:
        FarfieldError: fewer than 2 rows.
    """
    if len(artifact) < 2:
        raise FarfieldError(f"re-pairing: expected at least 2 images, found {len(artifact)}; give more")
    keys = sorted(artifact.keys)
    order = torch.randperm(len(keys), generator=generator(seed, "re-pairing")).tolist()
    moved = {keys[i]: keys[j] for i, j in zip(order, order[1:] + order[:1], strict=True)}
    return artifact.renamed([moved[key] for key in artifact.keys])


def similarity(first: Features, second: Features, common: bool = False) -> Tensor:
    """The cosine of each pair of one key, float64 ``[n]``, in the keys' sorted order; of equal vectors exactly 1.

    Raises:
        FarfieldError: different keys (see `paired`), different descriptors, or a vector of length 0.
    """
    check_same_descriptor(first, second)
    x, y = paired(first, second, common)
    parts = zip(x.parts(at_once(x.shape)), y.parts(at_once(x.shape)), strict=True)
    return torch.cat([1 - (rows(unit(a)) - rows(unit(b))).square().sum(1) / 2 for a, b in parts])
