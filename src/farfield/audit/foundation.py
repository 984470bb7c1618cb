"""DINOv2 and CLIP through transformers, which comes with the extra ``features``; weights as safetensors only.

Oquab et al. 2023, arXiv 2304.07193; Radford et al. 2021, arXiv 2103.00020. No code of a model's folder is run.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import torch
from torch import Tensor
from torch.nn import functional

from farfield.audit.descriptor import IMAGENET_MEAN, IMAGENET_STD, Descriptor, check_images, with_channels
from farfield.checkpoints.hub import download
from farfield.checkpoints.no_code import refuse_code
from farfield.core.artifact import file_digest
from farfield.core.error import FarfieldError, missing

WANTED: Final = ("config.json", "model*.safetensors")
SIDE: Final = 224


@dataclass(frozen=True)
class Family:
    """Where the published model is, its class in transformers, its configuration's kinds, and its normalisation."""

    hub: str
    network: str
    kinds: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]


FAMILIES: Final = {
    "dinov2": Family("facebook/dinov2-base", "Dinov2Model", ("dinov2",), IMAGENET_MEAN, IMAGENET_STD),
    "clip": Family(
        "openai/clip-vit-large-patch14",
        "CLIPVisionModelWithProjection",
        ("clip", "clip_vision_model"),
        (0.48145466, 0.4578275, 0.40821073),
        (0.26862954, 0.26130258, 0.27577711),
    ),
}


@final
class Foundation(Descriptor):
    """DINOv2's normalised class token, or CLIP's projected image embedding.

    Images are resized to a square (bicubic, antialiased), of 224 pixels or what a smaller model was made for; nothing
    is cropped, so that a copy's margins count.

    Args:
        family: ``dinov2`` or ``clip``.
        place: a folder with config.json and model.safetensors, or a hub id; the published model, if not given.

    Raises:
        FarfieldError: transformers is missing, the model cannot be had, or is of another family.
    """

    def __init__(self, family: str, place: str | None = None, device: torch.device | str = "cpu"):
        self.family, self.device = FAMILIES[family], torch.device(device)
        try:
            import transformers
        except ImportError as error:
            raise missing(f"{family}: this descriptor", "transformers") from error
        place = place or self.family.hub
        folder = Path(place) if Path(place).is_dir() else download(place, WANTED)
        weights = sorted(folder.glob("model*.safetensors"))
        if not weights or not (folder / "config.json").is_file():
            raise FarfieldError(
                f"{place}: expected config.json and model.safetensors, found others; convert the weights"
            )
        refuse_code(folder)
        try:
            kind = transformers.PretrainedConfig.get_config_dict(folder)[0].get("model_type")
            if kind not in self.family.kinds:
                raise ValueError(f"it is of {kind}")
            network: Any = getattr(transformers, self.family.network)
            self.network, info = network.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, dtype=torch.float32, output_loading_info=True
            )
            if info["missing_keys"]:  # transformers would fill them at random
                raise ValueError(f"no {sorted(info['missing_keys'])[0]} among its weights")
        except Exception as error:  # whatever a foreign folder does to its reader, it is not what was asked for
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise FarfieldError(f"{place}: expected a model of {family}, found another or damage ({reason})") from error
        self.network.eval().requires_grad_(False).to(self.device)
        self.side = min(SIDE, int(self.network.config.image_size))
        self.name = f"{family}-{file_digest([folder / 'config.json', *weights])[:12]}-{self.side}"

    def __call__(self, images: Tensor) -> Tensor:
        check_images(images)
        x = with_channels(images.float(), 3, self.name).to(self.device)
        x = functional.interpolate(x, (self.side, self.side), mode="bicubic", antialias=True, align_corners=False)
        mean, std = (x.new_tensor(v)[:, None, None] for v in (self.family.mean, self.family.std))
        with torch.no_grad():
            output = self.network(pixel_values=(x.clamp(-1, 1) / 2 + 0.5 - mean) / std)
        features: Tensor = output.pooler_output if self.family.network == "Dinov2Model" else output.image_embeds
        return features.float()
