"""Descriptors from a file of weights: these are read as data, and the network is rebuilt here. Nothing in a file is run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, final

import torch
from torch import Tensor

from farfield.audit.descriptor import IMAGENET_MEAN, IMAGENET_STD, Descriptor, normalised
from farfield.audit.inception import Inception
from farfield.audit.sscd import SSCD
from farfield.audit.weights import open_weights, rebuilt
from farfield.core.artifact import file_digest
from farfield.core.error import FarfieldError
from farfield.networks import inception, resnet, sscd_net

KNOWN: Final = "SSCD, a CIFAR ResNet, Inception-v3 of 2015"


@final
class CifarResNet(Descriptor):
    """The 64 pooled activations of a CIFAR-10 ResNet (`farfield.networks.resnet`) whose state dict is in a file.

    Images are resized to 32×32, grey ones repeated to RGB, and normalised by ImageNet's mean and standard deviation on
    [0, 1], as in the training of the published weights.

    Raises:
        FarfieldError: the file holds no such state dict.
    """

    def __init__(self, path: Path | str, device: torch.device | str = "cpu"):
        expected = "a CIFAR ResNet's state dict, found another; give such a file"
        network = rebuilt(path, _is_resnet, lambda state, _: resnet.from_state_dict(state), "a CIFAR ResNet", expected)
        self.network = network.to(device)
        self.device = torch.device(device)
        self.name = f"resnet{self.network.depth}-{file_digest([Path(path)])[:12]}"

    def __call__(self, images: Tensor) -> Tensor:
        x = normalised(images, (32, 32), IMAGENET_MEAN, IMAGENET_STD, self.name).to(self.device)
        with torch.no_grad():
            return self.network.features(x)


def open_file(path: Path, device: torch.device | str) -> Descriptor:
    """The descriptor of a known network whose weights are in a file, told by their names.

    Raises:
        FarfieldError: it is none, or what is not data. A program of TorchScript is not run, see `audit.script`.
    """
    held, numbers = open_weights(path)
    for known, kind in ((sscd_net.is_sscd, SSCD), (inception.is_inception, Inception), (_is_resnet, CifarResNet)):
        if any(known(state) for state in held):
            return kind(path, device)
    if numbers is not None:
        raise FarfieldError(
            f"{path}: a TorchScript program, whose weights are of no network known here ({KNOWN}), and a program is not run; "
            f"if you trust it with all that you can read and write, give --trust {path} as well"
        )
    names = ", ".join(list(held[0])[:3]) if held else "no tensors"
    raise FarfieldError(
        f"{path}: expected the weights of a network known here ({KNOWN}), found others ({names} …); give a published file, "
        "or describe with pixels, copy or model"
    )


def _is_resnet(names: Mapping[str, object]) -> bool:
    return "layer1.0.conv1.weight" in names and "linear.weight" in names
