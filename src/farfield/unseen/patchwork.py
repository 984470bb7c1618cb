r"""Examples mixed place by place, of latents or of pictures, and whose turn it is to be mixed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from farfield.core.error import FarfieldError
from farfield.core.runtime import generator


def patchwork(latents: Tensor, *, reach: float = 1 / 16, parents: int = 2) -> Callable[[torch.Generator], Tensor]:
    """A patchwork of examples that are drawn at random: a proposal of `unseen.sampler`. Arguments are those of `Mixing`."""
    mixing = Mixing(latents, reach=reach, parents=parents)
    n = len(latents)

    def propose(g: torch.Generator) -> Tensor:
        chosen = two(n, g) if mixing.parents == 2 else torch.randperm(n, generator=g)[: mixing.parents].tolist()
        return mixing(chosen, g)

    return propose


class Mixing:
    r"""Examples mixed place by place: :math:`m + \sum_k w_k (a_k - m)` with smooth weights, :math:`\sum_k w_k^2 = 1`.

    Of two, :math:`w = (\cos\theta, \sin\theta)` with :math:`\theta = \frac\pi2 \Phi(h)` uniform in 0 … π/2 at every place; of
    more, :math:`w_k \propto e^{3 h_k}`. Each h is unit Gaussian noise blurred by a Gaussian of width ``reach`` × the shorter
    side. A blend of whole images shows all of them everywhere; here each place shows mostly one, and the network joins them.

    Half of a patchwork of two is one of them. Where examples stand equally far apart, as fields without a common centre do,
    it is nearer to that one than examples are to one another; of K it has a K-th.

    Args:
        latents: the examples', ``[n, C, H, W]``, n at least 2; or the examples themselves.
        reach: over what part of the image's shorter side a place keeps to one example.
        parents: how many examples are mixed; all n, where there are fewer.
    """

    def __init__(self, latents: Tensor, *, reach: float = 1 / 16, parents: int = 2):
        if latents.ndim != 4 or len(latents) < 2:
            raise FarfieldError(f"patchwork: expected at least 2 latents [n, C, H, W], found {tuple(latents.shape)}")
        if not 0 < reach <= 1:
            raise FarfieldError(f"reach {reach:g}: expected a part of the image's side, above 0 and at most 1")
        if parents < 2:
            raise FarfieldError(f"parents {parents}: expected at least 2 examples to mix")
        self.z, self.parents = latents.double(), min(parents, len(latents))
        self.mean = self.z.mean(0)
        height, width = self.z.shape[-2:]
        self.size = (2 * height, 2 * width)  # doubled: opposite borders know nothing of each other
        side = min(height, width)
        y = torch.fft.fftfreq(self.size[0], 1 / side, dtype=torch.float64)
        x = torch.fft.rfftfreq(self.size[1], 1 / side, dtype=torch.float64)
        self.blur = (-2 * (math.pi * reach) ** 2 * (y[:, None] ** 2 + x**2)).exp()
        self.spread = torch.fft.irfft2(self.blur, s=self.size).norm()

    def __call__(self, chosen: Sequence[int], g: torch.Generator) -> Tensor:
        """A mixture ``[C, H, W]`` of the examples of these numbers, ``parents`` of them, its places drawn from a generator."""
        if len(chosen) == 2:
            angle = math.pi / 2 * torch.special.ndtr(self._smooth(1, g)[0])
            weights = torch.stack([angle.cos(), angle.sin()])
        else:
            raised = (3 * self._smooth(len(chosen), g)).exp()
            weights = raised / raised.square().sum(0).sqrt()
        weights = weights.to(self.z.device)
        # Around their own mean n examples are shorter by 1 - 1/n and correlated by -1/n: given back, but not to nothing.
        length = (1 - weights.sum(0).square() / len(self.z)).clamp(min=0.25).sqrt()
        return self.mean + (weights[:, None] * (self.z[list(chosen)] - self.mean)).sum(0) / length

    def _smooth(self, n: int, g: torch.Generator) -> Tensor:
        height, width = self.z.shape[-2:]
        white = torch.randn(n, *self.size, generator=g, dtype=torch.float64)
        return torch.fft.irfft2(torch.fft.rfft2(white) * self.blur, s=self.size)[:, :height, :width] / self.spread


def two(n: int, g: torch.Generator) -> tuple[int, int]:
    """Two different places among n, uniformly."""
    i = int(torch.randint(n, (), generator=g))
    j = int(torch.randint(n - 1, (), generator=g))
    return i, j + (j >= i)


def turns(n: int, seeds: Sequence[int], parents: int, stream: str) -> Tensor:
    """Which of n examples the image of each seed is made from, ``[len(seeds), parents]``, all different (n at least that many).

    Seed s is in block s // n. Within a block the k-th parents are each example once, in an order of the block's own: any n
    seeds from a multiple of n on use every example equally often, and image s still depends on seed s alone. Drawn freely,
    of 100 examples a third would take no part in 100 images.
    """
    rows = []
    for seed in seeds:
        block, place = divmod(seed, n)
        g = generator(block, f"{stream}-turns")
        order = torch.randperm(n, generator=g)
        apart = torch.cat([torch.zeros(1, dtype=torch.long), 1 + torch.randperm(n - 1, generator=g)[: parents - 1]])
        rows.append(order[(place + apart) % n])
    return torch.stack(rows)


def starts(examples: Tensor, seeds: Sequence[int], *, parents: int, reach: float, stream: str) -> tuple[Tensor, Tensor]:
    """What images of these seeds are made from: examples themselves, or of more ``parents`` than one a patchwork of them.

    Returns:
        ``[len(seeds), C, H, W]`` float64, and the numbers of the examples in each, ``[len(seeds), parents]``.
    """
    parents = min(parents, len(examples))
    chosen = turns(len(examples), seeds, parents, stream)
    if parents == 1:
        return examples[chosen[:, 0]].double(), chosen
    mixing = Mixing(examples, reach=reach, parents=parents)
    return torch.stack(
        [mixing(row, generator(s, stream)) for s, row in zip(seeds, chosen.tolist(), strict=True)]
    ), chosen
