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
from farfield.audit.inception import Inception
from farfield.audit.network_file import open_file
from farfield.audit.pixels import Pixels
from farfield.audit.script import HALF, TorchScript
from farfield.audit.sscd import SSCD
from farfield.audit.word import look
from farfield.checkpoints import card as cards
from farfield.command.likeness import TRUST
from farfield.core.artifact import Blocks
from farfield.core.download import cache_folder, file_sha256, recorded_sha256
from farfield.core.error import FarfieldError
from farfield.diffusion.denoiser import Denoiser

PUBLISHED: Final = {
    "sscd": (SSCD, cards.SSCD),
    "sscd-large": (SSCD, cards.SSCD_LARGE),
    "inception": (Inception, cards.INCEPTION),
}
"""Of a word: the descriptor, and the card of its published file."""


def open_descriptor(
    spec: str,
    *,
    references: Blocks | Tensor | None = None,
    denoiser: Denoiser | None = None,
    device: torch.device | str = "cpu",
    size: int = 224,
    mean: Sequence[float] = HALF,
    std: Sequence[float] = HALF,
) -> Descriptor:
    """The descriptor that a word or a path names. Nothing in a file is run, unless it is named with ``trust:``.

    Args:
        spec: ``pixels`` (needs ``references``); ``model`` (needs ``denoiser``); ``copy``, the bundled copy detector, or
            ``copy:FOLDER``, one that was trained; ``sscd``, ``sscd-large`` or ``inception`` as `farfield fetch` left it, or
            ``sscd:FILE``; ``dinov2`` or ``clip``, each also with a local folder or a hub id after a colon; the path of a
            file with the weights of a known network (`audit.network_file`); or ``trust:FILE``, a TorchScript program
            that is run and can do whatever the user can (`audit.script`).
        references: images that pixels are whitened on.
        denoiser: the model whose features are taken.
        device: where a network runs.
        size, mean, std: what a trusted program expects, see `audit.script.TorchScript`.

    Raises:
        FarfieldError: an unknown word, a missing argument or file, or a file that is none of these.
    """
    word, _, place = spec.partition(":")
    if spec == "pixels":
        if references is None:
            raise FarfieldError("pixels: expected reference images to whiten on, found none; give references")
        return Pixels.fit(references)
    if spec == "model":
        if denoiser is None:
            raise FarfieldError("model: expected a denoiser, found none; name a model, or describe with pixels")
        return DenoiserFeatures(denoiser)
    if word == "copy":
        return CopyDescriptor(place or BUNDLED, device)
    if word in PUBLISHED:
        kind, card = PUBLISHED[word]
        return kind(place or _fetched(card), device)
    if word in FAMILIES:
        return Foundation(word, place or None, device)
    look(spec)
    path = Path(spec.removeprefix(TRUST))
    return TorchScript(path, size, mean, std, device) if spec.startswith(TRUST) else open_file(path, device)


def identity(spec: str) -> str:
    """What a run's request says of a descriptor: its name, which holds the digest of its files, whatever these are called.

    ``pixels`` and ``model`` are words alone: they depend on images and a model that are in a request of their own.

    Raises:
        FarfieldError: as of `open_descriptor`; so a file that is no descriptor is refused before anything is computed.
    """
    return spec if spec in ("pixels", "model") else open_descriptor(spec).name


def _fetched(card: cards.Card) -> Path:
    """Where a published file lies in the cache, if it is still the one that came, or was published."""
    path = cache_folder() / card.file
    if not path.is_file():
        raise FarfieldError(
            f"{card.name}: expected the published file at {path}, found none; run `farfield fetch {card.name}` where there "
            f"is a network, or download {card.source} and name the file as {card.name}:FILE"
        )
    expected, actual = recorded_sha256(path) or card.sha256, file_sha256(path)
    if expected is not None and actual != expected:
        raise FarfieldError(
            f"{path}: expected sha256 {expected}, found {actual}; delete it and run `farfield fetch {card.name}`, or name it "
            f"as {card.name}:{path} if it is meant"
        )
    return path
