"""Nested subsets: an order of keys that depends on their set and a seed alone; the subset of size n is its first n."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from farfield.core.error import FarfieldError


def shuffled(keys: Collection[str], seed: int) -> list[str]:
    """The keys in an order drawn at random.

    The sorted keys are put in the order of raw PCG64 words, a stream that numpy promises to keep, so that every version
    of numpy draws alike.
    """
    if seed < 0:
        raise FarfieldError(f"seed {seed}: expected a whole number of at least 0")
    ordered = sorted(keys)
    return [ordered[i] for i in np.argsort(np.random.PCG64(seed).random_raw(len(ordered)), kind="stable")]


def first(keys: Collection[str], n: int | None, seed: int | None, name: str) -> list[str]:
    """The first n keys (all without n), in the order given or, with a seed, as `shuffled`: nested in n either way."""
    if n is not None and not 1 <= n <= len(keys):
        raise FarfieldError(f"{name}: expected a subset of 1 to {len(keys)} images, found {n} asked for; ask for fewer")
    return (list(keys) if seed is None else shuffled(keys, seed))[:n]
