r"""Flow matching in files and configurations of other codes: by what it is known, and what must be asked of it.

The network answers the velocity of a path, mostly a straight one, :math:`x_t = (1 - t)\,x_0 + t\,n` (`diffusion.flow`).
It may have the names and shapes of one that predicts the noise, and nothing in its weights tells the two apart; what is kept
beside the weights may. Which path it is no file says; it is never asked for, and can be answered.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, get_args

from farfield.checkpoints.checkpoint import Question
from farfield.checkpoints.file.stored import Made, Stored, Tree, states
from farfield.checkpoints.inquiry import Inquiry
from farfield.checkpoints.wrapped import bare
from farfield.core.error import FarfieldError
from farfield.diffusion.flow import FlowSchedule, Path, Toward

FLOW: Final = "flow"
"""The answer to what a network predicts."""
ASKED: Final = ("direction", "time_scale")
"""What is asked of a flow besides."""
ANSWERS: Final = (*ASKED, "path")
"""All that can be answered."""
SCHEDULERS: Final = ("FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler")
PREDICTION: Final = "flow_prediction"
"""What diffusers' other schedulers call it, where ``use_flow_sigmas`` is set."""

TOWARD_DATA: Final = {"prediction": FLOW, "direction": "data", "time_scale": 1}
"""Of torchcfm, Meta's flow_matching, SiT."""
_SHADOW: Final = "shadow_params."
_STEPS: Final = 1000
_MOST_STEPS: Final = 100_000
_DIRECTION: Final = Question(
    "direction",
    "what the network's time 1 is: the noise (it answers n - x0), or the data (it answers x0 - n)",
    "data",
    ("noise", "data"),
    "as in torchcfm, Meta's flow_matching and SiT; noise in diffusers",
)
_SCALE: Final = Question(
    "time_scale",
    "what the network is told at time 1",
    1,
    (),
    "as in torchcfm and Meta's flow_matching; 1000 in diffusers",
)
_PATH: Final = Question("path", "the path from images to noise", "straight", get_args(Path))


@dataclass(frozen=True)
class Code:
    """A code that trains flows under the names of guided-diffusion.

    Attributes:
        why: how its files are known.
        likely: its usual answers to those questions of `checkpoints.guided` that are still open.
    """

    name: str
    why: str
    likely: Mapping[str, Any] = field(default_factory=dict)


TORCHCFM: Final = Code("torchcfm", "net_model beside ema_model: torchcfm keeps them so")
META: Final = Code(
    "Meta's flow_matching", "its arguments are those of Meta's flow_matching", {"order": "new", "heads": 1}
)


def code(tree: Tree) -> Code | None:
    """The code that a file's other contents are of; None where nothing says that it is a flow.

    Raises:
        FarfieldError: a flow that is no denoiser.
    """
    if not isinstance(tree.root, dict):
        return None
    if {"net_model", "ema_model"} <= tree.root.keys():
        return TORCHCFM
    arguments = tree.root.get("args")
    told = arguments.state if isinstance(arguments, Made) else arguments
    if not isinstance(told, dict) or not {"discrete_flow_matching", "skewed_timesteps"} <= told.keys():
        return None
    if told["discrete_flow_matching"]:
        raise FarfieldError(
            f"{tree.path}: a discrete flow, which answers with the probabilities of grey levels; expected a continuous one"
        )
    return META


def averages(tree: Tree, marks: Sequence[str]) -> Iterator[tuple[str, dict[str, Stored]]]:
    """Averages beside the weights of a network with all of these names, by their places; {} of such as cannot be told apart."""
    for place, kept in states(tree.root):
        state = bare(kept)
        if all(f"model.{mark}" in state for mark in marks) and any(name.startswith(_SHADOW) for name in state):
            ordered = tree.kind != "safetensors"  # which sorts its names
            yield f"ema ({place + '.' if place else ''}shadow_params)", averaged(state) if ordered else {}


def averaged(state: Mapping[str, Stored]) -> dict[str, Stored]:
    """The averages in the state dict of a module around ``model``, under the names of their weights.

    Meta's flow_matching keeps them so: ``shadow_params.0``, … stand in the order of the weights of ``model``. If they are not as
    many as these and of the same shapes: {}.
    """
    weights = [name for name in state if name.startswith("model.")]
    shadows = [name for name in state if name.startswith(_SHADOW)]
    if {f"{_SHADOW}{i}" for i in range(len(weights))} != set(shadows):
        return {}
    pairs = {name: state[f"{_SHADOW}{i}"] for i, name in enumerate(weights)}
    if any(state[name].shape != average.shape for name, average in pairs.items()):
        return {}
    return {name.removeprefix("model."): average for name, average in pairs.items()}


def asked(inquiry: Inquiry) -> dict[str, Any]:
    """The configuration of a scheduler of diffusers for a network that is a flow, as answers have it, or likely ones."""
    direction, scale = inquiry.settle(_DIRECTION), inquiry.settle(_SCALE)
    inquiry.learn({"path": "straight"}, "the usual one, not said in the file; the other is path=curved")
    return configuration(direction, scale, inquiry.settle(_PATH))


def configuration(direction: str, time_scale: float, path: str = "straight") -> dict[str, Any]:
    """The configuration of a FlowMatchEulerDiscreteScheduler; ``timestep_scale`` and ``path`` are ours."""
    return {
        "_class_name": SCHEDULERS[0],
        "num_train_timesteps": _STEPS,
        **({"invert_sigmas": True} if direction == "data" else {}),
        **({"timestep_scale": time_scale / _STEPS} if time_scale != _STEPS else {}),
        **({"path": path} if path != "straight" else {}),
    }


def is_flow(config: Mapping[str, Any]) -> bool:
    """Whether a scheduler's configuration is of flow matching."""
    straight = config.get("use_flow_sigmas") and config.get("prediction_type") == PREDICTION
    return config.get("_class_name") in SCHEDULERS or bool(straight)


def schedule(config: Mapping[str, Any], name: str) -> FlowSchedule:
    r"""The times that such a configuration says.

    The levels are :math:`t_k = s k / (N + (s - 1) k)` for k from 1 to N - 1, told as N t: a shift s is s times the sigma. At N
    there is no signal. Between the two ends every t is taken for known. A shift that depends on the size of the images
    (``use_dynamic_shifting``) is one of sampling and left out; with ``invert_sigmas`` time runs toward the data.

    Raises:
        FarfieldError: numbers that cannot be. Those that are none raise TypeError or ValueError.
    """
    steps, scale = int(config.get("num_train_timesteps", _STEPS)), float(config.get("timestep_scale", 1.0))
    shift = float(config.get("shift", config.get("flow_shift", 1.0)))
    if not 3 <= steps <= _MOST_STEPS or not 0 < shift < math.inf or not 0 < scale < math.inf:
        raise FarfieldError(
            f"{name}: flow matching with {steps} num_train_timesteps, a shift of {shift:g} and a timestep_scale of {scale:g}; "
            f"expected 3 to {_MOST_STEPS} steps, and positive numbers"
        )
    if config.get("use_dynamic_shifting"):
        shift = 1.0
    low, high = shift / (steps - 1), shift * (steps - 1)
    toward: Toward = "data" if config.get("invert_sigmas") else "noise"
    return FlowSchedule(toward, steps * scale, low / (1 + low), high / (1 + high), path=config.get("path", "straight"))
