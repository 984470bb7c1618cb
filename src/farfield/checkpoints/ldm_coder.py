"""The first stage of a file of latent diffusion (``first_stage_model.…``) as diffusers' AutoencoderKL or VQModel.

Names and shapes tell all of it but the scale of the latents. The network that they tell is laid out without memory, and its names
and shapes must be the file's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch

from farfield.checkpoints.assembly import assemble
from farfield.checkpoints.checkpoint import Coder
from farfield.checkpoints.file.stored import State
from farfield.checkpoints.fitting import fits, renamed, shape
from farfield.checkpoints.latent import codec_of

GROUPS: Final = 32
_MOST_LEVELS: Final = 12
_ONE_BY_ONE: Final = re.compile(r"attentions\.\d+\.to_(q|k|v|out\.0)\.weight")
"""Convolutions here, matrices there."""
_PARTS: Final = (
    (r"\bmid\.block_1\b", "mid_block.resnets.0"),
    (r"\bmid\.block_2\b", "mid_block.resnets.1"),
    (r"\bmid\.attn_1\b", "mid_block.attentions.0"),
    (r"\bnorm_out\b", "conv_norm_out"),
    (r"\bnin_shortcut\b", "conv_shortcut"),
    (r"^encoder\.down\.(\d+)\.block\b", r"encoder.down_blocks.\1.resnets"),
    (r"^encoder\.down\.(\d+)\.attn\b", r"encoder.down_blocks.\1.attentions"),
    (r"^encoder\.down\.(\d+)\.downsample\b", r"encoder.down_blocks.\1.downsamplers.0"),
)
_OF_ATTENTION: Final = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}


def read_coder(state: State, scale: float, latents: tuple[int, ...], path: Path) -> Coder:
    """The autoencoder that a file holds.

    Args:
        state: its weights, without the first stage's name.
        scale: of the latents.
        latents: the shape of what the network sees.

    Raises:
        FarfieldError: weights are missing, of other shapes, or of a variant that is not read here.
    """
    state = {name: tensor for name, tensor in state.items() if not name.startswith("loss.")}
    levels = len([i for i in range(_MOST_LEVELS) if f"encoder.down.{i}.block.0.conv1.weight" in state])
    config = _config(state, levels, path) | {"scaling_factor": scale}
    named = renamed(state, lambda name: _renamed(name, levels), path)
    kind = "VQModel" if is_quantised(state) else "AutoencoderKL"
    there = {name: _shape(name, state[old].shape) for name, old in named.items()}
    fits(lambda: _made(kind, config), there, named, path, f"the autoencoder ({kind})")

    def read(dtype: torch.dtype) -> Any:
        dtype = torch.promote_types(dtype, torch.float32)
        weights = {name: state[old].load().to(dtype).reshape(there[name]) for name, old in named.items()}
        return codec_of(assemble(lambda: _made(kind, config), weights))

    pictures = (config["in_channels"], *(side * 2 ** (levels - 1) for side in latents[1:]))
    return Coder(f"the {kind} in it", pictures, read)


def is_quantised(state: State) -> bool:
    return "quantize.embedding.weight" in state


def latent_channels(state: State, path: Path) -> int:
    """How many its latents have."""
    return shape(state, "post_quant_conv.weight", 4, path)[1]


def _made(kind: str, config: Mapping[str, Any]) -> Any:
    import diffusers

    return getattr(diffusers, kind)(**config)


def _config(state: State, levels: int, path: Path) -> dict[str, Any]:
    """The configuration of that network, as its names and shapes tell."""
    blocks = next(j for j in range(len(state) + 1) if f"encoder.down.0.block.{j}.conv1.weight" not in state)
    widths = [shape(state, f"encoder.down.{i}.block.0.conv1.weight", 4, path)[0] for i in range(levels)]
    down = [f"encoder.down.{i}.attn.0.q.weight" in state for i in range(levels)]
    up = [f"decoder.up.{i}.attn.0.q.weight" in state for i in range(levels)]
    channels = shape(state, "decoder.conv_in.weight", 4, path)[1]
    codes: dict[str, int] = {}
    if is_quantised(state):
        rows, width = shape(state, "quantize.embedding.weight", 2, path)
        codes = {"num_vq_embeddings": rows, "vq_embed_dim": width}
    return {
        "in_channels": shape(state, "encoder.conv_in.weight", 4, path)[1],
        "out_channels": shape(state, "decoder.conv_out.weight", 4, path)[0],
        "block_out_channels": widths,
        "layers_per_block": max(blocks, 1),
        "down_block_types": ["AttnDownEncoderBlock2D" if a else "DownEncoderBlock2D" for a in down],
        "up_block_types": ["AttnUpDecoderBlock2D" if a else "UpDecoderBlock2D" for a in reversed(up)],
        "latent_channels": channels,
        "norm_num_groups": GROUPS,
        **codes,
    }


def _renamed(name: str, levels: int) -> str:
    for pattern, there in _PARTS:
        name = re.sub(pattern, there, name)
    name = re.sub(
        r"^decoder\.up\.(\d+)\.(block|attn|upsample)\b",
        lambda m: (
            f"decoder.up_blocks.{levels - 1 - int(m[1])}."
            f"{ {'block': 'resnets', 'attn': 'attentions', 'upsample': 'upsamplers.0'}[m[2]] }"
        ),
        name,
    )
    attention = rf"(attentions\.\d+)\.({'|'.join(_OF_ATTENTION)})\."
    return re.sub(attention, lambda m: f"{m[1]}.{_OF_ATTENTION[m[2]]}.", name)


def _shape(name: str, stored: tuple[int, ...]) -> tuple[int, ...]:
    """Of a weight there: kernels of one pixel, of two dimensions or one, are matrices."""
    return stored[:2] if _ONE_BY_ONE.search(name) and set(stored[2:]) <= {1} else stored
