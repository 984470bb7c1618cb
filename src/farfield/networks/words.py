"""A network's configuration (`networks.build`) in one line of words."""

from __future__ import annotations

from typing import Any, Final

from farfield.core.error import FarfieldError
from farfield.networks.prompted import CONDITIONED

_NAMES: Final = {
    "ddpmpp": "DDPM++",
    "ncsnpp": "NCSN++",
    "adm": "ADM",
    "unet2d": "UNet2DModel",
    "guided": "ADM (guided-diffusion's)",
    "lucid": "U-Net (denoising-diffusion-pytorch's)",
    "dit": "DiT",
    "uvit": "U-ViT",
    "edm2": "EDM2's U-Net",
    "mixer": "MLP-Mixer",
}


def in_words(config: dict[str, Any]) -> str:
    """Kind, channels of each level, blocks, attention and what else is special, as far as the configuration says it.

    Raises:
        FarfieldError: something in it is not what it should be, as a word for a number.
    """
    kind, name = config.get("kind", ""), config.get("_class_name")
    try:
        if kind == "mixer":
            patch, width, blocks = config.get("patch", 4), config["width"], config["num_blocks"]
            return f"{_NAMES[kind]}: patches of {patch} pixels, {width} channels, {blocks} blocks"
        if kind == "lucid":
            return _lucid(config)
        if kind in ("dit", "uvit"):
            patch, width, heads = config["patch"], config["width"], config["heads"]
            told = f"patches of {patch} pixels, {width} channels, {config['num_blocks']} blocks, {heads} head{'s' * (heads > 1)}"
            return f"{_NAMES[kind]}: {', '.join([told, *_special(config)])}"
        parts = [_widths(config), _blocks(config), _attention(config), *_special(config)]
    except (TypeError, ValueError, KeyError) as error:
        raise FarfieldError(
            f"configuration of a network {name or kind}: {error!r}; expected that of a network, unchanged"
        ) from error
    return f"{name or _NAMES.get(kind, kind or 'network')}: {', '.join(part for part in parts if part)}"


def _lucid(config: dict[str, Any]) -> str:
    full = [f"1/{2**i}" if i else "full size" for i, whole in enumerate(config["full"]) if whole]
    heads = " · ".join(
        f"{n} × {width}" for n, width in dict.fromkeys(zip(config["heads"], config["head_channels"], strict=True))
    )
    parts = [_widths(config), "2 blocks a level", f"linear attention, full at {', '.join([*full, 'the middle'])}"]
    parts += [f"heads {heads}", *_special(config)]
    parts += ["shown its own guess too, here none"] if config.get("self_condition") else []
    return f"{_NAMES['lucid']}: {', '.join(parts)}"


def _widths(config: dict[str, Any]) -> str:
    if "channel_mult" in config:
        widths = [config["model_channels"] * m for m in config["channel_mult"]]
    else:
        widths = list(config.get("block_out_channels") or config.get("widths") or [])
    return f"channels {' · '.join(map(str, widths))}" if widths else ""


def _blocks(config: dict[str, Any]) -> str:
    blocks = next((config[k] for k in ("num_blocks", "layers_per_block", "num_res_blocks") if k in config), None)
    if blocks is None or isinstance(blocks, list):
        return f"{' · '.join(map(str, blocks))} blocks" if blocks else ""
    return f"{blocks} {'blocks' if blocks > 1 else 'block'} a level"


def _attention(config: dict[str, Any]) -> str:
    heads = _heads(config)
    if "attn_resolutions" in config:
        sides = [int(s) for s in config["attn_resolutions"]]
    elif "down_block_types" in config:
        size = config.get("sample_size") or 0
        side = max(size) if isinstance(size, list | tuple) else size
        sides = [side >> i for i, name in enumerate(config["down_block_types"]) if "Attn" in name]
    elif config.get("attention"):
        return f"attention at 1/{', 1/'.join(map(str, config['attention']))} of the size{heads}"
    else:
        sides = []
    return f"attention at {', '.join(f'{s}×{s}' for s in sides)}{heads}" if sides else "attention in the middle alone"


def _heads(config: dict[str, Any]) -> str:
    if CONDITIONED in (config.get("_class_name"), config.get("kind")):
        return ""  # there attention_head_dim is mostly the number of heads
    width = config.get("attention_head_dim") or config.get("head_channels")
    if width:
        return f" in heads of {width} channels"
    return f" in {config['heads']} heads" if config.get("heads", 1) > 1 else ""


def _special(config: dict[str, Any]) -> list[str]:
    features = []
    channels, answers = config.get("in_channels"), config.get("out_channels")
    if channels and answers == 2 * channels:
        features.append("learned variance")
    if config.get("scale_shift") or config.get("resnet_time_scale_shift") == "scale_shift":
        features.append("scale-shift norm")
    if config.get("encoder_type") in ("residual", "skip"):
        features.append(f"{config['encoder_type']} encoder")
    if config.get("augment_dim"):
        features.append(f"told of augmentation ({config['augment_dim']})")
    return features
