"""The copy-detection descriptor that comes with farfield: two images of one origin have a high cosine, others about 0.

It was trained by `study.audit.copy_training` on natural images of 32×32, without labels; its card says how and how well.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final, final

import torch
from torch import Tensor

from farfield.audit.descriptor import Descriptor, check_images, resized, with_channels
from farfield.core.artifact import file_digest, read_json, write_bytes, write_json
from farfield.core.error import FarfieldError
from farfield.core.tensor_file import open_tensors
from farfield.networks.copy_net import SIDE, CopyNet

BUNDLED: Final = Path(__file__).parents[1] / "models" / "copy-32"
CONFIG, WEIGHTS = "config.json", "model.safetensors"


@final
class CopyDescriptor(Descriptor):
    """Unit vectors of a `CopyNet`; images are resized to 32×32 (antialiased), grey ones repeated to RGB.

    Args:
        folder: what `save_copy_net` wrote.

    Raises:
        FarfieldError: it holds no such network.
    """

    def __init__(self, folder: Path | str = BUNDLED, device: torch.device | str = "cpu"):
        folder = Path(folder)
        self.network = load_copy_net(folder).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.device = torch.device(device)
        self.name = f"copy-{file_digest([folder / CONFIG, folder / WEIGHTS])[:12]}"

    def __call__(self, images: Tensor) -> Tensor:
        check_images(images)
        x = resized(with_channels(images.float(), 3, self.name), (SIDE, SIDE))
        x = x.to(self.device, memory_format=torch.channels_last)
        with torch.no_grad():
            features: Tensor = self.network(x)
        return features


def save_copy_net(folder: Path, network: CopyNet) -> None:
    """The network in a folder: ``config.json`` and, in float16, ``model.safetensors``."""
    from safetensors.torch import save

    halves = {k: v.half().contiguous() for k, v in network.state_dict().items() if v.is_floating_point()}
    write_bytes(folder / WEIGHTS, save(halves))
    write_json(folder / CONFIG, {"network": "CopyNet", "width": network.width, "features": network.features})


def load_copy_net(folder: Path) -> CopyNet:
    """The network of a folder in float32, frozen, in evaluation mode.

    Raises:
        FarfieldError: missing or damaged files, or those of another network.
    """
    from safetensors import SafetensorError

    if not (folder / CONFIG).is_file() or not (folder / WEIGHTS).is_file():
        raise FarfieldError(
            f"{folder}: expected {CONFIG} and {WEIGHTS} of a copy descriptor, found no such files; give the folder "
            "that `farfield train-descriptor` made"
        )
    config = read_json(folder / CONFIG)
    try:
        if config["network"] != "CopyNet":
            raise ValueError(f"a {config['network']}")
        network = CopyNet(int(config["width"]), int(config["features"]))
        with open_tensors(folder / WEIGHTS) as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        missing = network.load_state_dict(weights, strict=False)
        # a count of batches, whole numbers, is not needed once training is over, and is not kept
        lacking = [name for name in missing.missing_keys if not name.endswith("num_batches_tracked")]
        if lacking or missing.unexpected_keys:
            raise ValueError(f"missing {lacking[:3]}, unknown {missing.unexpected_keys[:3]}")
    except (SafetensorError, json.JSONDecodeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise FarfieldError(
            f"{folder}: expected the weights of a copy descriptor, found others or damage ({error}); train it again"
        ) from error
    return network.float().eval().requires_grad_(False)
