"""The transformer of diffusers' DiTPipeline, as DiT (`networks.transformer`): its configuration, and its weights by our names.

The two codes tell their networks the time differently. DiT's frequencies are :math:`10000^{-k/128}`, those that diffusers
computes :math:`10000^{-k/127}`, to which a time looks up to 7 % earlier. In diffusers each block has embeddings of its own, too;
the conversion of DiT's published weights copied the one that there was into all of them, and training would have made them
different. So where they are all the same the network was trained by DiT's own code, and is told the time as there; where they
differ it was trained in diffusers, and is evaluated as diffusers does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from farfield.checkpoints.assembly import assemble, first_line
from farfield.checkpoints.checkpoint import Finding
from farfield.checkpoints.file.stored import Stored
from farfield.checkpoints.hub import read_config, stored_weights
from farfield.checkpoints.wrapped import alone
from farfield.core.error import FarfieldError
from farfield.networks.build import from_config

PART: Final = "transformer"
CLASSES: Final = ("DiTTransformer2DModel", "Transformer2DModel")
_NUMBERS: Final = (
    "num_attention_heads",
    "attention_head_dim",
    "in_channels",
    "num_layers",
    "sample_size",
    "patch_size",
    "num_embeds_ada_norm",
)
_FIXED: Final[dict[str, tuple[Any, ...]]] = {
    "norm_type": ("ada_norm_zero",),
    "activation_fn": ("gelu-approximate",),
    "attention_bias": (True,),
    "norm_elementwise_affine": (False,),
    "cross_attention_dim": (None,),
    "num_vector_embeds": (None,),
    "caption_channels": (None,),
    "only_cross_attention": (False, None),
    "double_self_attention": (False, None),
    "attention_type": ("default", None),
    "use_additional_conditions": (False, None),
}
"""What other entries are in a network that is DiT; the last ones may be missing."""
_ALWAYS: Final = ("norm_type", "activation_fn", "attention_bias", "norm_elementwise_affine")
_MOST: Final = 1 << 16
_FREQUENCIES: Final = 256
_AROUND: Final = {
    "x_embedder.proj": "pos_embed.proj",
    "final_layer.adaLN_modulation.1": "proj_out_1",
    "final_layer.linear": "proj_out_2",
}
_BLOCK: Final = {
    "attn.proj": "attn1.to_out.0",
    "mlp.fc1": "ff.net.0.proj",
    "mlp.fc2": "ff.net.2",
    "adaLN_modulation.1": "norm1.linear",
}
_TOLD: Final = {
    "t_embedder.mlp.0.weight": "timestep_embedder.linear_1.weight",
    "t_embedder.mlp.0.bias": "timestep_embedder.linear_1.bias",
    "t_embedder.mlp.2.weight": "timestep_embedder.linear_2.weight",
    "t_embedder.mlp.2.bias": "timestep_embedder.linear_2.bias",
    "y_embedder.embedding_table.weight": "class_embedder.embedding_table.weight",
}
"""Parts of the network, of a block and of an embedding: here, there."""


def read(folder: Path) -> dict[str, Any]:
    """The network as `networks.build` takes it; of its weights the few numbers are read that tell who trained it.

    Raises:
        FarfieldError: it is not DiT's, or its weights are not those of its configuration.
    """
    place = folder / PART / "config.json"
    given = read_config(place)
    numbers: dict[str, Any] = {name: given.get(name) for name in _NUMBERS}
    numbers["out_channels"] = given.get("out_channels") or numbers["in_channels"]
    for name, value in numbers.items():
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _MOST:
            raise FarfieldError(f"{place}: {name} {value!r:.40}; expected a whole number from 1 to {_MOST}")
    for name, allowed in _FIXED.items():
        value = given.get(name, None if name not in _ALWAYS else "missing")
        if value not in allowed:
            raise FarfieldError(
                f"{place}: {name} is {value!r:.40}, expected {allowed[0]!r} in a DiTPipeline's transformer"
            )
    heads, blocks = numbers["num_attention_heads"], numbers["num_layers"]
    config = {
        "kind": "dit",
        "img_size": [numbers["sample_size"]] * 2,
        "in_channels": numbers["in_channels"],
        "out_channels": numbers["out_channels"],
        "patch": numbers["patch_size"],
        "width": heads * numbers["attention_head_dim"],
        "num_blocks": blocks,
        "heads": heads,
        "frequencies": _FREQUENCIES,
        "classes": numbers["num_embeds_ada_norm"],
        "label_dropout": 0.1,
    }
    held = _held(folder)
    if not _copied(held, blocks):
        eps = given.get("norm_eps", 1e-5)
        if not isinstance(eps, float) or not 0 <= eps < 1:
            raise FarfieldError(f"{place}: norm_eps {eps!r:.40}; expected a number from 0 to 1")
        config |= {"endpoint": True, "apart": blocks > 1, "eps": eps}
    _prove(config, held, place)
    return config


def said(folder: Path) -> tuple[Finding, ...]:
    """What is concluded of who trained the network, and the names of its classes."""
    config = read(folder)
    names = read_config(folder / "model_index.json").get("id2label")
    first = f", of which 0 is {str(names['0'])[:40]}" if isinstance(names, dict) and "0" in names else ""
    classes = (Finding("class names", len(names), f"id2label in model_index.json{first}"),) if names else ()
    if config.get("endpoint"):
        why = (
            "its blocks have embeddings of their own" if config["apart"] else "it has one block, and says nothing else"
        )
        return Finding("time", "told as diffusers does", why), *classes
    why = "its blocks' embeddings are copies of one, as a conversion leaves them; diffusers itself tells the time otherwise"
    return Finding("time", "told as DiT's own code does", why), *classes


def stored(folder: Path) -> dict[str, Stored]:
    """The weights that are read, by diffusers' names: no copies."""
    held = _held(folder)
    names = {name for theirs in _sources(read(folder), held).values() for name in theirs}
    return {name: held[name] for name in sorted(names)}


def network(folder: Path, dtype: torch.dtype) -> nn.Module:
    """The network with its weights, on the CPU.

    Raises:
        FarfieldError: as of `read`, or embeddings that are copies in part.
    """
    config, held = read(folder), _held(folder)
    place = folder / PART
    if not config.get("endpoint"):
        _check_copies(held, config["num_blocks"], place)
    weights: dict[str, Tensor] = {}
    for name, theirs in _sources(config, held).items():
        parts = [held[part].load().to(dtype) for part in theirs]
        weights[name] = parts[0] if len(parts) == 1 else torch.cat(parts)
    if "pos_embed" not in weights:
        from farfield.networks.transformer import grid_of, places

        grid = grid_of(config["img_size"], config["patch"], config["width"], config["heads"])
        weights["pos_embed"] = places(grid, config["width"]).to(dtype)
    weights["pos_embed"] = weights["pos_embed"].reshape(1, -1, config["width"])
    try:
        return assemble(lambda: from_config(config), weights)
    except RuntimeError as error:
        raise FarfieldError(f"{place}: its weights are not those of its config.json ({first_line(error)})") from error


def _held(folder: Path) -> dict[str, Stored]:
    return dict(alone(stored_weights(folder / PART)))


def _block(i: int) -> str:
    return f"transformer_blocks.{i}"


def _copied(held: Mapping[str, Stored], blocks: int) -> bool:
    """Whether the blocks' embeddings begin alike: of the time the biases, which are small."""
    names = [name for name in _TOLD.values() if name.endswith("bias")]
    if blocks < 2 or any(f"{_block(i)}.norm1.emb.{name}" not in held for i in range(blocks) for name in names):
        return False
    return all(
        torch.equal(held[f"{_block(0)}.norm1.emb.{name}"].load(), held[f"{_block(i)}.norm1.emb.{name}"].load())
        for name in names
        for i in range(1, blocks)
    )


def _check_copies(held: Mapping[str, Stored], blocks: int, place: Path) -> None:
    """Refuse embeddings of which some are copies and others are not."""
    for name in _TOLD.values():
        first = held[f"{_block(0)}.norm1.emb.{name}"].load()
        for i in range(1, blocks):
            if not torch.equal(first, held[f"{_block(i)}.norm1.emb.{name}"].load()):
                raise FarfieldError(
                    f"{place}: the blocks' embeddings of the time are copies, but {name} of block {i} is not; expected all or "
                    "none of them to be, as DiT's conversion leaves them or diffusers trains them"
                )


def _sources(config: Mapping[str, Any], held: Mapping[str, Stored]) -> dict[str, tuple[str, ...]]:
    """The weights by our names, and of which of theirs each is made, one below the other."""
    both = ("weight", "bias")
    made: dict[str, tuple[str, ...]] = {
        f"{ours}.{end}": (f"{theirs}.{end}",) for ours, theirs in _AROUND.items() for end in both
    }
    for i in range(config["num_blocks"]):
        block, own = _block(i), f"blocks.{i}"
        made |= {f"{own}.{ours}.{end}": (f"{block}.{theirs}.{end}",) for ours, theirs in _BLOCK.items() for end in both}
        made |= {f"{own}.attn.qkv.{end}": tuple(f"{block}.attn1.to_{q}.{end}" for q in "qkv") for end in both}
        if config.get("apart") or i == 0:
            prefix = f"{own}." if config.get("apart") else ""
            made |= {f"{prefix}{ours}": (f"{block}.norm1.emb.{theirs}",) for ours, theirs in _TOLD.items()}
    if "pos_embed.pos_embed" in held:  # kept in files from before diffusers left it out
        made["pos_embed"] = ("pos_embed.pos_embed",)
    return made


def _prove(config: dict[str, Any], held: Mapping[str, Stored], place: Path) -> None:
    """See that the weights are those of the network, by names and shapes."""
    try:
        with torch.device("meta"):
            want = {name: tuple(t.shape) for name, t in from_config(config).state_dict().items()}
    except (RuntimeError, ArithmeticError) as error:
        raise FarfieldError(f"{place}: a network that cannot be ({first_line(error)})") from error
    made = _sources(config, held)
    copies = {f"{_block(i)}.norm1.emb.{name}" for i in range(config["num_blocks"]) for name in _TOLD.values()}
    known = {name for theirs in made.values() for name in theirs} | copies
    if strange := sorted(held.keys() - known):
        raise FarfieldError(
            f"{place.parent}: {strange[0][:80]}: no weight of a DiTPipeline's transformer of this configuration"
        )
    if missing := sorted(known - held.keys()):
        raise FarfieldError(f"{place.parent}: {missing[0]} is missing; download it again")
    for name, theirs in made.items():
        shapes = [held[part].shape for part in theirs]
        have = (sum(s[0] for s in shapes), *shapes[0][1:]) if shapes[0] else ()
        if math.prod(have) != math.prod(want[name]) or (name != "pos_embed" and have != want[name]):
            raise FarfieldError(
                f"{place.parent}: {theirs[0]} is of shape {shapes[0]}; expected the parts of {want[name]}"
            )
