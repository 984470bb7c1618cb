"""diffusers' UNet2DModel, called as every other network here."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from farfield.networks.layers import groups


class SampleOnly(nn.Module):
    """A diffusers network that answers with the tensor itself, as every other network does."""

    def __init__(self, unet: nn.Module):
        super().__init__()
        self.unet = unet

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None) -> Tensor:
        answer: Tensor = self.unet(x, time, class_labels=label, return_dict=False)[0]
        return answer


def unet2d_config(
    shape: tuple[int, ...],
    width: int,
    multipliers: tuple[int, ...],
    blocks: int,
    attention: tuple[int, ...],
    dropout: float,
    classes: int,
) -> dict[str, Any]:
    """The configuration of a UNet2DModel like those of DDPM (Ho et al. 2020, arXiv 2006.11239, appendix B)."""
    channels, height, width_px = shape
    side = max(height, width_px)
    attends = [side >> i in attention for i in range(len(multipliers))]
    return {
        "sample_size": height if height == width_px else [height, width_px],
        "in_channels": channels,
        "out_channels": channels,
        "block_out_channels": [width * m for m in multipliers],
        "down_block_types": ["AttnDownBlock2D" if a else "DownBlock2D" for a in attends],
        "up_block_types": ["AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)],
        "layers_per_block": blocks,
        "attention_head_dim": None,  # one head
        "norm_num_groups": groups(width),
        "norm_eps": 1e-6,
        "flip_sin_to_cos": False,
        "freq_shift": 1,
        "downsample_padding": 0,
        "dropout": dropout,
        "num_class_embeds": classes or None,
    }


def unet2d(config: dict[str, Any]) -> SampleOnly:
    """A new UNet2DModel whose residual branches and answer begin at zero, as DDPM's do."""
    from diffusers import UNet2DModel

    unet: Any = UNet2DModel(**config)
    for name, part in unet.named_modules():
        if name == "conv_out" or name.endswith((".conv2", ".to_out.0")):
            nn.init.zeros_(part.weight)
            nn.init.zeros_(part.bias)
    return SampleOnly(unet)
