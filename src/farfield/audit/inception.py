"""Inception-v3 as Fréchet Inception distances take it, from its published weights; it reads images as TensorFlow did.

Heusel et al. 2017, arXiv 1706.08500. The distance of the literature is that of `audit.distribution.frechet_distance` in
these 2048 features, of 8-bit images. The network is rebuilt here (`farfield.networks.inception`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, final

import torch
from torch import Tensor

from farfield.audit.descriptor import Descriptor, check_images, with_channels
from farfield.audit.weights import rebuilt
from farfield.core.artifact import file_digest
from farfield.networks.inception import from_state_dict, is_inception

SIDE: Final = 299


@final
class Inception(Descriptor):
    """The 2048 pooled activations. Grey levels v of 0 … 255 are resized to 299×299 and given as ``(v - 128) / 128``.

    Resizing is that of TensorFlow 1, linear between the pixels at ``i · side / 299`` without antialiasing, whatever the
    aspect ratio: other ways of resizing give other distances (Parmar et al. 2021, arXiv 2104.11222).

    Raises:
        FarfieldError: no such file, or no weights of that network in it.
    """

    def __init__(self, path: Path | str, device: torch.device | str = "cpu"):
        expected = (
            "weights of Inception-v3 under torchvision's names, found others; give pt_inception-2015-12-05-6726825d.pth"
        )
        network = rebuilt(path, is_inception, lambda state, _: from_state_dict(state), "Inception-v3", expected)
        self.network = network.to(device)
        self.device = torch.device(device)
        self.name = f"inception-{file_digest([Path(path)])[:12]}"

    def __call__(self, images: Tensor) -> Tensor:
        check_images(images)
        levels = (with_channels(images.float(), 3, self.name).to(self.device) + 1) * 127.5
        down, across = (_between(n, SIDE).to(levels) for n in levels.shape[2:])
        with torch.no_grad():
            features: Tensor = self.network((down @ levels @ across.T - 128) / 128)
        return features


def _between(n: int, wanted: int) -> Tensor:
    """Linear interpolation of n numbers at ``i · n / wanted``, as a matrix ``[wanted, n]``."""
    places = torch.arange(wanted, dtype=torch.float32) * torch.tensor(n / wanted, dtype=torch.float32)
    low = places.long()
    matrix = torch.zeros(wanted, n)
    rows = torch.arange(wanted)
    matrix[rows, low] = 1 - (places - low)
    matrix[rows, (low + 1).clamp(max=n - 1)] += places - low
    return matrix
