"""Do samples stand nearer to the training images than new images do? Two statistics, and what they are for real images.

Neither is calibrated by itself: a perfect generator's authenticity is 1/3 in one dimension and 0.85 in a hundred. So
each is read beside held-out images: authenticity has theirs as its null, the data-copying test compares with them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from farfield.audit.blocks import ENTRIES, nearest_in_blocks
from farfield.audit.search import Neighbours, nearest, unit_scale
from farfield.audit.vectors import Vectors, at_once
from farfield.core.artifact import Score
from farfield.core.error import FarfieldError
from farfield.core.interval import bootstrap, proportion
from farfield.core.runtime import generator

DRAWN: Final = 256  # vectors for each cell that its mean is found on, at most
ROUNDS: Final = 20  # of k-means
LEAST: Final = 20  # samples and held-out images that a cell must hold to be tested


@dataclass(frozen=True)
class Copying:
    """``statistic``: C_T, below 0 where samples are nearer to the training images than held-out ones, above 0 where farther.

    With samples of the held-out images' law it varies about 0 by ``null_sd``, 1 for a single cell; ``p`` is the
    probability of so low a value then. ``cells`` were tested; ``left_out`` is the share of held-out images in cells that
    held too few.
    """

    statistic: Score
    null_sd: float
    p: float
    cells: int
    left_out: float


def authenticity(samples: Neighbours, training: Vectors) -> Score:
    """AuthPct: the share of samples that are no nearer to their training image than its own nearest fellow is.

    Sample g with nearest training image t counts as authentic unless |g - t| < |t - t'|, t' the training image nearest
    to t (Alaa et al. 2022, arXiv 2102.08921). Exact copies give 0. Read it only beside the same share of held-out
    images. Wilson's interval, given the training images.

    Args:
        samples: the samples' nearest training images.
        training: ``[m, d]``, in which they were found, m at least 2.

    Raises:
        FarfieldError: fewer than 2 training images, or other ones than were searched.
    """
    if samples.references != len(training):
        raise FarfieldError(
            f"authenticity: expected the {samples.references} training images that were searched, found {len(training)}"
        )
    asked, place = samples.index.unique(return_inverse=True)
    those = training.select([training.keys[i] for i in asked.tolist()])
    fellows = nearest_in_blocks(those, training, exclude=asked)[0][:, 0]
    return proportion(int((samples.distance >= fellows[place]).sum()), len(samples.keys))


def data_copying(
    *,
    samples: Neighbours,
    held_out: Neighbours,
    cells: Tensor | None = None,
    least: int = LEAST,
    resamples: int = 200,
    seed: int = 0,
) -> Copying:
    r"""The data-copying test C_T: are samples nearer to the training images than held-out images are?

    In each cell of the space the distances to the nearest training image of m samples and n held-out images are
    compared by Mann and Whitney's :math:`U = \#\{d_{sample} > d_{held-out}\}`, standardised,
    :math:`Z = (U - mn/2) / \sqrt{mn(m+n+1)/12}` with the usual correction for ties; :math:`C_T = \sum_c w_c Z_c` with
    weights by the held-out images in a cell (Meehan, Chaudhuri and Dasgupta 2020, arXiv 2004.05675). Under equal laws
    :math:`C_T \sim N(0, \sum_c w_c^2)`, N(0, 1) for one cell. A point belongs to the cell of its nearest training image.
    The interval resamples both sets of each cell (expanded percentile bootstrap).

    Args:
        samples, held_out: searched among the same training images.
        cells: ``[m]`` whole numbers, the cell of each training image (see `partition`); one cell, if not given.
        least: cells with fewer samples or held-out images are left out.

    Raises:
        FarfieldError: other training images for the two, or no cell with enough of both.
    """
    if samples.references != held_out.references or (cells is not None and len(cells) != samples.references):
        references = {samples.references, held_out.references} | (set() if cells is None else {len(cells)})
        raise FarfieldError(f"data copying: expected one set of training images, found sets of {sorted(references)}")
    of = torch.zeros(samples.references, dtype=torch.long) if cells is None else cells
    groups = _groups(samples, held_out, of, least)
    if not groups:
        raise FarfieldError(
            f"data copying: expected a cell with at least {least} samples and {least} held-out images, found none "
            f"({len(samples.keys)} and {len(held_out.keys)} in all); give more, or fewer cells"
        )
    sizes = torch.tensor([len(theirs) for _, theirs in groups], dtype=torch.float64)
    weights = sizes / sizes.sum()

    def combined(pairs: list[tuple[Tensor, Tensor]]) -> float:
        return sum(float(w) * _standardised(ours, theirs) for w, (ours, theirs) in zip(weights, pairs, strict=True))

    def redrawn(*rows: Tensor) -> float:
        pairs = zip(groups, rows[::2], rows[1::2], strict=True)
        return combined([(ours[a], theirs[b]) for (ours, theirs), a, b in pairs])

    counts = [len(part) for pair in groups for part in pair]
    value, null_sd = combined(groups), float(weights.square().sum().sqrt())
    return Copying(
        statistic=Score(value, len(samples.keys), *bootstrap(redrawn, *counts, resamples=resamples, seed=seed)),
        null_sd=null_sd,
        p=0.5 * math.erfc(-value / null_sd / math.sqrt(2)),
        cells=len(groups),
        left_out=1 - float(sizes.sum()) / len(held_out.keys),
    )


def partition(training: Vectors, cells: int, seed: int = 0) -> Tensor:
    """Cells of the space by k-means of the training images: the cell of each, ``[m]`` int64.

    The rows are taken in the sorted order of their keys, so that the order of files does not matter; means are found on
    DRAWN of them for each cell, from as many rows drawn at random, in ROUNDS of Lloyd's two steps. A cell that none
    belongs to begins anew at the row that is farthest from its mean.

    Raises:
        FarfieldError: not 1 ≤ cells ≤ m.
    """
    if not 1 <= cells <= len(training):
        raise FarfieldError(f"{cells} cells: expected 1 to {len(training)}, the number of training images")
    keys = sorted(training.keys)
    order = torch.randperm(len(keys), generator=generator(seed, "cells"))[: DRAWN * cells]
    values = training.select([keys[i] for i in order.tolist()]).values.cpu()
    scale = unit_scale(values)
    values = values.double() * scale
    means = values[:cells].clone()
    for _ in range(ROUNDS):
        distance, cell = (found[:, 0] for found in nearest(values, means))
        counts = cell.bincount(minlength=cells)
        means = torch.zeros_like(means).index_add_(0, cell, values) / counts.clamp(min=1)[:, None]
        empty = (counts == 0).nonzero()[:, 0]
        means[empty] = values[distance.argsort(descending=True, stable=True)[: len(empty)]]
    parts = training.parts(at_once(training.shape, ENTRIES))
    return torch.cat([nearest(part.values.cpu().double() * scale, means)[1][:, 0] for part in parts])


def _groups(samples: Neighbours, held_out: Neighbours, cells: Tensor, least: int) -> list[tuple[Tensor, Tensor]]:
    """Distances of samples and of held-out images in each cell that has enough of both."""
    ours, theirs = cells[samples.index], cells[held_out.index]
    pairs = [(samples.distance[ours == c], held_out.distance[theirs == c]) for c in cells.unique()]
    return [(a, b) for a, b in pairs if min(len(a), len(b)) >= least]


def _standardised(ours: Tensor, theirs: Tensor) -> float:
    """Mann and Whitney's U as a z-score, positive where ours are larger; 0 where all are equal."""
    from scipy.stats import rankdata

    m, n = len(ours), len(theirs)
    both = torch.cat([ours, theirs])
    u = float(rankdata(both.numpy())[:m].sum()) - m * (m + 1) / 2
    ties = both.unique(return_counts=True)[1].double()
    variance = m * n / 12 * (m + n + 1 - float((ties**3 - ties).sum()) / ((m + n) * (m + n - 1)))
    return (u - m * n / 2) / math.sqrt(variance) if variance > 0 else 0.0
