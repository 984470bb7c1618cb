"""How many kinds of image a set holds, and how much the images that stand by one example differ among themselves.

Neither looks at how good an image is: beside the same of real images of the same number they say whether variety is lost.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor

from farfield.audit.search import nearest
from farfield.audit.similarity import unit
from farfield.audit.vectors import check_same_descriptor, rows
from farfield.core.artifact import Features, Score
from farfield.core.error import FarfieldError
from farfield.core.interval import mean_score, student

GROUPS: Final = 50


def vendi_score(features: Features) -> Score:
    r"""The effective number of different images, the Vendi score (Friedman and Dieng 2023, arXiv 2210.02410).

    .. math:: \exp H(\rho), \quad H(\rho) = -\mathrm{tr}\, \rho \log \rho, \quad \rho = \frac1n \sum_i u_i u_i^T

    with :math:`u_i` the vectors at length 1: the eigenvalues of ρ are those of their matrix of cosines over n. Copies of
    one image score 1, n images of unlike directions n. It grows with n: compare sets of one size.

    The interval is that of the jackknife over at most `GROUPS` groups of images, of the entropy, the exponential taken: it
    covers the mean over sets of this size.

    Args:
        features: ``[n, d]``.

    Returns:
        Score between 1 and n.

    Raises:
        FarfieldError: fewer than 2 vectors, or one without a direction.
    """
    x = rows(unit(features), "features")
    if len(x) < 2:
        raise FarfieldError(f"{len(x)} image: expected at least 2 to tell how different they are; give more")
    entropy, parts = _entropy(x), min(len(x), GROUPS)
    group = torch.arange(len(x)) % parts
    without = torch.tensor([_entropy(x[group != part]) for part in range(parts)], dtype=torch.float64)
    half_width = student(parts) * math.sqrt((parts - 1) * float(without.var(correction=0)))
    low, high = max(entropy - half_width, 0.0), min(entropy + half_width, math.log(len(x)))
    return Score(math.exp(entropy), len(x), math.exp(low), math.exp(high))


def _entropy(x: Tensor) -> float:
    products = (x @ x.T if len(x) < x.shape[1] else x.T @ x) / len(x)
    weights = torch.linalg.eigvalsh(products).clamp(0, 1)
    return -float(torch.xlogy(weights, weights).sum())


def cluster_distance(*, examples: Features, generated: Features) -> Score | None:
    r"""How far apart images are that stand nearest to the same example, in the features' own distance.

    .. math:: \frac{1}{|K|} \sum_{k \in K} \frac{2}{n_k (n_k - 1)} \sum_{i < j \in k} |g_i - g_j|

    over the examples K that at least two images are nearest to: the intra-cluster pairwise distance of few-shot generation
    (Ojha et al. 2021, arXiv 2104.06820, with 10 examples and LPIPS for the distance). Copies of the examples score 0,
    however many there are. Student's interval is of the clusters.

    Args:
        examples: ``[m, d]``, what the clusters form about.
        generated: ``[n, d]``.

    Returns:
        Score, ``n`` the clusters; None where no example has two images.
    """
    check_same_descriptor(examples, generated)
    x, near = rows(generated, "generated"), nearest(generated, examples)[1][:, 0]
    within = [_mean_distance(x[near == k]) for k, count in enumerate(near.bincount().tolist()) if count > 1]
    return mean_score(torch.tensor(within, dtype=torch.float64), 0.0) if within else None


def _mean_distance(x: Tensor) -> float:
    return float(torch.nn.functional.pdist(x).mean())
