r"""How sure is a classifier of what a new image shows? Where examples have classes, an image of none is a blend of several.

The classifier is a ridge regression of the classes (one column each, 1 or 0) on features, fitted to the examples:
:math:`f(x) = \bar y + (x - \bar x)^\top (Z^\top Z + \lambda I)^{-1} Z^\top Y`, and its answer the softmax of :math:`\beta f(x)`.
:math:`\lambda` and :math:`\beta` are those with the least mean -log probability of each example's own class where that example
is left out of the fit, which for ridge is a closed form. So its confidence is that of images it has not seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from farfield.audit.vectors import rows
from farfield.command.measures import Labelled
from farfield.core.artifact import Features, Score
from farfield.core.error import FarfieldError
from farfield.core.interval import proportion

SURE: Final = 0.9
"""The probability of one class above which an image counts as sure."""
RIDGES: Final = torch.logspace(-6, 1, 15, dtype=torch.float64)
"""λ tried, in units of the largest eigenvalue of the features' Gram matrix."""
SHARPNESSES: Final = torch.logspace(-0.5, 2.5, 31, dtype=torch.float64)
"""β tried."""


@dataclass(frozen=True)
class Classifier:
    """A ridge regression of classes on features, whose confidence is fitted too: see the module."""

    centre: Tensor
    weights: Tensor
    shares: Tensor
    sharpness: float

    @staticmethod
    def fit(features: Features | Tensor, labels: Tensor) -> Classifier:
        """Fit features ``[n, d]`` to labels ``[n]``, whole numbers from 0, of at least two classes.

        Raises:
            FarfieldError: fewer classes, or more or fewer labels than features.
        """
        x = rows(features, "examples")
        if labels.shape != (len(x),) or len(labels.unique()) < 2:
            raise FarfieldError(
                f"labels: expected one of at least two classes for each of {len(x)} examples, found {list(labels.shape)} of "
                f"{len(labels.unique())}"
            )
        centre, y = x.mean(0), functional.one_hot(labels).double()
        z, shares = x - centre, y.mean(0)
        values, vectors = torch.linalg.eigh(z @ z.T)
        values = values.clamp(min=0)
        turned = vectors.T @ (y - shares)
        best, kept = torch.inf, (1.0, 1.0)
        for ridge in (RIDGES * (float(values[-1]) or 1.0)).tolist():
            left_out = _left_out(vectors, values / (values + ridge), turned, y, shares)
            for sharpness in SHARPNESSES.tolist():
                loss = float(functional.cross_entropy(sharpness * left_out, labels))
                if loss < best:
                    best, kept = loss, (ridge, sharpness)
        ridge, sharpness = kept
        return Classifier(centre, z.T @ (vectors @ (turned / (values + ridge)[:, None])), shares, sharpness)

    def probabilities(self, features: Features | Tensor) -> Tensor:
        """Of each class: ``[n, d]`` → ``[n, classes]``."""
        f = self.shares + (rows(features) - self.centre) @ self.weights
        return torch.softmax(self.sharpness * f, 1)


def sureness(
    *,
    examples: Features | Tensor,
    labels: Tensor,
    real: Features | Tensor,
    real_labels: Tensor,
    samples: Features | Tensor,
    sample_labels: Tensor | None = None,
) -> Labelled:
    """The share of samples that a classifier of the examples is sure of, beside that of held-out real images.

    Where samples have classes too, a classifier that they alone teach is tried on the real images: train on synthetic, test on
    real (Esteban, Hyland, Rätsch, arXiv 1706.02633), beside the accuracy of the one that the examples teach.

    Args:
        examples, real, samples: features ``[., d]`` of one descriptor.
        labels, real_labels: classes of examples and of real images, whole numbers from 0.
        sample_labels: classes of the samples in the same numbers, −1 for a sample of none.

    Raises:
        FarfieldError: as of `Classifier.fit`, or an empty set.
    """
    classifier = Classifier.fit(examples, labels)
    told, made = classifier.probabilities(real), classifier.probabilities(samples)
    right = told.argmax(1) == real_labels
    return Labelled(
        classes=len(labels.unique()),
        accuracy=proportion(int(right.sum()), len(right)),
        commonest=float(real_labels.bincount().max()) / len(real_labels),
        samples=_sure(made),
        real=_sure(told),
        taught=None if sample_labels is None else _taught(samples, sample_labels, real, real_labels),
    )


def _taught(samples: Features | Tensor, labels: Tensor, real: Features | Tensor, real_labels: Tensor) -> Score | None:
    """How often a classifier of samples is right on real images; None where they are of fewer than two classes."""
    known = labels >= 0
    if len(labels[known].unique()) < 2:
        return None
    right = Classifier.fit(rows(samples, "samples")[known], labels[known]).probabilities(real).argmax(1) == real_labels
    return proportion(int(right.sum()), len(right))


def _sure(probabilities: Tensor) -> Score:
    sure = probabilities.amax(1) > SURE
    return proportion(int(sure.sum()), len(sure))


def _left_out(vectors: Tensor, shrunk: Tensor, turned: Tensor, y: Tensor, shares: Tensor) -> Tensor:
    """What a fit without it says of each example ``[n, classes]``: y less its residual over 1 less its leverage."""
    residual = y - shares - vectors @ (shrunk[:, None] * turned)
    leverage = 1 / len(y) + vectors.square() @ shrunk
    return y - residual / (1 - leverage).clamp(min=1e-12)[:, None]
