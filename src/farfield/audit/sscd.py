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
from farfield.checkpoints import card as cards
from farfield.core.artifact import file_digest
from farfield.networks.sscd_net import POWER, SSCDNet, from_state_dict, is_sscd

SIDE: Final = 320
POWERS: Final = ("embeddings.0.pooling_param", "backbone.avgpool.pooling_param")
"""What an archive calls the power of the pooling, under Classy Vision's names and under torchvision's."""
LARGE: Final = 0.6
"""The cosine of copies under ``sscd_disc_large`` in Zhang et al. 2023, arXiv 2310.05264."""
MIXUP: Final = 0.75
"""That which SSCD's authors give for ``sscd_disc_mixup``: a precision of 90 % on DISC's pairs."""


@final
class SSCD(Descriptor):
    """Unit vectors of an SSCD network: images resized to 320×320 whatever their aspect ratio, ImageNet's normalisation.

    A published threshold is one file's: 0.6 the only ResNeXt's (``sscd_disc_large``), 0.75 that of ``sscd_disc_mixup``, which is
    known by its sha256 or, in another container, by its name. For every other network none is published.

    Raises:
        FarfieldError: no such file, or no weights of SSCD in it.
    """

    def __init__(self, path: Path | str, device: torch.device | str = "cpu"):
        expected = "weights of SSCD, found others; give a published file of SSCD"
        self.network = rebuilt(path, is_sscd, _build, "SSCD", expected).to(device)
        self.device = torch.device(device)
        digest = file_digest([Path(path)])
        self.name = f"sscd-{digest[:12]}-{SIDE}"
        mixup = digest == cards.SSCD.sha256 or "disc_mixup" in Path(path).name
        self.default_threshold = LARGE if self.network.grouped else MIXUP if mixup else None

    def __call__(self, images: Tensor) -> Tensor:
        x = normalised(images, (SIDE, SIDE), IMAGENET_MEAN, IMAGENET_STD, self.name).to(self.device)
        with torch.no_grad():
            vectors: Tensor = self.network(x)
        return vectors


def _build(state: Mapping[str, Tensor], numbers: Mapping[str, float]) -> SSCDNet:
    return from_state_dict(state, next((numbers[name] for name in POWERS if name in numbers), POWER))
