"""How a model's network is read, in words: what it answers, and of which noise levels it is told how."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from farfield.checkpoints.native import Blueprint
from farfield.diffusion.denoiser import NetworkDenoiser
from farfield.diffusion.flow import FlowSchedule
from farfield.diffusion.schedule import ContinuousSchedule, DiscreteSchedule, SubVPSchedule, TimeSchedule, VPSchedule
from farfield.networks.unet2d import SampleOnly


def read_as(plan: Blueprint) -> dict[str, Any]:
    """Prediction and schedule of a plan, as the denoiser that it would make has them."""
    network = SampleOnly(nn.Identity())
    denoiser, schedule = plan.inner(network), plan.denoiser(network).schedule
    return {
        "prediction": prediction_of(denoiser),
        "schedule": {
            "levels": _levels(plan, denoiser),
            "sigma_min": schedule.sigma_min,
            "sigma_max": schedule.sigma_max,
            "steps": len(inner.levels) if isinstance(inner := denoiser.schedule, DiscreteSchedule) else None,
            "open_end": schedule.open_end,
        },
    }


def prediction_of(denoiser: NetworkDenoiser) -> str:
    return f"edm, sigma_data {denoiser.sigma_data:g}" if denoiser.prediction == "edm" else denoiser.prediction


def _levels(plan: Blueprint, denoiser: NetworkDenoiser) -> str:
    schedule = denoiser.schedule
    if isinstance(schedule, DiscreteSchedule):
        config: Mapping[str, Any] = plan.scheduler if plan.family is None and plan.scheduler else plan.pipeline() or {}
        betas = {"squaredcos_cap_v2": "cosine"}.get(
            config.get("beta_schedule", ""), config.get("beta_schedule", "linear")
        )
        betas = "cosine" if plan.family == "iddpm" else betas
        ends = (
            f" {config['beta_start']:g} to {config['beta_end']:g}" if "beta_end" in config and betas != "cosine" else ""
        )
        scale = f", told to the network times {schedule.scale:g}" if schedule.scale != 1 else ""
        return f"{len(schedule.levels)} {betas} betas{ends}{scale}"
    if isinstance(schedule, VPSchedule):
        return "continuous, of the VP SDE"
    if isinstance(schedule, SubVPSchedule):
        return "continuous, of the sub-VP SDE"
    if isinstance(schedule, FlowSchedule):
        told = "t, which is 1 at the noise" if schedule.toward == "noise" else "1 - t, which is 1 at the data"
        scale = f", times {schedule.scale:g}" if schedule.scale != 1 else ""
        return f"continuous, of {schedule.path} paths, told as {told}{scale}"
    if isinstance(schedule, TimeSchedule):
        return f"continuous, of the VP SDE of constant rate, told as t/{schedule.t_max:g}"
    if isinstance(schedule, ContinuousSchedule):
        scale = f" times {schedule.scale:g}" if schedule.scale != 1 else ""
        return f"continuous, told as ln(sigma)/4{scale}"
    return "continuous, of the VE SDE"
