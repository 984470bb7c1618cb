"""Whose format a file is, and what is in it: by what it holds, never by its name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from farfield.checkpoints.checkpoint import Answers, Checkpoint
from farfield.checkpoints.file.stored import Tree, states
from farfield.checkpoints.own_name import WAYS
from farfield.core.artifact import read_json, write_json
from farfield.core.error import FarfieldError

SIDECAR = ".farfield.json"
"""Answers to what a file does not say are kept beside it, under its name with this ending."""


def open_checkpoint(
    path: Path, answers: Answers | None = None, part: str | None = None, *, kept: bool = True
) -> Checkpoint:
    """What a file is, without its weights being read.

    Args:
        answers: to what it does not say; they go before those that are kept beside the file.
        part: ``ema`` or ``net``, where a file holds both; ``ema`` if not given.
        kept: False: leave the answers beside the file aside.

    Raises:
        FarfieldError: no such file, of no family that is read here, damaged, or it holds what is not data.
    """
    from farfield.checkpoints import ddpm, edm, guided, ldm, lucid, mixer, recognised, score_sde, transformer
    from farfield.checkpoints.file.tree import open_tree
    from farfield.checkpoints.registered import with_customs

    answers = {**(kept_answers(path) if kept else {}), **(answers or {})}
    tree = with_customs(open_tree(path))
    if edm.recognises(tree):
        recognised.refuse_objects(tree)
        return edm.read(tree, answers, part)
    if mixer.recognises(tree):
        return mixer.read(tree, answers, part)
    recognised.refuse(tree)
    for family in (ldm, guided, ddpm, lucid, transformer, score_sde):
        if family.recognises(tree):
            return family.read(tree, answers, part)
    recognised.refuse_others(tree)
    raise FarfieldError(
        f"{path}: its contents are data{_told(tree)}, but of no network that is known here; expected a pickle of EDM or EDM2, "
        "the weights of guided-diffusion, improved-diffusion, the original DDPM, denoising-diffusion-pytorch, DiT, SiT, U-ViT or "
        f"score_sde, a single file of LDM or Stable Diffusion, or a score network of galaxygrad; or {WAYS}"
    )


def kept_answers(path: Path) -> dict[str, Any]:
    """The answers that are kept beside a file."""
    beside = path.with_name(path.name + SIDECAR)
    if not beside.is_file():
        return {}
    answers = read_json(beside)
    if not isinstance(answers, dict):
        raise FarfieldError(f"{beside}: expected a JSON object of answers, found {json.dumps(answers)[:60]}; delete it")
    return answers


def keep_answers(path: Path, answers: Answers) -> Path:
    """Keep answers beside a file, with those that are there."""
    beside = path.with_name(path.name + SIDECAR)
    write_json(beside, {**kept_answers(path), **answers})
    return beside


def _told(tree: Tree) -> str:
    """What is in a file, in a few words."""
    names = [name for _, state in states(tree.root) for name in state]
    shown = next((name[:60] for name in names if name.isprintable()), "")
    return f" ({len(names):,} tensor{'s' * (len(names) > 1)}{f', as {shown}' if shown else ''})" if names else ""
