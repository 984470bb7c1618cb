"""Images a second of `diffusion.training.Training` beside an ordinary loop over the same network.

Both train a ddpmpp network under EDM's preconditioning with Adam, clipped gradients and one moving average. The loop is
written as one writes it: a DataLoader, random numbers from torch's own generator, one line a formula.
"""

from __future__ import annotations

import copy
import statistics
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.table import format_table
from benchmarks.turns import by_turns, ratio
from farfield.core.runtime import generator
from farfield.data.dataset import Dataset
from farfield.diffusion.precondition import precondition
from farfield.diffusion.training import Recipe, Training
from farfield.networks.build import build_network

SHAPE = (3, 32, 32)
SIGMA_DATA = 0.5
RATE = 1e-3
OURS, LOOP = "Training", "an ordinary loop"

Figures = dict[str, Any]
Step = Callable[[], Any]


def edm_loss(network: nn.Module, x: Tensor, sigma: Tensor, noise: Tensor) -> Tensor:
    """Of each image, as in arXiv 2206.00364, equation 8 and table 1: ``[B]``."""
    s = sigma.reshape(-1, 1, 1, 1)
    scale = (s**2 + SIGMA_DATA**2).sqrt()
    noisy = x + s * noise
    skip, out = SIGMA_DATA**2 / scale**2, s * SIGMA_DATA / scale
    denoised = skip * noisy + out * network(noisy / scale, sigma.log() / 4)
    return ((denoised - x) ** 2 / out**2).mean((1, 2, 3))


def ordinary(network: nn.Module, images: Tensor, batch: int) -> Step:
    optimizer = torch.optim.Adam(network.parameters(), RATE)
    average = copy.deepcopy(network).requires_grad_(False)
    loader = DataLoader(TensorDataset(images), batch, shuffle=True, drop_last=True)

    def batches() -> Iterator[Tensor]:
        while True:
            for (some,) in loader:
                yield some

    source = batches()

    def step() -> None:
        x = next(source).float() / 127.5 - 1
        sigma = (1.2 * torch.randn(len(x)) - 1.2).exp()
        loss = edm_loss(network, x, sigma, torch.randn_like(x)).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        for slow, quick in zip(average.parameters(), network.parameters(), strict=True):
            slow.lerp_(quick, 0.01)

    return step


def measure(width: int = 64, batch: int = 32, repetitions: int = 5) -> Figures:
    """Seconds a step by turns A B A B …, and how far the two losses of one network, one noise are apart."""
    images = torch.randint(0, 256, (4 * batch, *SHAPE), dtype=torch.uint8, generator=generator(0))
    network = build_network("ddpmpp", SHAPE, width=width)
    training = Training(
        precondition("edm", copy.deepcopy(network), SHAPE, sigma_data=SIGMA_DATA),
        Dataset(tuple(map(str, range(len(images)))), images),
        Recipe((repetitions + 1) * batch, batch, learning_rate=RATE),
    )
    difference = loss_difference(training, network, images[:4].float() / 127.5 - 1)
    steps: dict[str, Step] = {OURS: training.step, LOOP: ordinary(network, images, batch)}
    seconds = by_turns(steps, repetitions, "training")
    rows = [{"implementation": name, "images_per_second": batch / statistics.median(s)} for name, s in seconds.items()]
    return {
        "width": width,
        "batch": batch,
        "repetitions": repetitions,
        "parameters": sum(p.numel() for p in network.parameters()),
        "difference": difference,
        **ratio(seconds[OURS], seconds[LOOP]),
        "rows": rows,
    }


@torch.no_grad()
def loss_difference(training: Training, network: nn.Module, x: Tensor) -> float:
    """The largest relative difference of the two losses, over levels from 0.02 to 20."""
    sigma, noise = torch.logspace(-1.7, 1.3, len(x)), torch.randn(x.shape, generator=generator(1))
    denoiser = training.denoiser
    answer = denoiser(x + sigma.reshape(-1, 1, 1, 1) * noise, sigma)
    ours = denoiser.weight(sigma) * (answer - x).square().flatten(1).mean(1)
    theirs = edm_loss(network.train(), x, sigma, noise)
    return float(((ours - theirs) / theirs).abs().max())


def show(figures: Figures) -> str:
    low, high = figures["ratio_range"]
    return format_table(
        f"Training: ddpmpp of width {figures['width']} ({figures['parameters']:,} weights), {'×'.join(map(str, SHAPE))}, "
        f"batch {figures['batch']}, median of {figures['repetitions']} steps by turns",
        ["implementation", "images/s"],
        [[row["implementation"], f"{row['images_per_second']:.1f}"] for row in figures["rows"]],
        [
            f"{OURS} takes the loop's time divided by {figures['ratio']:.2f} ({low:.2f} to {high:.2f}); losses of one network "
            f"differ by {figures['difference']:.1e} at most.",
        ],
    )
