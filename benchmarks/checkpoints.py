"""What it costs to open somebody's file without running it, and to run its network.

Loading: a pickle in EDM's format, made on the fly, becomes a denoiser; beside it ``torch.load(weights_only=True)`` reads a state
dict of the same weights into the same network. Each load has a process of its own, by turns (run as a module with a file and
the network's configuration as JSON, this one prints what it took); memory is what the peak resident size has grown by since
everything was imported.

Running: our SongUNet (DDPM++) beside a UNet2DModel of the same widths, blocks and attention, by turns in one process.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.peak import peak_bytes
from benchmarks.table import format_table
from farfield.checkpoints import ddpm, edm, guided  # noqa: F401  what open_checkpoint imports when it is called
from farfield.checkpoints.foreign import open_checkpoint
from farfield.core.runtime import generator, progress
from farfield.networks.build import build_network, from_config, network_config

SHAPE = (3, 32, 32)
OURS, TORCH = "EDM pickle, farfield", "state dict, torch.load"
SONG, UNET2D = "SongUNet", "UNet2DModel"

Figures = dict[str, Any]


def measure(width: int = 128, batch: int = 4, repetitions: int = 5) -> Figures:
    """Medians of the loads and of the forward passes, by turns A B A B …; both loads must give the same weights."""
    config = network_config("ddpmpp", SHAPE, width=width)
    network = build_network("ddpmpp", SHAPE, width=width).eval().requires_grad_(False)
    with tempfile.TemporaryDirectory() as folder:
        loads, size = _loads(Path(folder), network, config, repetitions)
    like = build_network("unet2d", SHAPE, width=2 * width, multipliers=(1, 1, 1), blocks=4, attention=(16,))
    forwards = _forwards({SONG: network, UNET2D: like.eval().requires_grad_(False)}, batch, repetitions)
    ratios = [ours / theirs for ours, theirs in zip(forwards[SONG], forwards[UNET2D], strict=True)]
    weights = {SONG: sum(p.numel() for p in network.parameters()), UNET2D: sum(p.numel() for p in like.parameters())}
    return {
        "width": width,
        "batch": batch,
        "repetitions": repetitions,
        "file_bytes": size,
        "loads": [
            {
                "load": name,
                "seconds": statistics.median(each[0] for each in found),
                "peak_bytes": statistics.median(each[1] for each in found),
            }
            for name, found in loads.items()
        ],
        "forwards": [
            {"network": name, "parameters": weights[name], "seconds": statistics.median(spent)}
            for name, spent in forwards.items()
        ],
        "ratio": statistics.median(ratios),
        "ratio_range": [min(ratios), max(ratios)],
    }


def _loads(
    folder: Path, network: torch.nn.Module, config: dict[str, Any], repetitions: int
) -> tuple[dict[str, list[list[float]]], int]:
    """Seconds, bytes and a sum of weights of every load, and the size of the pickle."""
    from tests.edm_files import saved_model, write_snapshot

    files = {OURS: folder / "network.pkl", TORCH: folder / "state.pt"}
    write_snapshot(files[OURS], saved_model("EDMPrecond", network, config))
    torch.save(network.state_dict(), files[TORCH])
    found: dict[str, list[list[float]]] = {name: [] for name in files}
    with progress("loading", repetitions) as advance:
        for _ in range(repetitions):
            for name, path in files.items():
                command = [sys.executable, "-m", "benchmarks.checkpoints", str(path), json.dumps(config)]
                found[name].append(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))
            advance(1)
    if len({each[2] for every in found.values() for each in every}) != 1:
        raise SystemExit("checkpoints: the two files give different weights")
    return found, files[OURS].stat().st_size


def load_alone(path: Path, config: dict[str, Any]) -> list[float]:
    """Seconds, bytes and the sum of some weights of one load, in this process."""
    before, start = peak_bytes(), time.perf_counter()
    if path.suffix == ".pkl":
        network: Any = open_checkpoint(path).denoiser().network
    else:
        with torch.device("meta"):
            network = from_config(config)
        network.load_state_dict(torch.load(path, weights_only=True), assign=True)
    seconds, held = time.perf_counter() - start, peak_bytes() - before
    return [seconds, held, float(network.map_layer0.weight.double().sum())]


@torch.no_grad()
def _forwards(networks: dict[str, torch.nn.Module], batch: int, repetitions: int) -> dict[str, list[float]]:
    """Seconds of every forward pass, one to warm up left out."""
    x, levels = torch.randn((batch, *SHAPE), generator=generator(0)), torch.linspace(0.1, 0.9, batch)
    spent: dict[str, list[float]] = {name: [] for name in networks}
    with progress("running", repetitions + 1) as advance:
        for _ in range(repetitions + 1):
            for name, network in networks.items():
                start = time.perf_counter()
                network(x, levels)
                spent[name].append(time.perf_counter() - start)
            advance(1)
    return {name: each[1:] for name, each in spent.items()}


def show(figures: Figures) -> str:
    mega = 2**20
    size, (low, high) = figures["file_bytes"] / mega, figures["ratio_range"]
    n = figures["repetitions"]
    loads = format_table(
        f"Checkpoints: loading {figures['forwards'][0]['parameters']:,} weights ({size:.0f} MiB), median of {n} processes",
        ["load", "seconds", "peak MiB"],
        [[row["load"], f"{row['seconds']:.2f}", f"{row['peak_bytes'] / mega:.0f}"] for row in figures["loads"]],
        ["farfield maps the file: its pages, which the system may drop at any time, are counted."],
    )
    forwards = format_table(
        f"Checkpoints: forward pass of {figures['batch']} images of {'×'.join(map(str, SHAPE))}, median of {n} by turns",
        ["network", "weights", "seconds"],
        [[row["network"], f"{row['parameters']:,}", f"{row['seconds']:.3f}"] for row in figures["forwards"]],
        [f"{SONG} takes {UNET2D}'s time multiplied by {figures['ratio']:.2f} ({low:.2f} to {high:.2f})."],
    )
    return f"{loads}\n\n{forwards}"


if __name__ == "__main__":
    print(json.dumps(load_alone(Path(sys.argv[1]), json.loads(sys.argv[2]))))
