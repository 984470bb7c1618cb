r"""A linear discriminant on points that it was not fitted to, for many labellings of the same points at once.

Linear discriminant analysis with Ledoit and Wolf's (2004) shrunken covariance :math:`C = (1 - \rho) S + \rho \frac{tr S}{d} I`,
direction :math:`C^{-1} (\bar a - \bar b)`. With S the covariance about the common mean this is the direction of a ridge
regression of labels ±1, :math:`\lambda = n \rho \frac{tr S}{d} / (1 - \rho)` (S about the two means differs by a multiple of
:math:`(\bar a - \bar b)(\bar a - \bar b)^\top`, which turns nothing). In the dual it needs the Gram matrix alone, and the
n × n inverse of a fold knows no labels: all permutations share it.

A midpoint of training means is no threshold for sets of different size when n ≪ d: each mean has followed its own noise by
:math:`s^2 d / n`. The midpoint here is that of leave-one-out projections, exact from the same inverse.
"""

from __future__ import annotations

import torch
from torch import Tensor

from farfield.core.runtime import generator


def cross_fitted(gram: Tensor, labels: Tensor, fold: Tensor, d: int) -> Tensor:
    """Which points are called rightly by the discriminant of all other folds.

    Args:
        gram: ``[n, n]``, inner products of points that are centred, float64.
        labels: ±1, ``[n, L]``: each column a labelling.
        fold: of each point, ``[n]``.
        d: dimensions of the points.

    Returns:
        ``[n, L]`` bool.
    """
    everything = torch.arange(len(gram))
    right = torch.empty_like(labels, dtype=torch.bool)
    for f in fold.unique().tolist():
        train, test = everything[fold != f], everything[fold == f]
        right[test] = classify(gram, train, test, labels, d) == (labels[test] > 0)
    return right


def deal(n: int, folds: int, seed: int) -> Tensor:
    """The fold of each latent of one set; equal sets are dealt alike, so that it does not matter which is a."""
    return (torch.arange(n) % folds)[torch.randperm(n, generator=generator(seed, "folds"))]


def relabel(labels: Tensor, fold: Tensor, count: int, seed: int) -> Tensor:
    """``[n, count]``: the labels shuffled within each fold."""
    keys = torch.rand((len(labels), count), generator=generator(seed, "permutations"), dtype=torch.float64)
    shuffled = labels[:, None].expand(-1, count).clone()
    for f in fold.unique():
        inside = torch.where(fold == f)[0]
        shuffled[inside] = labels[inside][keys[inside].argsort(0)]
    return shuffled


def classify(gram: Tensor, train: Tensor, test: Tensor, labels: Tensor, d: int) -> Tensor:
    """Which test points are called +1, by every column of labels ``[n, L]``: ``[test, L]``."""
    scores, left_out = projections(gram, train, test, labels, d)
    return scores > midpoint(left_out, labels[train])


def midpoint(left_out: Tensor, labels: Tensor) -> Tensor:
    """Half-way between the two sets' mean projections, of each labelling: ``[L]``."""
    positive = labels > 0
    return ((left_out * positive).sum(0) / positive.sum(0) + (left_out * ~positive).sum(0) / (~positive).sum(0)) / 2


def projections(gram: Tensor, train: Tensor, test: Tensor, labels: Tensor, d: int) -> tuple[Tensor, Tensor]:
    """Projections on the direction, of test points and, each left out of the fit, of training points."""
    inner, cross = gram[train][:, train], gram[test][:, train]
    means = inner.mean(0)
    cross = cross - cross.mean(1, keepdim=True) - means + means.mean()
    weights, left_out = dual(inner - means - means[:, None] + means.mean(), labels[train], d)
    return cross @ weights, left_out


def dual(centred: Tensor, y: Tensor, d: int) -> tuple[Tensor, Tensor]:
    """How much of each centred point the direction holds, ``[n, L]``, and the points' projections, each left out of the fit."""
    n, ridge = len(centred), shrinkage(centred, d)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(centred + ridge * torch.eye(n, dtype=torch.float64)))
    weights = inverse @ (y - y.mean(0))
    # Ridge residuals are ridge · weights; dividing by 1 − hat leaves a point out. The intercept, the mean label without
    # it, would tell the label: it is taken off again.
    residuals = ridge * weights / (ridge * inverse.diagonal() - 1 / n)[:, None]
    return weights, y - residuals - (y.sum(0) - y) / (n - 1)


def shrinkage(gram: Tensor, d: int) -> float:
    """Ledoit and Wolf's weight as a ridge, from the centred Gram matrix; kept between 1/n and 0.999 of the identity.

    Points that do not vary at all are told apart by nothing, whatever the ridge: it is 1.
    """
    n = len(gram)
    norm2, trace = float(gram.square().sum()) / n**2, float(gram.trace()) / n
    noise = (float(gram.diagonal().square().sum()) / n - norm2) / n
    spread = norm2 - trace**2 / d
    weight = min(max(noise / spread if spread > 1e-12 * norm2 else 1.0, 1 / n), 0.999)
    return n * weight * trace / d / (1 - weight) or 1.0


def balanced(hits: Tensor, labels: Tensor) -> Tensor:
    """The mean of both sets' shares of hits, of each labelling: ``[L]``."""
    positive = labels > 0
    shares = ((hits & side).sum(0).double() / side.sum(0) for side in (positive, ~positive))
    return sum(shares, torch.zeros(())) / 2
