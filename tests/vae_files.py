"""A tiny AutoencoderKL of diffusers with random weights, always the same, which halves the sides."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import torch


def make_vae(folder: Path, scaling: float = 1.0) -> Path:
    """Its folder; latents of 4 channels."""
    from diffusers import AutoencoderKL

    with torch.random.fork_rng(devices=[]), contextlib.redirect_stderr(io.StringIO()):
        torch.manual_seed(0)
        AutoencoderKL(
            block_out_channels=(8, 8),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            norm_num_groups=4,
            latent_channels=4,
            scaling_factor=scaling,
        ).save_pretrained(folder)
    return folder
