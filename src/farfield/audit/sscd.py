"""SSCD, the copy-detection descriptor of the field, from its published files.

Pizzi, Roy, Ravindra, Goyal, Douze 2022, arXiv 2202.10261. Its files are licensed for non-commercial use and are not part
of farfield: they are downloaded by the user, or given by path. The network is rebuilt here (`farfield.networks.sscd_net`)
from the weights in a file, be it a state dict or a TorchScript archive.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, final

import torch
from torch import Tensor

from farfield.audit.descriptor import IMAGENET_MEAN, IMAGENET_STD, Descriptor, normalised
from farfield.audit.weights import rebuilt
from farfield.core.artifact import file_digest
from farfield.networks.sscd_net import POWER, SSCDNet, from_state_dict, is_sscd

SIDE: Final = 320
POWERS: Final = ("embeddings.0.pooling_param", "backbone.avgpool.pooling_param")
"""What an archive calls the power of the pooling, under Classy Vision's names and under torchvision's."""
THRESHOLD: Final = 0.6
"""The cosine of copies in Zhang et al. 2023, arXiv 2310.05264."""


@final
class SSCD(Descriptor):
    """Unit vectors of an SSCD network: images resized to 320×320 whatever their aspect ratio, ImageNet's normalisation.

    Raises:
        FarfieldError: no such file, or no weights of SSCD in it.
    """

    default_threshold = THRESHOLD

    def __init__(self, path: Path | str, device: torch.device | str = "cpu"):
        expected = "weights of SSCD, found others; give a published file of SSCD"
        self.network = rebuilt(path, is_sscd, _build, "SSCD", expected).to(device)
        self.device = torch.device(device)
        self.name = f"sscd-{file_digest([Path(path)])[:12]}-{SIDE}"

    def __call__(self, images: Tensor) -> Tensor:
        x = normalised(images, (SIDE, SIDE), IMAGENET_MEAN, IMAGENET_STD, self.name).to(self.device)
        with torch.no_grad():
            vectors: Tensor = self.network(x)
        return vectors


def _build(state: Mapping[str, Tensor], numbers: Mapping[str, float]) -> SSCDNet:
    return from_state_dict(state, next((numbers[name] for name in POWERS if name in numbers), POWER))
