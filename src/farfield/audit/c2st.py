r"""The classifier two-sample test: how often can a classifier tell two sets of features apart on images it has not seen?

Half of the answers are right by guessing, where both sets are draws of one law (Lopez-Paz and Oquab 2017, arXiv 1610.06545).
The classifier is the linear discriminant of `core.discriminant`: it is defined for fewer images than dimensions, and its fit
is a closed form. Two Gaussians of one covariance whose means stand :math:`\delta` standard deviations apart are told apart
with at most :math:`\Phi(\delta / 2)`, and with less from few images. Laws of one mean that differ otherwise are not seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from farfield.audit.vectors import comparable
from farfield.core.artifact import Features, Score
from farfield.core.discriminant import balanced, cross_fitted, deal, relabel
from farfield.core.interval import draw, share
from farfield.core.runtime import generator

LEAST = 10
"""Vectors of each set: two of each in a fold."""


@dataclass(frozen=True)
class TwoSample:
    """``accuracy`` on held-out images; ``null``: the mean of relabelled sets, and between what 95 % of them lie."""

    accuracy: Score
    null: Score


def c2st(
    *,
    real: Features | Tensor,
    generated: Features | Tensor,
    folds: int = 5,
    permutations: int = 200,
    most: int = 1000,
    seed: int = 0,
) -> TwoSample:
    """How often a linear classifier, fitted on four fifths of two sets, is right about the rest of them.

    Of the larger set as many are drawn as the smaller one has, folds hold equal shares of both, and features are divided by
    their standard deviation over both sets. The null is the same of labels that are shuffled within the folds: of two
    draws of one law each such relabelling is as likely as the given one.

    The interval is Wilson's, for as many independent answers as vary like those of the relabelled sets do: the folds'
    classifiers share most of their images, and their errors are not independent. The accuracy grows with the sets:
    compare sets of one size.

    Args:
        real: ``[n, d]``.
        generated: ``[m, d]``.
        folds: each is answered for by the classifier of the others.
        permutations: of the labels.
        most: vectors that are taken of a set.
        seed: of the draw, the folds and the permutations.

    Returns:
        TwoSample; n is the number of images of each set.

    Raises:
        FarfieldError: fewer than 10 vectors in a set, or sets that cannot be compared.
    """
    x, y = comparable(real, generated, least=max(LEAST, 2 * folds))
    size = min(len(x), len(y), most)
    both = torch.cat([draw(part, size, generator(seed, "thinning")).cpu() for part in (x, y)])
    both = both - both.mean(0)
    spread = both.square().mean(0).sqrt()
    both = both / torch.where(spread > 0, spread, 1.0)
    fold = deal(size, folds, seed).repeat(2)
    given = torch.cat([torch.ones(size), -torch.ones(size)]).double()
    labels = torch.cat([given[:, None], relabel(given, fold, permutations, seed)], 1)
    accuracy, *relabelled = balanced(cross_fitted(both @ both.T, labels, fold, both.shape[1]), labels).tolist()
    null = torch.tensor(relabelled, dtype=torch.float64)
    low, high = null.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    # a share p of as many independent answers as give the null its variance
    found = share(accuracy, 2 * size, 4 * accuracy * (1 - accuracy) * float(null.var()))
    return TwoSample(Score(accuracy, size, found.low, found.high), Score(float(null.mean()), size, low, high))
