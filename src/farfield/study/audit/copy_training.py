"""`farfield train-descriptor`: a copy-detection descriptor learnt from images alone, without labels.

The recipe is SSCD's (Pizzi et al. 2022, arXiv 2202.10261) in small: `audit.copy_views` makes copies, `audit.copy_loss`
draws them together and all else apart. Continued by the same command, to the same bits on the same machine.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from farfield.audit.copy_descriptor import save_copy_net
from farfield.audit.copy_loss import contrastive, positives, spread
from farfield.audit.copy_views import light_copies, mixed_copies, strong_copies
from farfield.command.describe import TrainDescriptor, TrainDescriptorResult
from farfield.core.artifact import write_json
from farfield.core.error import FarfieldError
from farfield.core.runtime import generator, progress, resolve_device
from farfield.core.state import StateFile
from farfield.data.dataset import Dataset, open_dataset
from farfield.diffusion.engine import Engine
from farfield.networks.copy_net import SIDE, CopyNet
from farfield.study.bench.run import Run

STATE, MODEL = "state.safetensors", "model"
ROWS = 50
"""Of the log, over a whole training."""


@dataclass(frozen=True)
class CopyRecipe:
    """How a copy descriptor is trained.

    Attributes:
        images: to train on, with repetition; each is seen as one light and one strong copy.
        batch_size: images of a step.
        width, features: of the `CopyNet`.
        learning_rate: AdamW's, at its highest: it rises over a twentieth of the training and falls as a cosine.
        temperature: of the contrastive loss.
        entropy: weight of the entropy loss.
        mixed: share of the strong copies that are mixed with another image.
        half: compute the network in bfloat16.
        seed: of weights, order and copies.
    """

    images: int
    batch_size: int = 256
    width: int = 48
    features: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    temperature: float = 0.05
    entropy: float = 5.0
    mixed: float = 0.4
    half: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.images < self.batch_size or self.batch_size < 8:
            raise FarfieldError(
                f"{self.images} images in batches of {self.batch_size}: expected batches of at least 8, and at least one"
            )

    @property
    def steps(self) -> int:
        return self.images // self.batch_size

    def rate(self, step: int) -> float:
        warmup = max(1, self.steps // 20)
        if step < warmup:
            return self.learning_rate * (step + 1) / warmup
        return self.learning_rate * (1 + math.cos(math.pi * (step - warmup) / max(1, self.steps - warmup))) / 2


class CopyTraining:
    """A network on its way: ``step()`` until ``done``; what step k draws depends on the seed and k alone."""

    def __init__(self, data: Dataset, recipe: CopyRecipe, device: torch.device):
        if len(data) < recipe.batch_size:
            raise FarfieldError(
                f"{len(data)} images: expected at least a batch of {recipe.batch_size}; give more, or smaller batches"
            )
        self.data, self.recipe, self.device, self.count = data, recipe, device, 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(generator(recipe.seed, "copy-weights").initial_seed() % 2**63)
            network = CopyNet(recipe.width, recipe.features)
        # channels last is quicker, but of fewer than 8 channels oneDNN's kernels for AVX2 corrupt memory in the backward pass
        self.layout = torch.channels_last if recipe.width % 8 == 0 else torch.contiguous_format
        self.network = network.to(device, memory_format=self.layout)  # type: ignore[call-overload]
        self.engine = Engine(dict(self.network.named_parameters()), weight_decay=recipe.weight_decay)

    @property
    def done(self) -> bool:
        return self.count >= self.recipe.steps

    def step(self) -> dict[str, float]:
        """One batch; its losses.

        Raises:
            FarfieldError: the loss is NaN or infinite.
        """
        recipe = self.recipe
        views, members = self.views()
        positive = positives(members.to(self.device))
        x = views.to(self.device, memory_format=self.layout)
        self.network.train()
        losses: dict[str, float] = {}

        def backward() -> float:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=recipe.half):
                z = self.network(x)
            parts = contrastive(z, positive, recipe.temperature), spread(z, positive)
            total = parts[0] + recipe.entropy * parts[1]
            total.backward()
            losses.update(contrastive=float(parts[0].detach()), spread=float(parts[1].detach()))
            return float(total.detach())

        if not self.engine.step(recipe.rate(self.count), backward).made:
            raise FarfieldError(f"step {self.count}: the loss became NaN or infinite; use a lower learning rate")
        self.count += 1
        return losses

    def views(self) -> tuple[Tensor, Tensor]:
        """This step's copies ``[2b, 3, 32, 32]``, and which of its images each shows ``[2b, b]``."""
        recipe, b = self.recipe, self.recipe.batch_size
        batches = len(self.data) // b
        epoch, place = divmod(self.count, batches)
        order = torch.randperm(len(self.data), generator=generator(recipe.seed, f"copy-epoch-{epoch}"))
        images = self.data.values(order[place * b : (place + 1) * b])
        draws = generator(recipe.seed, f"copy-step-{self.count}")
        light = light_copies(images, draws)
        strong, other = mixed_copies(strong_copies(images, draws), draws, recipe.mixed)
        own = torch.eye(b, dtype=torch.bool)
        return torch.cat([light, strong]), torch.cat([own, own | own[other]])

    def save(self, file: StateFile, settings: dict[str, Any], beside: dict[str, Any]) -> None:
        self.engine.save(
            file, settings, {"count": self.count, "beside": beside}, {"network": self.network.state_dict()}
        )

    def load(self, file: StateFile, settings: dict[str, Any]) -> dict[str, Any] | None:
        """Set a fresh training to where the file's was; returns what was put beside it, or None if there is no whole state."""
        plain = self.engine.load(file, settings, {"network": self.network.state_dict()})
        if plain is None:
            return None
        self.count = plain["count"]
        beside: dict[str, Any] = plain["beside"]
        return beside


def train_descriptor(settings: TrainDescriptor, out: Path, *, quiet: bool = False) -> TrainDescriptorResult:
    """Train a copy descriptor.

    Writes ``state.safetensors`` every so many minutes, ``log.json`` and, in the end, ``model/``, which
    `audit.copy_descriptor` opens.
    """
    most, b = settings.max_images, settings.batch_size
    recipe = CopyRecipe(
        images=settings.images,
        batch_size=b,
        width=settings.width,
        features=settings.features,
        learning_rate=settings.learning_rate,
        entropy=settings.entropy,
        mixed=settings.mixed,
        half=settings.half,
        seed=settings.seed,
    )
    data = open_dataset(
        settings.data, shape=(3, SIDE, SIDE), limit=most, seed=None if most is None else 0, labels=False
    )
    training = CopyTraining(data, recipe, resolve_device(settings.device))
    run = Run.of(out, settings, {"data": data}, quiet, images=len(data), recipe=asdict(recipe))
    if run.ranks.world > 1:
        raise FarfieldError(f"{run.ranks.world} processes: a copy descriptor is trained by one; start a single one")
    state = StateFile(out / STATE, "copy training")
    kept = training.load(state, run.request) or {"log": [], "recent": []}
    log, recent = kept["log"], kept["recent"]
    saved, every = time.monotonic(), max(1, recipe.steps // ROWS)
    with (
        run.stage("training"),
        progress("training copies", recipe.steps * b, done=training.count * b, quiet=quiet) as advance,
    ):
        while not training.done:
            recent.append(training.step())
            advance(b)
            if training.count % every == 0 or training.done:
                means = {k: sum(row[k] for row in recent) / len(recent) for k in recent[0]}
                log.append({"images": training.count * b, **means})
                write_json(out / "log.json", log)
                recent = []
            if training.done or time.monotonic() - saved > 60 * settings.minutes:
                training.save(state, run.request, {"log": log, "recent": recent})
                saved = time.monotonic()
    save_copy_net(out / MODEL, training.network)
    return run.finish(
        TrainDescriptorResult(
            data=settings.data,
            n=len(data),
            parameters=sum(p.numel() for p in training.network.parameters()),
            model=str(out / MODEL),
            **log[-1],
        )
    )
