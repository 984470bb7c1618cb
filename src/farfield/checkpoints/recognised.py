"""Files of the field that are known for what they are, though their networks are not rebuilt here."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from typing import Final

import torch

from farfield.checkpoints.file.stored import Stored, Tree, states
from farfield.checkpoints.own_name import WAYS
from farfield.checkpoints.wrapped import bare
from farfield.core.error import FarfieldError

_IMAGES: Final = (
    "make images with its own code, and give those to `farfield score` or `farfield audit`; or take that code's network as "
    f"{WAYS}"
)


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        name: what it is.
        marks: patterns of names of weights, each of which is there.
        advice: how it is measured nevertheless.
    """

    name: str
    marks: tuple[str, ...]
    advice: str = _IMAGES


KINDS: Final = (
    Kind(
        "latent diffusion in its authors' format",
        (r"first_stage_model\..*|model\.diffusion_model\..*",),
        "convert it to a diffusers folder with diffusers' own script, and give that",
    ),
    Kind("a U-Net of denoising-diffusion-pytorch (lucidrains)", (r"(.*\.)?init_conv\.weight",)),
    Kind(
        "a diffusion transformer (DiT, SiT)",
        (r"(.*\.)?x_embedder\.proj\.weight", r"(.*\.)?adaLN_modulation\.\d+\.weight"),
    ),
    Kind("a network of score_sde_pytorch", (r"(.*\.)?all_modules\.0\.weight",)),
    Kind("a network of k-diffusion", (r"(.*\.)?inner_model\..*", r"(.*\.)?(timestep_embed|mapping)\..*")),
    Kind(
        "an autoencoder, which denoises nothing",
        (r"(.*\.)?encoder\.conv_in\.weight", r"(.*\.)?decoder\.conv_out\.weight"),
        "give the diffusion model that was trained with it",
    ),
    Kind(
        "low-rank changes (LoRA) of another model",
        (r".*lora[._](A|down|up)\b.*",),
        "merge them into their model with diffusers, save that as a folder, and give it",
    ),
)


class UnreadError(FarfieldError):
    """A file that is known for what it is, and not read.

    Attributes:
        kind: what it is.
        parameters: how many weights.
        dtype: of most of them.
    """

    def __init__(self, tree: Tree, kind: Kind, tensors: list[Stored]):
        super().__init__(f"{tree.path}: {kind.name}, whose network is not rebuilt here; {kind.advice}")
        self.kind = kind
        counts = Counter[torch.dtype]()
        for tensor in tensors:
            counts[tensor.dtype] += math.prod(tensor.shape)
        self.parameters, self.dtype = counts.total(), counts.most_common(1)[0][0]


def refuse(tree: Tree, kinds: tuple[Kind, ...] = KINDS) -> None:
    """Say what a file is, if it is of such a kind.

    Raises:
        UnreadError: it is.
    """
    for _, state in states(tree.root):
        names = list(bare(state))
        for kind in kinds:
            if all(any(re.fullmatch(mark, name) for name in names) for mark in kind.marks):
                raise UnreadError(tree, kind, list(state.values()))
