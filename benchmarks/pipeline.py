"""Images a second from one checkpoint: ours beside diffusers' own pipeline, both by DDIM and as many calls of the network.

The checkpoint is a folder of diffusers with new weights, whose last layer is not zero: what a call costs does not depend on
what the network has learned.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.table import format_table
from benchmarks.turns import by_turns, ratio
from farfield.checkpoints.load import load_denoiser
from farfield.command.shared import Loading, Solving
from farfield.core.runtime import generator, resolve_device
from farfield.study.bench.carrier import Carrier

SIDE = 32
OURS, LOW, THEIRS = "farfield", "farfield, bfloat16", "diffusers, DDIMPipeline"

Figures = dict[str, Any]


def write_checkpoint(folder: Path, width: int, side: int = SIDE) -> None:
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

    torch.manual_seed(generator(0).initial_seed())
    network = UNet2DModel(
        sample_size=side,
        block_out_channels=(width, 2 * width, 2 * width),
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    )
    DDPMPipeline(network, DDPMScheduler()).save_pretrained(folder)


def measure(
    width: int = 64,
    batch: int = 32,
    calls: int = 16,
    repetitions: int = 5,
    *,
    side: int = SIDE,
    device: str = "cpu",
    low: bool = False,
) -> Figures:
    """Images a second by turns A B A B …; with ``low`` ours in bfloat16 too."""
    from diffusers import DDIMPipeline, DDIMScheduler
    from diffusers.utils import logging

    logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        write_checkpoint(Path(folder), width, side)
        place = resolve_device(device)
        precisions = {OURS: torch.float32} | ({LOW: torch.bfloat16} if low else {})
        ours = {name: load_denoiser(folder, device=place, dtype=dtype) for name, dtype in precisions.items()}
        pipeline = DDIMPipeline.from_pretrained(folder).to(place)
        pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
        pipeline.set_progress_bar_config(disable=True)
        # the last call denoises: one step fewer makes as many calls
        numerics = Solving(calls - 1, solver="euler", loading=Loading(batch_size=batch))
        keys = [str(seed) for seed in range(batch)]
        makes: dict[str, Callable[[], Any]] = {
            name: partial(Carrier.of(numerics, one).sample, keys, lambda n: None) for name, one in ours.items()
        }
        makes |= {
            THEIRS: lambda: pipeline(
                batch_size=batch,
                generator=[generator(seed) for seed in range(batch)],
                num_inference_steps=calls,
                output_type="np",
            ),
        }
        seconds = by_turns(makes, repetitions, "sampling")
    return {
        "width": width,
        "side": side,
        "device": str(place),
        "batch": batch,
        "calls": calls,
        "repetitions": repetitions,
        "parameters": sum(p.numel() for p in ours[OURS].parameters()),
        **ratio(seconds[OURS], seconds[THEIRS]),
        "low": ratio(seconds[LOW], seconds[THEIRS])["ratio"] if low else None,
        "rows": [
            {"implementation": name, "images_per_second": batch / statistics.median(s)} for name, s in seconds.items()
        ],
    }


def show(figures: Figures) -> str:
    low, high = figures["ratio_range"]
    return format_table(
        f"Sampling: UNet2DModel of width {figures['width']} ({figures['parameters']:,} weights), "
        f"{figures['side']}×{figures['side']}, {figures['device']}, {figures['calls']} calls by DDIM, "
        f"batch {figures['batch']}, median of {figures['repetitions']} by turns",
        ["implementation", "images/s"],
        [[row["implementation"], f"{row['images_per_second']:.3g}"] for row in figures["rows"]],
        [
            f"farfield: {figures['ratio']:.2f} times as many ({low:.2f} to {high:.2f})"
            + (f"; in bfloat16 {figures['low']:.2f}" if figures["low"] else "")
        ],
    )
