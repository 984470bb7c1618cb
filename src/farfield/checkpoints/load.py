"""What a model's name means: the bundled model, a folder on disk, a hub id, or a data set's optimal denoiser."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import torch

from farfield.checkpoints.empirical import is_empirical, load_empirical, open_points
from farfield.checkpoints.native import is_native, load_native, newest_snapshot
from farfield.core.artifact import file_digest
from farfield.core.error import FarfieldError
from farfield.diffusion.denoiser import Denoiser

BUNDLED = ("cifar10-32", "digits-memorizing", "digits-generalizing")
"""Models that ship inside the package."""


def locate(name: str) -> Path:
    """The folder of a model; a hub id is downloaded unless the cache holds it.

    Raises:
        FarfieldError: neither bundled, nor on disk, nor the form of a hub id; or a model without a folder.
    """
    if is_empirical(name):
        raise FarfieldError(f"model {name!r}: the denoiser of a data set has no network; expected a model with weights")
    if name in BUNDLED:
        return Path(str(files("farfield") / "models" / name))
    path = Path(name).expanduser()
    if (path / "snapshots").is_dir():
        return newest_snapshot(path)
    if path.is_dir():
        return path
    if path.is_file():
        raise FarfieldError(
            f"{name}: a file; this version reads diffusers pipeline folders (model_index.json, unet/, scheduler/) and "
            "hub ids"
        )
    if re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", name) and not name.startswith((".", "/")):
        from farfield.checkpoints.hub import download

        return download(name)
    raise FarfieldError(
        f"model {name!r}: no such folder; expected {', '.join(BUNDLED)}, the folder of a training or of a diffusers pipeline, a "
        "hub id such as google/ddpm-cifar10-32, or empirical:DATA"
    )


def load_denoiser(
    name: str, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32, label: int | None = None
) -> Denoiser:
    """The denoiser of a model's name, frozen, on a device; that of a data set computes in float64 where it matters."""
    if is_empirical(name):
        return load_empirical(name, label=label).to(device)
    from farfield.checkpoints.hub import load_folder

    folder = locate(name)
    return (load_native if is_native(folder) else load_folder)(folder, dtype=dtype, label=label).to(device)


def model_digest(name: str) -> str:
    """sha256 of a model's weights and configurations, or of the data set that it is the denoiser of."""
    if is_empirical(name):
        return open_points(name).digest()
    folder = locate(name)
    return file_digest(p for p in folder.rglob("*") if p.suffix in (".json", ".safetensors", ".bin") and p.is_file())
