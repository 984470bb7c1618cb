"""The architecture of a file of guided-diffusion or improved-diffusion: read off the names and shapes of its weights.

Every guess is proved: the network that was inferred is laid out without memory, and its names and shapes must be the file's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from farfield.checkpoints.file.stored import State
from farfield.core.error import FarfieldError
from farfield.networks.guided_unet import GuidedUNet, Resample

FIRST = ("time_embed.0.weight", "input_blocks.0.0.weight")
"""Weights by which the family is recognised; its classifiers have them too."""
_ATTENTION = ("qkv.weight", "proj_in.weight")
"""Of its blocks, here and in latent diffusion."""
_MOST_BLOCKS = 1000


@dataclass(frozen=True)
class Architecture:
    """All of a network that its weights' names and shapes say.

    Attributes:
        channels: of the images.
        out_channels: as many, or twice as many with a learned variance.
        model_channels: of the time step's embedding.
        widths: channels at each level.
        blocks: residual blocks at each level on the way down.
        attention: levels with attention, as the factors by which their maps are smaller than the images.
        classes: 0 if unconditional.
    """

    channels: int
    out_channels: int
    model_channels: int
    widths: tuple[int, ...]
    blocks: int
    attention: tuple[int, ...]
    classes: int
    scale_shift: bool
    resample: Resample

    @property
    def learned_variance(self) -> bool:
        return self.out_channels == 2 * self.channels

    @property
    def attended(self) -> set[int]:
        """The widths that attention divides into heads; there is always one in the middle."""
        return {w for i, w in enumerate(self.widths) if 2**i in self.attention} | {self.widths[-1]}

    @property
    def factor(self) -> int:
        """By how much the lowest maps are smaller than the images."""
        return 2 ** (len(self.widths) - 1)

    def config(self, **choices: Any) -> dict[str, Any]:
        """The configuration of our network (`networks.guided_unet`), as `networks.build` takes it, with its other arguments."""
        return {
            "kind": "guided",
            "in_channels": self.channels,
            "out_channels": self.out_channels,
            "model_channels": self.model_channels,
            "widths": list(self.widths),
            "num_res_blocks": self.blocks,
            "attention": list(self.attention),
            "classes": self.classes,
            "scale_shift": self.scale_shift,
            "resample": self.resample,
            **choices,
        }


def read_architecture(state: State, path: Path) -> Architecture:
    """The architecture of a state dict.

    Raises:
        FarfieldError: a classifier, a super-resolution model, or names and shapes that are not one network's.
    """
    built = inferred(state, path)
    _prove(built, state, path)
    if built.channels == 2 * built.out_channels or (built.channels, built.out_channels) == (6, 6):
        raise FarfieldError(
            f"{path}: sees {built.channels} channels and answers {built.out_channels}: a super-resolution model, which is "
            "shown a small image beside the noisy one; expected a model of images alone"
        )
    if built.out_channels not in (built.channels, 2 * built.channels):
        raise FarfieldError(
            f"{path}: answers {built.out_channels} channels to {built.channels}; expected as many, or twice as many with a "
            "learned variance"
        )
    return built


def inferred(state: State, path: Path) -> Architecture:
    """What the names and shapes of such a network say; that they are all of its names is still to be proved.

    Raises:
        FarfieldError: a classifier, or numbers that are not real.
    """
    for name, tensor in state.items():
        if 0 in tensor.shape or not tensor.dtype.is_floating_point:
            raise FarfieldError(
                f"{path}: {name} is of shape {tensor.shape} and {tensor.dtype}; expected real numbers, at least one; damaged, "
                "or quantized, which is not read here"
            )
    places = {int(m[1]) for name in state if (m := re.match(r"output_blocks\.(\d{1,4})\.", name))}
    if not places:
        raise FarfieldError(
            f"{path}: an encoder that ends in out.…, without output_blocks: a classifier of noisy images, which denoises "
            "nothing; give the diffusion model itself"
        )
    if places != set(range(len(places))) or len(places) > _MOST_BLOCKS:
        raise FarfieldError(
            f"{path}: output_blocks up to {max(places)}, {len(places)} of them; expected all from 0, at most {_MOST_BLOCKS}"
        )
    return _inferred(state, len(places), path)


def _inferred(state: State, stages: int, path: Path) -> Architecture:
    """What a well-formed state dict can only be; of another it is any guess."""

    def shape(name: str, dimensions: int) -> tuple[int, ...]:
        weight = state.get(name)
        if weight is None or len(weight.shape) != dimensions:
            what = "none" if weight is None else f"shape {weight.shape}"
            raise FarfieldError(
                f"{path}: expected a weight {name} of {dimensions} dimensions, as guided-diffusion has it, found {what}"
            )
        return weight.shape

    # On the way up the last block of a level also changes the size; on the way down that stands alone, or has no weights.
    up = re.compile(r"output_blocks\.(\d+)\.(?:[12]\.conv|[12]\.in_layers\.0)\.weight")
    ups = {int(m[1]): name for name in state if (m := up.fullmatch(name))}
    inputs = {int(m[1]) for name in state if (m := re.match(r"input_blocks\.(\d{1,4})\.", name))}
    missing = [n for n in range(stages) if n not in inputs]
    resample: Resample = "resnet"
    if ups:
        period = min(ups) + 1
        resample = "conv" if ups[min(ups)].endswith(".conv.weight") else "resnet"
    elif missing:
        period, resample = missing[0], "pool"
    else:
        period = stages
    if period < 2 or stages % period:
        raise FarfieldError(
            f"{path}: {stages} output_blocks, the first level of {period}; expected as many in each, at least 2"
        )
    starts = range(1, stages, period)
    widths = tuple(shape(f"input_blocks.{n}.0.in_layers.2.weight", 4)[0] for n in starts)
    rows = shape("input_blocks.1.0.emb_layers.1.weight", 2)[0]
    return Architecture(
        channels=shape("input_blocks.0.0.weight", 4)[1],
        out_channels=shape("out.2.weight", 4)[0],
        model_channels=shape("time_embed.0.weight", 2)[1],
        widths=widths,
        blocks=period - 1,
        attention=tuple(
            2**i for i, n in enumerate(starts) if any(f"input_blocks.{n}.1.{w}" in state for w in _ATTENTION)
        ),
        classes=shape("label_emb.weight", 2)[0] if "label_emb.weight" in state else 0,
        scale_shift=rows == 2 * widths[0],
        resample=resample,
    )


def _prove(built: Architecture, state: State, path: Path) -> None:
    """The network that was inferred has the names and shapes of the file."""
    try:
        expected = _layout(built)
    except (FarfieldError, RuntimeError, TypeError) as error:
        first = str(error).splitlines()[0][:200]
        raise FarfieldError(f"{path}: its weights are those of no network that can be ({first})") from error
    for name in sorted(expected.keys() | state.keys()):
        there = state[name].shape if name in state else None
        if there != expected.get(name):
            raise FarfieldError(
                f"{path}: {name} is {'missing' if there is None else f'of shape {there}'}; expected "
                f"{expected.get(name, 'no such weight')} in the U-Net of guided-diffusion with widths "
                f"{', '.join(map(str, built.widths))} that the other names and shapes tell; damaged, or a variant that is not "
                "read here"
            )


@lru_cache(maxsize=4)
def _layout(built: Architecture) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the network's weights; torch takes a moment to lay a large one out."""
    arguments = {name: value for name, value in built.config().items() if name != "kind"}
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in GuidedUNet(**arguments).state_dict().items()}
