"""Files of guided-diffusion and all that was trained with its format: improved-diffusion, P2-weighting, ILVR.

A file is a state dict. Its names and shapes tell the architecture (`guided_architecture`); what they do not tell (image size,
schedule, attention heads and their order) is known of published files (`guided_published`), or asked for.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from farfield.checkpoints import flow, teacher
from farfield.checkpoints.average import choose
from farfield.checkpoints.checkpoint import Answers, Checkpoint, Finding, Question
from farfield.checkpoints.file.stored import State, Tree
from farfield.checkpoints.guided_architecture import FIRST, Architecture, read_architecture
from farfield.checkpoints.guided_published import PUBLISHED, alike, published
from farfield.checkpoints.guided_unet2d import obstacle, unet2d_config, unet2d_weights
from farfield.checkpoints.inquiry import Inquiry
from farfield.checkpoints.native import Blueprint
from farfield.checkpoints.wrapped import networks
from farfield.core.error import FarfieldError

ANSWERS: Final = (
    "size",
    "schedule",
    "steps",
    "rescale",
    "heads",
    "head_channels",
    "heads_upsample",
    "order",
    "prediction",
    *flow.ANSWERS,
    *(name for name in teacher.ANSWERS if name not in flow.ANSWERS),
)
"""All that can be answered; ``heads_upsample`` is asked for together with ``heads``."""

_PREDICTIONS: Final = {"epsilon": "epsilon", "sample": "sample", "v": "v_prediction"}
_SIDES: Final = {
    (1, 2, 2, 2): 32,
    (1, 2, 3, 4): 64,
    (1, 1, 2, 3, 4): 128,
    (1, 1, 2, 2, 4, 4): 256,
    (0.5, 1, 1, 2, 2, 4, 4): 512,
}
"""The size of the images that the original code has these multipliers for."""
_STEPS: Final = (20, 100_000)
"""Of fewer steps the last of the linear betas would be above 1."""


def recognises(tree: Tree) -> bool:
    """Whether there are weights by this family's names; those of its models that denoise nothing are refused by `read`."""
    return bool(networks(tree.root, FIRST))


def read(tree: Tree, answers: Answers, part: str | None) -> Checkpoint:
    """A file of this family.

    Args:
        answers: to some of `ANSWERS`.
        part: ``ema`` or ``net``, of a file that holds both; ``ema`` if not given.

    Raises:
        FarfieldError: its weights are not those of one network that denoises; no such part; an answer that cannot be.
    """
    path = tree.path
    state, _, place = choose(tree, FIRST, part)
    if squared := teacher.is_squared(state):
        state = teacher.plain(state)
    built = read_architecture(state, path)
    counts = Counter[torch.dtype]()
    for tensor in state.values():
        counts[tensor.dtype] += math.prod(tensor.shape)
    parameters = counts.total()

    card, code = published(path.name, parameters), flow.code(tree)
    asked = Inquiry(path, answers, card.answers if card else {}, f"flags that {path.name} was published with")
    asked.refuse_others(ANSWERS)
    if code is not None:
        asked.learn(flow.TOWARD_DATA, code.why)
    if squared:
        if (twin := alike(parameters)) and twin[1].answers.get("kind"):
            shared = {k: v for k, v in twin[1].answers.items() if k != "kind"}
            asked.learn(shared, f"the format and all shapes are those of {twin[0]}")
        teacher.settle_kind(asked, path, state)
    likely = _likely(built, path, parameters, code)
    size, scheduler = _size(built, asked, likely), _scheduler(built, asked, likely, card is not None)
    network, weights, runs = attended(built, state, size, asked, likely)
    findings = [Finding("part", place, "its place in the file")] if place else []
    if path.name in PUBLISHED and card is None:
        findings.append(
            Finding("card", "none", f"named as a published file, which has {PUBLISHED[path.name].parameters:,} weights")
        )
    findings += [*architecture(built), runs, *asked.findings]
    return Checkpoint(
        path,
        "guided-diffusion",
        Blueprint(network, (built.channels, size, size), None, built.classes, scheduler=scheduler),
        weights,
        parameters,
        counts.most_common(1)[0][0],
        tuple(findings),
        tuple(asked.questions),
    )


def attended(
    built: Architecture, state: State, size: int, asked: Inquiry, likely: dict[str, tuple[Any, str]]
) -> tuple[dict[str, Any], Callable[[], dict[str, Tensor]], Finding]:
    """The network when its attention is settled, what reads its weights, and as which class it runs."""
    heads, head_channels = settle_heads(built, asked, likely)
    heads_upsample = _heads_upsample(built, asked, heads, head_channels)
    order = "legacy"  # of a single head both are the same
    if any((width // head_channels if head_channels else max(heads, heads_upsample)) > 1 for width in built.attended):
        order = asked.settle(_question("order", likely, ("legacy", "new")))

    unfit = obstacle(built, heads, head_channels, heads_upsample)
    network = (
        built.config(
            heads=heads,
            head_channels=head_channels,
            order=order,
            **({"heads_upsample": heads_upsample} if heads_upsample not in (0, heads) else {}),
        )
        if unfit
        else unet2d_config(built, size, heads, head_channels)
    )

    def weights() -> dict[str, Tensor]:
        if unfit:
            return {name: tensor.load() for name, tensor in state.items()}
        return unet2d_weights(built, state, heads, head_channels, "new" if order == "new" else "legacy")

    return network, weights, Finding("runs as", *_runs(unfit))


def _likely(built: Architecture, path: Path, parameters: int, code: flow.Code | None) -> dict[str, tuple[Any, str]]:
    """The usual answers, and why they are."""
    default = "the default of the original code"
    mostly = built.resample == "resnet" and all(width % 64 == 0 for width in built.attended)
    heads = 4 if all(width % 4 == 0 for width in built.attended) else 1
    likely: dict[str, tuple[Any, str]] = {
        "schedule": ("linear", default),
        "steps": (1000, default),
        "rescale": (built.resample == "conv", f"{default}: yes in improved-diffusion, no in guided-diffusion"),
        "order": ("legacy", default),
        "prediction": ("epsilon", f"{default}; flow if torchcfm's, Meta's flow_matching or the like trained it"),
        **({"head_channels": (64, "as in most published files")} if mostly else {"heads": (heads, default)}),
    }
    if code is not None:
        likely |= {key: (value, f"as {code.name} has it") for key, value in code.likely.items() if key in likely}
    if twin := alike(parameters):
        name, known = twin
        likely.pop("head_channels" if "heads" in known.answers else "heads", None)
        likely |= {
            key: (value, f"as in {name}, which has the same architecture") for key, value in known.answers.items()
        }
    if "size" not in likely or _named_size(built, path):
        likely["size"] = _likely_size(built, path)
    return likely


def _likely_size(built: Architecture, path: Path) -> tuple[int, str]:
    if side := _named_size(built, path):
        return side, "the file's name says so"
    multipliers = tuple(width / built.model_channels for width in built.widths)
    if multipliers in _SIDES:
        return _SIDES[multipliers], "what the original code has these multipliers for"
    if built.attention:
        side = 32 if len(built.attention) > 2 else 16
        return max(side * built.attention[0], built.factor), f"attention mostly begins at {side} pixels"
    return 8 * built.factor, "the lowest maps are mostly of 8 pixels"


def _named_size(built: Architecture, path: Path) -> int | None:
    """A power of two in the file's name (``256x256_…``, ``imagenet64_…``) that its levels allow; none if there are several."""
    named = {int(n) for n in re.findall(r"(?<![\d.])(?<!bs)(\d{2,4})(?![\d.]|[MK])", path.stem)}
    sides = [n for n in named if n >= 16 and n & (n - 1) == 0 and n % built.factor == 0]
    return sides[0] if len(sides) == 1 else None


_ASK: Final = {
    "size": "side of the images in pixels",
    "schedule": "schedule of the noise",
    "steps": "number of time steps",
    "rescale": "whether time steps are told to the network as if there were 1000",
    "heads": "number of attention heads at every level, or head_channels=N if their width is fixed; if it is another on the "
    "way up (num_heads_upsample), heads_upsample=N too",
    "head_channels": "channels of an attention head, or heads=N if their number is fixed",
    "heads_upsample": "number of attention heads on the way up (num_heads_upsample)",
    "order": "order of queries, keys and values: the three of each head (legacy), or all heads of each (new)",
    "prediction": "what the network answers",
}


def _question(name: str, likely: dict[str, tuple[Any, str]], choices: tuple[Any, ...] = ()) -> Question:
    value, why = likely[name]
    return Question(name, _ASK[name], value, choices, why)


def _size(built: Architecture, asked: Inquiry, likely: dict[str, tuple[Any, str]]) -> int:
    size: int = asked.settle(_question("size", likely))
    if size % built.factor or size > 2**16:
        raise FarfieldError(
            f"{asked.path}: size={size}; expected a multiple of {built.factor} for {len(built.widths)} levels"
        )
    return size


def settle_heads(built: Architecture, asked: Inquiry, likely: dict[str, tuple[Any, str]]) -> tuple[int, int]:
    """The number of heads, or else their width; the other is 1 or 0."""
    both = ("heads", "head_channels")
    if all(name in asked.answers for name in both):
        raise FarfieldError(f"{asked.path}: heads and head_channels are both answered; expected the one that is fixed")
    name = next(name for where in (asked.answers, asked.known, likely) for name in both if name in where)
    value = asked.settle(_question(name, {name: (4, "")} | likely))  # of the two, one alone is likely
    if any(width % value for width in built.attended):
        raise FarfieldError(
            f"{asked.path}: {name}={value}: attention is over {', '.join(map(str, sorted(built.attended)))} channels; expected "
            "a divisor of each"
        )
    return (value, 0) if name == "heads" else (1, value)


def _heads_upsample(built: Architecture, asked: Inquiry, heads: int, head_channels: int) -> int:
    """The number of heads on the way up; 0 where there is no such choice: their width is fixed, or there are none."""
    name, widths = "heads_upsample", [w for i, w in enumerate(built.widths) if 2**i in built.attention]
    if name not in asked.answers:
        if head_channels or not widths:
            return 0
        if all(q.name != "heads" for q in asked.questions):
            why = "as everywhere, which is the default of the original code; not said in the file"
            asked.findings.append(Finding(name, heads, why))
        return heads
    if head_channels or not widths:
        why = f"heads are {head_channels} channels wide" if head_channels else "there is no attention on the way up"
        raise FarfieldError(f"{asked.path}: {name}={asked.answers[name]}: {why}; leave it out")
    value: int = asked.settle(Question(name, _ASK[name], heads))
    if any(width % value for width in widths):
        raise FarfieldError(
            f"{asked.path}: {name}={value}: attention is over {', '.join(map(str, sorted(set(widths))))} channels there; "
            "expected a divisor of each"
        )
    return value


def _scheduler(built: Architecture, asked: Inquiry, likely: dict[str, tuple[Any, str]], carded: bool) -> dict[str, Any]:
    """The configuration of a diffusers scheduler, and how time steps are told.

    The linear betas are those of 1,000 steps from 0.0001 to 0.02, made smaller as the steps are more.
    """
    prediction = _prediction(built, asked, likely, carded)
    if prediction == flow.FLOW:
        return flow.asked(asked)
    if prediction == teacher.EDM:
        return teacher.levels(asked)
    schedule = asked.settle(_question("schedule", likely, ("linear", "cosine")))
    steps = asked.settle(_question("steps", likely))
    low, high = _STEPS
    if not low <= steps <= high:
        raise FarfieldError(f"{asked.path}: steps={steps}; expected {low} to {high:,}, mostly 1000 or 4000")
    rescaled = steps != 1000 and asked.settle(_question("rescale", likely, (True, False)))
    return {
        "num_train_timesteps": steps,
        **(
            {"beta_schedule": "linear", "beta_start": 0.1 / steps, "beta_end": 20 / steps}
            if schedule == "linear"
            else {"beta_schedule": "squaredcos_cap_v2"}
        ),
        "prediction_type": _PREDICTIONS[prediction],
        "variance_type": "learned_range" if built.learned_variance else "fixed_large",
        **({"timestep_scale": 1000 / steps} if rescaled else {}),
    }


def _prediction(built: Architecture, asked: Inquiry, likely: dict[str, tuple[Any, str]], carded: bool) -> str:
    """What the network answers: asked for, unless it is known; no flow, and nothing of EDM's, has a learned variance."""
    if "prediction" not in asked.answers and "prediction" not in asked.known and (carded or built.learned_variance):
        why = "what the original code trains" + (", with the learned variance" if built.learned_variance else "")
        asked.findings.append(Finding("prediction", "epsilon", f"{why}; not said in the file"))
        return "epsilon"
    prediction: str = asked.settle(_question("prediction", likely, (*_PREDICTIONS, flow.FLOW, teacher.EDM)))
    return prediction


def architecture(built: Architecture) -> list[Finding]:
    """What the names and shapes told."""
    places = [f"1/{factor}" if factor > 1 else "full size" for factor in built.attention]
    return [
        Finding("channels", built.channels, "what input_blocks.0 sees"),
        Finding("learned variance", built.learned_variance, f"out.2 answers {built.out_channels} channels"),
        Finding("model channels", built.model_channels, "what time_embed.0 sees"),
        Finding(
            "multipliers",
            ", ".join(f"{w / built.model_channels:g}" for w in built.widths),
            f"widths {', '.join(map(str, built.widths))}",
        ),
        Finding("residual blocks", built.blocks, "how many input_blocks there are between changes of size"),
        Finding("attention", ", ".join([*places, "middle"]), "the blocks with qkv"),
        Finding("classes", built.classes, "rows of label_emb" if built.classes else "without label_emb"),
        Finding("scale-shift norm", built.scale_shift, "rows of emb_layers.1"),
        Finding("changes of size", built.resample, "the last output_blocks of each level"),
    ]


def _runs(unfit: str | None) -> tuple[str, str]:
    if unfit:
        return "GuidedUNet", f"a UNet2DModel cannot hold it: {unfit}"
    return "UNet2DModel", "it computes the same"
