"""What a network's calls take by precision and layout, which share of the machine's peak that is, and where the rest goes.

The yardstick is torch's product of two square matrices in the same precision; convolutions can pass it where that is slow.
"""

from __future__ import annotations

import copy
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.pipeline import write_checkpoint
from benchmarks.table import format_table
from benchmarks.turns import by_turns
from farfield.checkpoints.load import load_denoiser
from farfield.core.runtime import resolve_device, seeded_noise
from farfield.diffusion.denoiser import Denoiser

Figures = dict[str, Any]

SIGMAS = (0.1, 1.0, 10.0)
KINDS = {
    "convolutions": ("convolution",),
    "matrix products and attention": ("mm", "matmul", "attention", "linear"),
    "norms": ("norm",),
    "activations": ("silu", "gelu", "sigmoid", "relu", "softmax"),
    "copies and joins": ("copy", "cat", "clone", "to", "upsample", "pad"),
}


def measure(
    width: int = 64,
    batch: int = 32,
    side: int = 32,
    device: str = "cpu",
    repetitions: int = 5,
    *,
    model: str = "",
    low: bool = False,
    compiled: bool = False,
) -> Figures:
    """Images a second of one call, by turns; the error of D at SIGMAS beside float32's; shares of the peak and of the time."""
    place = resolve_device(device)
    with tempfile.TemporaryDirectory() as folder:
        if not model:
            write_checkpoint(Path(folder), width, side)
        exact = load_denoiser(model or folder, device=place)
    ways = {"float32": exact, "float32, channels last": _as(exact, torch.float32, torch.channels_last)}
    if low:
        ways |= {
            "bfloat16": _as(exact, torch.bfloat16, torch.contiguous_format),
            "bfloat16, channels last": _as(exact, torch.bfloat16, torch.channels_last),
        }
    if compiled:
        for name in tuple(ways):
            ways[f"{name}, compiled"] = one = copy.deepcopy(ways[name])
            one.network.compile(mode="reduce-overhead" if place.type == "cuda" else "default")  # there, CUDA graphs
    x = seeded_noise(range(batch), exact.shape).to(place)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        exact(x, torch.tensor(1.0, device=place))
    flops = counter.get_total_flops()
    peaks = {name: _peak(dtype, place) for name, dtype in _DTYPES.items() if low or name == "float32"}
    seconds = by_turns({name: _call(way, x) for name, way in ways.items()}, repetitions, "engine")
    off = {name: max(_off(exact, way, x, sigma) for sigma in SIGMAS) for name, way in ways.items()}
    rows = [
        {
            "way": name,
            "images_per_second": batch / statistics.median(spent),
            "times": statistics.median(a / b for a, b in zip(seconds["float32"], spent, strict=True)),
            "share_of_peak": flops / statistics.median(spent) / peaks[name.partition(",")[0]],
            "off": off[name],
        }
        for name, spent in seconds.items()
    ]
    return {
        "model": model or f"a UNet2DModel of width {width}",
        "batch": batch,
        "side": exact.shape[-1],
        "device": str(place),
        "parameters": sum(p.numel() for p in exact.parameters()),
        "flops_an_image": flops / batch,
        "peaks": peaks,
        "rows": rows,
        "time": _time(exact, x),
    }


_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def _as(denoiser: Denoiser, dtype: torch.dtype, layout: torch.memory_format) -> Denoiser:
    other = copy.deepcopy(denoiser)
    network = other.network
    assert isinstance(network, nn.Module)
    network.to(dtype=dtype, memory_format=layout)  # type: ignore[call-overload]
    return other


def _call(denoiser: Denoiser, x: Tensor) -> Callable[[], None]:
    @torch.no_grad()
    def call() -> None:
        denoiser(x, torch.tensor(1.0, device=x.device))
        if x.device.type != "cpu":
            torch.accelerator.synchronize()

    return call


@torch.no_grad()
def _off(exact: Denoiser, other: Denoiser, x: Tensor, sigma: float) -> float:
    level = torch.tensor(sigma, device=x.device)
    clean, answer = exact(sigma * x, level), other(sigma * x, level)
    return float((answer - clean).square().mean().sqrt() / clean.square().mean().sqrt())


def _peak(dtype: torch.dtype, device: torch.device, side: int = 2048, turns: int = 5) -> float:
    """FLOP a second of the best of a few products of square matrices."""
    a = torch.randn(side, side, device=device).to(dtype)
    spent = []
    for _ in range(turns):
        start = time.perf_counter()
        a @ a
        if device.type != "cpu":
            torch.accelerator.synchronize()
        spent.append(time.perf_counter() - start)
    return 2 * side**3 / min(spent)


def _time(denoiser: Denoiser, x: Tensor) -> dict[str, float]:
    """What share of a float32 call each kind of work takes."""
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if x.device.type == "cuda":
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    call = _call(denoiser, x)
    call()
    with torch.profiler.profile(activities=kinds) as profile:
        call()
    gpu = x.device.type == "cuda"
    spent = {
        event.key: event.self_device_time_total if gpu else event.self_cpu_time_total
        for event in profile.key_averages()
    }
    total, shares = sum(spent.values()), dict.fromkeys([*KINDS, "other"], 0.0)
    for key, value in spent.items():
        kind = next((kind for kind, words in KINDS.items() if any(word in key for word in words)), "other")
        shares[kind] += value / total
    return shares


def show(figures: Figures) -> str:
    peaks = ", ".join(f"{name} {peak / 1e9:.0f}" for name, peak in figures["peaks"].items())
    time_ = ", ".join(f"{kind} {share:.0%}" for kind, share in figures["time"].items())
    return format_table(
        f"One call of {figures['model']} ({figures['parameters']:,} weights), "
        f"{figures['side']}×{figures['side']}, batch {figures['batch']}, {figures['device']}: "
        f"{figures['flops_an_image'] / 1e9:.2g} GFLOP an image",
        ["", "images/s", "times float32", "share of peak", "D off by"],
        [
            [
                row["way"],
                f"{row['images_per_second']:.3g}",
                f"{row['times']:.2f}",
                f"{row['share_of_peak']:.0%}",
                f"{row['off']:.1e}",
            ]
            for row in figures["rows"]
        ],
        [f"peak, GFLOP/s of a product of matrices: {peaks}", f"where a float32 call's time goes: {time_}"],
    )
