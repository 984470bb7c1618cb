"""What a model's name means: the bundled model, a folder on disk, a hub id, or a data set's optimal denoiser."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import torch
from torch import nn

from farfield.checkpoints.card import find_card
from farfield.checkpoints.empirical import is_empirical, load_empirical, open_points
from farfield.checkpoints.given import WAYS, given_digest, given_model, is_given
from farfield.checkpoints.latent import is_latent, load_latent, wanted
from farfield.checkpoints.mixer_published import installed, is_published
from farfield.checkpoints.native import (
    Blueprint,
    is_native,
    load_native,
    newest_snapshot,
    read_blueprint,
    read_network,
)
from farfield.core.artifact import file_digest
from farfield.core.disk import files_below
from farfield.core.download import cache_folder
from farfield.core.error import FarfieldError
from farfield.core.note import say
from farfield.data.bundled import PREFIX
from farfield.diffusion.denoiser import Denoiser
from farfield.diffusion.precondition import Family

BUNDLED = ("cifar10-32", "galaxies-64", "digits-memorizing", "digits-generalizing")
"""Models that ship inside the package."""

_DIGESTED = (".json", ".safetensors", ".bin", ".txt")
"""Configurations, weights, and the vocabularies of tokenizers."""


def locate(name: str) -> Path:
    """The folder or file of a model; a hub id, or a card's, is downloaded unless the cache holds it.

    A path that is there comes before a bundled model of that name, with a line that says so; ``bundled:NAME`` is the model.

    Raises:
        FarfieldError: neither bundled, nor on disk, nor the form of a hub id; or a model without a folder.
    """
    if is_empirical(name):
        raise FarfieldError(f"model {name!r}: the denoiser of a data set has no network; expected a model with weights")
    if is_given(name):
        raise FarfieldError(
            f"model {name!r}: a module of your own has no file, which this needs; expected a model that has one"
        )
    path = Path(name).expanduser()
    if is_bundled(name):
        return Path(str(files("farfield") / "models" / name.removeprefix(PREFIX)))
    if is_published(name):
        return installed(name)
    if name in BUNDLED:
        say(f"{name}: the {'folder' if path.is_dir() else 'file'} here is read; the bundled model is {PREFIX}{name}")
    if (path / "snapshots").is_dir():
        return newest_snapshot(path)
    if path.is_dir() or path.is_file():
        return path
    card = find_card(name)
    if card is not None and not card.hub:
        if not (path := cache_folder() / card.file).is_file():
            raise FarfieldError(
                f"model {name!r}: not in the cache ({path}); bring it there with `farfield fetch {name}`"
            )
        return path
    name = card.source if card is not None else name
    if re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", name) and not name.startswith((".", "/")):
        from farfield.checkpoints.hub import download

        folder = download(name, ("model_index.json",))
        return download(name, wanted(folder)) if is_latent(folder) else download(name)
    raise FarfieldError(
        f"model {name!r}: no such folder; expected {', '.join(BUNDLED)}, the folder of a training or of a diffusers pipeline, a "
        "hub id such as google/ddpm-cifar10-32, a checkpoint file, a name of `farfield fetch`, "
        f"galaxygrad:hsc-64, or empirical:DATA; or {WAYS}"
    )


def is_bundled(name: str) -> bool:
    """Whether a name means a bundled model: with `PREFIX`, or where no path of that name is there."""
    bare = name.removeprefix(PREFIX)
    return bare in BUNDLED and (name != bare or not Path(name).expanduser().exists())


def bundled_models() -> dict[str, str]:
    """What each bundled model is, as the head of its card says."""
    cards = {name: files("farfield") / "models" / name / "README.md" for name in BUNDLED}
    return {name: _heading(card.read_text(encoding="utf-8")) for name, card in cards.items()}


def _heading(card: str) -> str:
    """The first sentence of a card that is no title."""
    lines = [line.strip() for line in card.splitlines()]
    start = next(i for i, line in enumerate(lines) if line.startswith("# ")) + 1
    paragraph = " ".join(lines[start:]).strip().partition("  ")[0]
    return paragraph.partition(". ")[0].rstrip(".")


def split_name(name: str) -> tuple[str, str | None]:
    """``MODEL@CHOICE`` as the two: of EDM's files which network (``ema``, ``net``), of Stable Diffusion the prompt."""
    if Path(name).expanduser().exists() or "@" not in name:
        return name, None
    bare, _, choice = name.partition("@")
    return bare, choice


def load_denoiser(
    name: str, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32, label: int | None = None
) -> Denoiser:
    """The denoiser of a model's name, frozen, on a device; that of a data set computes in float64 where it matters."""
    if is_empirical(name):
        return load_empirical(name, label=label).to(device)
    if is_given(name):
        return given_model(name, device=device, dtype=dtype, label=label)
    bare, part = split_name(name)
    folder = locate(bare)
    if folder.is_file():
        from farfield.checkpoints.foreign import open_checkpoint

        return open_checkpoint(folder, part=part).denoiser(dtype=dtype, label=label).to(device)
    if is_latent(folder):
        return load_latent(folder, dtype=dtype, label=label, prompt=part).to(device)
    if is_native(folder):
        _refuse_part(name, part)
        return load_native(folder, dtype=dtype, label=label).to(device)
    from farfield.checkpoints.hub import load_folder

    return load_folder(folder, dtype=dtype, label=label, part=part).to(device)


def open_network(name: str, family: Family | None = None) -> tuple[Blueprint, nn.Module]:
    """What a model is built like, and its network with its weights, to be trained further or written elsewhere.

    Args:
        family: as another family than it is: its weights are where that training begins.
    """
    bare, part = split_name(name)
    path = locate(bare)
    if path.is_file():
        from farfield.checkpoints.foreign import open_checkpoint

        checkpoint = open_checkpoint(path, part=part)
        plan, network = checkpoint.plan, checkpoint.network()
    elif is_native(path):
        _refuse_part(name, part)
        plan = read_blueprint(path)
        network = read_network(plan, path)
    else:
        from farfield.checkpoints.hub import open_folder

        plan, network = open_folder(path, part)
    return (plan if family is None else replace(plan, family=family, scheduler=None, levels={})), network


def _refuse_part(name: str, part: str | None) -> None:
    if part is not None:
        raise FarfieldError(f"{name}: this model reads no prompt, and holds no parts to choose from; leave @{part} out")


def model_digest(name: str) -> str:
    """sha256 of a model's weights and configurations, or of the data set that it is the denoiser of."""
    if is_empirical(name):
        return open_points(name).digest()
    if is_given(name):
        return given_digest(name)
    bare, part = split_name(name)
    path = locate(bare)
    if path.is_file():
        from farfield.checkpoints.foreign import kept_answers

        weights, selection = file_digest([path]), [part, kept_answers(path)]
    else:
        weights = file_digest(p for p in files_below(path) if p.suffix in _DIGESTED)
        from farfield.checkpoints.parts import average_folder

        if part is None and not is_native(path) and not is_latent(path) and average_folder(path) is not None:
            part = "ema"
        if part is None:
            return weights
        selection = [part]
    return hashlib.sha256(f"{weights}{json.dumps(selection, sort_keys=True)}".encode()).hexdigest()
