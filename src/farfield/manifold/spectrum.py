r"""The singular values of a denoiser's Jacobian: all of them from J itself, or the largest without it.

**Exact**: J by its d rows, then the eigenvalues of :math:`J^\top J` in float64. Squaring costs the accuracy of values below
:math:`10^{-8}` of the largest, which a network in float32 does not have, and takes a quarter of the time of a singular value
decomposition.

**Matrix-free** (Halko, Martinsson and Tropp 2011, algorithms 4.2 and 4.4): a basis Q of the row space grows by blocks of
:math:`J^\top \Omega` with random :math:`\Omega`; each new block is a fresh sample of what Q still misses, which says when to
stop. Then :math:`P = orth(J Q)`, and the singular values of :math:`P^\top J` are those of J as far as the share of the energy
:math:`\|J\|_F^2` asked for goes. What P misses is estimated with fresh probes on its complement, as the rests of the trace
(Hutch++, Meyer, Musco, Musco and Woodruff 2021) and of the asymmetry are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from farfield.core.error import FarfieldError
from farfield.manifold.jacobian import Jacobian
from farfield.manifold.trace import Estimate, mean_of, rademacher

Method = Literal["auto", "exact", "matrix-free"]

PROBES = 32
"""Of the rests of energy, trace and asymmetry."""
MARGIN = 0.6
"""P may miss this times the energy that may be missed, or Q grows on: values close to the end of what P holds are too small."""
DEAREST = 5
"""A direction costs as much as so many rows of J: one row to find it, a column (two or three) and a row to use it."""

LARGEST = 16_384
"""Dimensions up to which J is made whole: 2 GiB in float64, of which a few copies are needed."""


_MOST = 50
"""Logarithm of the growth of a basis beyond which it is more than any J has directions."""


class TooFlatError(FarfieldError):
    """The spectrum falls off too slowly for the matrix-free way to be the cheaper one."""


@dataclass(frozen=True)
class Spectrum:
    r"""What is costly to know of J at one point; thresholds are applied afterwards (`manifold.rank`).

    Attributes:
        values: singular values, descending, float64 ``[k]``; k = d where they are exact.
        dimension: d.
        energy: :math:`\|J\|_F^2`.
        residual: the part of it beyond ``values``.
        trace: :math:`tr J`.
        skew: :math:`\|J - J^\top\|_F^2`.
        lowest: least eigenvalue of :math:`(J + J^\top) / 2`, and ``negative`` how many are below 0 by more than rounding; None
            where J is not known whole.
        method: ``exact`` or ``matrix-free``.
        calls: images through the network, forwards or backwards.
        reason: why this method, where it was chosen.
    """

    values: Tensor
    dimension: int
    energy: Estimate
    residual: Estimate
    trace: Estimate
    skew: Estimate
    lowest: float | None
    negative: int | None
    method: str
    calls: int
    reason: str = ""

    @property
    def asymmetry(self) -> Estimate:
        r""":math:`\|J - J^\top\|_F / \|J\|_F`: 0 for a posterior mean, :math:`\sqrt 2` at most on average for a random matrix."""
        if self.energy.value == 0:
            return Estimate(0.0)
        value = math.sqrt(self.skew.value / self.energy.value)
        relative = math.hypot(
            self.skew.error / self.skew.value if self.skew.value else 0.0, self.energy.error / self.energy.value
        )
        return Estimate(value, value * relative / 2, self.skew.n)


def spectrum(jacobian: Jacobian, g: torch.Generator, method: str = "auto", share: float = 0.99) -> Spectrum:
    r"""The singular values of J that hold ``share`` of its Frobenius norm, or all.

    Args:
        g: of the random probes.
        method: ``exact``, ``matrix-free``, or ``auto``: matrix-free unless J is small, or until its pace shows that exact is
            cheaper.
        share: of :math:`\|J\|_F`, not of its square.

    Raises:
        TooFlatError: ``matrix-free`` where exact is the cheaper way.
        FarfieldError: an unknown method, a share not between 0 and 1.
    """
    check_request(method, share)
    if method == "exact":
        return exact(jacobian)
    if method == "auto" and jacobian.dimension <= 2 * DEAREST * jacobian.batch:
        return exact(jacobian, f"{jacobian.dimension} dimensions are few")
    try:
        return matrix_free(jacobian, g, share)
    except TooFlatError as error:
        if method == "matrix-free":
            raise
        return exact(jacobian, str(error).partition(";")[0])


def check_request(method: str, share: float) -> None:
    """Refuse a method or a share that `spectrum` does not know."""
    if method not in get_args(Method):
        raise FarfieldError(f"method {method!r}: expected one of {', '.join(get_args(Method))}")
    if not 0 < share < 1:
        raise FarfieldError(f"share {share:g}: expected a number between 0 and 1, such as 0.99")


def exact(jacobian: Jacobian, reason: str = "") -> Spectrum:
    """From J itself, in d backward passes.

    Raises:
        FarfieldError: more than LARGEST dimensions.
    """
    if jacobian.dimension > LARGEST:
        why = f" ({reason})" if reason else ""
        raise FarfieldError(
            f"Jacobian of {jacobian.dimension} dimensions: expected at most {LARGEST} where it is made whole{why}; use the "
            "matrix-free method with a smaller share"
        )
    j = _wide(jacobian.dense())
    squares = torch.linalg.eigvalsh(j.T @ j).flip(0).clamp(min=0)
    symmetric = torch.linalg.eigvalsh((j + j.T) / 2)
    largest = float(symmetric.abs().max())
    return Spectrum(
        squares.sqrt(),
        len(j),
        Estimate(float(j.square().sum())),
        Estimate(0.0),
        Estimate(float(j.diagonal().sum())),
        Estimate(float((j - j.T).square().sum())),
        float(symmetric[0]),
        int((symmetric < -1e-6 * largest).sum()),
        "exact",
        jacobian.calls,
        reason,
    )


def matrix_free(jacobian: Jacobian, g: torch.Generator, share: float = 0.99) -> Spectrum:
    r"""The largest singular values, by products with blocks of vectors.

    Raises:
        TooFlatError: more than d / 5 directions would be needed, by the pace so far.
    """
    d, missed = jacobian.dimension, 1 - share**2
    right = _wide(jacobian.x.new_zeros((d, 0)))
    known = -1
    while known < right.shape[1]:  # each round adds a block, or nothing is left to be found
        known = right.shape[1]
        right = grow(right, jacobian, g, missed)
        left = torch.linalg.qr(_wide(jacobian.columns(right.T)).T).Q
        product = _wide(jacobian.rows(left.T))
        caught = float(product.square().sum())
        probes = rademacher(min(PROBES, d), d, g).to(left)
        outside = probes - probes @ left @ left.T
        transposed = _wide(jacobian.rows(outside))
        residual = mean_of(transposed.square().sum(1))
        if residual.value <= MARGIN * missed * (caught + residual.value):
            break
    skew = _wide(jacobian.columns(probes)) - (transposed + probes @ left @ product)
    rest = mean_of((transposed * outside).sum(1))
    return Spectrum(
        torch.linalg.svdvals(product),
        d,
        Estimate(caught + residual.value, residual.error, residual.n),
        residual,
        Estimate(float((product @ left).diagonal().sum()) + rest.value, rest.error, rest.n),
        mean_of(skew.square().sum(1)),
        None,
        None,
        "matrix-free",
        jacobian.calls,
        f"{right.shape[1]} of {d} directions hold enough",
    )


def grow(basis: Tensor, jacobian: Jacobian, g: torch.Generator, missed: float) -> Tensor:
    r"""Extend an orthonormal basis of the row space by random rows :math:`\omega^\top J`, at least one block of them.

    A block is held against the basis before it joins it: :math:`E\,|(I - Q Q^\top) J^\top \omega|^2` is the energy that Q misses.

    Args:
        basis: Q, ``[d, k]``.
        missed: share of the energy that it may miss in the end.

    Raises:
        TooFlatError: it would need more than d / 5 directions.
    """
    d, begun = jacobian.dimension, basis.shape[1]
    energies: list[Tensor] = []
    past: tuple[int, float] | None = None
    while True:  # at most until a fifth of all directions, as the basis grows by a block each time
        k = basis.shape[1]
        block = _wide(jacobian.rows(rademacher(min(max(jacobian.batch, k // 4), d), d, g)))
        rest = block - block @ basis @ basis.T
        energies.append(block.square().sum(1))
        total, left = float(torch.cat(energies).mean()), float(rest.square().sum(1).mean())
        if (left <= missed * total and k > begun) or left == 0:
            return basis
        needed = _needed(past, (k, left / total), missed)
        if needed > d // DEAREST and k > 0:
            least = f"about {needed:.0f}" if needed < d else "almost all"
            raise TooFlatError(
                f"the spectrum falls off slowly: {least} of {d} directions would be needed, and from {d // DEAREST} on J itself "
                "is cheaper; use the exact method"
            )
        past = k, left / total
        new = torch.linalg.qr(rest.T).Q[:, : d - k]
        basis = torch.cat([basis, torch.linalg.qr(new - basis @ (basis.T @ new)).Q], 1)


def _needed(past: tuple[int, float] | None, now: tuple[int, float], missed: float) -> float:
    """How many directions a basis needs if what it misses goes on falling as a power of their number."""
    k, left = now
    if left <= missed or past is None or past[0] == 0:
        return k
    power = math.log(past[1] / left) / math.log(k / past[0])
    growth = math.log(left / missed)
    # a spectrum that hardly falls has a power of hardly more than 0
    return k * math.exp(growth / power) if growth < power * _MOST else math.inf


def _wide(values: Tensor) -> Tensor:
    """In float64, on the CPU where the device has none."""
    return values.to("cpu" if values.device.type == "mps" else values.device, torch.float64)
