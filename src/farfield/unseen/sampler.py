r"""New latents from a domain's latents: proposals, and the geometry that accepts or refuses them.

A proposal makes one latent from one generator; `draw` makes latent k from seed k alone. Around the mean m of the
examples' latents, two of them, a and b, stand at nearly right angles on one shell, so that

- `gaussian` draws from a fitted prior;
- `interpolation` goes from a to b (or to a draw of the prior) on the shell, :math:`m + slerp(a - m, b - m, t)`;
- `perturbation` turns a by a small angle towards a draw of the prior;
- `unseen.patchwork` goes from a to b by another angle at every place of the image, so that each place keeps the shell's
  length and is mostly one example's.

The published form (arXiv 2310.09213) goes around the origin: its midpoint also stretches m by up to √2 and leaves the domain.
The paper describes it between two examples. The code released with it goes from an example to a draw of the domain's Gaussian,
and the length linearly from the one's to the other's: `interpolation` with ``centre=False`` and a ``partner``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from farfield.core.error import FarfieldError
from farfield.core.runtime import generator
from farfield.unseen.geometry import angles, apex_angles, distances, slerp
from farfield.unseen.patchwork import two
from farfield.unseen.prior import Prior

LEAST = 4
"""Examples from which `Limits` can be derived."""

Proposal = Callable[[torch.Generator], Tensor]
"""One latent ``[*shape]`` float64 from one generator."""


def gaussian(prior: Prior) -> Proposal:
    """Draws of the prior."""
    return lambda g: prior.sample([g])[0]


def interpolation(
    latents: Tensor, *, t: float | tuple[float, float] = 0.5, centre: bool = True, partner: Prior | None = None
) -> Proposal:
    """Slerp from one example to another, or to a draw of the prior.

    Args:
        latents: the examples', ``[n, *shape]``, n at least 2.
        t: place between the two, 0 to 1; a pair (low, high) draws it uniformly from there.
        centre: slerp around the mean of the examples' latents; False is the published form, around the origin and with lengths
            that go linearly.
        partner: the prior to draw the other end from, as the released code does; None takes a second example, as the paper
            describes it.
    """
    low, high = (t, t) if isinstance(t, int | float) else t
    if len(latents) < 2:
        raise FarfieldError(f"sampler: expected at least 2 examples, found {len(latents)}")
    if not 0 <= low <= high <= 1:
        raise FarfieldError(f"t {t}: expected a place between two latents, 0 to 1, or a pair (low, high)")
    z = latents.double()
    mean = z.mean(0) if centre else torch.zeros_like(z[0])

    def propose(g: torch.Generator) -> Tensor:
        i, j = two(len(z), g)
        other = z[j] if partner is None else partner.sample([g])[0]
        at = low + (high - low) * float(torch.rand((), generator=g))
        return mean + slerp(z[i] - mean, other - mean, at, linear=not centre)

    return propose


def perturbation(latents: Tensor, prior: Prior, *, t: float | tuple[float, float] = 0.25) -> Proposal:
    """An example turned towards a draw of the prior: `interpolation` with a random partner and a small ``t``."""
    return interpolation(latents, t=t, partner=prior)


@dataclass(frozen=True)
class Limits:
    """Where a new latent may stand among the examples, each pair (lowest, highest).

    ``distance``: mean distance to the examples; ``angle``: mean angle to them, seen from the origin, in degrees;
    ``triangle``: mean angle at the latent between every two examples, in degrees.
    """

    distance: tuple[float, float]
    angle: tuple[float, float]
    triangle: tuple[float, float]

    @staticmethod
    def of(latents: Tensor, z_score: float = 3.0) -> Limits:
        r"""The limits that the examples themselves keep: leave-one-out mean μ ± (``z_score`` · s · √(1 + 1/n) + μ/n).

        The μ/n is what a prior's mean, fitted to these very examples, moves its draws: shells are so thin in many
        dimensions that it would refuse most of them.
        The published constants (611.4, 88°, 60° in 196,608 dimensions) are what N(m, s² I) gives there; derived like
        this they fit any model, size and domain.
        """
        if len(latents) < LEAST:
            raise FarfieldError(
                f"geometric limits: expected at least {LEAST} examples to derive them from, found {len(latents)}; use "
                "another sampler"
            )
        rows = []
        for i in range(len(latents)):
            others = torch.cat([latents[:i], latents[i + 1 :]])
            rows.append(_stand(latents[i], others))
        table = torch.tensor(rows, dtype=torch.float64)
        half = z_score * table.std(0) * math.sqrt(1 + 1 / len(table)) + table.mean(0) / len(table)
        low, high = (table.mean(0) - half).tolist(), (table.mean(0) + half).tolist()
        return Limits((low[0], high[0]), (low[1], high[1]), (low[2], high[2]))

    def accepts(self, z: Tensor, latents: Tensor) -> bool:
        """Whether a latent stands among the examples as they stand among one another."""
        measured = _stand(z, latents)
        return all(
            low <= v <= high
            for v, (low, high) in zip(measured, (self.distance, self.angle, self.triangle), strict=True)
        )


@dataclass(frozen=True)
class Draw:
    """Latents ``[n, *shape]`` float64 and how many proposals each took."""

    latents: Tensor
    proposed: Tensor

    @property
    def acceptance(self) -> float:
        return len(self.latents) / max(1, int(self.proposed.sum()))


def draw(
    proposal: Proposal,
    seeds: Sequence[int],
    accept: Callable[[Tensor], bool] | None = None,
    *,
    stream: str = "sampler",
    most: int = 200,
) -> Draw:
    """The latents of these seeds; latent k depends on seed k alone.

    Args:
        proposal: one latent from a generator.
        accept: a proposal it refuses is made anew from the same generator.
        stream: another name gives each seed another latent, independent of the first.
        most: proposals per seed before giving up.

    Raises:
        FarfieldError: a seed found nothing acceptable in ``most`` proposals.
    """
    latents: list[Tensor] = []
    proposed: list[int] = []
    for seed in seeds:
        g = generator(seed, stream)
        for attempt in range(1, most + 1):
            z = proposal(g)
            if accept is None or accept(z):
                latents.append(z)
                proposed.append(attempt)
                break
        else:
            raise FarfieldError(
                f"seed {seed}: none of {most} proposals was acceptable (so far {len(latents)} of "
                f"{sum(proposed) + most}); the prior does not reach the examples at this level: choose another prior, "
                "level or sampler"
            )
    if not latents:
        raise FarfieldError("draw: expected at least one seed")
    return Draw(torch.stack(latents), torch.tensor(proposed))


def _stand(z: Tensor, others: Tensor) -> tuple[float, float, float]:
    """Mean distance, mean origin angle and mean apex angle of one latent among others."""
    return (
        float(distances(z[None], others).mean()),
        float(angles(z[None], others).mean()),
        float(apex_angles(z, others).mean()),
    )
