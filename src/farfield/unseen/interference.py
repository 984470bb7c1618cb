r"""Is a decoded image still of the examples' domain, or did the frozen model pull it into its own?

A linear classifier between descriptor features of the examples and of the training domain: linear discriminant analysis
with the shrunk covariance of Ledoit and Wolf (2004), equal class weights, and its log-odds turned into probabilities by
a logistic curve on scores of images that it did not see (Platt 1999). An image decoded from example k is judged by the
classifier that did not see example k: an image that comes back to the bit is then called captured exactly as often as
a real image of the domain is, which is the floor.

Beside it the drift, the place along the line between the two domains' means,
:math:`\langle f - m_e, m_t - m_e \rangle / |m_t - m_e|^2` in standardised features: 0 the examples, 1 the training domain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from farfield.core.error import FarfieldError
from farfield.core.runtime import generator

LEAST = 8
"""Images of each domain from which a classifier can be fitted and tested."""


@dataclass(frozen=True)
class Judgement:
    """Of each image: the probability of the training domain, and the drift towards it, both ``[n]`` float64."""

    probability: Tensor
    drift: Tensor

    @property
    def captured(self) -> int:
        """How many images the classifier puts into the training domain."""
        return int((self.probability > 0.5).sum())


@dataclass(frozen=True)
class Border:
    """The border between the examples' domain and the training domain, fitted once per fold.

    ``weights`` ``[folds, d]`` and ``offsets`` ``[folds]`` give log-odds, ``slope`` and ``shift`` their calibration,
    ``fold`` ``[n]`` the fold that left out each example. ``examples`` and ``training`` judge the two fitted sets, each
    image by the classifier that did not see it.
    """

    weights: Tensor
    offsets: Tensor
    slope: float
    shift: float
    fold: Tensor
    origin: Tensor
    axis: Tensor
    examples: Judgement
    training: Judgement

    @staticmethod
    def fit(examples: Tensor, training: Tensor, *, folds: int = 5, seed: int = 0) -> Border:
        """From features of the two domains, ``[n, d]`` and ``[m, d]``.

        Raises:
            FarfieldError: fewer than 8 images of a domain, features of different length or not finite.
        """
        _check(examples, training)
        sets = [examples.double().cpu(), training.double().cpu()]
        assigned = [_folds(len(f), folds, seed + i) for i, f in enumerate(sets)]
        lines = [_line(*(f[a != k] for f, a in zip(sets, assigned, strict=True))) for k in range(folds)]
        weights, offsets = torch.stack([w for w, _ in lines]), torch.stack([b for _, b in lines])
        scores = [(f * weights[a]).sum(1) + offsets[a] for f, a in zip(sets, assigned, strict=True)]
        slope, shift = _calibration(*scores)
        centre, scale = _standard(*sets)
        means = [((f - centre) / scale).mean(0) for f in sets]
        # In raw features, so that a drift is one product: <f − origin, axis>.
        line = means[1] - means[0]
        axis, origin = line / scale / line.square().sum().clamp(min=1e-12), sets[0].mean(0)
        judged = [
            Judgement(torch.sigmoid(slope * s + shift), (f - origin) @ axis) for f, s in zip(sets, scores, strict=True)
        ]
        return Border(weights, offsets, slope, shift, assigned[0], origin, axis, *judged)

    def judge(self, features: Tensor, sources: Sequence[int] | Tensor | None = None) -> Judgement:
        """Judge decoded images ``[k, d]``.

        Args:
            sources: ``[k]``, the row of the example that each image was decoded from; None for images of no single
                example, which all classifiers judge together.
        """
        f = features.double().cpu()
        if sources is None:
            scores = (f @ self.weights.T + self.offsets).mean(1)
        else:
            fold = self.fold[torch.as_tensor(sources)]
            scores = (f * self.weights[fold]).sum(1) + self.offsets[fold]
        return Judgement(torch.sigmoid(self.slope * scores + self.shift), (f - self.origin) @ self.axis)


def _line(examples: Tensor, training: Tensor) -> tuple[Tensor, Tensor]:
    """Log-odds of the training domain as a linear function of raw features."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    centre, scale = _standard(examples, training)
    x = ((torch.cat([examples, training]) - centre) / scale).numpy()
    y = [0] * len(examples) + [1] * len(training)
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", priors=[0.5, 0.5]).fit(x, y)
    weights = torch.as_tensor(model.coef_[0]) / scale
    return weights, torch.as_tensor(model.intercept_[0]) - weights @ centre


def _standard(examples: Tensor, training: Tensor) -> tuple[Tensor, Tensor]:
    """Centre between the domains and spread within them."""
    within = ((examples.var(0) + training.var(0)) / 2).sqrt()
    return (examples.mean(0) + training.mean(0)) / 2, within.clamp(min=1e-6 * float(within.max()) + 1e-12)


def _calibration(examples: Tensor, training: Tensor) -> tuple[float, float]:
    """Slope and shift of the logistic curve over scores; both domains weigh the same, whatever their sizes."""
    from sklearn.linear_model import LogisticRegression

    scores = torch.cat([examples, training])
    size = float(scores.abs().mean().clamp(min=1e-12))
    y = [0] * len(examples) + [1] * len(training)
    curve = LogisticRegression(class_weight="balanced").fit((scores / size)[:, None].numpy(), y)
    return float(curve.coef_[0, 0]) / size, float(curve.intercept_[0])


def _folds(n: int, folds: int, seed: int) -> Tensor:
    """``[n]`` numbers of folds, as even as can be."""
    return (torch.arange(n) % folds)[torch.randperm(n, generator=generator(seed, "folds"))]


def _check(examples: Tensor, training: Tensor) -> None:
    for name, f in (("examples", examples), ("training domain", training)):
        if f.ndim != 2 or len(f) < LEAST:
            raise FarfieldError(
                f"interference: expected features of at least {LEAST} images of the {name}, found {tuple(f.shape)}"
            )
        if not bool(f.isfinite().all()):
            raise FarfieldError(f"interference: expected finite features of the {name}, found NaN or infinity")
    if examples.shape[1] != training.shape[1]:
        raise FarfieldError(
            f"interference: features of {examples.shape[1]} and {training.shape[1]} numbers; use one descriptor for both"
        )
