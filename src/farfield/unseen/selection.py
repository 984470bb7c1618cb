r"""Among several decoded candidates of one seed, the one that is new and most like the domain.

The decoder is a frozen model of another domain and now and then pulls a latent towards its own. Where it did so shows in
any features in which examples and candidates differ as laws: the witness function of the maximum mean discrepancy
(Gretton et al. 2012, section 2.3),

.. math:: w(f) = \frac1n \sum_i k(f, f_i) - \frac1m \sum_j k(f, g_j), \qquad k(f, g) = (f \cdot g / d + 1)^3,

is high where examples :math:`f_i` are denser than pilot candidates :math:`g_j`. Both sets are fixed before the first
sample is made, so that image k still depends on seed k alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from farfield.core.error import FarfieldError


@dataclass(frozen=True)
class Witness:
    """The fitted function; features are standardised by the examples, ``centre`` and ``scale`` ``[d]``."""

    examples: Tensor
    pilot: Tensor
    centre: Tensor
    scale: Tensor

    @staticmethod
    def fit(examples: Tensor, pilot: Tensor) -> Witness:
        """From features of examples ``[n, d]`` and of pilot candidates ``[m, d]``."""
        if len(examples) < 2 or len(pilot) < 1 or examples.shape[1:] != pilot.shape[1:]:
            raise FarfieldError(f"witness: expected features of at least 2 examples and of a pilot, found {tuple(examples.shape)} and {tuple(pilot.shape)}")
        f = examples.double()
        centre, scale = f.mean(0), f.std(0)
        scale = scale.clamp(min=1e-6 * float(scale.max()) + 1e-12)
        return Witness((f - centre) / scale, (pilot.double() - centre) / scale, centre, scale)

    def __call__(self, features: Tensor) -> Tensor:
        """w of feature rows: ``[k, d]`` → ``[k]`` float64."""
        f = (features.double() - self.centre) / self.scale
        return _kernel(f, self.examples).mean(1) - _kernel(f, self.pilot).mean(1)


def choose(witness: Tensor, distance: Tensor, threshold: float) -> Tensor:
    """The candidate to keep of each seed: the likeliest among the new ones, the newest where none is new.

    Args:
        witness: ``[n, c]``.
        distance: ``[n, c]``, from each candidate to its nearest example.
        threshold: a candidate nearer than this to an example is a copy.

    Returns:
        ``[n]`` indices into the c candidates.
    """
    new = distance >= threshold
    likeliest = witness.masked_fill(~new, -torch.inf).argmax(1)
    return torch.where(new.any(1), likeliest, distance.argmax(1))


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    return (a @ b.T / a.shape[1] + 1) ** 3
