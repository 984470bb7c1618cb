"""diffusers folders and hub ids: a UNet2DModel and its scheduler's configuration become a `Denoiser`.

A folder is a pipeline (``unet/`` and ``scheduler/``, or both at the top as in google/ddpm-cifar10-32) or what
``UNet2DModel.save_pretrained`` writes with a ``scheduler_config.json`` beside it. Weights are data: they are read from
safetensors or from torch's files by our own reader, whole or in shards, and nothing of a folder is executed.
"""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from farfield.checkpoints import registered
from farfield.checkpoints.assembly import assemble, check_runs, first_line
from farfield.checkpoints.file.stored import Stored
from farfield.checkpoints.hub_download import WANTED as WANTED
from farfield.checkpoints.hub_download import download as download
from farfield.checkpoints.native import Blueprint
from farfield.checkpoints.parts import NETWORK, average_of, network_folder, scheduler_file
from farfield.checkpoints.recognised import refuse_folder, refuse_title
from farfield.checkpoints.scheduler import VE
from farfield.checkpoints.scheduler import scheduled as scheduled
from farfield.checkpoints.wrapped import alone
from farfield.core.error import FarfieldError, FarfieldWarning
from farfield.core.json_file import read_json
from farfield.core.note import say
from farfield.diffusion.denoiser import NetworkDenoiser

_STEM = "diffusion_pytorch_model"
_MARKS = ("conv_in.weight", "conv_out.weight")
"""Of every UNet2DModel."""
_OLD_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""Of attention's weights, in files from before diffusers 0.15."""
_OF_AVERAGES = (
    "decay", "inv_gamma", "min_decay", "optimization_step", "power", "update_after_step", "use_ema_warmup",
)  # fmt: skip
"""What diffusers' EMAModel adds to the configuration of the network that it averages."""


def load_folder(
    folder: Path, *, dtype: torch.dtype = torch.float32, label: int | None = None, part: str | None = None
) -> NetworkDenoiser:
    """A pipeline folder as a denoiser on the CPU, in evaluation mode.

    Args:
        part: ``ema`` or ``net``, of a folder that holds a moving average too; the average if not given.
        dtype: precision to run in; files kept in float16 are widened to it.
        label: class index, required by class-conditional networks.

    Raises:
        FarfieldError: a part is missing, damaged, or of a kind that is not read here.
    """
    plan = read_plan(folder, part)
    plan.check_label(label, str(folder))
    network = _network(plan, folder, part, dtype)
    denoiser = scheduled(network, plan.scheduler or {}, plan.shape, label, str(scheduler_file(folder)))
    if part is None and (average := average_of(folder)) is not None:
        say(f"{folder}: its moving average ({average.name}) is taken; {folder}@net takes {NETWORK}")
    return denoiser.eval().requires_grad_(False)


def open_folder(folder: Path, part: str | None = None) -> tuple[Blueprint, nn.Module]:
    """What a pipeline folder is built like, and its network with its weights, in float32 on the CPU.

    Raises:
        FarfieldError: as of `load_folder`.
    """
    plan = read_plan(folder, part)
    return plan, _network(plan, folder, part, torch.float32)


def read_plan(folder: Path, part: str | None = None, levels: dict[str, Any] | None = None) -> Blueprint:
    """All of a pipeline folder but its weights.

    Args:
        levels: the configuration of its scheduler; its own if not given.

    Raises:
        FarfieldError: a part is missing, damaged, or of a kind that is not read here.
    """
    refuse_folder(folder)
    _check_index(folder)
    network = network_folder(folder, part)
    config = read_config(network / "config.json")
    kind = config.get("_class_name")
    if kind != "UNet2DModel":
        refuse_title(kind, folder)
        raise FarfieldError(
            f"{folder}: its network is {kind}; expected UNet2DModel (unconditional or class-conditional, in pixels)"
        )
    levels = read_config(scheduler_file(folder)) if levels is None else levels
    config = _arguments(config, folder)
    _check_network(config, levels.get("_class_name"), str(network / "config.json"))
    size, channels = config["sample_size"], config["in_channels"]
    shape = (channels, size, size) if isinstance(size, int) else (channels, *size)
    return Blueprint({"kind": "unet2d", **config}, shape, None, config["num_class_embeds"] or 0, scheduler=levels)


def _check_index(folder: Path) -> None:
    """Refuse pipelines with parts of other libraries, with code, or with more than a network and its scheduler."""
    if strange := [p for part in ("unet", "scheduler") for p in sorted((folder / part).glob("*.py"))]:
        raise FarfieldError(
            f"{strange[0]}: code that comes with a model is not run; expected a UNet2DModel and a scheduler of diffusers"
        )
    if not (folder / "model_index.json").is_file():
        return
    index = read_config(folder / "model_index.json")
    refuse_title(index.get("_class_name"), folder)
    for part, named in index.items():
        if part.startswith("_") or not isinstance(named, list) or named[:1] == [None]:
            continue
        if part not in ("unet", "scheduler"):
            raise FarfieldError(
                f"{folder}: its pipeline ({index.get('_class_name')}) has the part {part}; expected unet and scheduler alone, "
                "of a model in pixels"
            )
        if named[:1] != ["diffusers"]:
            raise FarfieldError(
                f"{folder / 'model_index.json'}: {part} is {'.'.join(map(str, named))}; expected a class of diffusers; code "
                "that comes with a model is not run"
            )


def _arguments(config: dict[str, Any], folder: Path) -> dict[str, Any]:
    """All arguments of the UNet2DModel of a configuration, with diffusers' defaults where it leaves them out."""
    from diffusers import UNet2DModel

    known = {k: p.default for k, p in inspect.signature(UNet2DModel.__init__).parameters.items() if k != "self"}
    if strange := sorted(k for k in config if k not in known and k not in _OF_AVERAGES and not k.startswith("_")):
        warnings.warn(
            f"{folder}: its network's configuration has {', '.join(strange)}, which this version of diffusers does not know; "
            "left out",
            FarfieldWarning,
            stacklevel=2,
        )
    arguments = {k: config.get(k, default) for k, default in known.items()}
    return {k: list(v) if isinstance(v, tuple) else v for k, v in arguments.items()}


def _check_network(config: dict[str, Any], scheduler: Any, name: str) -> None:
    """Refuse networks that no denoiser of ours can call."""
    size, channels, answers = config["sample_size"], config["in_channels"], config["out_channels"]
    if size is None:
        raise FarfieldError(f"{name} has no sample_size; write the size that it was trained at there")
    sides = [size] if isinstance(size, int) else size
    if not isinstance(sides, list) or len(sides) > 2 or not all(isinstance(s, int) and s > 0 for s in sides):
        raise FarfieldError(f"{name}: sample_size {size!r}; expected a number, or [height, width]")
    if isinstance(channels, int) and isinstance(answers, int) and channels == 2 * answers:
        raise FarfieldError(
            f"{name}: sees {channels} channels and answers {answers}: a super-resolution model, which is shown a small image "
            "beside the noisy one; expected a model of images alone"
        )
    if not isinstance(channels, int) or answers not in (channels, 2 * channels):
        raise FarfieldError(
            f"{name}: {channels} channels in and {answers} out; expected as many, or twice as many (learned variance), of "
            "a model that is shown the noisy image alone"
        )
    kind, classes = config["class_embed_type"], config["num_class_embeds"]
    if kind is not None or not (classes is None or (isinstance(classes, int) and classes > 0)):
        raise FarfieldError(
            f"{name}: class_embed_type {kind!r} and num_class_embeds {classes!r}; expected null: no classes, or null and a "
            "number: a table of them"
        )
    embedding = config["time_embedding_type"]
    if embedding == "learned" or (embedding == "fourier") != (scheduler == VE):
        raise FarfieldError(
            f"{name}: time_embedding_type {embedding!r} under a {scheduler}; expected fourier with {VE}, and positional with "
            "every other scheduler"
        )


def _network(plan: Blueprint, folder: Path, part: str | None, dtype: torch.dtype) -> nn.Module:
    from farfield.networks.build import from_config

    place, average = network_folder(folder, part), average_of(folder)

    def build() -> nn.Module:
        try:
            return from_config(plan.network)
        except Exception as error:  # diffusers raises whatever its parts raise
            raise FarfieldError(
                f"{place / 'config.json'}: not the configuration of a UNet2DModel ({first_line(error)})"
            ) from error

    try:
        if average is not None and average.is_file() and part != "net":
            with torch.device("meta"):  # a parameter's place in this list is all that names it
                shapes = {name: tuple(p.shape) for name, p in build().get_submodule("unet").named_parameters()}
            listed = {n: t.load() for n, t in registered.read_average(average, shapes, _MARKS).items()}
            weights = {name: tensor.to(dtype) for name, tensor in listed.items()}
        else:
            weights = read_weights(place, dtype)
        network = assemble(build, weights, "unet")
    except RuntimeError as error:
        raise FarfieldError(f"{place}: its weights are not those of its config.json ({first_line(error)})") from error
    check_runs(network, plan.shape, plan.classes, str(place / "config.json"))
    return network


def read_weights(folder: Path, dtype: torch.dtype) -> dict[str, Tensor]:
    """The weights that ``save_pretrained`` left in a folder, tensor by tensor into the precision that is asked for."""
    attention = re.compile(rf"(\battentions\.\d+)\.({'|'.join(_OLD_NAMES)})\.")
    weights = {}
    for name, stored in alone(stored_weights(folder)).items():
        tensor = stored.load()
        name = attention.sub(lambda match: f"{match[1]}.{_OLD_NAMES[match[2]]}.", name)
        weights[name] = tensor.to(dtype) if tensor.is_floating_point() else tensor
    return weights


def stored_weights(folder: Path, *stems: str) -> dict[str, Stored]:
    """The tensors of a folder as ``save_pretrained`` writes it, still on disk.

    Full precision goes before half, safetensors before torch's files.

    Args:
        stems: the files' name without variant, number and ending, as diffusers has it if not given; the first goes first.

    Raises:
        FarfieldError: no weights, a shard is missing, or a file is damaged.
    """
    from farfield.checkpoints.file.tree import open_tree

    tensors: dict[str, Stored] = {}
    for path in _weight_files(folder, stems or (_STEM,)):
        root = open_tree(path).root
        if not isinstance(root, dict) or not all(isinstance(v, Stored) for v in root.values()):
            raise FarfieldError(
                f"{path}: expected tensors by their names and nothing else; give the folder's own weights"
            )
        tensors |= root
    return tensors


def _weight_files(folder: Path, stems: Sequence[str]) -> list[Path]:
    for variant in ("", ".fp16", ".bf16"):
        for ending in ("safetensors", "bin"):
            for stem in stems:
                whole, index = folder / f"{stem}{variant}.{ending}", folder / f"{stem}.{ending}.index{variant}.json"
                if whole.is_file():
                    return [whole]
                if index.is_file():
                    return _shards(index)
    raise FarfieldError(
        f"{folder}: no weights; expected {stems[0]}.safetensors, or {stems[-1]}.bin, whole or in shards with their index; "
        "download the model again"
    )


def _shards(index: Path) -> list[Path]:
    """The files that an index names, all of them in its own folder."""
    names = read_config(index).get("weight_map")
    if not isinstance(names, dict) or not all(isinstance(n, str) and Path(n).name == n for n in names.values()):
        raise FarfieldError(
            f"{index}: expected weight_map, the files beside it by the names of the weights; found none"
        )
    paths = [index.parent / name for name in sorted(set(names.values()))]
    if missing := [path.name for path in paths if not path.is_file()]:
        raise FarfieldError(
            f"{index.parent}: {', '.join(missing)} missing, which {index.name} names; download it again"
        )
    return paths


def read_config(path: Path) -> dict[str, Any]:
    """A JSON object of a pipeline folder."""
    if not path.is_file():
        raise FarfieldError(
            f"{path}: missing; expected a diffusers pipeline folder with model_index.json, unet/ and scheduler/"
        )
    config: dict[str, Any] = read_json(path, "download it again")
    if not isinstance(config, dict):
        raise FarfieldError(f"{path}: expected a JSON object, found {type(config).__name__}")
    return config
