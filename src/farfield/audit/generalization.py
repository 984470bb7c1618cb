"""Does a model make new images? The generalization score and the distance-ratio test, each beside held-out images.

Both count samples that are too near to a training image, but ask differently: the score takes a fixed similarity, the
ratio test the second nearest training image as its yardstick.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from farfield.audit.blocks import nearest_in_blocks
from farfield.audit.search import Neighbours
from farfield.audit.similarity import check_threshold
from farfield.audit.vectors import Vectors, at_once, check_same_descriptor
from farfield.core.artifact import Blocks, Score
from farfield.core.error import FarfieldError
from farfield.core.interval import proportion

RATIO: Final = 1 / 3


@dataclass(frozen=True)
class Generalization:
    """``score``: GL = 1 - M; ``memorized``: M, the share of samples more alike a training image than ``threshold``.

    ``held_out`` is M of images that were never trained on, None without any: real images are alike too, and only the
    excess of ``memorized`` over it tells of copying. Where the threshold was calibrated on the same held-out images it is
    the calibration's rate by construction.
    """

    score: Score
    memorized: Score
    held_out: Score | None
    threshold: float


@dataclass(frozen=True)
class Ratios:
    """``memorized``: the share of samples far nearer to one training image than to the next.

    ``ratio[i]`` (float64) is sample ``keys[i]``'s distance to ``nearest_keys[i]`` over that to the second nearest;
    ``duplicates`` is how many training images repeat another and were left out.
    """

    memorized: Score
    keys: tuple[str, ...]
    nearest_keys: tuple[str, ...]
    ratio: Tensor
    duplicates: int


def generalization(samples: Neighbours, threshold: float, held_out: Neighbours | None = None) -> Generalization:
    """The generalization score: the share of samples whose nearest training image is no more alike than the threshold.

    GL = 1 - P(max over training images of the cosine > threshold), with 0.6 for SSCD's disc_large (Zhang et al. 2023,
    arXiv 2310.05264). Wilson's intervals, given the training images.

    Args:
        samples: the samples' neighbours among the training images, as vectors of unit length.
        threshold: a cosine.
        held_out: the neighbours of images of the domain that were never trained on, for the floor.

    Raises:
        FarfieldError: a threshold outside [-1, 1].
    """
    check_threshold(threshold)
    copied = int((samples.similarity > threshold).sum())
    n = len(samples.keys)
    return Generalization(
        score=proportion(n - copied, n),
        memorized=proportion(copied, n),
        held_out=None
        if held_out is None
        else proportion(int((held_out.similarity > threshold).sum()), len(held_out.keys)),
        threshold=threshold,
    )


def ratio_test(*, samples: Vectors, training: Vectors, ratio: float = RATIO, kept: list[int] | None = None) -> Ratios:
    """The share of samples nearer to one training image than ``ratio`` times the distance to the second nearest.

    With 1/3 and Euclidean distance in pixels the test of Yoon et al. 2023 and of Gu et al. 2023 (arXiv 2310.02664). An
    image that stands twice in the training set has its equal for a second nearest, and no copy of it would count: one
    of each is kept. Near duplicates hide copies all the same. Wilson's interval, given the training images.

    Args:
        samples: ``[n, d]``, pixels or features; both sets are read block by block.
        training: ``[m, d]``, at least 2 that differ.
        kept: the rows of the training images to hold samples against [default: `distinct` ones].

    Raises:
        FarfieldError: a ratio outside (0, 1), fewer than 2 training images, or vectors that cannot be compared.
    """
    if not 0 < ratio < 1:
        raise FarfieldError(f"ratio {ratio:g}: expected a number between 0 and 1; the published one is 1/3")
    check_same_descriptor(samples, training)
    kept = distinct(training) if kept is None else kept
    if len(kept) < 2:
        raise FarfieldError(f"training: expected at least 2 images that differ, found {len(kept)}; give more")
    distances, indices = nearest_in_blocks(samples, training, 2, kept=torch.tensor(kept))
    memorized = distances[:, 0] < ratio * distances[:, 1]
    return Ratios(
        memorized=proportion(int(memorized.sum()), len(samples)),
        keys=samples.keys,
        nearest_keys=tuple(training.keys[i] for i in indices[:, 0].tolist()),
        ratio=torch.where(distances[:, 1] > 0, distances[:, 0] / distances[:, 1], 1.0),
        duplicates=len(training) - len(kept),
    )


def distinct(rows: Blocks) -> list[int]:
    """The rows that differ from all before them."""
    seen: set[bytes] = set()
    kept = []
    for i, digest in enumerate(row_digests(rows)):
        if digest not in seen:
            seen.add(digest)
            kept.append(i)
    return kept


def row_digests(rows: Blocks) -> Iterator[bytes]:
    """A hash of each row's values; equal rows have equal ones."""
    for part in rows.parts(at_once(rows.shape)):
        for row in part.values.cpu().numpy():
            yield hashlib.blake2b((row + 0.0).tobytes(), digest_size=16).digest()  # -0 becomes 0
