"""Are the samples new? Copies of the examples and of one another, each beside the same count for real images.

A distance alone says nothing: how near is near depends on the domain and the descriptor. So the threshold is the
examples' own, and every share comes with its floor, the share that real images reach under the same rule.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from farfield.audit.search import nearest
from farfield.audit.vectors import check_same_descriptor, rows
from farfield.core.artifact import Features, Score
from farfield.core.error import FarfieldError
from farfield.core.interval import proportion
from farfield.core.runtime import generator


@dataclass(frozen=True)
class Novelty:
    """Each sample's nearest example, and how many samples are nearer to one than real images are to one another.

    ``keys[i]`` names sample i; ``nearest_keys[i]`` the example nearest to it, ``distance[i]`` away (float64);
    ``is_copy[i]`` where that is no more than ``threshold``. ``copies`` is the share of such samples and ``floor`` the
    same share for held-out real references, None without any: only the excess over it counts.
    """

    keys: tuple[str, ...]
    nearest_keys: tuple[str, ...]
    distance: Tensor
    is_copy: Tensor
    threshold: float
    copies: Score
    floor: Score | None


@dataclass(frozen=True)
class Duplicates:
    """The share of samples that nearly repeat another one, and the share of real references that do."""

    share: Score
    floor: Score | None


def copy_threshold(examples: Features | Tensor, quantile: float = 0.05) -> float:
    """The distance up to which a sample counts as a copy: a quantile of each example's distance to its nearest other.

    A new image of the examples' own law then counts with a probability of about ``quantile``.

    Args:
        examples: ``[n, d]``.
        quantile: in [0, 1].

    Raises:
        FarfieldError: a quantile outside [0, 1], or fewer than 3 examples.
    """
    if not 0 <= quantile <= 1:
        raise FarfieldError(f"quantile {quantile}: expected a number from 0 to 1; the default is 0.05")
    if len(examples) < 3:
        raise FarfieldError(f"{len(examples)} examples: expected at least 3 to tell how far apart they are; give more")
    distances, _ = nearest(examples, examples, exclude_same=True)
    return float(distances[:, 0].quantile(quantile))


def novelty(
    *, samples: Features, examples: Features, references: Features | None = None, quantile: float = 0.05
) -> Novelty:
    """Compare each sample with the examples it was made from.

    Args:
        samples: ``[n, d]``.
        examples: ``[m, d]``, what was inverted or trained on.
        references: real images of the domain that are NOT among the examples, for the floor.
        quantile: sets the threshold, see `copy_threshold`.

    Returns:
        Novelty; its shares carry Wilson's intervals, given the examples and the threshold.

    Raises:
        FarfieldError: fewer than 3 examples, or features that cannot be compared.
    """
    threshold = copy_threshold(examples, quantile)
    distances, indices = nearest(samples, examples)
    is_copy = distances[:, 0] <= threshold  # duplicates among the examples make it 0: exact copies still count
    floor = None
    if references is not None:
        held_out, _ = nearest(references, examples)
        floor = proportion(int((held_out <= threshold).sum()), len(references))
    return Novelty(
        keys=samples.keys,
        nearest_keys=tuple(examples.keys[i] for i in indices[:, 0].tolist()),
        distance=distances[:, 0],
        is_copy=is_copy,
        threshold=threshold,
        copies=proportion(int(is_copy.sum()), len(samples)),
        floor=floor,
    )


def duplicates(
    samples: Features | Tensor, threshold: float, references: Features | Tensor | None = None, seed: int = 0
) -> Duplicates:
    """The share of samples with another sample no farther than ``threshold``, beside the same for real references.

    The more there are, the nearer the nearest: with references, the larger set is thinned to the size of the smaller.

    Args:
        samples: ``[n, d]``.
        threshold: a distance, as of `copy_threshold`.
        references: real images of the domain, for the floor.
        seed: of the thinning.

    Returns:
        Duplicates, with Wilson's intervals (a little narrow: duplicates come in pairs).

    Raises:
        FarfieldError: fewer than 2 vectors in a set.
    """
    x = rows(samples, "samples")
    if references is None:
        return Duplicates(_repeated(x, threshold), None)
    check_same_descriptor(samples, references)
    y = rows(references, "references")
    size = min(len(x), len(y))
    return Duplicates(_repeated(_thinned(x, size, seed), threshold), _repeated(_thinned(y, size, seed), threshold))


def _repeated(x: Tensor, threshold: float) -> Score:
    distances, _ = nearest(x, x, exclude_same=True)
    return proportion(int((distances <= threshold).sum()), len(x))


def _thinned(x: Tensor, size: int, seed: int) -> Tensor:
    if size == len(x):
        return x
    return x[torch.randperm(len(x), generator=generator(seed, "thinning"))[:size].to(x.device)]
