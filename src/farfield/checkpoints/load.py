"""What a model's name means: the bundled model, a folder on disk, a hub id, or a data set's optimal denoiser."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from farfield.checkpoints.empirical import load_empirical, open_points
from farfield.checkpoints.given import given_digest, given_model
from farfield.checkpoints.latent import is_latent, load_latent
from farfield.checkpoints.native import (
    Blueprint,
    is_native,
    load_native,
    read_blueprint,
    read_network,
)
from farfield.checkpoints.own_name import is_given
from farfield.checkpoints.place import is_empirical, split_name
from farfield.checkpoints.place import locate as locate
from farfield.core.artifact import file_digest
from farfield.core.disk import files_below
from farfield.core.error import FarfieldError
from farfield.diffusion.denoiser import Denoiser
from farfield.diffusion.precondition import Family

_DIGESTED = (".json", ".safetensors", ".bin", ".txt")
"""Configurations, weights, and the vocabularies of tokenizers."""


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
        plan, network = checkpoint.plan, checkpoint.alone()
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

        answers = kept_answers(path)
        for named in ("codec", "tokenizer"):
            if (folder := str(answers.get(named, ""))) and Path(folder).expanduser().is_dir():
                answers[named] = file_digest(p for p in files_below(Path(folder).expanduser()) if p.suffix in _DIGESTED)
        from farfield.checkpoints.registered import beside

        weights, selection = file_digest([path, *beside(path)]), [part, answers]
    else:
        from farfield.checkpoints.parts import average_of

        average = None if is_native(path) or is_latent(path) else average_of(path)
        listed = {average} if average is not None and average.is_file() else set()
        weights = file_digest(p for p in files_below(path) if p.suffix in _DIGESTED or p in listed)
        if part is None and average is not None:
            part = "ema"
        if part is None:
            return weights
        selection = [part]
    return hashlib.sha256(f"{weights}{json.dumps(selection, sort_keys=True)}".encode()).hexdigest()
