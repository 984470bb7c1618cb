"""Models that farfield trains, as folders without code.

Where diffusers can say what a model is (a UNet2DModel that predicts the noise or v at discrete levels), the folder is a
pipeline that diffusers loads too. Every other one is ours: ``model.json`` (network, family, shape) and
``weights.safetensors``.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from farfield.checkpoints.assembly import assemble, check_runs, first_line
from farfield.core.artifact import read_json, write_bytes, write_json
from farfield.core.disk import beside, put
from farfield.core.error import FarfieldError
from farfield.core.tensor_file import open_tensors
from farfield.diffusion.denoiser import Denoiser, NetworkDenoiser
from farfield.diffusion.precondition import FAMILIES, Family, precondition
from farfield.diffusion.units import Rescaled, Units

LARGEST = 1 << 28
"""Numbers of an image, at most: 1 GB."""

_ALWAYS = ("network", "shape", "family", "classes", "sigma_data")
DESCRIPTION, WEIGHTS, ORIGIN = "model.json", "weights.safetensors", "training.json"

_LINEAR = {"num_train_timesteps": 1000, "beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02}
_SCHEDULERS: dict[str, dict[str, Any]] = {
    "ddpm": {**_LINEAR, "prediction_type": "epsilon"},
    "v": {**_LINEAR, "prediction_type": "v_prediction"},
    "iddpm": {"num_train_timesteps": 1000, "beta_schedule": "squaredcos_cap_v2", "prediction_type": "epsilon"},
}
"""What diffusers calls the families that it can say."""


@dataclass(frozen=True)
class Blueprint:
    """All of a model but its weights.

    Attributes:
        network: its configuration, as `networks.build` takes it.
        shape: ``(C, H, W)``.
        family: how it is preconditioned; None where ``scheduler`` says it, of a foreign pipeline.
        classes: how many, 0 if unconditional.
        sigma_data: of ``edm`` alone.
        scheduler: the configuration of a diffusers scheduler that says the same, where there is one.
        levels: arguments of the family's schedule, where they are not its usual ones.
        units: its own, where its pictures are not in [-1, 1].
    """

    network: dict[str, Any]
    shape: tuple[int, ...]
    family: Family | None = "edm"
    classes: int = 0
    sigma_data: float = 0.5
    scheduler: dict[str, Any] | None = field(default=None)
    levels: dict[str, Any] = field(default_factory=dict)
    units: Units | None = None

    def check_label(self, label: int | None, name: str) -> None:
        """Refuse a class for a model without, and none for one with; -1 is no class, of a model that was trained with that too.

        Networks of EDM's are, where a share of their labels was dropped (``label_dropout``).
        """
        if not self.classes and label is not None:
            raise FarfieldError(f"{name}: a label was given, but this model is unconditional; leave it out")
        null = bool(self.network.get("label_dropout"))
        if self.classes and (label is None or not -null <= label < self.classes):
            none = ", or -1 for none of them" if null else ""
            why = "; it was trained without label dropout, and knows no images without a class" if label == -1 else ""
            raise FarfieldError(
                f"{name}: class-conditional; expected a label from 0 to {self.classes - 1}{none}, found {label}{why}"
            )

    def denoiser(self, network: nn.Module, label: int | None = None) -> NetworkDenoiser | Rescaled:
        """The denoiser of such a network, for pictures in [-1, 1]."""
        inner = self.inner(network, label)
        return inner if self.units is None else Rescaled(inner, self.units)

    def inner(self, network: nn.Module, label: int | None = None) -> NetworkDenoiser:
        """The same in the model's own units."""
        if self.family is not None:
            return precondition(
                self.family, network, self.shape, sigma_data=self.sigma_data, label=label, levels=self.levels
            )
        from farfield.checkpoints.scheduler import scheduled

        return scheduled(network, self.scheduler or {}, self.shape, label)

    def pipeline(self) -> dict[str, Any] | None:
        """The scheduler of a diffusers pipeline that says all this; None where there is no such pipeline."""
        if self.network.get("kind") != "unet2d" or self.units is not None:
            return None
        if self.family is None:
            from farfield.checkpoints.flow import is_flow
            from farfield.checkpoints.scheduler import DISCRETE

            scheduler = self.scheduler or {}  # a DDPMPipeline tells its network the time step, and as it is
            discrete = scheduler.get("_class_name", "DDPMScheduler") in DISCRETE and "timestep_scale" not in scheduler
            return self.scheduler if discrete and not is_flow(scheduler) else None
        return None if self.levels else _SCHEDULERS.get(self.family)


def is_native(folder: Path) -> bool:
    return (folder / DESCRIPTION).is_file()


def read_blueprint(folder: Path) -> Blueprint:
    """What ``model.json`` says.

    Raises:
        FarfieldError: it is missing, damaged, or not of a farfield model.
    """
    path = folder / DESCRIPTION
    description = read_json(path, "copy the model anew")
    try:
        plan = Blueprint(
            dict(description["network"]),
            tuple(int(s) for s in description["shape"]),
            description["family"],
            int(description["classes"]),
            float(description["sigma_data"]),
            description.get("scheduler"),
            dict(description.get("levels") or {}),
            None if (units := description.get("units")) is None else Units(**units),
        )
        if len(plan.shape) != 3 or min(plan.shape) < 1 or math.prod(plan.shape) > LARGEST:
            raise ValueError(f"shape {plan.shape}")
        if not 0 < plan.sigma_data < math.inf or plan.classes < 0:
            raise ValueError(f"sigma_data {plan.sigma_data}, {plan.classes} classes")
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise FarfieldError(f"{path}: expected the description of a farfield model, found none ({error!r})") from error
    if plan.family not in FAMILIES and not (plan.family is None and plan.scheduler):
        raise FarfieldError(f"{path}: family {plan.family!r}; expected one of {', '.join(FAMILIES)}, or a scheduler")
    if plan.family is not None:
        try:
            plan.denoiser(nn.Identity())  # or its levels are none
        except FarfieldError as error:
            raise FarfieldError(f"{path}: {error}") from error
    return plan


def told_classes(folder: Path) -> tuple[str, ...]:
    """The names of the classes that a model of ours was trained on; none where it does not say."""
    try:
        return tuple(str(name) for name in read_json(folder / ORIGIN).get("class_names") or ())
    except (FarfieldError, AttributeError, TypeError):
        return ()


def load_native(folder: Path, *, dtype: torch.dtype = torch.float32, label: int | None = None) -> Denoiser:
    """The denoiser of a folder with a ``model.json``, frozen, on the CPU.

    Raises:
        FarfieldError: a part is missing or damaged, or the label does not fit.
    """
    plan = read_blueprint(folder)
    plan.check_label(label, str(folder))
    return plan.denoiser(read_network(plan, folder).to(dtype), label).eval().requires_grad_(False)


def read_network(plan: Blueprint, folder: Path) -> nn.Module:
    """The network of such a folder with its weights, in float32."""
    from safetensors import SafetensorError

    from farfield.networks.build import from_config

    def build() -> nn.Module:
        try:
            return from_config(plan.network)
        except Exception as error:  # diffusers raises whatever its parts raise
            raise FarfieldError(f"{folder / DESCRIPTION}: a network that cannot be ({first_line(error)})") from error

    try:
        with open_tensors(folder / WEIGHTS) as file:
            sizes = [size for k in file.keys() for size in file.get_slice(k).get_shape()]  # noqa: SIM118
            most = max([1000, len(file.keys()), *plan.shape, *sizes])
            if wrong := [n for n in _numbers(plan.network) if n > most]:
                raise RuntimeError(f"nothing in it is as large as {max(wrong)}")  # nor is room taken for it
            network = assemble(build, {k: file.get_tensor(k).float() for k in file.keys()})  # noqa: SIM118
    except (OSError, SafetensorError, RuntimeError) as error:
        raise FarfieldError(
            f"{folder / WEIGHTS}: expected the weights of the network in {DESCRIPTION}, found none or others "
            f"({first_line(error)})"
        ) from error
    check_runs(network, plan.shape, plan.classes, str(folder / DESCRIPTION))
    return network


def _numbers(config: Any) -> Iterator[int]:
    """All whole numbers of a configuration."""
    if isinstance(config, int):
        yield config
    elif isinstance(config, Mapping | list | tuple):
        for value in config.values() if isinstance(config, Mapping) else config:
            yield from _numbers(value)


def save_model(
    folder: Path,
    network: nn.Module,
    plan: Blueprint,
    *,
    dtype: torch.dtype = torch.float32,
    origin: Mapping[str, Any] | None = None,
    pipeline: bool = True,
) -> None:
    """Write a model folder, whole or not at all.

    Args:
        dtype: of the file; float16 halves it.
        origin: what else is to be known of it (training data, images seen, where it came from); kept beside as
            ``training.json``.
        pipeline: as a diffusers pipeline where that can say it, or else ours in any case.
    """
    scheduler = plan.pipeline() if pipeline else None
    with beside(folder, folder=True) as temporary:
        if scheduler is not None:
            _write_pipeline(temporary, network.get_submodule("unet"), scheduler, dtype)
        else:
            _write_weights(temporary / WEIGHTS, network, dtype)
            write_json(temporary / DESCRIPTION, {k: v for k, v in asdict(plan).items() if v or k in _ALWAYS})
        if origin:
            write_json(temporary / ORIGIN, dict(origin))
        shutil.rmtree(folder, ignore_errors=True)
        put(temporary, folder)


def _write_pipeline(folder: Path, unet: Any, scheduler: dict[str, Any], dtype: torch.dtype) -> None:
    """Exactly the files of a diffusers ``DDPMPipeline``."""
    import diffusers

    version = {"_diffusers_version": diffusers.__version__}
    config = {k: v for k, v in unet.config.items() if not k.startswith("_")}
    write_json(folder / "unet" / "config.json", {"_class_name": "UNet2DModel", **version, **config})
    _write_weights(folder / "unet" / "diffusion_pytorch_model.safetensors", unet, dtype)
    # diffusers clips x0 by default; no inversion survives that
    named = {"_class_name": "DDPMScheduler", **version, "clip_sample": False, **scheduler}
    write_json(folder / "scheduler" / "scheduler_config.json", named)
    parts = {"scheduler": ["diffusers", named["_class_name"]], "unet": ["diffusers", "UNet2DModel"]}
    write_json(folder / "model_index.json", {"_class_name": "DDPMPipeline", **version, **parts})


def _write_weights(path: Path, network: nn.Module, dtype: torch.dtype) -> None:
    from safetensors.torch import save

    state: dict[str, Tensor] = {k: v.detach().cpu().to(dtype).contiguous() for k, v in network.state_dict().items()}
    write_bytes(path, save(state, metadata={"format": "pt"}))
