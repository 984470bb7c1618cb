r"""Files in the format of the consistency release (arXiv 2303.01469): guided-diffusion's names, preconditioned as EDM's.

Its networks are guided-diffusion's but for queries, keys and values: their weights have a fourth dimension, and all heads of each
stand together. So the format is known, and no learned variance is in it. Each is told :math:`1000 \cdot \ln(\sigma) / 4`, at
levels from 0.002 to 80, of data with a deviation of 0.5.

A consistency model (``cd_…``, ``ct_…``) has the very same weights as the EDM model that it was distilled from (``edm_…``), and
answers with the end of a path instead of the mean. Nothing in the file tells the two apart: published files are known by their
names, and of others it is asked.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from farfield.checkpoints.checkpoint import Question
from farfield.checkpoints.file.stored import State, Stored
from farfield.checkpoints.inquiry import Inquiry
from farfield.checkpoints.kind import CONSISTENCY
from farfield.checkpoints.recognised import UnreadError

EDM: Final = "edm"
"""The answer to what a network predicts."""
ANSWERS: Final = ("sigma_data", "time_scale", "kind")
KNOWN: Final = {"prediction": EDM, "time_scale": 1000, "sigma_data": 0.5, "order": "new"}
_SQUARED: Final = re.compile(r"(.*\.)?(qkv|proj_out)\.weight")
_DISTILLED: Final = re.compile(r"(^|[^a-z])(cd|ct|cm|lcm|consistency|target_model\d*)([^a-z]|$)", re.I)
"""Names of files of consistency models."""
_PUBLISHED: Final = re.compile(r"(cd_(imagenet64|bedroom256|cat256)_(l2|lpips)|ct_(imagenet64|bedroom256|cat256))\.pt")


def is_squared(state: State) -> bool:
    """Whether a network's attentions are those of the release."""
    attentions = [tensor for name, tensor in state.items() if _SQUARED.fullmatch(name)]
    return bool(attentions) and all(len(tensor.shape) == 4 for tensor in attentions)


def plain(state: State) -> dict[str, Stored]:
    """The same network with its attentions' weights as guided-diffusion has them."""
    return {name: _flat(tensor) if _SQUARED.fullmatch(name) else tensor for name, tensor in state.items()}


def _flat(tensor: Stored) -> Stored:
    if len(tensor.shape) != 4 or tensor.shape[2:] != (1, 1):
        return tensor
    return replace(tensor, shape=tensor.shape[:3], read=lambda: tensor.load().flatten(2))


def settle_kind(asked: Inquiry, path: Path, state: State) -> None:
    """See whether such a file denoises.

    Raises:
        UnreadError: it is a consistency model, by its name or as answered.
    """
    asked.learn(KNOWN, "the format is that of the consistency release, whose networks have this")
    if _PUBLISHED.fullmatch(path.name):
        asked.learn({"kind": "consistency"}, "so published, by the name of the file")
    likely = "consistency" if _DISTILLED.search(path.stem) else "denoiser"
    ask = "whether it denoises (the release's edm_…), or is a consistency model (its cd_…, ct_…), which has the same weights"
    kind = asked.settle(Question("kind", ask, likely, ("denoiser", "consistency")))
    if kind == "consistency" and all(question.name != "kind" for question in asked.questions):
        raise UnreadError(path, CONSISTENCY, state.values())


def levels(asked: Inquiry) -> dict[str, Any]:
    """The configuration of a scheduler of diffusers for a network that is preconditioned as EDM's; ``timestep_scale`` is ours."""
    ask = "what ln(sigma)/4 is told to the network times: 1, or 1000 where it was made for time steps"
    scale = asked.settle(Question("time_scale", ask, KNOWN["time_scale"], (), "as in the consistency release"))
    asked.learn({"sigma_data": KNOWN["sigma_data"]}, "the usual one, not said in the file")
    data = asked.settle(Question("sigma_data", "the standard deviation of its data, images in [-1, 1]", 0.5))
    return {
        "_class_name": "EDMEulerScheduler",
        "sigma_min": 0.002,
        "sigma_max": 80.0,
        "sigma_data": data,
        "prediction_type": "epsilon",
        **({"timestep_scale": scale} if scale != 1 else {}),
    }
