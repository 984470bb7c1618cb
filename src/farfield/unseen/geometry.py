r"""Lengths and angles of latents, and what they would be for :math:`N(m, s^2 I)`.

In d dimensions independent draws stand at distance :math:`s\sqrt{2d}` from one another, at angle
:math:`\arccos(|m|^2 / (|m|^2 + s^2 d))` seen from the origin, and form triangles of 60° (arXiv 2310.09213 uses these with
d = 196,608: 627, just under 90°, 60°). All of them follow from the Gram matrix, float64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from farfield.core.error import FarfieldError


def norms(z: Tensor) -> Tensor:
    """Euclidean length of each latent: ``[n, ...]`` → ``[n]``."""
    return z.double().flatten(1).norm(dim=1)


def distances(a: Tensor, b: Tensor) -> Tensor:
    """Euclidean distances between two sets of latents: ``[n, ...]``, ``[m, ...]`` → ``[n, m]``."""
    return torch.cdist(a.double().flatten(1), b.double().flatten(1), compute_mode="donot_use_mm_for_euclid_dist")


def pair_distances(z: Tensor) -> Tensor:
    """Distances of all pairs: ``[n, ...]`` → ``[n (n − 1) / 2]``."""
    return _pairs(distances(z, z))


def angles(a: Tensor, b: Tensor) -> Tensor:
    """Angles in degrees at the origin between two sets: ``[n, ...]``, ``[m, ...]`` → ``[n, m]``."""
    u, v = (torch.nn.functional.normalize(t.double().flatten(1)) for t in (a, b))
    return (u @ v.T).clamp(-1, 1).acos().rad2deg()


def pair_angles(z: Tensor) -> Tensor:
    """Angles in degrees at the origin of all pairs: ``[n, ...]`` → ``[n (n − 1) / 2]``."""
    return _pairs(angles(z, z))


def apex_angles(apex: Tensor, others: Tensor) -> Tensor:
    """Angles in degrees at one latent between every two of the others: ``[...]``, ``[m, ...]`` → ``[m (m − 1) / 2]``."""
    arms = others.double().flatten(1) - apex.double().flatten()
    return pair_angles(arms)


def triangle_angles(z: Tensor, generator: torch.Generator, count: int = 3000) -> Tensor:
    """Angles in degrees of random triangles of latents, one angle a triangle: ``[n, ...]`` → ``[count]``."""
    if len(z) < 3:
        raise FarfieldError(f"triangles: expected at least 3 latents, found {len(z)}")
    flat = z.double().flatten(1)
    gram = flat @ flat.T
    corners = torch.rand((count, len(z)), generator=generator).topk(3, dim=1).indices.to(z.device)
    a, b, c = corners.unbind(1)
    dot = gram[b, c] - gram[a, b] - gram[a, c] + gram[a, a]
    ab, ac = (gram[a, a] + gram[o, o] - 2 * gram[a, o] for o in (b, c))
    return (dot / (ab * ac).sqrt()).clamp(-1, 1).acos().rad2deg()


def lengths_and_angles(z: Tensor, generator: torch.Generator, triangles: int) -> dict[str, Tensor]:
    """All of these of at least 3 latents: norms, distances and angles of pairs, angles of triangles."""
    return {
        "norm": norms(z),
        "distance": pair_distances(z),
        "angle": pair_angles(z),
        "triangle": triangle_angles(z, generator, triangles),
    }


def slerp(a: Tensor, b: Tensor, t: float | Tensor, *, linear: bool = False) -> Tensor:
    r"""Spherical interpolation of two latents, :math:`\frac{\sin((1-t)\omega) a + \sin(t\omega) b}{\sin\omega}`.

    The direction moves along the great circle and the length geometrically from \|a\| to \|b\|, so that two vectors of
    one shell stay on it. The code released with arXiv 2310.09213 moves the length linearly; for equal lengths all are the
    same. Nearly parallel vectors are interpolated linearly.

    Args:
        a, b: one latent each, any shape.
        t: 0 gives a, 1 gives b.
        linear: the length goes linearly, :math:`(1 - t) |a| + t |b|`.
    """
    la, lb = a.norm(), b.norm()
    if float(la) == 0 or float(lb) == 0:
        return a + t * (b - a)
    u, v = a / la, b / lb
    omega = (u * v).sum().clamp(-1, 1).acos()
    length = (1 - t) * la + t * lb if linear else la ** (1 - t) * lb**t
    if float(omega) < 1e-6:
        direction = u + t * (v - u)
        return length * direction / direction.norm()
    return length * (((1 - t) * omega).sin() * u + (t * omega).sin() * v) / omega.sin()


def walk(a: Tensor, b: Tensor, stops: Sequence[float], centre: Tensor | None = None) -> Tensor:
    """From one latent to another by `slerp` of what they are from a centre, ``[len(stops), ...]``.

    About the mean of a domain's latents each stop has that mean. About the origin (no centre) it does not: two latents
    N(m, s² I) stand at an angle there although they share m, and slerp lengthens what they share, by up to √2 half-way.
    """
    m = torch.zeros_like(a) if centre is None else centre
    return torch.stack([m + slerp(a - m, b - m, t) for t in stops])


@dataclass(frozen=True)
class Expectation:
    """What independent draws of N(m, s² I) in d dimensions measure: means, with the standard deviation over pairs."""

    norm: float
    distance: float
    distance_sd: float
    angle: float
    angle_sd: float
    triangle: float = 60.0


def expectation(mean_norm: float, scale: float, d: int) -> Expectation:
    """Closed form to leading order in 1/d: ``mean_norm`` = \\|m\\|, ``scale`` = s."""
    power = mean_norm**2 + scale**2 * d
    cosine = mean_norm**2 / power if power else 0.0
    # cos = <a, b> / (|a| |b|); the spread of <a, b> is s sqrt(2 |m|² + s² d), the lengths hardly vary.
    spread = scale * math.sqrt(2 * mean_norm**2 + scale**2 * d) / power if power else 0.0
    return Expectation(
        norm=math.sqrt(power),
        distance=scale * math.sqrt(2 * d),
        distance_sd=scale,
        angle=math.degrees(math.acos(cosine)),
        angle_sd=math.degrees(spread / math.sqrt(max(1 - cosine**2, 1e-12))),
    )


def _pairs(square: Tensor) -> Tensor:
    n = len(square)
    if n < 2:
        raise FarfieldError(f"pairs: expected at least 2 latents, found {n}")
    i, j = torch.triu_indices(n, n, 1)
    return square[i, j]
