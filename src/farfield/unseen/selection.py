r"""Among several decoded candidates of one seed, the one that is new and most like the domain.

The decoder is a frozen model of another domain and now and then pulls a latent towards its own. Where it did so shows in
any features in which examples and candidates differ as laws: the witness function of the maximum mean discrepancy
(Gretton et al. 2012, section 2.3),

.. math:: w(f) = \frac1n \sum_i k(f, f_i) - \frac1m \sum_j k(f, g_j), \qquad k(f, g) = \exp(-\|f - g\|^2 / h),

is high where examples :math:`f_i` are denser than pilot candidates :math:`g_j`; h is the median squared distance between
examples. Both sets are fixed before the first sample is made, so that image k still depends on seed k alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from farfield.core.error import FarfieldError


@dataclass(frozen=True)
class Witness:
    """The fitted function. Features are standardised by the examples (``centre``, ``scale`` ``[d]``); ``width`` is h."""

    examples: Tensor
    pilot: Tensor
    centre: Tensor
    scale: Tensor
    width: float

    @staticmethod
    def fit(examples: Tensor, pilot: Tensor) -> Witness:
        """From features of examples ``[n, d]`` and of pilot candidates ``[m, d]``."""
        if len(examples) < 2 or len(pilot) < 1 or examples.shape[1:] != pilot.shape[1:]:
            raise FarfieldError(
                f"witness: expected features of at least 2 examples and of a pilot, found {tuple(examples.shape)} and "
                f"{tuple(pilot.shape)}"
            )
        f = examples.double()
        centre, scale = f.mean(0), f.std(0)
        scale = scale.clamp(min=1e-6 * float(scale.max()) + 1e-12)
        standard = (f - centre) / scale
        width = float(torch.nn.functional.pdist(standard).square().median())
        return Witness(standard, (pilot.double() - centre) / scale, centre, scale, max(width, 1e-12))

    def __call__(self, features: Tensor) -> Tensor:
        """w of feature rows: ``[k, d]`` → ``[k]`` float64."""
        f = (features.double() - self.centre) / self.scale
        return self._kernel(f, self.examples).mean(1) - self._kernel(f, self.pilot).mean(1)

    def _kernel(self, a: Tensor, b: Tensor) -> Tensor:
        return (-torch.cdist(a, b).square() / self.width).exp()


def choose(witness: Tensor, distance: Tensor, threshold: float) -> Tensor:
    """The candidate to keep of each seed: the likeliest among the new ones, the newest where none is new.

    Args:
        witness: ``[n, c]``.
        distance: ``[n, c]``, from each candidate to its nearest example.
        threshold: a candidate no farther than this from an example is a copy.

    Returns:
        ``[n]`` indices into the c candidates.
    """
    new = distance > threshold
    likeliest = witness.masked_fill(~new, -torch.inf).argmax(1)
    return torch.where(new.any(1), likeliest, distance.argmax(1))
