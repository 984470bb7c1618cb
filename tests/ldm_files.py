"""Files of latent diffusion in its authors' format, made from networks of diffusers and transformers, named the other way.

Where a block or an attention stands follows from how the original network is put together: a stage for each block and each
change of size, counted through.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

State = dict[str, Tensor]

_RESNET = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
           "conv2": "out_layers.3", "conv_shortcut": "skip_connection"}  # fmt: skip
_OUTSIDE = {"conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2",
            "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2"}  # fmt: skip


def words_folder(folder: Path, begin_last: bool = True) -> tuple[Path, int]:
    """A tokenizer's folder of the letters a to z, and how many words that is; the two special ones stand last, as CLIP's."""
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    words = ["!", *letters, *(f"{c}</w>" for c in letters)]
    special = ["<|startoftext|>", "<|endoftext|>"]
    tokens = [*words, *special] if begin_last else [*special, *words]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return folder, len(tokens)


def unet_names(unet: Any) -> State:
    """A UNet2DConditionModel's weights under the original names."""
    n, levels = unet.config.layers_per_block, len(unet.config.block_out_channels)
    state = {}
    for name, tensor in unet.state_dict().items():
        outside = next((o for o in _OUTSIDE if name.startswith(f"{o}.")), None)
        if outside:
            state[_OUTSIDE[outside] + name.removeprefix(outside)] = tensor
            continue
        block, *parts = name.split(".")
        if block == "mid_block":
            kind, k, *rest = parts
            place = f"middle_block.{2 * int(k) if kind == 'resnets' else 1}"
        else:
            level, kind, k, *rest = parts
            down = block == "down_blocks"
            if kind in ("downsamplers", "upsamplers"):
                stage = int(level) * (n + 1) + n + down * 1
                attended = any(name.startswith(f"{block}.{level}.attentions") for name in unet.state_dict())
                place = f"input_blocks.{stage}.0.op" if down else f"output_blocks.{stage}.{1 + attended}.conv"
                state[f"{place}.{rest[-1]}"] = tensor
                continue
            stage = int(level) * (n + 1) + int(k) + down * 1
            place = f"{'input' if down else 'output'}_blocks.{stage}.{int(kind == 'attentions')}"
        if kind == "resnets":
            rest = [_RESNET[rest[0]], *rest[1:]]
        state[".".join([place, *rest])] = tensor
    assert levels and len(state) == len(unet.state_dict())
    return state


def coder_names(coder: Any) -> State:
    """The weights of an AutoencoderKL or a VQModel under the original names: its attentions are convolutions there."""
    levels = len(coder.config.block_out_channels)
    attention = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
    state = {}
    for name, tensor in coder.state_dict().items():
        side, _, rest = name.partition(".")
        if side in ("encoder", "decoder"):
            place, *parts = rest.split(".")
            if place == "mid_block":
                kind, k, *inner = parts
                rest = ".".join(["mid", f"{'block' if kind == 'resnets' else 'attn'}_{int(k) + 1}", *inner])
            elif place in ("down_blocks", "up_blocks"):
                level, kind, k, *inner = parts
                at = int(level) if place == "down_blocks" else levels - 1 - int(level)
                what = {"resnets": f"block.{k}", "attentions": f"attn.{k}"}.get(
                    kind, kind.removesuffix("rs").removesuffix("e")
                )
                what = {"downsampl": "downsample", "upsampl": "upsample"}.get(what, what)
                rest = ".".join([place.removesuffix("_blocks"), str(at), what, *inner])
            rest = rest.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
            if kind_of(name) == "attention":
                for there, here in attention.items():
                    rest = rest.replace(f".{there}.", f".{here}.")
                tensor = tensor[:, :, None, None] if tensor.ndim == 2 else tensor
            name = f"{side}.{rest}"
        state[name] = tensor
    assert len(state) == len(coder.state_dict())
    return state


def kind_of(name: str) -> str:
    return "attention" if ".attentions." in name else "other"


def clip_names(encoder: Any) -> State:
    """A CLIPTextModel's weights as Stable Diffusion 1 has them."""
    named = {n if n.startswith("text_model.") else f"text_model.{n}": t for n, t in encoder.state_dict().items()}
    return {f"transformer.{name}": tensor for name, tensor in named.items()}


def open_clip_names(encoder: Any) -> State:
    """The same as OpenCLIP calls them, with one block more, which is never used."""
    state: State = {}
    named = {n.removeprefix("text_model."): t for n, t in encoder.state_dict().items()}
    blocks = encoder.config.num_hidden_layers
    for i in range(blocks + 1):
        held = {
            n.removeprefix(f"encoder.layers.{min(i, blocks - 1)}."): t
            for n, t in named.items()
            if f".layers.{min(i, blocks - 1)}." in n
        }
        to = f"model.transformer.resblocks.{i}"
        for kind in ("weight", "bias"):
            state[f"{to}.attn.in_proj_{kind}"] = torch.cat([held[f"self_attn.{x}_proj.{kind}"] for x in "qkv"])
            state[f"{to}.attn.out_proj.{kind}"] = held[f"self_attn.out_proj.{kind}"]
            for here, there in (
                ("layer_norm1", "ln_1"),
                ("layer_norm2", "ln_2"),
                ("mlp.fc1", "mlp.c_fc"),
                ("mlp.fc2", "mlp.c_proj"),
            ):
                state[f"{to}.{there}.{kind}"] = held[f"{here}.{kind}"]
    state["model.token_embedding.weight"] = named["embeddings.token_embedding.weight"]
    state["model.positional_embedding"] = named["embeddings.position_embedding.weight"]
    for kind in ("weight", "bias"):
        state[f"model.ln_final.{kind}"] = named[f"final_layer_norm.{kind}"]
    state["model.text_projection"] = torch.zeros(2, 2)
    state["model.logit_scale"] = torch.tensor(4.6)
    return state


def single(unet: State, coder: State | None = None, condition: State | None = None, **rest: Tensor) -> State:
    """All of them in one state dict."""
    parts = (("model.diffusion_model", unet), ("first_stage_model", coder or {}), ("cond_stage_model", condition or {}))
    return {f"{prefix}.{name}": tensor.contiguous() for prefix, part in parts for name, tensor in part.items()} | rest


def averaged(state: State, by: float = 0.5) -> State:
    """LitEma's averages beside a network: names without dots."""
    network = {name: tensor for name, tensor in state.items() if name.startswith("model.diffusion_model.")}
    return {
        **state,
        **{
            "model_ema." + name.removeprefix("model.").replace(".", ""): by * tensor for name, tensor in network.items()
        },
        "model_ema.decay": torch.tensor(0.9999),
        "model_ema.num_updates": torch.tensor(3),
    }


def layout() -> dict[str, tuple[int, ...]]:
    """Names and shapes of a tiny unconditional LDM with a VQModel."""
    import guided_files
    from diffusers import VQModel

    flags = guided_files.Flags(learned=False, scale_shift=False, resample="conv", head_channels=32)
    with torch.device("meta"):
        coder = VQModel(
            block_out_channels=(32, 32),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            num_vq_embeddings=8,
        )
    network = {name: torch.empty(shape, device="meta") for name, shape in guided_files.layout(flags).items()}
    return {name: tuple(tensor.shape) for name, tensor in single(network, coder_names(coder)).items()}
