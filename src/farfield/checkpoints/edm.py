"""EDM's pickles (arXiv 2206.00364): network snapshots and training states of its published code, and of what is trained with it.

A model is a module within a module: the outer one preconditions, the inner one is the network. Both are known by the names of
their classes and the arguments that they were made with; that the network is the one that is meant is told by the names and
shapes of its weights.

================  =========  ===================================================  ================================
outer class       family     what it says                                         levels
================  =========  ===================================================  ================================
``EDMPrecond``    ``edm``    ``sigma_min``, ``sigma_max``, ``sigma_data``         those of them from 0.002 to 80
``VPPrecond``     ``vp``     ``beta_d``, ``beta_min``, ``M``, ``epsilon_t``       the SDE's, t from ``epsilon_t``
``VEPrecond``     ``ve``     ``sigma_min``, ``sigma_max``                         all between
``iDDPMPrecond``  ``iddpm``  ``C_1``, ``C_2``, ``M``                              of M cosine betas up to 1 − C_1
================  =========  ===================================================  ================================

The inner class is ``SongUNet`` (DDPM++, NCSN++) or ``DhariwalUNet`` (ADM).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn

from farfield.checkpoints import edm2
from farfield.checkpoints.card import card_of_file
from farfield.checkpoints.checkpoint import Answers, Checkpoint, Finding, Question
from farfield.checkpoints.edm_arguments import configuration, in_levels, preconditioning
from farfield.checkpoints.file.stored import Stored, Tree
from farfield.checkpoints.fitting import agree, bounded, shapes
from farfield.checkpoints.inquiry import Inquiry
from farfield.checkpoints.kind import ONE_STEP
from farfield.checkpoints.native import Blueprint
from farfield.checkpoints.persistent import Module, class_of, objects, opened, pairs
from farfield.checkpoints.recognised import UnreadError
from farfield.core.error import FarfieldError
from farfield.diffusion.precondition import Family
from farfield.diffusion.schedule import DiscreteSchedule, cosine_betas
from farfield.networks.build import from_config
from farfield.networks.layers import Block

_BESIDE: Final = frozenset(("loss_fn", "dataset_kwargs", "augment_pipe", "optimizer_state"))
"""What EDM's training keeps beside a network."""
_DISTILLED: Final = re.compile(
    r"snapshot-\d+\.\d+-|(^|[^a-z])(sid|dmd|distill\w*|one_?-?step|generator)([^a-z]|$)", re.I
)
"""Names of files of distillations."""


def recognises(tree: Tree) -> bool:
    """Whether the file is a persistent object, of whatever class, or holds one by name."""
    return bool(objects(tree.root))


def read(tree: Tree, answers: Answers, part: str | None) -> Checkpoint:
    """The model in the file; such a file says everything, but whether it denoises if nothing of its training is left.

    Args:
        answers: ``kind``, ``denoiser`` or ``generator``.
        part: the name of a network in the file; if not given ``ema``, or else ``net``, or else the first.

    Raises:
        FarfieldError: no such part, a class that is not EDM's, arguments that cannot be, or weights of another network.
    """
    try:
        return _read(tree, answers, part)
    except UnreadError:
        raise
    except FarfieldError as error:
        raise FarfieldError(f"{tree.path}: {error}") from error


def _read(tree: Tree, answers: Answers, part: str | None) -> Checkpoint:
    held = objects(tree.root)
    holds = ", ".join(f"{name[:40] or 'one object'} ({class_of(made)})" for name, made in list(held.items())[:8])
    chosen = next(name for name in ("ema", "net", *held) if name in held) if part is None else part
    if chosen not in held:
        raise FarfieldError(f"no network {chosen!r}; it holds {holds}: give one of these names after the @, or none")
    outer = opened(held[chosen], chosen)
    found = (Finding("part", chosen, "the moving average (ema) comes first"),) if chosen else ()
    if edm2.recognises(outer):
        return edm2.read(tree, outer, found, _denoises(tree, answers, whole=edm2.is_whole(outer)))
    args = preconditioning(outer)
    inner = outer.module("model")
    config = configuration(inner, args)
    stored = inner.tensors()
    network, silent = _fitted(config, stored, tree.path.stat().st_size)
    sizes = shapes(network)
    weighty = [stored[name] for name, _ in network.named_parameters() if name not in silent]

    def weights() -> dict[str, Tensor]:
        return {name: torch.zeros(sizes[name]) if name in silent else stored[name].load() for name in sizes}

    family, levels = _family(outer.title, args)
    side = args["img_resolution"]
    asked = _denoises(tree, answers)
    findings = [
        Finding("class", outer.title, f"named by the file, which holds {holds}"),
        *found,
        Finding(
            "network", inner.title, f"named by the file; {in_levels(config)}; the source beside it is not looked at"
        ),
        Finding("dropout", config["dropout"], "an argument of the network, for training alone"),
        _if(config["augment_dim"], "augmentation", "numbers it was told in training; zeros here, nothing is moved"),
        _if(
            config["label_dropout"],
            "label dropout",
            "share of labels left out in training; --label -1 is none of the classes",
        ),
        _if(args["use_fp16"], "half precision", "its own code runs it so (use_fp16); float32 here unless asked"),
        _if(bool(silent), "no attention", "where ADM is narrower than a head; zeros stand for it in ours"),
        _steps(outer, args) if family == "iddpm" else None,
    ]
    return Checkpoint(
        tree.path,
        "edm",
        Blueprint(
            config,
            (args["img_channels"], side, side),
            family,
            args["label_dim"],
            args.get("sigma_data", 0.5),
            levels=levels,
        ),
        weights,
        sum(math.prod(t.shape) for t in weighty),
        Counter(t.dtype for t in weighty).most_common(1)[0][0],
        (*(finding for finding in findings if finding), *asked.findings),
        tuple(asked.questions),
    )


def _denoises(tree: Tree, answers: Answers, *, whole: bool = True) -> Inquiry:
    """Whether it is a denoiser, where the file does not tell: a generator distilled from one is of the same classes.

    EDM's training leaves its loss, its data or its optimizer beside the network; distillations (SiD) leave the generator alone.

    Args:
        whole: nothing of what its own training makes is missing in it.

    Raises:
        UnreadError: it is answered to be a generator.
    """
    known = {"kind": "denoiser"} if card_of_file(tree.path) else {}
    asked = Inquiry(tree.path, answers, known, "so published, by the name of the file")
    if not whole or not _BESIDE & pairs(tree.root).keys():
        likely = "generator" if _DISTILLED.search(tree.path.name) else "denoiser"
        without = (
            "the file says nothing of its training" if whole else "it is without what EDM2's own training learns beside"
        )
        question = f"whether it denoises, or makes an image in one step (distilled, a consistency model); {without}"
        kind = asked.settle(Question("kind", question, likely, ("denoiser", "generator")))
        if kind == "generator" and not asked.questions:
            raise UnreadError(tree.path, ONE_STEP)
    return asked


def _if(value: Any, what: str, why: str) -> Finding | None:
    return Finding(what, value, why) if value else None


def _fitted(config: dict[str, Any], stored: Mapping[str, Stored], size: int) -> tuple[nn.Module, set[str]]:
    """The network without numbers, once it is sure that the file fills it; and the names of the attention that it lacks.

    The published ADM has no attention where it is narrower than a head, and ours a single head: with weights of zero it adds
    nothing.
    """
    blocks = len(config["channel_mult"]) * (2 * config["num_blocks"] + 1)
    bounded(stored, size, 10 * blocks, in_levels(config))  # each has at least so many
    with torch.device("meta"):
        network = from_config(config)
    silent: set[str] = set()
    for name, block in network.named_modules():
        if isinstance(block, Block) and block.heads and len(block.norm2.weight) < block.style.head:
            parts = {f"{name}.{part}" for part in block.state_dict() if part.startswith(("norm2.", "qkv.", "proj."))}
            silent |= set() if parts & stored.keys() else parts
    agree({name: shape for name, shape in shapes(network).items() if name not in silent}, stored)
    return network, silent


def _family(title: str, args: Mapping[str, Any]) -> tuple[Family, dict[str, Any]]:
    """The family, and the arguments of its schedule that are not the usual ones."""
    family: Family
    if title == "VPPrecond":
        family, usual = "vp", {"beta_d": 19.9, "beta_min": 0.1, "steps": 1000, "t_min": 1e-3}
        given = {"beta_d": args["beta_d"], "beta_min": args["beta_min"], "steps": args["M"], "t_min": args["epsilon_t"]}
    elif title == "iDDPMPrecond":
        family, usual = "iddpm", {"steps": 1000, "offset": 0.008, "most": 0.999}
        given = {"steps": args["M"], "offset": args["C_2"], "most": 1 - args["C_1"]}
    elif title == "VEPrecond":
        family, usual = "ve", {"sigma_min": 0.02, "sigma_max": 100}
        given = {name: args[name] for name in usual}
    else:  # which says 0 to infinity, but was shown hardly anything beyond these
        family, usual = "edm", {"sigma_min": 0.002, "sigma_max": 80}
        given = {"sigma_min": max(args["sigma_min"], 0.002), "sigma_max": min(args["sigma_max"], 80)}
    low, high = given.get("sigma_min", 1), given.get("sigma_max", 2)
    if not 0 < low < high < math.inf:
        raise FarfieldError(f"levels from {low:g} to {high:g}: expected 0 < sigma_min < sigma_max")
    return family, {name: value for name, value in given.items() if value != usual[name]}


def _steps(outer: Module, args: Mapping[str, Any]) -> Finding:
    """Whether the levels that an iDDPM file keeps, from the highest down to 0, are those of its betas."""
    kept, count = pairs(outer.state.get("_buffers")).get("u"), args["M"]
    if not isinstance(kept, Stored) or kept.shape != (count + 1,) or not kept.dtype.is_floating_point:
        raise FarfieldError(f"expected the {count + 1} levels u that its {count} steps end at, found none")
    schedule = DiscreteSchedule(cosine_betas(count, args["C_2"], 1 - args["C_1"]))
    levels = kept.load().double()[:count].flip(0)[: len(schedule.levels)]
    away = float((schedule.time(levels) - torch.arange(len(levels))).abs().nan_to_num(math.inf).max())
    if away > 0.1:  # the published recursion in float32 is 0.03 off at 4,000 steps
        raise FarfieldError(f"its levels u are {away:.2g} of a step away from those of M, C_1 and C_2")
    return Finding("steps", count, f"cosine betas; the levels in the file are theirs to {away:.1g} of a step")
