"""The descriptor that a word or a path names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from farfield.audit.activation import DenoiserFeatures
from farfield.audit.copy_descriptor import BUNDLED, CopyDescriptor
from farfield.audit.descriptor import Descriptor
from farfield.audit.foundation import FAMILIES, Foundation
from farfield.audit.network_file import HALF, open_file
from farfield.audit.pixels import Pixels
from farfield.audit.sscd import SSCD, cached
from farfield.core.artifact import Images
from farfield.core.error import FarfieldError
from farfield.diffusion.denoiser import Denoiser

WORDS: Final = ("pixels", "model", "copy", "sscd", *FAMILIES)


def open_descriptor(
    spec: str,
    *,
    references: Images | Tensor | None = None,
    denoiser: Denoiser | None = None,
    device: torch.device | str = "cpu",
    size: int = 224,
    mean: Sequence[float] = HALF,
    std: Sequence[float] = HALF,
) -> Descriptor:
    """The descriptor that a word or a path names.

    Args:
        spec: ``pixels`` (needs ``references``); ``model`` (needs ``denoiser``); ``copy``, the bundled copy detector, or
            ``copy:FOLDER``, one that was trained; ``sscd`` as `farfield fetch sscd` left it, or ``sscd:FILE``; ``dinov2``
            or ``clip``, each also with a local folder or a hub id after a colon; or the path of a TorchScript file or of
            a CIFAR ResNet's state dict.
        references: images that pixels are whitened on.
        denoiser: the model whose features are taken.
        device: where a network runs.
        size, mean, std: what a TorchScript network expects, see `audit.network_file.TorchScript`.

    Raises:
        FarfieldError: an unknown word, a missing argument or file, or a file that is none of these.
    """
    word, _, place = spec.partition(":")
    if spec == "pixels":
        if references is None:
            raise FarfieldError("pixels: expected reference images to whiten on, found none; give references")
        return Pixels.fit(references.values if isinstance(references, Images) else references)
    if spec == "model":
        if denoiser is None:
            raise FarfieldError("model: expected a denoiser, found none; name a model, or describe with pixels")
        return DenoiserFeatures(denoiser)
    if word == "copy":
        return CopyDescriptor(place or BUNDLED, device)
    if word == "sscd":
        return SSCD(place or cached(), device)
    if word in FAMILIES:
        return Foundation(word, place or None, device)
    path = Path(spec)
    if not path.is_file():
        raise FarfieldError(f"descriptor {spec!r}: expected {', '.join(WORDS)} or the path of a file; no such file")
    return open_file(path, size, mean, std, device)
