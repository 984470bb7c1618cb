"""Where the parts of a diffusers folder lie: its network, or the moving average of it, and the configuration of its scheduler.

Training scripts of diffusers keep checkpoints as ``unet``, beside it the average as ``unet_ema``, and no scheduler. The average
is the model then, as in every other format; it may also be in a file of accelerate's (`registered`). What the scheduler was is
asked for once: the answer is written as the ``scheduler_config.json`` that is missing, so that the folder says everything from
then on.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any, Final

from farfield.checkpoints import flow, registered
from farfield.checkpoints.checkpoint import Answers, Finding, Question
from farfield.checkpoints.inquiry import Inquiry
from farfield.core.artifact import write_json
from farfield.core.error import FarfieldError

NETWORK: Final = "unet"
AVERAGES: Final = ("unet_ema", "ema_unet", "unet-ema", "ema")
"""What the folder of an average is called beside it."""
SCHEDULER: Final = "scheduler_config.json"

_SCHEDULES: Final = {
    "linear": "linear",
    "scaled_linear": "scaled_linear",
    "cosine": "squaredcos_cap_v2",
    "sigmoid": "sigmoid",
}
_PREDICTIONS: Final = {"epsilon": "epsilon", "sample": "sample", "v": "v_prediction"}
_PREDICTION: Final = Question(
    "prediction", "what it answers with", "epsilon", (*_PREDICTIONS, flow.FLOW), "DDPM's usual one"
)
_QUESTIONS: Final = (
    Question("schedule", "how the betas of its scheduler are spaced", "linear", tuple(_SCHEDULES), "DDPM's usual one"),
    _PREDICTION,
    Question("steps", "how many noise levels it was trained at", 1000, (), "DDPM's usual one"),
)
_STEPS: Final = (2, 100_000)


def network_folder(folder: Path, part: str | None = None) -> Path:
    """The folder of the network's configuration and weights.

    Args:
        part: ``ema`` or ``net`` of a folder with both; the average if not given.

    Raises:
        FarfieldError: neither is there, or not the part that is asked for.
    """
    plain = folder / NETWORK if (folder / NETWORK).is_dir() else folder
    average = average_of(folder)
    if part is not None and (average is None or part not in ("ema", "net")):
        holds = "a single network and reads no prompt" if average is None else "ema and net"
        raise FarfieldError(f"{folder}: no network {part!r}; it holds {holds}; leave @{part} out or choose another")
    network = plain if average is None or average.is_file() or part == "net" else average
    if not (network / "config.json").is_file():
        raise FarfieldError(
            f"{network / 'config.json'}: missing; expected a diffusers pipeline folder with unet/ and scheduler/, or the "
            "config.json and weights of a UNet2DModel with a scheduler_config.json beside them"
        )
    return network


def average_of(folder: Path) -> Path | None:
    """The folder of the moving average beside ``unet``, or the file of accelerate's that holds it; None where there is none."""
    if not (folder / NETWORK).is_dir():
        return None
    named = (folder / name for name in AVERAGES if _holds_network(folder / name))
    return next(named, None) or registered.average_file(folder)


def _holds_network(folder: Path) -> bool:
    """Whether there is a network, or its weights alone: `network_folder` then says what is missing."""
    return any(f.name == "config.json" or f.suffix in (".safetensors", ".bin") for f in folder.glob("*"))


def scheduler_file(folder: Path) -> Path:
    """The configuration of the scheduler.

    Raises:
        FarfieldError: it is missing; the message says how to answer for it once.
    """
    path = find_scheduler(folder)
    if path is None:
        likely = " ".join(f"--set {q.name}={q.likely}" for q in _QUESTIONS)
        raise FarfieldError(
            f"{folder / SCHEDULER}: missing; a network does not say what it was trained at. Expected the configuration of its "
            f"scheduler; where that was DDPM's usual one, answer once: `farfield inspect {shlex.quote(str(folder))} {likely}`"
        )
    return path


def find_scheduler(folder: Path) -> Path | None:
    return next((p for p in (folder / "scheduler" / SCHEDULER, folder / SCHEDULER) if p.is_file()), None)


def asked(folder: Path, answers: Answers) -> tuple[dict[str, Any], tuple[Question, ...], tuple[Finding, ...]]:
    """The configuration of a missing scheduler as answers have it, likely ones where they do not; and what is open and settled.

    Raises:
        FarfieldError: an answer to what is no question, or one that cannot be.
    """
    inquiry = Inquiry(folder, answers, {}, "")
    inquiry.refuse_others((*(q.name for q in _QUESTIONS), *flow.ANSWERS))
    if answers.get("prediction") == flow.FLOW:
        inquiry.settle(_PREDICTION)
        config = flow.asked(inquiry)
        return config, tuple(inquiry.questions), tuple(inquiry.findings)
    schedule, prediction, steps = (inquiry.settle(question) for question in _QUESTIONS)
    if not _STEPS[0] <= steps <= _STEPS[1]:
        raise FarfieldError(f"{folder}: steps={steps}; expected {_STEPS[0]} to {_STEPS[1]:,}, mostly 1000")
    config = {
        "_class_name": "DDPMScheduler",
        "num_train_timesteps": steps,
        "beta_schedule": _SCHEDULES[schedule],
        "beta_start": 1e-4,
        "beta_end": 0.02,
        "prediction_type": _PREDICTIONS[prediction],
        "clip_sample": False,
    }
    return config, tuple(inquiry.questions), tuple(inquiry.findings)


def keep_scheduler(folder: Path, answers: Answers) -> Path:
    """Write the configuration that answers say, where it is missing; where it is then.

    Raises:
        FarfieldError: it is there, an answer is missing or cannot be, or the place cannot be written.
    """
    if (path := find_scheduler(folder)) is not None:
        raise FarfieldError(f"{folder}: a folder says everything; leave --set out, or change {path}")
    config, questions, _ = asked(folder, answers)
    if questions:
        left = " ".join(f"--set {q.name}={q.likely}" for q in questions)
        raise FarfieldError(f"{folder}: expected answers to everything that its scheduler says at once; add {left}")
    write_json(folder / SCHEDULER, config)
    return folder / SCHEDULER
