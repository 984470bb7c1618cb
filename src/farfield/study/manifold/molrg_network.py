"""Networks trained on samples of a mixture of low-rank Gaussians, and whether what they make is new."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from farfield.audit.generalization import generalization
from farfield.audit.search import neighbours
from farfield.audit.similarity import unit
from farfield.audit.threshold import calibrate
from farfield.command.molrg import Schooling
from farfield.command.result import to_json
from farfield.core.artifact import Features
from farfield.core.error import FarfieldError
from farfield.core.interval import mean_score
from farfield.core.runtime import Ranks, exact_matmul, generator
from farfield.core.state import StateFile
from farfield.diffusion.denoiser import Denoiser, NetworkDenoiser, Prediction
from farfield.diffusion.generation import generate
from farfield.diffusion.schedule import ContinuousSchedule
from farfield.diffusion.training import Recipe, Training
from farfield.manifold.molrg import Law
from farfield.manifold.vector_network import VectorNetwork
from farfield.networks.build import build_network

HELD_OUT = 1000
"""Samples of the law that set the threshold of what is new."""
LAWS = {"sample": (-0.5, 1.2), "edm": (-1.2, 1.2)}
"""Mean and standard deviation of the logarithm of the levels of training; of ``edm`` those of arXiv 2206.00364, table 1."""
STEPS = 18
"""Of Heun's solver, from the noise to a sample."""
COLUMNS = ("new", "new_low", "new_high", "inside", "inside_low", "inside_high", "held_out_inside", "threshold", "loss")
"""Of a trained network: the share of new samples and the share of their energy in the nearest true subspace, each with its
95 % interval; the cosine beyond which a sample is no longer new; the loss at the end of training."""


@dataclass(frozen=True)
class _Rows:
    """Samples as the trainer takes them, ``[N, *shape]``."""

    samples: Tensor
    labels: None = None

    def __len__(self) -> int:
        return len(self.samples)

    def values(self, index: Tensor) -> Tensor:
        return self.samples[index]


def picture_shape(kind: str, n: int) -> tuple[int, int, int]:
    """The shape in which a network takes samples of n numbers."""
    if kind == "mlp":
        return n, 1, 1
    for channels in (3, 1):
        side = math.isqrt(n // channels)
        if channels * side * side == n and side > 1:
            return channels, side, side
    raise FarfieldError(
        f"network unet with n = {n}: expected a square picture of 1 or 3 channels, such as 48 = 3×4×4; use mlp"
    )


def new_denoiser(law: Law, schooling: Schooling, seed: int) -> NetworkDenoiser:
    """An untrained network whose output is the denoiser itself, as that of the low-rank model is, or one under EDM's scaling.

    Under the latter it must cancel the skip connection in all n dimensions but a few: at the same length of training its
    rank is higher.
    """
    shape = picture_shape(schooling.kind, law.n)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator(seed, "training-weights").initial_seed() % 2**63)
        network: nn.Module
        if schooling.kind == "mlp":
            network = VectorNetwork(law.n)
        else:
            halves = (1, 2) if shape[1] % 2 == 0 else (1,)
            network = build_network("unet2d", shape, width=32, multipliers=halves, blocks=1, attention=())
    prediction: Prediction = "edm" if schooling.precond == "edm" else "sample"
    return NetworkDenoiser(network, ContinuousSchedule(), shape, prediction, sigma_data=law.spread)


def train_network(
    law: Law, samples: Tensor, schooling: Schooling, seed: int, device: torch.device, path: Path
) -> list[float]:
    """Train a network on samples ``[N, n]``, keep its weights, and score it: COLUMNS."""
    denoiser = new_denoiser(law, schooling, seed)
    recipe = Recipe(
        images=schooling.images,
        batch_size=schooling.batch_size,
        learning_rate=schooling.learning_rate,
        warmup=schooling.images // 20,
        decay="cosine",
        averages=(str(max(1, schooling.images // 20)),),
        law=LAWS[schooling.precond],
        seed=seed,
    )
    rows = _Rows(samples.float().reshape(-1, *denoiser.shape))
    training = Training(denoiser, rows, recipe, device=device, ranks=Ranks())  # networks are shared out whole
    losses = []
    while not training.done:
        losses.append(training.step())
    with training.averaged() as trained:
        StateFile(path, "network").write(to_json(schooling), {}, trained.network.state_dict())
        made = sample(trained, schooling.made, device)
    last = losses[-max(1, len(losses) // 10) :]
    return [*score(law, samples, made, seed, schooling.rate), sum(last) / len(last)]


def load_network(
    law: Law, samples: Tensor, schooling: Schooling, seed: int, device: torch.device, path: Path
) -> NetworkDenoiser:
    """The network that `train_network` kept, frozen; trained again if it was lost or damaged."""
    file, settings = StateFile(path, "network"), to_json(schooling)
    kept = file.resume(settings)
    if kept is None:
        train_network(law, samples, schooling, seed, device, path)
        kept = file.read(settings)
    denoiser = new_denoiser(law, schooling, 0)
    denoiser.network.load_state_dict(kept[1])
    return denoiser.to(device).eval().requires_grad_(False)


def sample(denoiser: Denoiser, count: int, device: torch.device) -> Tensor:
    """What a model makes of the seeds 0, 1, …, ``[count, n]`` float64."""
    sigmas = denoiser.schedule.sigmas(STEPS)
    with exact_matmul():
        return generate(denoiser, range(count), sigmas, "heun", device=device).flatten(1).double().cpu()


def score(law: Law, samples: Tensor, made: Tensor, seed: int, rate: float) -> list[float]:
    """COLUMNS without the loss, for what was made by a model of these training samples.

    New is a sample whose cosine to the nearest training sample is no larger than what held-out samples exceed at ``rate``.
    """
    held = law.draw([math.ceil(HELD_OUT * float(w)) for w in law.weights], seed, "molrg-held-out")[0]
    train, real, ours = (
        unit(Features(tuple(map(str, range(len(values)))), values, "samples")) for values in (samples, held, made)
    )
    threshold = calibrate(neighbours(real, train).similarity, rate).value
    new = generalization(neighbours(ours, train), min(threshold, 1.0)).score
    shares = new, mean_score(energy_inside(law, made), 0.0, 1.0)
    ends = [
        end for s in shares for end in (s.value, 0.0 if s.low is None else s.low, 1.0 if s.high is None else s.high)
    ]
    return [*ends, float(energy_inside(law, held).mean()), threshold]


def energy_inside(law: Law, values: Tensor) -> Tensor:
    """The share of each row's squared length that lies in the nearest true subspace, ``[B]``."""
    parts = torch.stack([(values @ u).square().sum(1) for u in law.bases], 1)
    return parts.max(1).values / values.square().sum(1)
