"""Some of the keys of a source: those asked for, or drawn so that a subset of n holds that of n/2."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from farfield.core.error import FarfieldError
from farfield.data.picture import some


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


def choose_keys(source: object, known: Collection[str], keys: Sequence[str] | None, limit: int | None) -> list[str]:
    """The keys that are asked for, in the order asked; all known ones without ``keys``; at most ``limit``."""
    if limit is not None and limit < 1:
        raise FarfieldError(f"limit {limit}: expected at least 1 image; leave it out for all")
    known_set = set(known)
    if absent := [key for key in keys or () if key not in known_set]:
        raise FarfieldError(f"{source}: expected images named {some(absent)}, found none so among its {len(known)}")
    return list(known if keys is None else keys)[:limit]


def choose(keys: Sequence[str], n: int, seed: int) -> tuple[list[str], list[str]]:
    """``n`` keys drawn at random as examples, and the rest as references; both sorted, neither in the other.

    The draw depends on the set of keys and the seed alone (see `shuffled`).
    """
    ordered = sorted(set(keys))
    if len(ordered) < len(keys) or not 0 < n <= len(keys) or seed < 0:
        given = f"n = {n} of {len(keys)} keys ({len(ordered)} different), seed = {seed}"
        raise FarfieldError(f"choose: expected n from 1 to the number of keys and a seed of at least 0, found {given}")
    drawn = shuffled(ordered, seed)
    return sorted(drawn[:n]), sorted(drawn[n:])
