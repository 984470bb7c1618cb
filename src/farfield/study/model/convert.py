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
from farfield.checkpoints.load import open_network
from farfield.checkpoints.native import DESCRIPTION, ORIGIN, WEIGHTS, Blueprint, save_model
from farfield.checkpoints.place import split_name
from farfield.command.convert import Convert
from farfield.command.text import as_pairs
from farfield.core.artifact import read_json
from farfield.core.disk import sweep, writing
from farfield.core.error import FarfieldError
from farfield.diffusion.schedule import DiscreteSchedule
from farfield.networks.unet2d import SampleOnly
from farfield.study.model.description import Description, describe

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
        return {name: getattr(self, name) for name in ("out", "format", "dtype", "exact")} | {"from": self.source.model}

    def __str__(self) -> str:
        kind = "a diffusers pipeline" if self.format == "diffusers" else "a farfield model"
        exact = "exactly the weights of its source" if self.exact else "weights rounded"
        licence = f"\nlicence: {self.source.licence}" if self.source.licence else ""
        return f"{self.out}: {kind}, {self.dtype}, {exact}{licence}"


def convert(settings: Convert) -> Converted:
    """Write a model as a folder that loads back equal; ``training.json`` in it says where it came from.

    Weights are kept in float16, bfloat16 or float32, the narrowest that holds them all exactly.

    Raises:
        FarfieldError: an open question, a model without a network of its own, a format that cannot say it, or a folder of
            something else.
    """
    model, out, answers = settings.model, settings.out, as_pairs(settings.answers, "--set")
    with writing(out):
        sweep(out.parent)
        _check_free(out)
    description = describe(model, answers, hashed=True, quiet=settings.printing.quiet)
    if out.resolve() == description.path.resolve():
        raise FarfieldError(f"{out}: is the model itself; choose another place")
    plan, network = _opened(model, description, answers)
    scheduler = ddpm_scheduler(plan)
    if settings.format == "diffusers" and scheduler is None:
        raise FarfieldError(
            f"{model}: {description.architecture.partition(':')[0]}, {description.prediction}, "
            f"{description.schedule['levels']}: expected a UNet2DModel that predicts epsilon, sample or v at whole time "
            "steps for a diffusers pipeline; use --format farfield"
        )
    pipeline = scheduler is not None and settings.format != "farfield"
    exact = _narrowest(network)
    dtype = torch.float16 if settings.float16 else exact
    if settings.float16:
        _check_float16(model, network)
    if pipeline:
        plan = replace(plan, family=None, scheduler=scheduler)
    save_model(out, network, plan, dtype=dtype, origin=_told(description, answers), pipeline=pipeline)
    named = str(dtype).removeprefix("torch.")
    return Converted(
        out, "diffusers" if pipeline else "farfield", named, not settings.float16 or exact == dtype, description
    )


def ddpm_scheduler(plan: Blueprint) -> dict[str, Any] | None:
    """The configuration of a DDPMScheduler that says the levels and prediction of a model; None where none does."""
    said = plan.pipeline()
    if said is None:
        return None
    config = {key: said[key] for key in _SAID if said.get(key) is not None}
    if plan.network.get("out_channels") == 2 * plan.shape[0]:
        config.setdefault("variance_type", "learned_range")
    bare = SampleOnly(nn.Identity())
    was, now = plan.inner(bare), replace(plan, family=None, scheduler=config).inner(bare)
    levels = [d.schedule.levels for d in (was, now) if isinstance(d.schedule, DiscreteSchedule)]
    return config if was.prediction == now.prediction and len(levels) == 2 and torch.equal(*levels) else None


def _opened(model: str, description: Description, answers: Answers) -> tuple[Blueprint, nn.Module]:
    if description.path.is_file():
        checkpoint = foreign.open_checkpoint(description.path, answers, split_name(model)[1])
        return checkpoint.plan, checkpoint.alone()
    return open_network(model)


def _narrowest(network: nn.Module) -> torch.dtype:
    """The narrowest type that holds all of a network's numbers exactly."""
    state = [t for t in network.state_dict().values() if t.is_floating_point()]
    for dtype in (torch.float16, torch.bfloat16):
        if all(torch.equal(t.to(dtype).to(t.dtype), t) for t in state):
            return dtype
    return torch.float32


def _check_float16(model: str, network: nn.Module) -> None:
    most = max(float(t.abs().max()) for t in network.state_dict().values() if t.is_floating_point() and t.numel())
    if not most <= torch.finfo(torch.float16).max:
        raise FarfieldError(f"{model}: a weight of {most:.3g} does not fit into float16; leave --float16 out")


def _told(description: Description, answers: Answers) -> dict[str, Any]:
    """Where a converted model came from."""
    kept: Mapping[str, Any] = foreign.kept_answers(description.path) if description.path.is_file() else {}
    return {
        "command": "convert",
        "farfield": farfield.__version__,
        "source": description.path.name,
        "model": description.model,
        "sha256": description.sha256,
        "family": description.family,
        "dtype": description.dtype,
        "licence": description.licence,
        "answers": {**kept, **answers},
        "findings": [{**asdict(f), "value": _json(f.value)} for f in description.findings],
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
    origin = read_json(out / ORIGIN) if ours else None
    if not isinstance(origin, dict) or origin.get("command") != "convert":
        raise FarfieldError(
            f"{out}: there already, and not a model that `farfield convert` wrote; choose another place"
        )
