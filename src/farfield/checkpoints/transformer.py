"""Files of transformers in the formats of their authors: DiT, SiT, which has the same network, and U-ViT.

A file is a state dict, or a training state with its moving average and, of DiT and SiT, the arguments of the training. Names and
shapes tell the network but for the number of its heads; of DiT and SiT they do not tell which it is: noise predicted at time
steps, or a flow. That is known from arguments and of published files, or asked for. Most are trained in the latents of an
autoencoder, which is no part of the file: its folder is asked for where there are not 1 to 3 channels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from farfield.checkpoints import flow
from farfield.checkpoints.average import choose
from farfield.checkpoints.checkpoint import Answers, Checkpoint, Coder, Finding, Question
from farfield.checkpoints.file.stored import Made, State, Tree
from farfield.checkpoints.fitting import counted, prove, shape
from farfield.checkpoints.inquiry import Inquiry
from farfield.checkpoints.latent import asked_coder
from farfield.checkpoints.native import Blueprint
from farfield.checkpoints.wrapped import networks
from farfield.core.error import FarfieldError

ANSWERS: Final = ("heads", "null", "codec", "prediction", "schedule", *flow.ANSWERS)
_DIT: Final = ("t_embedder.mlp.0.weight", "x_embedder.proj.weight", "final_layer.linear.weight", "pos_embed")
_UVIT: Final = ("mid_block.attn.qkv.weight", "patch_embed.proj.weight", "decoder_pred.weight", "pos_embed")
_HEADS: Final = {(1152, 28): 16, (1024, 24): 16, (768, 12): 12, (384, 12): 6}
_UVIT_HEADS: Final = {(1152, 29): 16, (1024, 21): 16, (768, 17): 12, (512, 13): 8}
"""Of the published networks, by width and blocks."""
_PUBLISHED: Final[dict[str, Mapping[str, Any]]] = {
    "DiT-XL-2-256x256.pt": {"prediction": "epsilon"},
    "DiT-XL-2-512x512.pt": {"prediction": "epsilon"},
    "SiT-XL-2-256x256.pt": flow.TOWARD_DATA,
    "cifar10_uvit_small.pth": {"schedule": "sde"},
    "celeba64_uvit_small.pth": {"schedule": "sde"},
    "imagenet64_uvit_mid.pth": {"schedule": "sde"},
    "imagenet64_uvit_large.pth": {"schedule": "sde"},
    "imagenet256_uvit_large.pth": {"schedule": "sde"},
    "imagenet512_uvit_large.pth": {"schedule": "sde"},
    "imagenet256_uvit_huge.pth": {"schedule": "scaled_linear"},
    "imagenet512_uvit_huge.pth": {"schedule": "scaled_linear"},
}
_COUNTS: Final = (10, 100, 1000)
"""Numbers of classes that data sets mostly have: one row more than that is no class."""
_MOST_BLOCKS: Final = 256
_LATENTS: Final = "stabilityai/sd-vae-ft-ema"


@dataclass(frozen=True)
class _Format:
    """What the two formats call things."""

    code: str
    marks: tuple[str, ...]
    patches: str
    table: str
    block: str
    heads: Mapping[tuple[int, int], int]


_FORMATS: Final = (
    _Format("DiT", _DIT, "x_embedder.proj.weight", "y_embedder.embedding_table.weight", "blocks.0", _HEADS),
    _Format("U-ViT", _UVIT, "patch_embed.proj.weight", "label_emb.weight", "mid_block", _UVIT_HEADS),
)


def recognises(tree: Tree) -> bool:
    return any(networks(tree.root, kind.marks) for kind in _FORMATS)


def read(tree: Tree, answers: Answers, part: str | None) -> Checkpoint:
    """A file of this family.

    Args:
        answers: ``heads``; ``prediction`` (epsilon, flow) and a flow's; ``schedule``; ``null`` (whether the last row of the
            table of classes stands for none); ``codec`` (a folder with an AutoencoderKL, or none).
        part: ``ema`` or ``net``, of a file that holds both.

    Raises:
        FarfieldError: weights are missing, of other shapes, or of a variant that is not read here; an answer that cannot be.
    """
    kind = next(k for k in _FORMATS if networks(tree.root, k.marks))
    state, chosen, place = choose(tree, kind.marks, part, ("pos_embed",))
    path, told = tree.path, _arguments(tree)
    inquiry = Inquiry(path, answers, {}, "")
    inquiry.refuse_others(ANSWERS)
    shared, classes = _shared(kind, state, inquiry, told)
    config = {**shared, **(_dit(state, path) if kind.code == "DiT" else _uvit(state, path))}
    _learn(kind, config, inquiry, told)
    heads = inquiry.settle(_heads(kind, config))
    if config["width"] % heads:
        raise FarfieldError(f"{path}: heads={heads}: expected a divisor of the width, {config['width']}")
    levels = _levels(kind, config, inquiry)
    config |= {"heads": heads} | ({"first_time": 1} if levels.pop("first", 0) else {})
    prove(config, state, path, kind.code)
    parameters, dtype = counted(state)
    image = (config["in_channels"], *config["img_size"])
    codec = _codec(image, inquiry)
    name = "SiT" if kind.code == "DiT" and flow.is_flow(levels) else kind.code
    return Checkpoint(
        path,
        name,
        Blueprint(config, image, None if levels else "vp", classes, scheduler=levels or None),
        lambda: {name: tensor.load() for name, tensor in state.items()},
        parameters,
        dtype,
        (
            Finding("part", f"{chosen} ({place or 'the whole file'})", "its place in the file"),
            Finding("network", f"transformer of {kind.code}", "names and shapes of the weights"),
            Finding("size", image[1], "a place for each of its patches"),
            Finding("classes", classes, f"rows of {kind.table}" if classes else "without a table of them"),
            *inquiry.findings,
        ),
        tuple(inquiry.questions),
        codec,
    )


def _arguments(tree: Tree) -> Mapping[str, Any]:
    """Those of the training, where the file has them."""
    given = tree.root.get("args") if isinstance(tree.root, dict) else None
    told = given.state if isinstance(given, Made) else given
    return told if isinstance(told, dict) else {}


def _shared(kind: _Format, state: State, inquiry: Inquiry, told: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
    """What is said alike in both formats, and the number of classes."""
    path = inquiry.path
    width, channels, patch, _ = shape(state, kind.patches, 4, path)
    rows = shape(state, kind.table, 2, path)[0] if kind.table in state else 0
    null = False
    if rows:
        if rows == 1 or told.get("num_classes") == rows - 1 or rows - 1 in _COUNTS:
            inquiry.learn({"null": True}, f"a table of {rows} rows; the last stands for none of its classes")
        elif rows in _COUNTS or told.get("num_classes") == rows:
            inquiry.learn({"null": False}, f"a table of {rows} rows, one of each class")
        ask = f"whether the last of the {rows} rows of its table of classes stands for none of them"
        null = inquiry.settle(
            Question("null", ask, kind.code == "DiT", (True, False), "the default of the original code")
        )
    extra = 0 if kind.code == "DiT" else 1 + (rows > 0)
    patches = shape(state, "pos_embed", 3, path)[1] - extra
    side = math.isqrt(max(patches, 0))
    if side < 1 or side**2 != patches:
        raise FarfieldError(f"{path}: places for {patches} patches; expected those of square images")
    return {
        "kind": kind.code.lower().replace("-", ""),
        "img_size": [side * patch, side * patch],
        "in_channels": channels,
        "patch": patch,
        "width": width,
        "hidden": shape(state, f"{kind.block}.mlp.fc1.weight", 2, path)[0],
        "classes": rows - null,
        **({"label_dropout": 0.1} if null else {}),
    }, rows - null


def _dit(state: State, path: Path) -> dict[str, Any]:
    blocks = _count(state, "blocks", path)
    numbers, (_, channels, patch, _) = (
        shape(state, "final_layer.linear.weight", 2, path)[0],
        shape(state, _DIT[1], 4, path),
    )
    answered = numbers // patch**2
    if answered not in (channels, 2 * channels):
        raise FarfieldError(
            f"{path}: sees {channels} channels and answers {answered}; expected as many, or twice as many"
        )
    return {
        "out_channels": answered,
        "num_blocks": blocks,
        "frequencies": shape(state, "t_embedder.mlp.0.weight", 2, path)[1],
    }


def _uvit(state: State, path: Path) -> dict[str, Any]:
    if "context_embed.weight" in state:
        raise FarfieldError(
            f"{path}: a U-ViT that is told words, which is not read here; expected one of images or of classes"
        )
    blocks = 2 * _count(state, "in_blocks", path) + 1
    hidden = shape(state, "time_embed.0.weight", 2, path)[0] if "time_embed.0.weight" in state else 0
    return {
        "out_channels": state["patch_embed.proj.weight"].shape[1],
        "num_blocks": blocks,
        "told_hidden": hidden,
        "bias": "mid_block.attn.qkv.bias" in state,
        "conv": "final_layer.weight" in state,
        "skips": "out_blocks.0.skip_linear.weight" in state,
    }


def _count(state: State, name: str, path: Path) -> int:
    blocks = next(i for i in range(_MOST_BLOCKS + 1) if f"{name}.{i}.attn.qkv.weight" not in state)
    if not 1 <= blocks < _MOST_BLOCKS:
        raise FarfieldError(f"{path}: {blocks} {name} or more; expected 1 to {_MOST_BLOCKS - 1}")
    return blocks


def _learn(kind: _Format, config: Mapping[str, Any], inquiry: Inquiry, told: Mapping[str, Any]) -> None:
    """What arguments, the file's name and published networks tell."""
    if "path_type" in told:
        path, answer = told["path_type"], told.get("prediction")
        if path not in ("Linear", "GVP") or answer != "velocity":
            raise FarfieldError(
                f"{inquiry.path}: a SiT trained to predict the {str(answer)[:20]} on the path {str(path)[:20]}; expected the "
                "velocity on the path Linear or GVP"
            )
        known = {**flow.TOWARD_DATA, "path": "straight" if path == "Linear" else "curved"}
        inquiry.learn(known, "the arguments of its training, which are SiT's")
    elif str(told.get("model", "")).startswith("DiT"):
        inquiry.learn({"prediction": "epsilon"}, "the arguments of its training, which are DiT's")
    size = (config["width"], config["num_blocks"])
    if size in kind.heads:
        inquiry.learn(
            {"heads": kind.heads[size]}, f"as every published one of {size[0]} channels and {size[1]} blocks has"
        )
    if inquiry.path.name in _PUBLISHED and size in kind.heads:
        inquiry.learn(_PUBLISHED[inquiry.path.name], f"of the published {inquiry.path.name}, by the name")


def _heads(kind: _Format, config: Mapping[str, Any]) -> Question:
    width = config["width"]
    likely = width // 64 if width % 64 == 0 else max(n for n in range(1, 9) if width % n == 0)
    return Question("heads", "number of its attention's heads", likely, (), "heads are mostly 64 channels wide")


def _levels(kind: _Format, config: Mapping[str, Any], inquiry: Inquiry) -> dict[str, Any]:
    """The configuration of a scheduler; none of U-ViT's continuous levels, which are the family ``vp``.

    Where it has ``first``, that is the time told at the lowest level.
    """
    learned = config["out_channels"] == 2 * config["in_channels"]
    if kind.code == "U-ViT":
        inquiry.learn({"prediction": "epsilon"}, "the default of the original code, not said in the file")
    likely = flow.FLOW if "sit" in inquiry.path.stem.lower() else "epsilon"
    ask = "what the network answers: the noise, as DiT's, or the velocity of a flow, as SiT's (both have the same weights)"
    if inquiry.settle(Question("prediction", ask, likely, ("epsilon", flow.FLOW))) == flow.FLOW:
        if kind.code == "DiT":
            inquiry.learn({k: v for k, v in flow.TOWARD_DATA.items() if k in flow.ASKED}, "as SiT has it")
        return flow.asked(inquiry)
    usual = {"num_train_timesteps": 1000, "prediction_type": "epsilon"}
    if kind.code == "DiT":
        inquiry.learn({"schedule": "linear"}, "the default of the original code, not said in the file")
        linear = inquiry.settle(Question("schedule", "its noise schedule", "linear", ("linear", "cosine"))) == "linear"
        betas = {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02}
        return {
            **usual,
            **(betas if linear else {"beta_schedule": "squaredcos_cap_v2"}),
            "variance_type": "learned_range" if learned else "fixed_large",
        }
    ask = "its levels: those of the SDE, or Stable Diffusion's time steps (train_ldm_discrete)"
    if inquiry.settle(Question("schedule", ask, "sde", ("sde", "scaled_linear"))) == "sde":
        return {}
    return {**usual, "beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "first": 1}


def _codec(image: tuple[int, ...], inquiry: Inquiry) -> Coder | None:
    """The autoencoder in whose latents it was trained, in a folder of its own."""
    if image[0] <= 3 and "codec" not in inquiry.answers:
        return None
    return asked_coder(image, inquiry, f"`hf download {_LATENTS}` brings that of DiT and SiT and prints its folder")
