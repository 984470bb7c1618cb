"""A tiny random model, a few small pictures, and the command line called in this process: whole runs in a second."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image

from farfield.core.error import FarfieldWarning
from farfield.data.stretch import Channel, Stretch


def make_model(
    folder: Path,
    shape: tuple[int, int, int] = (3, 16, 16),
    classes: int | None = None,
    channels: tuple[int, ...] = (4,),
) -> Path:
    """A diffusers pipeline folder: one level of 4 channels, random weights, always the same."""
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

    colours, height, width = shape
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = UNet2DModel(
            sample_size=height if height == width else (height, width),
            in_channels=colours,
            out_channels=colours,
            layers_per_block=1,
            block_out_channels=channels,
            down_block_types=("DownBlock2D",) * len(channels),
            up_block_types=("UpBlock2D",) * len(channels),
            norm_num_groups=4,
            add_attention=False,
            num_class_embeds=classes,
        )
        network.conv_out.weight.data.mul_(0.02)  # a random network's flow is chaotic; a gentle one can be inverted
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        DDPMPipeline(unet=network, scheduler=DDPMScheduler()).save_pretrained(folder)
    return folder


def picture(seed: int, height: int = 16, width: int = 16) -> Image.Image:
    """A smooth coloured picture, another for each seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def make_images(folder: Path, n: int, height: int = 16, width: int = 16, first: int = 0) -> Path:
    """``n`` PNG files ``img-000.png`` …; from another ``first`` on they are other pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(first, first + n):
        picture(seed, height, width).save(folder / f"img-{seed:03d}.png")
    return folder


@dataclass(frozen=True)
class Outcome:
    """What a command left: its exit code and what it said."""

    code: int
    out: str
    err: str


def farfield(*arguments: Any) -> Outcome:
    """``farfield ARGUMENTS…`` through `farfield.cli.main`, in this process; a traceback is raised, as it would be shown."""
    from farfield.cli import main

    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        patch.object(sys, "argv", ["farfield", *map(str, arguments)]),
        patch.dict(os.environ, {"FARFIELD_DEBUG": "1"}),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", FarfieldWarning)
        try:
            main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(bool(stop.code))
    return Outcome(code, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def undrawn() -> Iterator[None]:
    """Runs without their pages: drawing takes longer than most of them, and draws what the tests look at in the folder."""
    with patch("farfield.present.report.draw", lambda folder, command: (folder, ())):
        yield


def summary(run: Path) -> dict[str, Any]:
    """``summary.json`` without the seconds it took."""
    found = json.loads((run / "summary.json").read_text())
    found.pop("cost_seconds", None)
    return found


def read_stretch(path: Path) -> Stretch:
    """What a run's ``stretch.json`` says."""
    told = json.loads(path.read_text())
    return Stretch(told["kind"], tuple(Channel(**channel) for channel in told["channels"]), told["unit"])


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def decided(run: Path) -> dict[str, Any]:
    """Everything in a run folder that its command decides: left out are times, and the page that shows them.

    Of a shard the numbers' bytes and what its header says, whose order the library leaves to chance.
    """
    from safetensors import safe_open

    found: dict[str, Any] = {}
    for name, content in contents(run).items():
        if name in ("cost.json", "config.json", "report.html"):
            continue
        if name.endswith(".safetensors"):
            with safe_open(run / name, framework="np") as f:
                values = {key: f.get_tensor(key) for key in f.keys()}  # noqa: SIM118
                found[name] = f.metadata(), {k: (str(v.dtype), v.shape, v.tobytes()) for k, v in values.items()}
        else:
            found[name] = summary(run) if name == "summary.json" else content
    return found


def differences(a: Path, b: Path) -> list[str]:
    """The files in which two run folders differ, as `decided` sees them."""
    first, second = decided(a), decided(b)
    return sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name))


def numbers(value: Any, path: str = "") -> dict[str, float]:
    """Every number in a JSON value by its path."""
    if isinstance(value, dict):
        return {k: v for name, part in value.items() for k, v in numbers(part, f"{path}/{name}").items()}
    if isinstance(value, list):
        return {k: v for i, part in enumerate(value) for k, v in numbers(part, f"{path}/{i}").items()}
    return {path: float(value)} if isinstance(value, int | float) else {}


@contextlib.contextmanager
def asked() -> Iterator[list[int]]:
    """How many images the network is asked of, call by call."""
    rows: list[int] = []
    from farfield.diffusion.denoiser import NetworkDenoiser

    real = NetworkDenoiser.forward

    def counting(self: Any, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        rows.append(len(x))
        return real(self, x, sigma)

    with patch.object(NetworkDenoiser, "forward", counting):
        yield rows
