r"""Files of the package denoising-diffusion-pytorch (lucidrains): its Trainer's ``model-N.pt``, and state dicts of its networks.

All of the network but the period of its time's embedding is in names and shapes. The diffusion around it keeps, for each step,
:math:`\sigma = \sqrt{1/\bar\alpha - 1}` and the weights of the loss, which tell what the network answers: with a signal-to-noise
ratio :math:`r = 1/\sigma^2` and its limit m (arXiv 2303.09556; without one :math:`m = r`), these are

=====================  ==========================
the network answers    weight
=====================  ==========================
the noise              :math:`\min(r, m) / r`
the image              :math:`\min(r, m)`
v                      :math:`\min(r, m) / (r+1)`
=====================  ==========================

Read are networks from June 2023 on, the moment when their attention took the form that it has now.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor

from farfield.checkpoints import flow
from farfield.checkpoints.average import choose
from farfield.checkpoints.checkpoint import Answers, Checkpoint, Finding, Question
from farfield.checkpoints.file.stored import State, Stored, Tree, states
from farfield.checkpoints.fitting import counted, prove, shape
from farfield.checkpoints.inquiry import Inquiry
from farfield.checkpoints.native import Blueprint
from farfield.checkpoints.wrapped import bare, networks, without
from farfield.core.error import FarfieldError
from farfield.diffusion.schedule import DiscreteSchedule, cosine_betas, linear_betas
from farfield.diffusion.units import Units

ANSWERS: Final = (
    "size", "normalise", "theta", "heads", "groups", "prediction", "schedule", "steps", *flow.ANSWERS,
)  # fmt: skip
_CODE: Final = "denoising-diffusion-pytorch"
_MARKS: Final = ("init_conv.weight", "final_conv.weight", "mid_attn.norm.g", "mid_attn.to_qkv.weight")
_SIGMA, _WEIGHT = "sqrt_recipm1_alphas_cumprod", "loss_weight"
_PREDICTIONS: Final = {"v": "v_prediction", "epsilon": "epsilon", "sample": "sample"}
_MOST_LEVELS: Final = 16
_MOST_STEPS: Final = 100_000
_LARGEST: Final = 4096
_ZERO_TO_ONE: Final = Units(0.0, 1.0)


def recognises(tree: Tree) -> bool:
    return bool(networks(tree.root, _MARKS))


def read(tree: Tree, answers: Answers, part: str | None) -> Checkpoint:
    """A file of this family.

    Args:
        answers: ``size``; ``normalise`` (whether its images are in [-1, 1], as by default, or [0, 1]), ``theta``, ``groups``
            and ``heads`` where they are not the usual ones or not told; and of a file without the diffusion around the network
            ``prediction`` (v, epsilon, sample, flow), ``schedule`` (sigmoid, cosine, linear), ``steps``.
        part: ``ema`` or ``net``, of a file that holds both.

    Raises:
        FarfieldError: weights are missing, of other shapes, or of a variant that is not read here; an answer that cannot be.
    """
    path = tree.path
    state, chosen, place = choose(tree, _MARKS, part)
    inquiry = Inquiry(path, answers, {}, "")
    inquiry.learn(
        {"normalise": True, "theta": 10_000, "groups": 8}, "the default of the original code, not said in the file"
    )
    inquiry.refuse_others(ANSWERS)
    config = _network(state, inquiry)
    prove(config, state, path, _CODE)
    size = _size(config, inquiry)
    scheduler = _scheduler(_around(tree, place), inquiry)
    normalised = inquiry.settle(
        Question("normalise", "whether its images were brought from [0, 1] to [-1, 1]", True, (True, False))
    )
    channels = config["in_channels"]
    parameters, dtype = counted(state)
    return Checkpoint(
        path,
        "lucidrains",
        Blueprint(
            config, (channels, size, size), None, scheduler=scheduler, units=None if normalised else _ZERO_TO_ONE
        ),
        lambda: {name: tensor.load() for name, tensor in state.items()},
        parameters,
        dtype,
        (
            Finding("part", f"{chosen} ({place or 'the whole file'})", "its place in the file"),
            Finding("network", f"U-Net of {_CODE}", "names and shapes of the weights"),
            *([_GUESS] if config["self_condition"] else []),
            *inquiry.findings,
        ),
        tuple(inquiry.questions),
    )


_GUESS: Final = Finding(
    "self-conditioning",
    "no guess",
    "its first convolution sees twice the channels that it answers; zeros are what it was shown in half of its training",
)


def _network(state: State, inquiry: Inquiry) -> dict[str, Any]:
    """The configuration of the network in a state dict (`networks.lucid_unet`)."""
    path = inquiry.path
    if "time_mlp.0.weights" in state:
        raise FarfieldError(
            f"{path}: a U-Net of {_CODE} whose time is embedded at learned or random frequencies, of its continuous-time or "
            "elucidated diffusions, which is not read here; expected one of its GaussianDiffusion"
        )
    if "classes_emb.weight" in state:
        raise FarfieldError(f"{path}: a U-Net of {_CODE} with classes, which is not read here; expected one without")
    first, seen = shape(state, "init_conv.weight", 4, path)[:2]
    answered = shape(state, "final_conv.weight", 4, path)[0]
    levels = next(i for i in range(_MOST_LEVELS + 1) if f"downs.{i}.2.to_qkv.weight" not in state)
    if not 1 <= levels < _MOST_LEVELS:
        raise FarfieldError(
            f"{path}: a U-Net of {_CODE} with {levels} levels or more; expected 1 to {_MOST_LEVELS - 1}"
        )
    widths, heads, wide, full = [], [], [], []
    for i in range(levels):
        widths.append(shape(state, f"downs.{i}.3.weight" if i == levels - 1 else f"downs.{i}.3.1.weight", 4, path)[0])
        full.append(f"downs.{i}.2.to_out.weight" in state)
        each, width = _heads(state, f"downs.{i}.2", full[-1], inquiry)
        heads.append(each)
        wide.append(width)
    groups = 0
    if "mid_block1.block1.norm.weight" in state:
        groups = inquiry.settle(Question("groups", "the groups of the norms in its blocks", 8))
    memory = shape(state, "mid_attn.mem_kv", 4, path)[2] if "mid_attn.mem_kv" in state else 0
    return {
        "kind": "lucid",
        "in_channels": seen // 2 if seen == 2 * answered else seen,
        "out_channels": answered,
        "model_channels": shape(state, "time_mlp.1.weight", 2, path)[1],
        "first": first,
        "widths": widths,
        "heads": heads,
        "head_channels": wide,
        "full": full,
        "memory": memory,
        "groups": groups,
        "theta": float(inquiry.settle(Question("theta", "the period of its time's embedding", 10_000))),
        "self_condition": seen == 2 * answered,
    }


def _heads(state: State, name: str, full: bool, inquiry: Inquiry) -> tuple[int, int]:
    """Number and width of the heads of an attention: in its learned keys and values, or asked for."""
    if f"{name}.mem_kv" in state:
        _, heads, a, b = shape(state, f"{name}.mem_kv", 4, inquiry.path)
        return heads, b if full else a
    rows = shape(state, f"{name}.to_qkv.weight", 4, inquiry.path)[0]
    asked = [q for q in inquiry.questions if q.name == "heads"]
    settled = [f.value for f in inquiry.findings if f.what == "heads"]
    if asked or settled:
        heads = settled[0] if settled else asked[0].likely
    else:
        heads = inquiry.settle(
            Question("heads", "number of its attention's heads", 4, why="the default of the original code")
        )
    if rows % (3 * heads):
        raise FarfieldError(
            f"{inquiry.path}: {heads} heads for {rows} rows of {name}.to_qkv; expected a divisor of {rows // 3}"
        )
    return heads, rows // (3 * heads)


def _size(config: dict[str, Any], inquiry: Inquiry) -> int:
    if config["out_channels"] not in (config["in_channels"], 2 * config["in_channels"]):
        raise FarfieldError(
            f"{inquiry.path}: sees {config['in_channels']} channels and answers {config['out_channels']}; expected as many, "
            "twice as many (a learned variance), or half as many (self-conditioning)"
        )
    factor = 2 ** (len(config["widths"]) - 1)
    likely = 128 if factor <= 16 else 8 * factor
    size: int = inquiry.settle(
        Question("size", "the side of its images in pixels", likely, why="as in the code's examples")
    )
    if size % factor or size > _LARGEST:
        raise FarfieldError(
            f"{inquiry.path}: size {size}; expected a multiple of {factor} for {len(config['widths'])} levels, at most {_LARGEST}"
        )
    return size


def _around(tree: Tree, place: str) -> dict[str, Stored]:
    """What the diffusion around a network keeps of its levels."""
    outer = place.rpartition(".")[0]
    kept = {}
    for where, state in states(tree.root):
        for name, tensor in bare(state).items():
            prefix, _, own = name.rpartition(".")
            if place and own in (_SIGMA, _WEIGHT) and ".".join(p for p in (without(where), prefix) if p) == outer:
                kept[own] = tensor
    return kept


def _scheduler(kept: dict[str, Stored], inquiry: Inquiry) -> dict[str, Any]:
    """The configuration of a diffusers scheduler: of the levels in the file, or as answered."""
    sigmas = _levels(kept[_SIGMA], inquiry) if _SIGMA in kept else None
    if sigmas is not None and _WEIGHT in kept and (told := predicted(sigmas, kept[_WEIGHT].load().double())):
        inquiry.learn({"prediction": told}, "the weights of its loss, which are those of this prediction alone")
    choices = (*_PREDICTIONS, *([] if sigmas is not None else [flow.FLOW]))
    prediction = inquiry.settle(
        Question("prediction", "what the network answers", "v", choices, "the default of the original code")
    )
    if prediction == flow.FLOW:
        return flow.asked(inquiry)
    if sigmas is None:
        why = "the default of the original code; the file holds the network without its diffusion"
        steps = inquiry.settle(Question("steps", "how many time steps it was trained with", 1000, why=why))
        if not 20 < steps <= _MOST_STEPS:
            raise FarfieldError(f"{inquiry.path}: steps={steps}; expected 21 to {_MOST_STEPS:,}, mostly 1000")
        name = inquiry.settle(
            Question("schedule", "its noise schedule", "sigmoid", ("sigmoid", "cosine", "linear"), why)
        )
    else:
        steps = len(sigmas)
        name = next((n for n in ("linear", "cosine") if _alike(sigmas, _config(n, steps))), None)
        inquiry.findings.append(Finding("schedule", name or "its own", f"the {steps} levels in the file"))
    betas = _config(name, steps) if name else {"trained_betas": _betas(sigmas).tolist()}  # type: ignore[arg-type]
    return {"num_train_timesteps": steps, **betas, "prediction_type": _PREDICTIONS[prediction]}


def _levels(stored: Stored, inquiry: Inquiry) -> Tensor:
    """The stored levels, float64."""
    if len(stored.shape) != 1 or not 2 <= stored.shape[0] <= _MOST_STEPS or not stored.dtype.is_floating_point:
        raise FarfieldError(f"{inquiry.path}: {_SIGMA} of shape {stored.shape}; expected 2 to {_MOST_STEPS:,} levels")
    sigmas = stored.load().double()
    if not bool((sigmas > 0).all() & sigmas.isfinite().all() & (sigmas.diff() > 0).all()):
        raise FarfieldError(f"{inquiry.path}: {_SIGMA}: expected positive levels that rise from step to step; damaged")
    return sigmas


def predicted(sigmas: Tensor, weights: Tensor) -> str | None:
    """What a network was trained to answer with these weights of its loss at these levels; None where they do not tell."""
    if weights.shape != sigmas.shape:
        return None
    ratio = sigmas**-2
    limited = {"epsilon": weights * ratio, "sample": weights, "v": weights * (ratio + 1)}
    fits = [
        name for name, r in limited.items() if torch.allclose(r, ratio.clamp(max=float(r.max())), rtol=1e-3, atol=0.0)
    ]
    return fits[0] if len(fits) == 1 else None


def _betas(sigmas: Tensor) -> Tensor:
    r"""The betas of levels: :math:`\bar\alpha = 1/(1 + \sigma^2)` is the product of all :math:`1 - \beta` so far."""
    signal = 1 / (1 + sigmas**2)
    return 1 - signal / torch.cat([torch.ones_like(signal[:1]), signal[:-1]])


def _config(name: str, steps: int) -> dict[str, Any]:
    """The betas of a schedule of that code, as diffusers' configurations say them."""
    if name == "linear":
        return {"beta_schedule": "linear", "beta_start": 0.1 / steps, "beta_end": 20 / steps}
    return {"beta_schedule": "squaredcos_cap_v2"} if name == "cosine" else {"trained_betas": _sigmoid(steps).tolist()}


def _alike(sigmas: Tensor, config: dict[str, Any]) -> bool:
    steps = len(sigmas)
    if config["beta_schedule"] == "linear" and not steps > 20:
        return False
    betas = (
        linear_betas(steps, config["beta_start"], config["beta_end"])
        if config["beta_schedule"] == "linear"
        else cosine_betas(steps)
    )
    levels = DiscreteSchedule(betas).levels
    return torch.allclose(levels, sigmas[: len(levels)], rtol=1e-5, atol=0.0)


def _sigmoid(steps: int) -> Tensor:
    r"""Betas of :math:`\bar\alpha(u) = (s(3) - s(6u - 3)) / (s(3) - s(-3))` with the logistic s (arXiv 2212.11972)."""
    u = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    low, high = torch.tensor([-3.0, 3.0], dtype=torch.float64).sigmoid()
    signal = (high - (6 * u - 3).sigmoid()) / (high - low)
    return (1 - signal[1:] / signal[:-1]).clamp(0, 0.999)
