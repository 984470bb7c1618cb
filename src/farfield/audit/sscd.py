"""SSCD, the copy-detection descriptor of the field, from its published files.

Pizzi, Roy, Ravindra, Goyal, Douze 2022, arXiv 2202.10261. Its files are licensed for non-commercial use and are not part
of farfield: they are downloaded by the user, or given by path. The network is rebuilt here (`farfield.networks.sscd_net`)
from the weights in a file, be it a state dict or a TorchScript archive.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, final

import torch
from torch import Tensor

from farfield.audit.descriptor import IMAGENET_MEAN, IMAGENET_STD, Descriptor, normalised
from farfield.audit.weights import Weights, read_weights
from farfield.core.artifact import file_digest
from farfield.core.error import FarfieldError
from farfield.networks.sscd_net import POWER, from_state_dict, is_sscd

SIDE: Final = 320
THRESHOLD: Final = 0.6
"""The cosine of copies in Zhang et al. 2023, arXiv 2310.05264."""


@final
class SSCD(Descriptor):
    """Unit vectors of an SSCD network: images resized to 320×320 whatever their aspect ratio, ImageNet's normalisation.

    Args:
        weights: of the file, where it has been read.

    Raises:
        FarfieldError: no such file, or no weights of SSCD in it.
    """

    default_threshold = THRESHOLD

    def __init__(self, path: Path | str, device: torch.device | str = "cpu", weights: Weights | None = None):
        weights = weights or read_weights(Path(path))
        state = weights.find(is_sscd, "SSCD")
        if state is None:
            raise FarfieldError(f"{path}: expected weights of SSCD, found others; give a published file of SSCD")
        power = weights.numbers.get("embeddings.0.pooling_param", weights.numbers.get("backbone.avgpool.pooling_param"))
        try:
            self.network = from_state_dict(state, POWER if power is None else power).to(device)
        except FarfieldError as error:
            raise FarfieldError(f"{path}: {error}") from error
        self.device = torch.device(device)
        self.name = f"sscd-{file_digest([Path(path)])[:12]}-{SIDE}"

    def __call__(self, images: Tensor) -> Tensor:
        x = normalised(images, (SIDE, SIDE), IMAGENET_MEAN, IMAGENET_STD, self.name).to(self.device)
        with torch.no_grad():
            vectors: Tensor = self.network(x)
        return vectors
