"""Files of the original DDPM in PyTorch: pesser's port, and those of DDIM, DiffusionCLIP and others that are built alike.

All of the architecture but the size of the images is in the names and shapes of the weights (`ddpm_unet2d`). They stand in
the file as they are, under a name, or in DDIM's list of network, optimizer, epoch, step and moving average.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from farfield.checkpoints import flow
from farfield.checkpoints.checkpoint import Answers, Checkpoint, Finding, Question
from farfield.checkpoints.ddpm_unet2d import (
    LEFT_OUT,
    Architecture,
    check,
    configuration,
    infer,
    layout,
    linear,
    resampling,
)
from farfield.checkpoints.file.stored import State, Tree
from farfield.checkpoints.inquiry import Inquiry
from farfield.checkpoints.native import Blueprint
from farfield.checkpoints.wrapped import networks
from farfield.core.error import FarfieldError

PUBLISHED: Final[dict[tuple[tuple[int, ...], tuple[int, ...]], int]] = {
    ((1, 2, 2, 2), (1,)): 32,
    ((1, 2, 2, 2, 4), (2,)): 64,
    ((1, 1, 2, 2, 4, 4), (4,)): 256,
}
"""The size of the published networks (CIFAR-10; CelebA; LSUN and CelebA-HQ), by multipliers and levels with attention."""

_MARKS: Final = ("temb.dense.0.weight", "conv_in.weight", "mid.block_1.conv1.weight", "conv_out.weight")
_SCHEDULES: Final = {
    "linear": "linear",
    "quad": "scaled_linear",
    "cosine": "squaredcos_cap_v2",
    "sigmoid": "sigmoid",
}
_PREDICTIONS: Final = {"epsilon": "epsilon", "sample": "sample", "v": "v_prediction"}
_PUBLISHED_ANSWERS: Final = {"steps": 1000, "schedule": "linear", "prediction": "epsilon"}
_USUAL: Final = {
    "num_train_timesteps": 1000,
    "beta_schedule": "linear",
    "beta_start": 1e-4,
    "beta_end": 0.02,
    "prediction_type": "epsilon",
}
"""What our own family ``ddpm`` is."""
_LARGEST: Final = 4096
_MOST_STEPS: Final = 100_000


def recognises(tree: Tree) -> bool:
    return bool(_candidates(tree))


def read(tree: Tree, answers: Answers, part: str | None) -> Checkpoint:
    """A file of this family.

    Args:
        answers: ``size``, ``steps``, ``schedule`` (linear, quad, cosine, sigmoid), ``beta_start``, ``beta_end``,
            ``prediction`` (epsilon, sample, v, flow; and of a flow ``direction``, ``time_scale``).
        part: ``ema`` or ``net``, of a file that holds both.

    Raises:
        FarfieldError: weights are missing, of other shapes, or of a variant that is not read here; no such part; an answer
            that cannot be.
    """
    state, which = _choose(tree, part)
    built = infer(state, tree.path)
    known = dict(layout(built))
    check(state, known, tree.path)
    stored = {name: state[name] for name in known}
    inquiry = _inquiry(built, answers, tree.path)
    size = _size(built, inquiry)
    scheduler = _scheduler(inquiry)
    findings = [
        Finding("part", which, "its place in the file"),
        Finding("network", str(built), "names and shapes of the weights; one head of attention, 32 groups"),
        *(Finding(name, "left out", "it takes no part in the mean") for name in state if name in LEFT_OUT),
        *inquiry.findings,
    ]
    plan = Blueprint(
        {"kind": "unet2d", **configuration(built, size)},
        (built.channels[0], size, size),
        "ddpm" if scheduler == _USUAL else None,
        scheduler=None if scheduler == _USUAL else scheduler,
    )

    counted = Counter[torch.dtype]()
    for tensor in stored.values():
        counted[tensor.dtype] += math.prod(tensor.shape)
    dtype = counted.most_common(1)[0][0]

    def weights() -> dict[str, Tensor]:
        tensors = {known[name][0]: linear(name, tensor.load()) for name, tensor in stored.items()}
        return tensors if built.convolved else tensors | dict(resampling(built, dtype))

    return Checkpoint(
        tree.path, "ddpm", plan, weights, counted.total(), dtype, tuple(findings), tuple(inquiry.questions)
    )


def _candidates(tree: Tree) -> dict[str, State]:
    """The state dicts of this family in a file by their places."""
    return {**networks(tree.root, _MARKS)}


def _choose(tree: Tree, part: str | None) -> tuple[State, str]:
    """The weights that are asked for, and which these are."""
    candidates = _candidates(tree)
    average = next((place for place in candidates if re.search("ema|shadow|averag", place.lower())), None)
    if average is None and isinstance(tree.root, list | tuple) and len(candidates) > 1:
        average = list(candidates)[-1]  # DDIM's training states: network, optimizer, epoch, step, moving average
    others = [place for place in candidates if place != average]
    named = {} if average is None else {"ema": average}
    named |= {"net": others[0]} if len(others) == 1 else {place: place for place in others}
    chosen = next((name for name in ("ema", "net") if name in named), None) if part is None else part
    if chosen not in named:
        raise FarfieldError(
            f"{tree.path}: {'several networks' if part is None else f'no network {part!r}'}; it holds {', '.join(named)}: "
            "choose one as FILE@NAME"
        )
    return candidates[named[chosen]], f"{chosen} ({named[chosen] or 'the whole file'})"


def _inquiry(built: Architecture, answers: Answers, path: Path) -> Inquiry:
    published = PUBLISHED.get((built.multipliers, built.attention))
    known = {**_PUBLISHED_ANSWERS, **({} if published is None else {"size": published})}
    inquiry = Inquiry(path, answers, known, "as published files of this family have it; this one does not say it")
    inquiry.refuse_others((*_PUBLISHED_ANSWERS, "size", "beta_start", "beta_end", *flow.ANSWERS))
    return inquiry


def _size(built: Architecture, inquiry: Inquiry) -> int:
    """The side of the images, which a network without fixed sizes does not say."""
    levels = len(built.multipliers)
    likely, why = 4 << levels - 1, "the lowest maps are mostly 4 pixels wide"
    if built.attention:
        likely, why = 16 << built.attention[0], "its first attention stands where published ones have maps of 16 pixels"
    size = int(inquiry.settle(Question("size", "the side of its images in pixels", likely, why=why)))
    if size % 2 ** (levels - 1) or size > _LARGEST:
        raise FarfieldError(
            f"{inquiry.path}: size {size}; expected a multiple of {2 ** (levels - 1)}, as it is halved {levels - 1} times, "
            f"and at most {_LARGEST}"
        )
    return size


def _scheduler(inquiry: Inquiry) -> dict[str, Any]:
    """The configuration of a diffusers scheduler."""
    answers = (*_PREDICTIONS, flow.FLOW)
    prediction = inquiry.settle(Question("prediction", "what it answers with", "epsilon", answers))
    if prediction == flow.FLOW:
        return flow.asked(inquiry)
    steps = int(inquiry.settle(Question("steps", "how many noise levels it was trained at", 1000)))
    schedule = inquiry.settle(Question("schedule", "how their betas are spaced", "linear", tuple(_SCHEDULES)))
    start, end = _beta(inquiry, "beta_start", 1e-4), _beta(inquiry, "beta_end", 0.02)
    if not 2 <= steps <= _MOST_STEPS or not 0 < start <= end < 1:
        raise FarfieldError(
            f"{inquiry.path}: {steps} steps with betas from {start:g} to {end:g}; expected 2 to {_MOST_STEPS} steps, and 0 < "
            "beta_start ≤ beta_end < 1"
        )
    return {
        "num_train_timesteps": steps,
        "beta_schedule": _SCHEDULES[schedule],
        "beta_start": start,
        "beta_end": end,
        "prediction_type": _PREDICTIONS[prediction],
    }


def _beta(inquiry: Inquiry, name: str, usual: float) -> float:
    given = inquiry.answers.get(name, usual)
    try:
        beta = float(given)
    except (TypeError, ValueError) as error:
        raise FarfieldError(f"{inquiry.path}: {name}={given!r}; expected a number, such as {usual}") from error
    inquiry.findings.append(Finding(name, beta, "as answered" if name in inquiry.answers else inquiry.source))
    return beta
