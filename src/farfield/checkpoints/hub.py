"""diffusers folders and hub ids: a UNet2DModel and its scheduler's configuration become a `Denoiser`.

Only the network and the numbers of the schedule are taken. diffusers' schedulers, their time step spacing and their
clipping of x0 (``clip_sample``, which no inversion survives) are left behind: our own solver does the rest.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from farfield.core.error import FarfieldError
from farfield.diffusion.denoiser import NetworkDenoiser, Prediction
from farfield.diffusion.schedule import DiscreteSchedule, cosine_betas, linear_betas, scaled_linear_betas
from farfield.networks.unet2d import SampleOnly

WANTED = (
    "model_index.json",
    "unet/*.json",
    "unet/*.safetensors",
    "unet/*.bin",
    "scheduler/*.json",
    "*.json",
    "*.safetensors",
    "*.bin",
)
"""The files of a hub id that make a denoiser."""

_PREDICTIONS: dict[str, Prediction] = {"epsilon": "epsilon", "sample": "sample", "v_prediction": "v"}


def load_folder(folder: Path, *, dtype: torch.dtype = torch.float32, label: int | None = None) -> NetworkDenoiser:
    """A pipeline folder (``unet/`` and ``scheduler/``) as a denoiser on the CPU, in evaluation mode.

    Args:
        dtype: precision to run in; files kept in float16 are widened to it.
        label: class index, required by class-conditional networks.

    Raises:
        FarfieldError: a part is missing, damaged, or of a kind that is not read here.
    """
    scheduler = read_config(folder / "scheduler" / "scheduler_config.json")
    config = read_config(folder / "unet" / "config.json")
    kind = config.get("_class_name")
    if kind != "UNet2DModel":
        raise FarfieldError(
            f"{folder}: its network is {kind}; expected UNet2DModel (unconditional or class-conditional, in pixels)"
        )
    classes = config.get("num_class_embeds")
    if classes is None and label is not None:
        raise FarfieldError(f"{folder}: a label was given, but this model is unconditional; leave it out")
    if classes is not None and (label is None or not 0 <= label < classes):
        raise FarfieldError(f"{folder}: class-conditional; expected a label from 0 to {classes - 1}, found {label}")
    size = config.get("sample_size")
    if size is None:
        raise FarfieldError(
            f"{folder}: unet/config.json has no sample_size; write the size that it was trained at there"
        )
    height, width = (size, size) if isinstance(size, int) else size
    shape = (config["in_channels"], height, width)
    schedule, prediction = _schedule(scheduler, str(folder))
    network = SampleOnly(_network(folder / "unet", dtype))
    return NetworkDenoiser(network, schedule, shape, prediction, label).eval().requires_grad_(False)


def scheduled(
    network: nn.Module, scheduler: dict[str, Any], shape: tuple[int, ...], label: int | None = None
) -> NetworkDenoiser:
    """A network under the configuration of a diffusers scheduler."""
    schedule, prediction = _schedule(scheduler, "scheduler")
    return NetworkDenoiser(network, schedule, shape, prediction, label)


def _schedule(config: dict[str, Any], name: str) -> tuple[DiscreteSchedule, Prediction]:
    named = config.get("prediction_type", "epsilon")
    if named not in _PREDICTIONS:
        raise FarfieldError(f"{name}: prediction_type {named!r}; expected one of {', '.join(_PREDICTIONS)}")
    return DiscreteSchedule(_betas(config, name)), _PREDICTIONS[named]


def download(name: str, wanted: Sequence[str] = WANTED) -> Path:
    """The folder of a hub id (``google/ddpm-cifar10-32``), from the local cache or the network; only ``wanted`` files."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=list(wanted)))
    except (LocalEntryNotFoundError, OSError) as error:
        if not isinstance(error, HfHubHTTPError):
            raise FarfieldError(
                f"{name}: not in the local cache and the hub cannot be reached; on a machine with a network run `hf "
                f"download {name}`, copy the folder here and give its path"
            ) from error
        raise FarfieldError(
            f"{name}: the hub has no such model, or it is not public ({error}); check the id"
        ) from error
    except (HFValidationError, HfHubHTTPError) as error:
        raise FarfieldError(f"{name}: not a model on the hub ({error})") from error


def _network(folder: Path, dtype: torch.dtype) -> nn.Module:
    from diffusers import UNet2DModel

    try:
        # Explicit float32: diffusers would otherwise keep a float16 file in float16, or round a wider one.
        network: nn.Module = UNet2DModel.from_pretrained(folder, torch_dtype=dtype)
    except (
        Exception
    ) as error:  # diffusers raises whatever its parts raise: OSError, ValueError, KeyError, SafetensorError
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise FarfieldError(
            f"{folder}: the network cannot be read ({first}); expected config.json and "
            "diffusion_pytorch_model.safetensors of a UNet2DModel"
        ) from error
    return network


def _betas(config: dict[str, Any], name: str) -> Tensor:
    """The betas of a scheduler's configuration; names and defaults are diffusers'."""
    if config.get("trained_betas") is not None:
        betas = torch.tensor(config["trained_betas"], dtype=torch.float64)
    else:
        steps, start, end = (
            config.get("num_train_timesteps", 1000),
            config.get("beta_start", 1e-4),
            config.get("beta_end", 0.02),
        )
        kind = config.get("beta_schedule", "linear")
        if kind == "linear":
            betas = linear_betas(steps, start, end)
        elif kind == "scaled_linear":
            betas = scaled_linear_betas(steps, start, end)
        elif kind == "squaredcos_cap_v2":
            betas = cosine_betas(steps)
        else:
            raise FarfieldError(f"{name}: beta_schedule {kind!r}; expected linear, scaled_linear or squaredcos_cap_v2")
    return _zero_terminal(betas) if config.get("rescale_betas_zero_snr") else betas


def _zero_terminal(betas: Tensor) -> Tensor:
    r"""Betas whose last level has no signal: :math:`\sqrt{\bar\alpha}` shifted and scaled (arXiv 2305.08891, algorithm 1)."""
    root = torch.cumprod(1 - betas, 0).sqrt()
    root = (root - root[-1]) * root[0] / (root[0] - root[-1])
    signal = root**2
    return 1 - torch.cat([signal[:1], signal[1:] / signal[:-1]])


def read_config(path: Path) -> dict[str, Any]:
    """A JSON object of a pipeline folder."""
    if not path.is_file():
        raise FarfieldError(
            f"{path}: missing; expected a diffusers pipeline folder with model_index.json, unet/ and scheduler/"
        )
    try:
        config: dict[str, Any] = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise FarfieldError(f"{path}: not JSON ({error})") from error
    if not isinstance(config, dict):
        raise FarfieldError(f"{path}: expected a JSON object, found {type(config).__name__}")
    return config
