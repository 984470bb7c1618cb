"""SSCD, the copy-detection descriptor of the field, from its published TorchScript files.

Pizzi, Roy, Ravindra, Goyal, Douze 2022, arXiv 2202.10261. Its files are licensed for non-commercial use and are not part
of farfield: they are downloaded by the user, or given by path.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, final

import torch
from torch import Tensor
from torch.nn import functional

from farfield.audit.descriptor import IMAGENET_MEAN, IMAGENET_STD, Descriptor
from farfield.audit.network_file import TorchScript
from farfield.checkpoints.card import SSCD as CARD
from farfield.core.download import cache_folder, download
from farfield.core.error import FarfieldError

URL: Final = CARD.source
SIDE: Final = 320
THRESHOLD: Final = 0.6
"""The cosine of copies in Zhang et al. 2023, arXiv 2310.05264."""


@final
class SSCD(Descriptor):
    """Unit vectors of an SSCD network: images resized to 320×320 whatever their aspect ratio, ImageNet's normalisation.

    Raises:
        FarfieldError: no such file, or not TorchScript.
    """

    default_threshold = THRESHOLD

    def __init__(self, path: Path | str, device: torch.device | str = "cpu"):
        if not Path(path).is_file():
            raise FarfieldError(
                f"sscd: expected the published network at {path}, found no file; run `farfield fetch sscd` where there is "
                f"a network, or download {URL} and name the file as sscd:FILE"
            )
        self.network = TorchScript(path, SIDE, IMAGENET_MEAN, IMAGENET_STD, device)
        self.name = f"sscd-{self.network.name}"

    def __call__(self, images: Tensor) -> Tensor:
        return functional.normalize(self.network(images), dim=1)


def cached(url: str = URL) -> Path:
    """Where a downloaded file lies."""
    return cache_folder() / url.rpartition("/")[2]


def fetch(url: str = URL, sha256: str | None = None, quiet: bool = False) -> tuple[Path, str]:
    """Download a network to the cache, once; where it lies, and its sha256.

    It is put in place only when it is whole, has the stated hash and opens as TorchScript.

    Raises:
        FarfieldError: as of `core.download.download`, or not TorchScript.
    """
    path = cached(url)
    return path, download(url, path, sha256=sha256, check=SSCD, quiet=quiet)
