"""A network from its name and a few choices; and from its configuration, which is kept beside its weights.

=========  ==========================================  =============================================
kind       architecture                                levels, unless chosen
=========  ==========================================  =============================================
ddpmpp     DDPM++ (`song_unet`)                        the lowest map is about 8 pixels
ncsnpp     NCSN++ (`song_unet`)                        the lowest map is about 8 pixels
adm        ADM (`adm_unet`)                            the lowest map is about 8 pixels
unet2d     DDPM's network, diffusers' `UNet2DModel`    as often as the size halves evenly, down to 4
mixer      MLP-mixer (`mixer`), quick on a CPU         one, of patches of 4 pixels
dit        DiT (`transformer`)                         one, of 16 patches a side at most, if they fit
=========  ==========================================  =============================================

The defaults are the published settings at 32 pixels (ddpmpp, ncsnpp: width 128; arXiv 2206.00364, table 7), 64 (adm: width
192; ddpmpp, ncsnpp) and 32 and 256 (unet2d: width 128; arXiv 2006.11239), and follow them between.
"""

from __future__ import annotations

import math
from typing import Any, Final, Literal, get_args

from torch import nn

from farfield.core.error import FarfieldError
from farfield.networks.adm_unet import ADMUNet
from farfield.networks.guided_unet import GuidedUNet
from farfield.networks.lucid_unet import LucidUNet
from farfield.networks.magnitude_unet import MagnitudeUNet
from farfield.networks.mixer import Mixer
from farfield.networks.prompted import CONDITIONED, conditioned
from farfield.networks.song_unet import SongUNet
from farfield.networks.transformer import DiT
from farfield.networks.unet2d import unet2d, unet2d_config
from farfield.networks.uvit import UViT

Kind = Literal["ddpmpp", "ncsnpp", "adm", "unet2d", "mixer", "dit"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
FOREIGN: Final = ("guided", "lucid", "uvit", "edm2", CONDITIONED)
"""Kinds of foreign files alone."""

_BLOCKS: Final[dict[str, int]] = {"ddpmpp": 4, "ncsnpp": 4, "adm": 3, "unet2d": 2, "mixer": 4, "dit": 12}
_PATCHES: Final = ("mixer", "dit")
"""Kinds of one level, which see an image as patches."""
_NCSNPP: Final = {
    "embedding_type": "fourier",
    "channel_mult_noise": 2,
    "encoder_type": "residual",
    "resample_filter": [1, 3, 3, 1],
}
_WIDER: Final = {
    "adm": ((1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), (1, 1, 2, 3, 4), (1, 1, 2, 2, 4, 4)),
    "unet2d": ((1,), (1, 2), (1, 2, 2), (1, 2, 2, 2), (1, 1, 2, 2, 4), (1, 1, 2, 2, 4, 4)),
}
"""Multipliers of one level, of two, … of six."""


def build_network(kind: str, shape: tuple[int, ...], **choices: Any) -> nn.Module:
    """A new network, ``network(x, time, label=None, augment=None)`` → ``[B, C, H, W]``; choices as of `network_config`."""
    return from_config(network_config(kind, shape, **choices))


def network_config(
    kind: str,
    shape: tuple[int, ...],
    *,
    width: int = 128,
    multipliers: tuple[int, ...] | None = None,
    blocks: int | None = None,
    attention: tuple[int, ...] | None = None,
    dropout: float = 0.0,
    classes: int = 0,
    augment: int = 0,
) -> dict[str, Any]:
    """All that `from_config` needs, as JSON can hold it.

    Args:
        shape: ``(C, H, W)`` of the images. Levels are named by the longer side, halved at each.
        width: channels at the full resolution.
        multipliers: of the width, one a level.
        blocks: residual blocks at each level on the way down.
        attention: the resolutions with attention, as the longer side of their maps.
        classes: how many, 0 if unconditional.
        augment: how many numbers say how an image was augmented (`diffusion.augment`), 0 for none.

    Raises:
        FarfieldError: no such kind, or choices that do not go together.
    """
    if kind not in KINDS:
        raise FarfieldError(f"network {kind!r}: expected one of {', '.join(KINDS)}")
    if len(shape) != 3 or min(shape) < 1:
        raise FarfieldError(f"network for images of shape {tuple(shape)}: expected (channels, height, width)")
    channels, height, columns = shape
    side = max(height, columns)
    multipliers = tuple(_multipliers(kind, height, columns) if multipliers is None else multipliers)
    blocks = _BLOCKS[kind] if blocks is None else blocks
    if width < 2 or width % 2 or blocks < 1 or not multipliers or min(multipliers) < 1:
        raise FarfieldError(
            f"width {width}, {blocks} blocks, multipliers {multipliers}: expected an even width, and all of them at least 1"
        )
    if not 0 <= dropout < 1:
        raise FarfieldError(f"dropout {dropout:g}: expected at least 0 and less than 1")
    sides = [side >> i for i in range(len(multipliers))]
    if attention is None and kind not in _PATCHES:
        attention = tuple(s for s in sides if (s <= 32 if kind == "adm" else 8 < s <= 16))
    if strange := [s for s in attention or () if s not in sides]:
        raise FarfieldError(
            f"attention at {', '.join(map(str, strange))}: expected resolutions of this network's levels, "
            f"{', '.join(map(str, sides))}"
        )
    if kind == "dit":
        if multipliers != (1,) or attention or dropout or augment:
            raise FarfieldError(
                "dit: has one level with attention everywhere, no dropout, and cannot be told of augmentation; leave these out"
            )
        if width % 4:
            raise FarfieldError(f"dit of width {width}: expected a multiple of 4")
        fits = [p for p in (1, 2, 4, 8, 16) if height % p == 0 == columns % p]
        patch = next((p for p in fits if p > 1 and side <= 16 * p), fits[-1])
        return {
            "kind": kind,
            "img_size": [height, columns],
            "in_channels": channels,
            "out_channels": channels,
            "patch": patch,
            "width": width,
            "num_blocks": blocks,
            "heads": max(1, width // 64) if width % max(1, width // 64) == 0 else 1,
            "classes": classes,
        }
    if kind == "mixer":
        if multipliers != (1,) or attention or dropout or classes or augment:
            raise FarfieldError(
                "mixer: has one level, no attention, no dropout, no classes, and cannot be told of augmentation; leave these out"
            )
        return {
            "kind": kind,
            "img_size": [height, columns],
            "in_channels": channels,
            "out_channels": channels,
            "width": width,
            "num_blocks": blocks,
        }
    if kind == "unet2d":
        halves = 2 ** (len(multipliers) - 1)
        if augment:
            raise FarfieldError("unet2d: cannot be told of augmentation; choose ddpmpp, ncsnpp or adm, or leave it out")
        if height % halves or columns % halves:
            raise FarfieldError(
                f"unet2d with {len(multipliers)} levels for images of {height}×{columns}: expected multiples of {halves}; "
                "give fewer multipliers, resize the images, or choose ddpmpp, which takes any size"
            )
        return {
            "kind": kind,
            **unet2d_config(tuple(shape), width, multipliers, blocks, tuple(attention or ()), dropout, classes),
        }
    return {
        "kind": kind,
        "img_resolution": side,
        "in_channels": channels,
        "out_channels": channels,
        "label_dim": classes,
        "augment_dim": augment,
        "model_channels": width,
        "channel_mult": list(multipliers),
        "num_blocks": blocks,
        "attn_resolutions": list(attention or ()),
        "dropout": dropout,
        **(_NCSNPP if kind == "ncsnpp" else {}),
    }


MOST_LEVELS, MOST_BLOCKS = 16, 256
"""Of a network; published ones have up to 7, with up to 8 blocks each."""
_LEVELS = ("block_out_channels", "channel_mult", "widths")
_DEPTHS = ("layers_per_block", "num_blocks", "num_res_blocks")


def from_config(config: dict[str, Any]) -> nn.Module:
    """A new network with the configuration of `network_config`; of ``unet2d`` any configuration of a UNet2DModel.

    The kinds ``guided`` (`guided_unet`), ``lucid`` (`lucid_unet`), ``uvit`` (`uvit`), ``edm2`` (`magnitude_unet`) and
    ``UNet2DConditionModel`` (`prompted`) are those of foreign files alone: they are not trained from new.

    Raises:
        FarfieldError: no such kind, or arguments that it does not take.
    """
    arguments = {name: value for name, value in config.items() if name != "kind"}
    kind = config.get("kind")
    _check_size(config)
    try:
        if kind == "unet2d":
            return unet2d(arguments)
        if kind == "adm":
            return ADMUNet(**arguments)
        if kind in ("ddpmpp", "ncsnpp"):
            return SongUNet(**arguments)
        if kind == "guided":
            return GuidedUNet(**arguments)
        if kind == "lucid":
            return LucidUNet(**arguments)
        if kind == "dit":
            return DiT(**arguments)
        if kind == "uvit":
            return UViT(**arguments)
        if kind == "edm2":
            return MagnitudeUNet(**arguments)
        if kind == "mixer":
            return Mixer(**arguments)
        if kind == CONDITIONED:
            return conditioned(arguments)
    except FarfieldError:
        raise
    except (TypeError, ValueError) as error:
        raise FarfieldError(
            f"configuration of a network {kind}: {error}; give that of the same kind, unchanged"
        ) from error
    raise FarfieldError(
        f"configuration of a network of kind {kind!r}: expected one of {', '.join(KINDS)}, {', '.join(FOREIGN)}"
    )


def _check_size(config: dict[str, Any]) -> None:
    """Refuse what would take for ever to be laid out; widths take no time."""
    for names, most in (((*_LEVELS,), MOST_LEVELS), ((*_DEPTHS,), MOST_BLOCKS)):
        for name in names:
            given = config.get(name, 1)
            amount = len(given) if isinstance(given, list | tuple) else given
            if not isinstance(amount, int) or not 1 <= amount <= most:
                raise FarfieldError(f"configuration of a network: {name} of {given!r:.80}: expected 1 to {most}")


def _multipliers(kind: str, height: int, columns: int) -> tuple[int, ...]:
    """The published multipliers for images of about this size."""
    low = min(height, columns)
    if kind in _PATCHES:
        return (1,)
    if kind == "unet2d":
        levels = 1
        while levels < 6 and height % 2**levels == 0 == columns % 2**levels and low >> levels >= 4:
            levels += 1
        return _WIDER[kind][levels - 1]
    levels = max(1 + (low >= 8), round(math.log2(low / 4)))
    if kind == "adm":
        return (1,) * (levels - 6) + _WIDER[kind][min(levels, 6) - 1]
    narrow = min(2, max(0, levels - 3))
    return (1,) * narrow + (2,) * (levels - narrow)
