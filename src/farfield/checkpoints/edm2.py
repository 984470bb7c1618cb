"""EDM2's pickles (arXiv 2312.02696): network snapshots of its published code, and what is reconstructed from them.

A model is a ``Precond`` around a ``UNet`` (`networks.magnitude_unet`), preconditioned as EDM's; beside the network it learns the
loss to be expected at a level (``logvar_…``), which is of training alone. Beside the model lies what makes its images of
pictures, the ``encoder``: nothing (``StandardRGBEncoder``), or Stability's autoencoder (``StabilityVAEEncoder``), which is shown
pictures in [0, 1] and whose latents are brought to a mean and a deviation that the file says.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import torch

from farfield.checkpoints.checkpoint import Checkpoint, Coder, Finding, Question
from farfield.checkpoints.edm2_arguments import OUTER, configuration, preconditioning
from farfield.checkpoints.edm_arguments import in_levels
from farfield.checkpoints.file.stored import Made, Stored, Tree
from farfield.checkpoints.fitting import agree, bounded, shapes
from farfield.checkpoints.inquiry import Inquiry
from farfield.checkpoints.latent import Units, asked_coder
from farfield.checkpoints.native import Blueprint
from farfield.checkpoints.persistent import Module, opened, pairs
from farfield.core.error import FarfieldError
from farfield.networks.build import from_config

ANSWERS: Final = ("kind", "null", "codec")
_PIXELS: Final = "StandardRGBEncoder"
_LATENTS: Final = "StabilityVAEEncoder"
_VAE: Final = "stabilityai/sd-vae-ft-mse"
_HUB: Final = re.compile(r"[A-Za-z0-9][\w.-]{0,90}/[\w.-]{1,90}")
_MEAN: Final = (5.81, 3.25, 0.12, -2.15)
_SPREAD: Final = (4.17, 4.62, 3.71, 3.28)
_FINAL: Final = 0.5
"""Mean and deviation of the latents before, and the deviation after: the original code's defaults."""


def recognises(outer: Module) -> bool:
    """Whether a persistent object is EDM2's."""
    return outer.title == OUTER


def is_whole(outer: Module) -> bool:
    """Whether the loss to be expected was learned beside the network, as EDM2's own training does.

    Consistency models that were tuned from EDM2's networks (arXiv 2406.14548) have the same classes, without it.
    """
    return "logvar_linear" in pairs(outer.state.get("_modules"))


def read(tree: Tree, outer: Module, part: tuple[Finding, ...], asked: Inquiry) -> Checkpoint:
    """The model in a file.

    Args:
        part: what was found of the place of ``outer`` in it.
        asked: its questions, of which ``kind`` is settled.

    Raises:
        FarfieldError: arguments that cannot be, weights of another network, or an encoder that is not read here.
    """
    asked.refuse_others(ANSWERS)
    args = preconditioning(outer)
    config = configuration(inner := outer.module("unet"), args)
    stored = inner.tensors()
    _prove(config, stored, tree.path.stat().st_size)
    classes, side = args["label_dim"], args["img_resolution"]
    if classes:
        asked.learn({"null": False}, "the original code trains with every label; null=yes if yours left some out")
        ask = "whether it was trained without labels too, so that --label -1 is none of the classes"
        if asked.settle(Question("null", ask, False, (True, False))):
            config["label_dropout"] = 0.1
    coder, how = _coder(tree, (args["img_channels"], side, side), asked)
    return Checkpoint(
        tree.path,
        "edm2",
        Blueprint(config, (args["img_channels"], side, side), "edm", classes, args["sigma_data"]),
        lambda: {name: tensor.load() for name, tensor in stored.items()},
        sum(math.prod(t.shape) for t in stored.values()),
        Counter(t.dtype for t in stored.values()).most_common(1)[0][0],
        (
            Finding("class", outer.title, f"named by the file; its network is EDM2's: {in_levels(config)}"),
            *part,
            Finding("dropout", config["dropout"], "an argument of the network, for training alone"),
            *(
                (Finding("half precision", True, "its own code runs it so; float32 here unless asked"),)
                * args["use_fp16"]
            ),
            how,
            *asked.findings,
        ),
        tuple(asked.questions),
        coder,
    )


def _prove(config: dict[str, Any], stored: Mapping[str, Stored], size: int) -> None:
    """See that the file fills the network that it says."""
    blocks = len(config["channel_mult"]) * (2 * config["num_blocks"] + 1)
    bounded(stored, size, 4 * blocks, in_levels(config))  # each has at least so many
    with torch.device("meta"):
        agree(shapes(from_config(config)), stored)


def _coder(tree: Tree, latents: tuple[int, ...], asked: Inquiry) -> tuple[Coder | None, Finding]:
    """The autoencoder around the network, and what the file says of it.

    Raises:
        FarfieldError: an encoder of another class, or one that says nothing that can be.
    """
    channels, made = latents[0], pairs(tree.root).get("encoder")
    encoder = opened(made, "encoder") if isinstance(made, Made) else None
    latent = channels > 3 if encoder is None else encoder.title == _LATENTS
    if encoder is not None and encoder.title not in (_PIXELS, _LATENTS):
        raise FarfieldError(
            f"its images are made of pictures by an encoder of class {encoder.title}; expected {_PIXELS} or {_LATENTS}"
        )
    if not latent:
        told = "its encoder" if encoder else "the original code's; no encoder is in the file"
        return None, Finding("images", "pictures in [-1, 1]", told)
    named = encoder.state.get("vae_name") if encoder else None
    published = named if isinstance(named, str) and _HUB.fullmatch(named) else _VAE
    scale, bias = _constants(encoder, channels)
    how = Finding(
        "latents",
        f"{_listed(scale)} times those of {published}, plus {_listed(bias)}; pictures in [0, 1]",
        "its encoder" if encoder else "the original code's; no encoder is in the file",
    )
    shift = tuple(-b / s for s, b in zip(scale, bias, strict=True))
    why = f"`hf download {published}` brings that of EDM2's latent networks and prints its folder"
    return asked_coder(latents, asked, why, Units(scale, shift, 0.0)), how


def _constants(encoder: Module | None, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """What latents are multiplied by, and what is added then; of a file without an encoder the usual ones."""
    if encoder is None:
        if channels != len(_MEAN):
            raise FarfieldError(f"images of {channels} channels without an encoder; expected {len(_MEAN)}, or 1 to 3")
        scale = tuple(_FINAL / s for s in _SPREAD)
        return scale, tuple(-m * s for m, s in zip(_MEAN, scale, strict=True))
    found = []
    for name in ("scale", "bias"):
        held = encoder.state.get(name)
        if not isinstance(held, Stored) or held.shape != (channels,) or not held.dtype.is_floating_point:
            raise FarfieldError(f"its encoder: expected {name}, a number for each of {channels} channels; found none")
        found.append(tuple(held.load().double().tolist()))
    scale, bias = found
    if not all(0 < s < 1e6 for s in scale) or not all(abs(b) < 1e6 for b in bias):
        raise FarfieldError(
            f"its encoder: latents times {_listed(scale)} plus {_listed(bias)}; expected positive numbers, and any"
        )
    return scale, bias


def _listed(numbers: tuple[float, ...]) -> str:
    return f"({', '.join(f'{n:.4g}' for n in numbers[:8])})"
