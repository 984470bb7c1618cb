"""What a model's name means: the bundled model, a folder on disk, or a hub id."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import torch

from farfield.core.artifact import file_digest
from farfield.core.error import FarfieldError
from farfield.diffusion.denoiser import NetworkDenoiser

BUNDLED = ("cifar10-32",)
"""Models that ship inside the package."""


def locate(name: str) -> Path:
    """The folder of a model; a hub id is downloaded unless the cache holds it.

    Raises:
        FarfieldError: neither bundled, nor on disk, nor the form of a hub id.
    """
    if name in BUNDLED:
        return Path(str(files("farfield") / "models" / name))
    path = Path(name).expanduser()
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
        f"model {name!r}: no such folder; expected {', '.join(BUNDLED)}, a diffusers pipeline folder, or a hub id "
        "such as google/ddpm-cifar10-32"
    )


def load_denoiser(
    name: str, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32, label: int | None = None
) -> NetworkDenoiser:
    """The denoiser of a model's name, frozen, on a device."""
    from farfield.checkpoints.hub import load_folder

    return load_folder(locate(name), dtype=dtype, label=label).to(device)


def model_digest(name: str) -> str:
    """sha256 of a model's weights and configurations."""
    folder = locate(name)
    return file_digest(p for p in folder.rglob("*") if p.suffix in (".json", ".safetensors", ".bin") and p.is_file())
