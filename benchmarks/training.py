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
from farfield.core.runtime import generator, resolve_device
from farfield.data.dataset import Dataset
from farfield.diffusion.precondition import precondition
from farfield.diffusion.training import Precision, Recipe, Training
from farfield.networks.build import build_network

SIDE = 32
SIGMA_DATA = 0.5
RATE = 1e-3
OURS, LOOP = "Training", "an ordinary loop"
LOW = "bfloat16"

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


def ordinary(network: nn.Module, images: Tensor, batch: int, device: torch.device, low: bool = False) -> Step:
    network = network.to(device)
    optimizer = torch.optim.Adam(network.parameters(), RATE)
    average = copy.deepcopy(network).requires_grad_(False)
    loader = DataLoader(TensorDataset(images), batch, shuffle=True, drop_last=True)

    def batches() -> Iterator[Tensor]:
        while True:
            for (some,) in loader:
                yield some

    source = batches()

    def step() -> None:
        x = next(source).to(device).float() / 127.5 - 1
        sigma = (1.2 * torch.randn(len(x), device=device) - 1.2).exp()
        with torch.autocast(device.type, torch.bfloat16, enabled=low):
            loss = edm_loss(network, x, sigma, torch.randn_like(x)).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        for slow, quick in zip(average.parameters(), network.parameters(), strict=True):
            slow.lerp_(quick, 0.01)

    return step


def measure(
    width: int = 64,
    batch: int = 32,
    repetitions: int = 5,
    *,
    side: int = SIDE,
    device: str = "cpu",
    low: bool = False,
) -> Figures:
    """Seconds a step by turns A B A B …, and how far the two losses of one network, one noise are apart.

    Args:
        low: by autocast to bfloat16 too, ours and the loop.
    """
    place, shape = resolve_device(device), (3, side, side)
    images = torch.randint(0, 256, (4 * batch, *shape), dtype=torch.uint8, generator=generator(0))
    network = build_network("ddpmpp", shape, width=width)

    def ours(precision: Precision) -> Training:
        recipe = Recipe((repetitions + 1) * batch, batch, learning_rate=RATE, precision=precision)
        data = Dataset(tuple(map(str, range(len(images)))), images)
        denoiser = precondition("edm", copy.deepcopy(network), shape, sigma_data=SIGMA_DATA)
        return Training(denoiser, data, recipe, device=place)

    exact = ours("float32")
    difference = loss_difference(exact, copy.deepcopy(network).to(place), images[:4].to(place).float() / 127.5 - 1)
    steps: dict[str, Step] = {OURS: exact.step, LOOP: ordinary(copy.deepcopy(network), images, batch, place)}
    if low:
        steps |= {
            f"{OURS}, {LOW}": ours("bfloat16").step,
            f"{LOOP}, {LOW}": ordinary(copy.deepcopy(network), images, batch, place, low),
        }
    if place.type != "cpu":
        steps = {name: _finished(step) for name, step in steps.items()}
    seconds = by_turns(steps, repetitions, "training")
    rows = [{"implementation": name, "images_per_second": batch / statistics.median(s)} for name, s in seconds.items()]
    return {
        "width": width,
        "side": side,
        "device": str(place),
        "batch": batch,
        "repetitions": repetitions,
        "parameters": sum(p.numel() for p in network.parameters()),
        "difference": difference,
        **ratio(seconds[OURS], seconds[LOOP]),
        "low": {name: ratio(seconds[f"{OURS}, {LOW}"], seconds[name])["ratio"] for name in (LOOP, f"{LOOP}, {LOW}")}
        if low
        else {},
        "rows": rows,
    }


def _finished(step: Step) -> Step:
    def whole() -> None:
        step()
        torch.accelerator.synchronize()

    return whole


@torch.no_grad()
def loss_difference(training: Training, network: nn.Module, x: Tensor) -> float:
    """The largest relative difference of the two losses, over levels from 0.02 to 20."""
    sigma = torch.logspace(-1.7, 1.3, len(x), device=x.device)
    noise = torch.randn(x.shape, generator=generator(1)).to(x)
    denoiser = training.denoiser
    answer = denoiser(x + sigma.reshape(-1, 1, 1, 1) * noise, sigma)
    ours = denoiser.weight(sigma) * (answer - x).square().flatten(1).mean(1)
    theirs = edm_loss(network.train(), x, sigma, noise)
    return float(((ours - theirs) / theirs).abs().max())


def show(figures: Figures) -> str:
    low, high = figures["ratio_range"]
    return format_table(
        f"Training: ddpmpp of width {figures['width']} ({figures['parameters']:,} weights), {figures['side']}×{figures['side']}, "
        f"{figures['device']}, batch {figures['batch']}, median of {figures['repetitions']} steps by turns",
        ["implementation", "images/s"],
        [[row["implementation"], f"{row['images_per_second']:.1f}"] for row in figures["rows"]],
        [
            f"{OURS} takes the loop's time divided by {figures['ratio']:.2f} ({low:.2f} to {high:.2f}); losses of one network "
            f"differ by {figures['difference']:.1e} at most.",
            *(f"{OURS}, {LOW}: the time of {name} divided by {times:.2f}" for name, times in figures["low"].items()),
        ],
    )
