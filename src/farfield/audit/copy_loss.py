"""What a copy-detection descriptor is trained for: copies together, and all else spread over the sphere.

Pizzi, Roy, Ravindra, Goyal, Douze 2022, "A Self-Supervised Descriptor for Image Copy Detection" (SSCD), arXiv
2202.10261: a contrastive loss, and an entropy loss that keeps images apart which are merely alike.
"""

from __future__ import annotations

import torch
from torch import Tensor


def positives(members: Tensor) -> Tensor:
    """Which views show a common image, ``[m, m]`` bool, no view with itself; ``members`` is ``[m, n]``: view, image."""
    shared = (members.float() @ members.float().T) > 0
    return shared & ~torch.eye(len(members), dtype=torch.bool, device=members.device)


def contrastive(z: Tensor, positive: Tensor, temperature: float = 0.05) -> Tensor:
    """InfoNCE over all positives of each view, and the mean over the views.

    With ``s_ij = z_i · z_j / temperature``, of view i: ``mean_{j ∈ P_i} -ln(e^{s_ij} / (e^{s_ij} + Σ_{k ∉ P_i, k ≠ i}
    e^{s_ik}))``; the other positives are not pushed away. A view of two mixed images is a positive of the views of both.

    Args:
        z: unit vectors ``[m, d]``.
        positive: ``[m, m]`` (see `positives`), at least one a row.
    """
    s = z @ z.T / temperature
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    others = s.masked_fill(positive | itself, -torch.inf).logsumexp(1, keepdim=True)
    losses = torch.where(positive, torch.logaddexp(s, others) - s, 0.0)
    return (losses.sum(1) / positive.sum(1)).mean()


def spread(z: Tensor, positive: Tensor) -> Tensor:
    """Kozachenko and Leonenko's estimate of minus the entropy, but for constants: the mean of ``-ln min_k |z_i - z_k|``.

    The nearest is sought among views of other images.
    """
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    with torch.no_grad():
        nearest = (z @ z.T).masked_fill(positive | itself, -torch.inf).argmax(1)
    return -((z - z[nearest]).square().sum(1) + 1e-8).log().mean() / 2
