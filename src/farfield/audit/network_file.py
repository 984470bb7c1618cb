"""Descriptors from a file of weights.

No file is unpickled: state dicts are read with ``weights_only=True``, TorchScript by torch's own reader.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final, final

import torch
from torch import Tensor

from farfield.audit.descriptor import IMAGENET_MEAN, IMAGENET_STD, Descriptor, normalised
from farfield.core.artifact import file_digest
from farfield.core.error import FarfieldError
from farfield.networks import resnet

HALF: Final = (0.5, 0.5, 0.5)


@final
class TorchScript(Descriptor):
    """A scripted or traced network from a file: ``[n, 3, size, size]`` → ``[n, d]``, or ``[n, d, h, w]``, averaged.

    The network is given ``(v - mean) / std`` with v the RGB image in [0, 1], resized (antialiased). By default that is
    [-1, 1]; `IMAGENET_MEAN` and `IMAGENET_STD` are torchvision's and timm's habit; mean 0 and std 1/255 give 0 … 255.

    A TorchScript file is a program, though one that runs in torch's interpreter and not in Python.

    Args:
        path: the file.
        size: side of the square that the network expects.
        mean, std: per channel.
        device: where it runs.

    Raises:
        FarfieldError: not a TorchScript file.
    """

    def __init__(
        self,
        path: Path | str,
        size: int = 224,
        mean: Sequence[float] = HALF,
        std: Sequence[float] = HALF,
        device: torch.device | str = "cpu",
    ):
        path = Path(path)
        try:
            self.network = torch.jit.load(str(path), map_location=device).eval()
        except (RuntimeError, ValueError, OSError) as error:
            raise FarfieldError(
                f"{path}: expected a TorchScript file, found another or a damaged one ({str(error).splitlines()[0]}); "
                "save it with torch.jit.save(torch.jit.script(network), path)"
            ) from error
        self.path, self.size, self.device = path, size, torch.device(device)
        self.mean, self.std = tuple(mean), tuple(std)
        numbers = "/".join(f"{v:g}" for v in (*self.mean, *self.std))
        self.name = f"torchscript-{file_digest([path])[:12]}-{size}-{numbers}"

    def __call__(self, images: Tensor) -> Tensor:
        x = normalised(images, (self.size, self.size), self.mean, self.std, self.name).to(self.device)
        with torch.no_grad():
            features = self.network(x)
        features = features[0] if isinstance(features, list | tuple) else features
        if isinstance(features, Tensor) and features.ndim == 4:
            features = features.mean((2, 3))
        if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != len(x):
            found = list(features.shape) if isinstance(features, Tensor) else type(features).__name__
            raise FarfieldError(
                f"{self.path}: expected features [{len(x)}, d] or [{len(x)}, d, h, w], found {found}; "
                "script a network that returns them"
            )
        return features.float()


@final
class CifarResNet(Descriptor):
    """The 64 pooled activations of a CIFAR-10 ResNet (`farfield.networks.resnet`) whose state dict is in a file.

    Images are resized to 32×32, grey ones repeated to RGB, and normalised by ImageNet's mean and standard deviation on
    [0, 1], as in the training of the published weights.

    Raises:
        FarfieldError: the file holds no such state dict.
    """

    def __init__(self, path: Path | str, device: torch.device | str = "cpu"):
        path = Path(path)
        try:
            self.network = resnet.from_state_dict(_state_dict(path)).to(device)
        except FarfieldError as error:
            raise FarfieldError(str(error) if str(path) in str(error) else f"{path}: {error}") from error
        self.device = torch.device(device)
        self.name = f"resnet{self.network.depth}-{file_digest([path])[:12]}"

    def __call__(self, images: Tensor) -> Tensor:
        x = normalised(images, (32, 32), IMAGENET_MEAN, IMAGENET_STD, self.name).to(self.device)
        with torch.no_grad():
            return self.network.features(x)


def open_file(
    path: Path, size: int, mean: Sequence[float], std: Sequence[float], device: torch.device | str
) -> Descriptor:
    """The descriptor in a file: TorchScript (which needs size, mean and std), or a CIFAR ResNet's state dict.

    Raises:
        FarfieldError: it is neither.
    """
    parts = _archive(path)
    if "constants.pkl" in parts:
        return TorchScript(path, size, mean, std, device)
    if "archive_format" in parts or "model.json" in parts:
        raise FarfieldError(
            f"{path}: expected TorchScript or a state dict, found a torch.export archive, which torch opens by "
            "unpickling; save the network with torch.jit.save(torch.jit.script(network), path) instead"
        )
    return CifarResNet(path, device)


def _archive(path: Path) -> set[str]:
    """The last part of each name in a zip file; nothing for other files."""
    if not zipfile.is_zipfile(path):
        return set()
    try:
        with zipfile.ZipFile(path) as archive:
            return {Path(name).name for name in archive.namelist()}
    except (OSError, zipfile.BadZipFile):
        return set()


def _state_dict(path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a foreign file does to the reader, it is not what was asked for
        raise FarfieldError(
            f"{path}: expected a TorchScript file or a CIFAR ResNet's state dict (torch.save), found neither "
            f"({type(error).__name__}); give such a file, or describe with pixels or model"
        ) from error
    content = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise FarfieldError(
            f"{path}: expected a state dict of tensors, found {type(content).__name__} of something else; "
            "save network.state_dict()"
        )
    return {str(name): value for name, value in content.items()}
