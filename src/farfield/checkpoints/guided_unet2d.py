"""Weights of guided-diffusion as those of diffusers' UNet2DModel, where that computes the same function."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from torch import Tensor

from farfield.checkpoints.file.stored import State
from farfield.checkpoints.guided_architecture import Architecture
from farfield.networks.guided_unet import NORM_GROUPS, Order

PARTS = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
    "norm": "group_norm",
    "proj_out": "to_out.0",
    "op": "conv",
    "conv": "conv",
}
"""What the parts of residual blocks, attentions and changes of size are called: here, there."""


def obstacle(built: Architecture, heads: int, head_channels: int, heads_upsample: int = 0) -> str | None:
    """Why a UNet2DModel cannot hold such a network; None where it can."""
    if built.resample == "pool":
        return "its changes of size have no weights"
    if built.widths[0] != built.model_channels:
        return f"its first level has {built.widths[0]} channels, but the time step's embedding {built.model_channels}"
    if heads_upsample not in (0, heads):
        return f"it has {heads_upsample} heads on the way up, and {heads} elsewhere"
    if not head_channels and heads > 1 and len(built.attended) > 1:
        return f"its {heads} heads differ in width from level to level"
    return None


def unet2d_config(built: Architecture, size: int, heads: int, head_channels: int) -> dict[str, Any]:
    """The configuration of that UNet2DModel, as `networks.build` takes it."""
    attends = [2**i in built.attention for i in range(len(built.widths))]
    way: Literal["resnet", "conv"] = "resnet" if built.resample == "resnet" else "conv"
    plain = "Resnet{}sampleBlock2D" if way == "resnet" else "{}Block2D"
    return {
        "kind": "unet2d",
        "sample_size": size,
        "in_channels": built.channels,
        "out_channels": built.out_channels,
        "block_out_channels": list(built.widths),
        "down_block_types": ["AttnDownBlock2D" if a else plain.format("Down") for a in attends],
        "up_block_types": ["AttnUpBlock2D" if a else plain.format("Up") for a in reversed(attends)],
        "downsample_type": way,
        "upsample_type": way,
        "layers_per_block": built.blocks,
        "attention_head_dim": head_channels or (built.widths[-1] // heads if len(built.attended) == 1 else None),
        "norm_num_groups": NORM_GROUPS,
        "attn_norm_num_groups": NORM_GROUPS,
        "norm_eps": 1e-5,
        "resnet_time_scale_shift": "scale_shift" if built.scale_shift else "default",
        "flip_sin_to_cos": True,
        "freq_shift": 0,
        "downsample_padding": 1,
        "num_class_embeds": built.classes or None,
    }


def unet2d_weights(
    built: Architecture, state: State, heads: int, head_channels: int, order: Order
) -> dict[str, Tensor]:
    """The state dict of that UNet2DModel, tensor by tensor, in the stored dtype."""
    names = dict(modules(built))
    weights: dict[str, Tensor] = {}
    for name, stored in state.items():
        module, _, kind = name.rpartition(".")
        if module in names:
            weights[f"unet.{names[module]}.{kind}"] = stored.load()
            continue
        place = next(p for p in names if module.startswith(f"{p}."))
        part, there = module.removeprefix(f"{place}."), f"unet.{names[place]}"
        if part == "qkv":
            for letter, rows in zip("qkv", _split(stored.load(), heads, head_channels, order), strict=True):
                weights[f"{there}.to_{letter}.{kind}"] = rows
            continue
        tensor = stored.load()
        weights[f"{there}.{PARTS[part]}.{kind}"] = tensor.flatten(1) if name.endswith("proj_out.weight") else tensor
    return weights


def _split(rows: Tensor, heads: int, head_channels: int, order: Order) -> Iterator[Tensor]:
    """``[3C, C, 1]`` or ``[3C]`` as those of queries, keys and values: ``[C, C]`` or ``[C]`` each, head by head."""
    width = len(rows) // 3
    heads = width // head_channels if head_channels else heads
    rows = rows.reshape(len(rows), -1) if rows.ndim > 1 else rows
    apart = (heads, 3, width // heads) if order == "legacy" else (3, heads, width // heads)
    each = rows.reshape(*apart, *rows.shape[1:]).unbind(1 if order == "legacy" else 0)
    return (part.reshape(width, *rows.shape[1:]).clone() for part in each)


def modules(built: Architecture) -> Iterator[tuple[str, str]]:
    """Where residual blocks, attentions and changes of size stand, and the layers outside them: here, there."""
    yield "time_embed.0", "time_embedding.linear_1"
    yield "time_embed.2", "time_embedding.linear_2"
    yield "label_emb", "class_embedding"
    yield "input_blocks.0.0", "conv_in"
    yield "out.0", "conv_norm_out"
    yield "out.2", "conv_out"
    for here, there in ((0, "resnets.0"), (1, "attentions.0"), (2, "resnets.1")):
        yield f"middle_block.{here}", f"mid_block.{there}"
    levels, stage = len(built.widths), 1
    for i in range(levels):
        for k in range(built.blocks):
            yield f"input_blocks.{stage}.0", f"down_blocks.{i}.resnets.{k}"
            yield f"input_blocks.{stage}.1", f"down_blocks.{i}.attentions.{k}"
            stage += 1
        yield f"input_blocks.{stage}.0", f"down_blocks.{i}.downsamplers.0"
        stage += 1
    stage = 0
    for i in range(levels):
        attends = 2 ** (levels - 1 - i) in built.attention
        for k in range(built.blocks + 1):
            yield f"output_blocks.{stage}.0", f"up_blocks.{i}.resnets.{k}"
            if attends:
                yield f"output_blocks.{stage}.1", f"up_blocks.{i}.attentions.{k}"
            if k == built.blocks:
                yield f"output_blocks.{stage}.{1 + attends}", f"up_blocks.{i}.upsamplers.0"
            stage += 1
