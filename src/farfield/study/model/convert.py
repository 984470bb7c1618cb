"""`farfield convert`: any model that is read here becomes a folder of safetensors and JSON, diffusers' own where it can."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

import farfield
from farfield.checkpoints import foreign
from farfield.checkpoints.checkpoint import Answers
from farfield.checkpoints.load import open_network, split_name
from farfield.checkpoints.native import DESCRIPTION, ORIGIN, WEIGHTS, Blueprint, save_model
from farfield.core.artifact import read_json
from farfield.core.disk import sweep, writing
from farfield.core.error import FarfieldError
from farfield.diffusion.schedule import DiscreteSchedule
from farfield.networks.unet2d import SampleOnly
from farfield.study.model.inspect import Description, describe

FORMATS: Final = ("auto", "farfield", "diffusers")

_WRITTEN: Final = {DESCRIPTION, WEIGHTS, ORIGIN, "model_index.json", "unet", "scheduler"}
"""All that a conversion leaves in its folder."""

_SAID: Final = (
    "num_train_timesteps", "beta_schedule", "beta_start", "beta_end", "trained_betas", "rescale_betas_zero_snr",
    "prediction_type", "variance_type",
)  # fmt: skip
"""What a DDPMScheduler says of a model, rather than of how it is sampled."""


@dataclass(frozen=True)
class Converted:
    """What was written.

    Attributes:
        format: ``farfield`` or ``diffusers``.
        dtype: of the weights in the file.
        exact: whether they are those of the source, to the bit.
    """

    out: Path
    format: str
    dtype: str
    exact: bool
    source: Description

    def to_json(self) -> dict[str, Any]:
        return {
            "out": str(self.out),
            "format": self.format,
            "dtype": self.dtype,
            "exact": self.exact,
            "from": self.source.model,
        }


def convert(
    model: str,
    out: Path,
    *,
    half: bool = False,
    format: str = "auto",
    answers: Answers | None = None,
    quiet: bool = False,
) -> Converted:
    """Write a model as a folder that loads back equal; ``training.json`` in it says where it came from.

    Weights are kept in float16, bfloat16 or float32, the narrowest that holds them all exactly.

    Args:
        model: a name as `checkpoints.load` knows it.
        out: a folder: not there yet, empty, or of an earlier conversion.
        half: float16 whether or not that is exact.
        format: ``diffusers``: a DDPMPipeline, of a UNet2DModel with time steps; ``farfield``; ``auto``: the first if it can be.
        answers: to what a file does not say, for this once.

    Raises:
        FarfieldError: an open question, a model without a network of its own, a format that cannot say it, or a folder of
            something else.
    """
    if format not in FORMATS:
        raise FarfieldError(f"format {format!r}: expected one of {', '.join(FORMATS)}")
    with writing(out):
        sweep(out.parent)
        _check_free(out)
    found = describe(model, answers, hashed=True, quiet=quiet)
    if out.resolve() == found.path.resolve():
        raise FarfieldError(f"{out}: is the model itself; choose another place")
    plan, network = _opened(model, found, answers)
    scheduler = ddpm_scheduler(plan)
    if format == "diffusers" and scheduler is None:
        raise FarfieldError(
            f"{model}: {found.architecture.partition(':')[0]}, {found.prediction}, {found.schedule['levels']}: expected a "
            "UNet2DModel that predicts epsilon, sample or v at whole time steps for a diffusers pipeline; use --format farfield"
        )
    pipeline = scheduler is not None and format != "farfield"
    exact = _narrowest(network)
    dtype = torch.float16 if half else exact
    if half:
        _check_half(model, network)
    if pipeline:
        plan = replace(plan, family=None, scheduler=scheduler)
    save_model(out, network, plan, dtype=dtype, origin=_told(found, answers), pipeline=pipeline)
    named = str(dtype).removeprefix("torch.")
    return Converted(out, "diffusers" if pipeline else "farfield", named, not half or exact == dtype, found)


def ddpm_scheduler(plan: Blueprint) -> dict[str, Any] | None:
    """The configuration of a DDPMScheduler that says the levels and prediction of a model; None where none does."""
    said = plan.pipeline()
    if said is None:
        return None
    told = {key: said[key] for key in _SAID if said.get(key) is not None}
    if plan.network.get("out_channels") == 2 * plan.shape[0]:
        told.setdefault("variance_type", "learned_range")
    bare = SampleOnly(nn.Identity())
    was, now = plan.denoiser(bare), replace(plan, family=None, scheduler=told).denoiser(bare)
    levels = [d.schedule.levels for d in (was, now) if isinstance(d.schedule, DiscreteSchedule)]
    return told if was.prediction == now.prediction and len(levels) == 2 and torch.equal(*levels) else None


def _opened(model: str, found: Description, answers: Answers | None) -> tuple[Blueprint, nn.Module]:
    if found.path.is_file():
        checkpoint = foreign.open_checkpoint(found.path, answers, split_name(model)[1])
        return checkpoint.plan, checkpoint.network()
    return open_network(model)


def _narrowest(network: nn.Module) -> torch.dtype:
    """The narrowest type that holds all of a network's numbers exactly."""
    state = [t for t in network.state_dict().values() if t.is_floating_point()]
    for dtype in (torch.float16, torch.bfloat16):
        if all(torch.equal(t.to(dtype).to(t.dtype), t) for t in state):
            return dtype
    return torch.float32


def _check_half(model: str, network: nn.Module) -> None:
    most = max(float(t.abs().max()) for t in network.state_dict().values() if t.is_floating_point() and t.numel())
    if not most <= torch.finfo(torch.float16).max:
        raise FarfieldError(f"{model}: a weight of {most:.3g} does not fit into float16; leave --half out")


def _told(found: Description, answers: Answers | None) -> dict[str, Any]:
    """Where a converted model came from."""
    kept: Mapping[str, Any] = foreign.kept_answers(found.path) if found.path.is_file() else {}
    return {
        "command": "convert",
        "farfield": farfield.__version__,
        "source": found.path.name,
        "model": found.model,
        "sha256": found.sha256,
        "family": found.family,
        "dtype": found.dtype,
        "licence": found.licence,
        "answers": {**kept, **(answers or {})},
        "findings": [{**asdict(f), "value": _json(f.value)} for f in found.findings],
    }


def _json(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_json(v) for v in value]
    return value if isinstance(value, bool | int | float | str | None) else str(value)


def _check_free(out: Path) -> None:
    """Refuse to write where something else is."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    ours = out.is_dir() and (out / ORIGIN).is_file() and {p.name for p in out.iterdir()} <= _WRITTEN
    told = read_json(out / ORIGIN) if ours else None
    if not isinstance(told, dict) or told.get("command") != "convert":
        raise FarfieldError(
            f"{out}: there already, and not a model that `farfield convert` wrote; choose another place"
        )
