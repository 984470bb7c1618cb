r"""What the examples' patches say of a noisy image: posterior means under "every patch is one of theirs", window by window.

For a place u, a window w of pixels around it and shifts s of at most ``reach`` pixels each way,

.. math:: D_w(x, \sigma)[u] = \sum_{j, s} \pi_{js}(u)\, y_j(u + s), \qquad
          \pi_{js}(u) \propto \exp\Big(-\sum_{v \in w(u)} \frac{|x(v) - y_j(v + s)|^2}{2 (\sigma^2 + h^2)}\Big)

with the examples :math:`y_j` and a bandwidth h, which keeps low levels from choosing a single patch. Patch by patch it is the
optimal empirical denoiser of the examples; of one window as large as the image and no shifts it is that of whole images. A
patch-based score is what a local and equivariant network is thought to learn (Kamb and Ganguli, arXiv 2412.20292); here it
stands beside a network, and `unseen.calibration` decides how much of it to believe.

Weights are found for blocks of ``block`` × ``block`` pixels, all of whose pixels take the same; a window is then the block and
an equal margin on its four sides. Beyond the border a shifted example repeats its outermost pixels, and a window ends there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from farfield.core.error import FarfieldError
from farfield.core.runtime import exact_matmul
from farfield.diffusion.denoiser import per_image

CELLS: Final = 1 << 23
"""Pixels times images times patches that are looked at at once."""


class Patches(nn.Module):
    """The examples' patches, to be asked for posterior means.

    Args:
        examples: ``[n, C, H, W]``; computed in their dtype.
        windows: sides of windows in pixels. From twice the image's longer side on a window holds the image from every place.
        reach: the largest shift.
        bandwidth: h.
        block: side of the blocks that share weights; 1 gives each pixel its own.
        copies: how many images of each example there are, one after the other in rounds: a domain's symmetries make more.
    """

    def __init__(
        self,
        examples: Tensor,
        windows: Sequence[int],
        reach: int = 1,
        bandwidth: float = 0.05,
        block: int = 1,
        copies: int = 1,
    ):
        super().__init__()
        if examples.ndim != 4 or not len(examples) or not windows or min(windows) < block or block < 1 or reach < 0:
            raise FarfieldError(
                f"patches: expected examples [n, C, H, W], windows at least as large as a block, and a reach of at least 0; "
                f"found {tuple(examples.shape)}, windows {list(windows)}, blocks of {block}, reach {reach}"
            )
        if copies < 1 or len(examples) % copies:
            raise FarfieldError(
                f"patches: {len(examples)} images; expected a multiple of the {copies} copies of each example"
            )
        self.distinct = len(examples) // copies
        self.windows, self.reach, self.bandwidth, self.block = tuple(windows), reach, bandwidth, block
        self.centre = nn.Buffer(examples.mean((0, 2, 3))[:, None, None])  # exponents lose less to rounding around 0
        self.examples = nn.Buffer(functional.pad(examples - self.centre, (reach,) * 4, "replicate"))
        self.shape = tuple(examples.shape[1:])

    def forward(
        self, x: Tensor, sigma: Tensor, windows: Sequence[int] | None = None, exclude: Tensor | None = None
    ) -> Tensor:
        """Posterior means, ``[len(windows), B, C, H, W]``, for noisy images ``[B, C, H, W]`` at levels scalar or ``[B]``.

        They are in the examples' dtype.

        Args:
            windows: some of them; all, if not given.
            exclude: ``[B]`` or ``[B, K]``, the examples whose patches are no candidates for each row (leave-one-out), nor
                those of their copies; −1 for none.
        """
        asked = self.windows if windows is None else tuple(windows)
        answer = x.new_empty(len(asked), *x.shape, dtype=self.examples.dtype)
        level = per_image(sigma, x)
        rows = max(1, CELLS // (16 * self.shape[1] * self.shape[2]))
        with exact_matmul():
            for part in torch.arange(len(x), device=x.device).split(rows):
                left_out = None if exclude is None else exclude[part]
                answer[:, part] = self._means(x[part], level[part], asked, left_out)
        return answer

    def _means(self, x: Tensor, sigma: Tensor, windows: Sequence[int], exclude: Tensor | None) -> Tensor:
        height, width = self.shape[1:]
        y = self.examples
        centred = (x - self.centre.to(x)).to(y)
        scale = (sigma.to(y) ** 2 + self.bandwidth**2).reciprocal()[:, None]
        sums = [_Sum(self._side(w), w, len(x), self.shape, y) for w in windows]
        pixels = centred.permute(2, 3, 0, 1)
        chunk = max(1, CELLS // (len(x) * height * width))
        for first, shifted in self._shifted(chunk):
            across = shifted.permute(2, 3, 1, 0)
            product, half = pixels @ across, across.square().sum(2) / 2
            for one in sums:
                scores = (one.pool(product) - one.pool(half)[:, :, None]) * scale
                if exclude is not None:
                    example = torch.arange(first, first + len(shifted), device=scores.device) % self.distinct
                    out = (exclude.reshape(len(exclude), -1, 1) == example).any(1)
                    scores.masked_fill_(out, -torch.inf)
                one.add(scores, shifted)
        return torch.stack([one.mean() for one in sums]) + self.centre

    def _side(self, window: int) -> int:
        """Side of the blocks of a window: the whole image where every place would see all of it."""
        longest = max(self.shape[1:])
        return longest if window >= 2 * longest else self.block

    def _shifted(self, chunk: int) -> Iterator[tuple[int, Tensor]]:
        """Parts of the examples under every shift, with the number of the first."""
        _, height, width = self.shape
        for first in range(0, len(self.examples), chunk):
            part = self.examples[first : first + chunk]
            for down in range(2 * self.reach + 1):
                for right in range(2 * self.reach + 1):
                    yield first, part[:, :, down : down + height, right : right + width]


class _Sum:
    """A weighted mean over patches that come part by part; its largest exponent so far is kept out of it."""

    def __init__(self, block: int, window: int, n: int, shape: tuple[int, ...], like: Tensor):
        self.block, self.shape = block, shape
        margin = 2 * max(shape[1:]) if block > window else window - block
        self.down, self.across = (_bands(size, block, margin).to(like) for size in shape[1:])
        h, w = len(self.down), len(self.across)
        self.top = like.new_full((h, w, n), -1e30)
        self.weight = like.new_zeros(h, w, n)
        self.total = like.new_zeros(h, w, n, shape[0] * block**2)

    def pool(self, values: Tensor) -> Tensor:
        """Sums over the window of every block: ``[H, W, ...]`` → ``[h, w, ...]``."""
        rows = (self.down @ values.flatten(1)).reshape(-1, *values.shape[1:])
        return (self.across @ rows.flatten(2)).unflatten(2, values.shape[2:])

    def add(self, scores: Tensor, patches: Tensor) -> None:
        """Logarithms of weights ``[h, w, n, m]``, and the examples ``[m, C, H, W]`` that they are of."""
        top = torch.maximum(self.top, scores.amax(-1))
        weights = (scores - top[..., None]).exp_()
        kept = (self.top - top).exp_()
        c, height, width = self.shape
        g, (h, w) = self.block, top.shape[:2]
        padded = functional.pad(patches, (0, w * g - width, 0, h * g - height))
        blocks = padded.reshape(-1, c, h, g, w, g).permute(2, 4, 0, 1, 3, 5).reshape(h, w, len(patches), -1)
        self.weight = self.weight * kept + weights.sum(-1)
        self.total = self.total * kept[..., None] + weights @ blocks
        self.top = top

    def mean(self) -> Tensor:
        c, height, width = self.shape
        g, (h, w, n) = self.block, self.top.shape
        blocks = (self.total / self.weight[..., None]).reshape(h, w, n, c, g, g).permute(2, 3, 0, 4, 1, 5)
        return blocks.reshape(n, c, h * g, w * g)[:, :, :height, :width]


def _bands(size: int, block: int, margin: int) -> Tensor:
    """``[ceil(size / block), size]``: 1 where a pixel is in the window of a block."""
    start = torch.arange(0, size, block)[:, None]
    pixel = torch.arange(size)
    return ((pixel >= start - margin // 2) & (pixel < start + block + (margin + 1) // 2)).double()
