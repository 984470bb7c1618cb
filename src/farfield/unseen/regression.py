r"""Several guesses of a velocity joined by least squares in bands of frequencies; which of them, by leave-out.

For each band of cosine frequencies the true v is regressed on R guesses :math:`v_r` and on the noisy image,
:math:`v \approx \sum_r W_r v_r`, with C × C matrices over the channels. A ridge of ``doubt`` imagined coefficients, of the mean
power of the regressors, pulls W towards a ``prior``: that one guess (the network's) is right, or that none is.

Everything that a fit needs of an example are its products, summed over a band; so a fit without some of the examples costs a
small system of equations, and its error on them no image at all. Which guesses, which doubt and which prior, is decided by that
error: the cheapest choice that is not worse than the best by more than one standard error of their difference over the examples.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

ENTRIES: Final = 1 << 24
"""Numbers of the regressors that are held in double precision at once."""

FOLDS = 10
"""Groups of examples, each predicted from the others."""


@dataclass(frozen=True)
class Products:
    """Sums over the views and a band's coefficients, of each example.

    Attributes:
        gram: ``[n, bands, Q, Q]`` of the Q = (R + 1) C regressors with each other.
        cross: ``[n, bands, Q, C]`` of these with the truth.
        power: ``[n, bands, C]`` of the truth with itself.
        counts: ``[bands]`` coefficients of an example's views.
    """

    gram: Tensor
    cross: Tensor
    power: Tensor
    counts: Tensor

    @classmethod
    def of(cls, given: Tensor, true: Tensor, places: Tensor, n: int) -> Products:
        """From regressors ``[V n, Q, H, W]`` and truth ``[V n, C, H, W]`` in the cosine basis: V times all n examples in turn."""
        q, c, counts = given.shape[1], true.shape[1], places.flatten().bincount()
        zeros = torch.zeros(n, len(counts), 1, 1, dtype=torch.float64, device=given.device)
        gram, cross, power = zeros.repeat(1, 1, q, q), zeros.repeat(1, 1, q, c), zeros[:, :, 0].repeat(1, 1, c)
        at_once = max(1, ENTRIES // (len(given) * q))
        for band in range(len(counts)):
            for i, j in (part.T for part in (places == band).nonzero().split(at_once)):
                g, t = (
                    v[:, :, i, j].double().unflatten(0, (-1, n)).permute(1, 0, 3, 2).flatten(1, 2)
                    for v in (given, true)
                )
                gram[:, band] += g.mT @ g
                cross[:, band] += g.mT @ t
                power[:, band] += t.square().sum(1)
        return cls(gram, cross, power, counts.double() * (len(given) // n))


@dataclass(frozen=True)
class Choice:
    """What is regressed on, and how.

    Attributes:
        guesses: numbers of the guesses; the noisy image is always there.
        doubt: coefficients imagined.
        keep: number of the guess that the ridge pulls towards; None towards 0.
    """

    guesses: tuple[int, ...]
    doubt: float
    keep: int | None = None


def solve(products: Products, choice: Choice, count: int) -> Tensor:
    """The weights ``[bands, Q, C]``, 0 for guesses that are not chosen.

    Args:
        count: R, the number of guesses.
    """
    rows = products.counts * len(products.gram)
    return _weights(products.gram.sum(0), products.cross.sum(0), rows, choice, count)


def left_out_errors(products: Products, choices: Sequence[Choice], count: int) -> Tensor:
    """Squared error of each example's views, summed, by weights fitted without its fold: ``[choices, n]``."""
    folds = _folds(products.power)
    gram, cross = (
        part.sum(0) - torch.stack([part[fold].sum(0) for fold in folds]) for part in (products.gram, products.cross)
    )
    sizes = torch.tensor([len(fold) for fold in folds], device=gram.device)
    rows = products.counts * (len(products.gram) - sizes)[:, None]
    of = torch.arange(len(folds), device=gram.device).repeat_interleave(sizes)
    power, errors = products.power.sum((1, 2)), []
    for choice in choices:
        w = _weights(gram, cross, rows, choice, count)[of]
        explained = 2 * (products.cross * w).sum((1, 2, 3))
        errors.append(power - explained + (w * (products.gram @ w)).sum((1, 2, 3)))
    return torch.stack(errors)


def _weights(gram: Tensor, cross: Tensor, rows: Tensor, choice: Choice, count: int) -> Tensor:
    """Of sums ``[..., bands, Q, Q]`` and ``[..., bands, Q, C]`` over so many rows ``[..., bands]``."""
    channels = cross.shape[-1]
    used = _columns(choice.guesses, count, channels, gram.device)
    inner = gram[..., used[:, None], used]
    prior = torch.zeros(len(used), channels, dtype=gram.dtype, device=gram.device)
    if choice.keep is not None:
        place = choice.guesses.index(choice.keep) * channels
        prior[place : place + channels] = torch.eye(channels, dtype=gram.dtype, device=gram.device)
    ridge = (choice.doubt / rows * inner.diagonal(dim1=-2, dim2=-1).mean(-1))[..., None, None]
    eye = torch.eye(len(used), dtype=gram.dtype, device=gram.device)
    weights = torch.zeros_like(cross)
    weights[..., used, :] = torch.linalg.solve(inner + ridge * eye, cross[..., used, :] + ridge * prior)
    return weights


def choose(errors: Tensor, choices: Sequence[Choice]) -> tuple[Choice, Tensor]:
    """The choice that is taken, and errors ``[n]``.

    An example's error is that of the choice which the other folds take: the best of many is better by chance where it is
    chosen, and would seem to add something where nothing does.

    Args:
        errors: `left_out_errors` of each choice, ``[choices, n]``.
    """
    said = torch.empty_like(errors[0])
    for fold in _folds(said):
        others = torch.ones_like(said, dtype=torch.bool)
        others[fold] = False
        said[fold] = errors[_pick(errors[:, others], choices), fold]
    return choices[_pick(errors, choices)], said


def _folds(values: Tensor) -> Sequence[Tensor]:
    n = len(values)
    return torch.arange(n, device=values.device).chunk(min(FOLDS, n))


def _pick(errors: Tensor, choices: Sequence[Choice]) -> int:
    """The cheapest choice that is not worse than the best by more than a standard error, by errors ``[choices, n]``."""
    best = int(errors.mean(1).argmin())
    more = errors - errors[best]
    margin = more.std(1) / more.shape[1] ** 0.5 if more.shape[1] > 1 else torch.zeros_like(more[:, 0])
    cost = [len(choice.guesses) for choice in choices]
    near = [i for i in range(len(choices)) if more[i].mean() <= margin[i]]
    least = min(cost[i] for i in near)
    return min((i for i in near if cost[i] == least), key=lambda i: float(errors[i].mean()))


def shares(products: Products, weights: Tensor) -> Tensor:
    r"""What part of the answer each guess makes, ``[bands, R + 1]``, the noisy image last; each row sums to 1.

    Of an answer :math:`\hat v = \sum_r W_r v_r`, that of r is :math:`\langle W_r v_r, \hat v \rangle / \|\hat v\|^2`.
    """
    channels = products.cross.shape[-1]
    parts = (weights * (products.gram.sum(0) @ weights)).sum(2).unflatten(1, (-1, channels)).sum(2)
    return parts / parts.sum(1, keepdim=True).clamp(min=torch.finfo(parts.dtype).tiny)


def _columns(guesses: Iterable[int], count: int, channels: int, device: torch.device) -> Tensor:
    """The columns of the chosen guesses, and those of the noisy image."""
    return torch.cat([torch.arange(r * channels, (r + 1) * channels, device=device) for r in (*guesses, count)])
