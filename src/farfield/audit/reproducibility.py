"""Do two models make the same image from the same noise? Shares of pairs that agree, and how far apart pairs are.

Arguments are features or images under their seeds; pairs are of one seed. The chance level of each score is the score of
seeds that do not belong together, ``rp(first, repaired(second), threshold)`` (see `audit.similarity.repaired`): how
alike different images are is the descriptor's and the domain's, and no threshold is at home everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, TypeVar

import torch
from torch import Tensor

from farfield.audit.similarity import check_threshold, paired, similarity
from farfield.audit.vectors import at_once, check_same_descriptor
from farfield.core.artifact import Features, Keyed, Score
from farfield.core.error import FarfieldError, NonFiniteError
from farfield.core.interval import bootstrap, proportion

MAE_LIMIT: Final = 15 / 255  # of the range from black to white

A = TypeVar("A", bound=Keyed)


def rp(first: Features, second: Features, threshold: float, common: bool = False) -> Score:
    """The reproducibility score: the share of same-seed pairs whose cosine is above the threshold.

    RP = P(similarity(x1, x2) > threshold), with 0.6 for SSCD's disc_large (Zhang et al. 2023, arXiv
    2310.05264). Wilson's interval.

    Args:
        first, second: ``[n, d]``.
        threshold: a cosine.
        common: leave seeds that only one has aside.

    Raises:
        FarfieldError: different seeds or descriptors, or a threshold outside [-1, 1].
    """
    check_threshold(threshold)
    alike = similarity(first, second, common)
    return proportion(int((alike > threshold).sum()), len(alike))


def mae_rp(first: Keyed, second: Keyed, limit: float = MAE_LIMIT, common: bool = False) -> Score:
    """The share of same-seed pairs whose mean absolute pixel difference is at most ``limit``; Wilson's interval.

    Args:
        first, second: images ``[n, C, H, W]`` in [-1, 1]; clipped, as when they are written.
        limit: in units of the range from black to white: 15/255 is 15 grey levels.

    Raises:
        FarfieldError: different seeds or shapes.
    """
    differences = mean_absolute_differences(first, second, common)
    return proportion(int((differences <= limit).sum()), len(differences))


def mean_absolute_differences(first: Keyed, second: Keyed, common: bool = False) -> Tensor:
    """Of each same-seed pair, in units of the range from black to white: float64 ``[n]``, in the keys' sorted order."""
    return _pairwise(first, second, common, lambda a, b: (a.clamp(-1, 1) - b.clamp(-1, 1)).abs().flatten(1).mean(1) / 2)


def pfd(first: A, second: A, common: bool = False, resamples: int = 1000, seed: int = 0) -> Score:
    r"""The probability-flow distance: how far two models' flows carry one noise apart.

    :math:`(E_n \|\Phi_1(n) - \Phi_2(n)\|^2)^{1/2}` over same-seed pairs, in pixels (images in [-1, 1]) or features (Zhang
    et al. 2025, arXiv 2505.20123). For two Gaussians it is :math:`(|m_1 - m_2|^2 + |C_1^{1/2} - C_2^{1/2}|_F^2)^{1/2}`,
    at least the 2-Wasserstein distance of their laws. The interval resamples pairs (expanded percentile bootstrap).

    Args:
        first, second: images ``[n, C, H, W]`` or `Features` ``[n, d]``.

    Raises:
        FarfieldError: different seeds, shapes or descriptors.
    """
    if isinstance(first, Features) and isinstance(second, Features):
        check_same_descriptor(first, second)
    squares = _pairwise(first, second, common, lambda a, b: (a - b).flatten(1).square().sum(1))
    n = len(squares)
    ends = bootstrap(lambda rows: math.sqrt(float(squares[rows].mean())), n, resamples=resamples, seed=seed)
    return Score(math.sqrt(float(squares.mean())), n, *ends)


def agreement(first: Tensor, second: Tensor, clean: Tensor, resamples: int = 1000, seed: int = 0) -> Score:
    r"""How far two denoisers agree on the same noisy images, in units of their own errors.

    .. math:: a = 1 - \frac{E\|D_1 - D_2\|^2}{\frac12 (E\|D_1 - x_0\|^2 + E\|D_2 - x_0\|^2)}

    1 for one denoiser, -1 for two whose errors have nothing in common. Two networks trained on disjoint
    halves of enough images have learned one denoiser (Kadkhodaie et al. 2024, arXiv 2310.02557). The interval resamples images.

    Args:
        first, second: what each answers, ``[n, *shape]``.
        clean: the images that were noised, which neither was trained on.
    """
    x, y, z = (v.detach().double().cpu().flatten(1) for v in (first, second, clean))
    apart = (x - y).square().sum(1)
    errors = ((x - z).square().sum(1) + (y - z).square().sum(1)) / 2

    def share(rows: Tensor | slice) -> float:
        return 1 - float(apart[rows].sum() / errors[rows].sum())

    return Score(share(slice(None)), len(x), *bootstrap(share, len(x), resamples=resamples, seed=seed))


def _pairwise(first: A, second: A, common: bool, work: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """A number for each same-seed pair: of so many pairs at a time, in float64."""
    x, y = paired(first, second, common)
    if x.shape != y.shape:
        a, b = ("×".join(map(str, v.shape)) for v in (x, y))
        raise FarfieldError(f"pairs of {a} and {b}: expected one shape for both; resize one, or compare features")
    parts = zip(x.parts(at_once(x.shape)), y.parts(at_once(x.shape)), strict=True)
    numbers = torch.cat([work(a.values.double(), b.values.double()) for a, b in parts])
    if not bool(numbers.isfinite().all()):
        raise NonFiniteError("pairs: expected finite values, found NaN or infinity; look for broken images")
    return numbers
