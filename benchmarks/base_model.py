"""``python -m benchmarks.base_model MODEL HELDOUT FEATURES``: what the card of the bundled base model says of it.

Held-out denoising loss at each noise level, the Fréchet and kernel distance of its own samples to held-out images, and
the rank and the asymmetry of its Jacobian.
"""

from __future__ import annotations

import argparse
import json
import math
from typing import Any

import torch
from torch import Tensor

from farfield.audit.descriptor import describe
from farfield.audit.distribution import frechet_distance, kernel_distance
from farfield.audit.named import open_descriptor
from farfield.checkpoints.load import load_denoiser
from farfield.core.artifact import Images
from farfield.core.runtime import generator, progress
from farfield.data.image import load_images
from farfield.diffusion.denoiser import Denoiser
from farfield.diffusion.generation import generate
from farfield.diffusion.objective import denoising_loss, heldout_loss
from farfield.diffusion.solver import network_calls

LEVELS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.base_model", description=__doc__)
    parser.add_argument("model")
    parser.add_argument("heldout", help="held-out images (zip, folder, npz)")
    parser.add_argument("features", help="a descriptor's file, such as a CIFAR ResNet-56")
    parser.add_argument("-n", type=int, default=2000, help="samples, and as many held-out images (%(default)s)")
    parser.add_argument("--loss-images", type=int, default=512, help="held-out images of the losses (%(default)s)")
    parser.add_argument("--points", type=int, default=2, help="noisy images whose Jacobian is taken (%(default)s)")
    parser.add_argument("--rank-levels", type=float, nargs="*", default=[1.0, 10.0])
    parser.add_argument("--steps", type=int, default=18)
    options = parser.parse_args()
    print(json.dumps(measure(options), indent=1))


def measure(options: argparse.Namespace) -> dict[str, Any]:
    denoiser = load_denoiser(options.model)
    held = load_images(options.heldout, denoiser.shape, limit=max(options.n, options.loss_images))
    x = held.values[: options.loss_images]
    found: dict[str, Any] = {
        "model": options.model,
        "heldout_loss": float(heldout_loss(denoiser, x, draws=8).mean()),
        "loss_by_level": {s: loss_at(denoiser, x, s) for s in LEVELS},
        "jacobian": {s: jacobian(denoiser, x[: options.points], s) for s in options.rank_levels},
    }
    descriptor = open_descriptor(options.features)
    real = describe(descriptor, Images(held.keys[: options.n], held.values[: options.n]))
    sigmas = denoiser.schedule.sigmas(options.steps)
    parts = []
    with progress("sampling", options.n) as advance:
        for start in range(0, options.n, 100):
            parts.append(generate(denoiser, range(start, min(start + 100, options.n)), sigmas).float().clamp(-1, 1))
            advance(100)
    samples = Images(tuple(str(k) for k in range(options.n)), torch.cat(parts))
    generated = describe(descriptor, samples)
    found["samples"] = {
        "n": options.n,
        "network_calls": network_calls("multistep", options.steps) + 1,
        "frechet_distance": vars(frechet_distance(real=real, generated=generated)),
        "kernel_distance": vars(kernel_distance(real=real, generated=generated)),
        "saturated": float((samples.values.abs() > 0.98).float().flatten(1).mean(1).gt(0.3).float().mean()),
    }
    return found


@torch.no_grad()
def loss_at(denoiser: Denoiser, x: Tensor, sigma: float) -> float:
    """The mean of |D - x0|² / d at one level, with noise that depends on the image's place only."""
    noise = torch.stack([torch.randn(x.shape[1:], generator=generator(k, f"level-{sigma:g}")) for k in range(len(x))])
    s = torch.tensor(sigma)
    losses = [denoising_loss(denoiser, a, s, b) for a, b in zip(x.split(64), noise.split(64), strict=True)]
    return float(torch.cat(losses).mean()) * sigma**2


def jacobian(denoiser: Denoiser, x: Tensor, sigma: float) -> dict[str, float]:
    """Rank (of 0.99 of the Frobenius norm, as a share of the dimension) and asymmetry, means over the points."""
    ranks, skews = [], []
    for k, image in enumerate(x):
        noisy = image + sigma * torch.randn(image.shape, generator=generator(k, "jacobian"))

        def answer(point: Tensor) -> Tensor:
            return denoiser(point[None], torch.tensor(sigma))[0]

        j = torch.func.jacrev(answer, chunk_size=64)(noisy).reshape(noisy.numel(), -1).double()
        energy = torch.linalg.svdvals(j).square().cumsum(0)
        ranks.append(int((energy.div(energy[-1]).sqrt() <= 0.99).sum()) + 1)
        skews.append(float((j - j.T).norm() / j.norm()))
    return {"rank": sum(ranks) / len(ranks) / math.prod(x.shape[1:]), "asymmetry": sum(skews) / len(skews)}


if __name__ == "__main__":
    main()
