"""Examples a little changed, as training augments them: cropped, flipped, brighter or darker. A control that knows nothing.

Whatever makes images of a domain from a few examples should come nearer to it than this does.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from farfield.core.error import FarfieldError
from farfield.core.runtime import generator

SMALLEST = 0.8
"""Share of an image's area that a crop keeps at least."""
CHANGE = 0.1
"""Largest relative change of brightness and of contrast."""


def jitter(examples: Tensor, seeds: Sequence[int]) -> Tensor:
    r"""An example of each seed's own, changed; image k depends on seed k alone.

    A crop keeps a share of the area uniform in `SMALLEST` … 1 and the aspect ratio, anywhere inside, and is brought back to
    the whole size (bicubic); left and right then change places half the time. With brightness :math:`y = (x + 1) / 2`,
    contrast draws y towards or away from the image's mean, :math:`\bar y + c (y - \bar y)`, and brightness multiplies the
    outcome by b; c and b are uniform in 1 ± `CHANGE`.

    Args:
        examples: ``[n, C, H, W]``, nominally in [-1, 1]; what leaves that range is not clipped.

    Returns:
        ``[len(seeds), C, H, W]`` float64.
    """
    if examples.ndim != 4 or not len(examples) or not len(seeds):
        raise FarfieldError(
            f"jitter: expected examples [n, C, H, W] and seeds, found {tuple(examples.shape)} and {len(seeds)} seeds"
        )
    return torch.stack([_changed(examples, generator(seed, "jitter")) for seed in seeds])


def jittered(n: int, seeds: Sequence[int]) -> list[int]:
    """Of n examples, the one that `jitter` changes for each seed."""
    return [_drawn(n, generator(seed, "jitter")) for seed in seeds]


def _drawn(n: int, g: torch.Generator) -> int:
    return int(torch.randint(n, (), generator=g))


def _changed(examples: Tensor, g: torch.Generator) -> Tensor:
    x = examples[_drawn(len(examples), g)].double()
    area, across, down, mirror, contrast, brightness = torch.rand(6, generator=g, dtype=torch.float64).tolist()
    side = (SMALLEST + (1 - SMALLEST) * area) ** 0.5
    # sampling places run from -1 to 1 across the image
    place = torch.tensor([[side, 0, (1 - side) * (2 * across - 1)], [0, side, (1 - side) * (2 * down - 1)]]).to(x)
    grid = functional.affine_grid(place[None], [1, *x.shape], align_corners=False)
    x = functional.grid_sample(x[None], grid, mode="bicubic", padding_mode="border", align_corners=False)[0]
    y = ((x.flip(-1) if mirror < 0.5 else x) + 1) / 2
    y = y.mean() + _around_one(contrast) * (y - y.mean())
    return 2 * _around_one(brightness) * y - 1


def _around_one(u: float) -> float:
    return 1 + CHANGE * (2 * u - 1)
