"""The network of a file of latent diffusion that attends to words, as diffusers' UNet2DConditionModel.

It is guided-diffusion's but for its attentions, which are transformers of images and words, under the same names here and there.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from farfield.checkpoints.file.stored import State
from farfield.checkpoints.fitting import fits, renamed, shape
from farfield.checkpoints.guided_architecture import Architecture
from farfield.checkpoints.guided_unet2d import PARTS, modules
from farfield.core.error import FarfieldError
from farfield.networks.guided_unet import NORM_GROUPS
from farfield.networks.prompted import CONDITIONED


def conditioned(
    state: State, built: Architecture, side: int, heads: int, head_channels: int, path: Path
) -> tuple[dict[str, Any], State]:
    """The configuration, as `networks.build` takes it without what the network is told, and the weights by diffusers' names.

    Args:
        built: what its names tell of the rest.
        side: of the latents.
        heads: of every attention, if their width is not fixed.
        head_channels: width of an attention head, 0 if their number is fixed.

    Raises:
        FarfieldError: weights are missing, of other shapes, or of a variant that is not read here.
    """
    if built.scale_shift or built.resample != "conv":
        raise FarfieldError(
            f"{path}: a network that is told words, and changes size or is told the time in another way than Stable Diffusion; "
            "not read here"
        )
    first = next(name.partition(".transformer_blocks.")[0] for name in sorted(state) if ".transformer_blocks." in name)
    depth = sum(name.startswith(first) and name.endswith("attn2.to_k.weight") for name in state)
    attends = [2**i in built.attention for i in range(len(built.widths))]
    config = {
        "sample_size": side,
        "in_channels": built.channels,
        "out_channels": built.out_channels,
        "block_out_channels": list(built.widths),
        "down_block_types": ["CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attends],
        "up_block_types": ["CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)],
        "layers_per_block": built.blocks,
        "transformer_layers_per_block": depth,
        "cross_attention_dim": shape(state, f"{first}.transformer_blocks.0.attn2.to_k.weight", 2, path)[1],
        "use_linear_projection": len(state[f"{first}.proj_in.weight"].shape) == 2,
        # by an old mistake of diffusers' the number of heads is called so
        "attention_head_dim": [w // head_channels for w in built.widths] if head_channels else heads,
        "norm_num_groups": NORM_GROUPS,
    }
    if built.widths[0] != built.model_channels:
        raise FarfieldError(
            f"{path}: its first level has {built.widths[0]} channels, but the time step's embedding {built.model_channels}; not "
            "read here"
        )
    places = dict(modules(built))
    names = renamed(state, lambda name: _renamed(name, places), path)
    there = {name: state[old].shape for name, old in names.items()}

    def build() -> Any:
        from diffusers import UNet2DConditionModel

        return UNet2DConditionModel(**config)

    fits(build, there, names, path, "the network of Stable Diffusion")
    return {"kind": CONDITIONED, **config}, {name: state[old] for name, old in names.items()}


def _renamed(name: str, places: dict[str, str]) -> str:
    """A weight's name in diffusers."""
    module, _, kind = name.rpartition(".")
    if module in places:
        return f"{places[module]}.{kind}"
    stem = re.match(r"(?:input_blocks|output_blocks)\.\d+\.\d+|middle_block\.\d+", name)
    if stem is None or stem[0] not in places:
        return name
    there, part = places[stem[0]], module.removeprefix(f"{stem[0]}.")
    if ".attentions." in f".{there}":
        return f"{there}.{name.removeprefix(f'{stem[0]}.')}"
    return f"{there}.{PARTS.get(part, part)}.{kind}"
