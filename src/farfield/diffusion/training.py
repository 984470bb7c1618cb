r"""Training of a denoiser, step by step.

A step draws images, levels and noises and lowers the mean of :math:`w(\sigma)\,\|D(x_0 + \sigma n, \sigma) - x_0\|^2 / d`,
with the family's own weight :math:`w = 1 / c_{out}^2`. The image at place p of the whole training, its level and its noise
depend on the seed and p only: neither on the number of processes nor on how a batch is divided, and a training that is
taken up again from its saved state goes on as if it had never stopped, to the bit on one process.

Levels are spread by :math:`q_p = \{u + p / \varphi\}` over the quantiles of their law (a low-discrepancy sequence, in the
manner of arXiv 2107.00630, appendix I): any stretch of images has seen every part of it.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol, get_args

import torch
from torch import Tensor, nn

from farfield.core.error import FarfieldError
from farfield.core.runtime import Ranks, generator
from farfield.core.state import StateFile
from farfield.diffusion.average import Average, exchanged
from farfield.diffusion.denoiser import NetworkDenoiser
from farfield.diffusion.engine import Engine, Groups
from farfield.diffusion.objective import levels_at

Decay = Literal["constant", "cosine", "linear", "rsqrt"]
Precision = Literal["float32", "bfloat16", "float16"]
GOLDEN = (math.sqrt(5) - 1) / 2


class Rows(Protocol):
    """What is trained on: ``n`` images, any of which can be had as float32 in [-1, 1]."""

    def __len__(self) -> int: ...

    @property
    def labels(self) -> Tensor | None: ...

    def values(self, index: Tensor) -> Tensor: ...


class Augmentation(Protocol):
    """Augmented images and what a network is told of them, ``[B, A]``; a generator for each image."""

    def __call__(self, images: Tensor, g: Sequence[torch.Generator]) -> tuple[Tensor, Tensor]: ...


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a training besides the data and the network. Amounts of training are counted in images.

    Attributes:
        images: how long to train.
        batch_size: images of a step, over all processes.
        accumulate: parts that a process divides its share of a batch into, to save memory.
        learning_rate: Adam's, at its highest.
        warmup: images over which it rises linearly.
        decay: ``constant``; ``cosine`` or ``linear`` down to 0 at the end; ``rsqrt``, as the inverse square root of the
            images beyond ``decay_start`` (arXiv 2312.02696).
        weight_decay: decoupled (AdamW).
        averages: moving averages of the weights, see `average.Average`; the first is the model.
        clip: largest norm of a gradient; None for any.
        flips: mirror each image at random.
        turns: turn each image by quarters at random.
        law: mean and standard deviation of ln sigma, in place of the family's own law of levels.
        precision: of the network's arithmetic; weights and Adam's moments are float32.
        seed: of everything.
    """

    images: int
    batch_size: int = 64
    accumulate: int = 1
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    warmup: int = 10_000
    decay: Decay = "constant"
    decay_start: int = 0
    weight_decay: float = 0.0
    averages: tuple[str, ...] = ("500k",)
    clip: float | None = 1.0
    flips: bool = False
    turns: bool = False
    law: tuple[float, float] | None = None
    precision: Precision = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("images", "batch_size", "accumulate"):
            if getattr(self, name) < 1:
                raise FarfieldError(f"{name.replace('_', ' ')} {getattr(self, name)}: expected at least 1")
        if not 0 < self.learning_rate < math.inf:
            raise FarfieldError(f"learning rate {self.learning_rate:g}: expected a positive number")
        if self.clip is not None and not self.clip > 0:
            raise FarfieldError(f"clip {self.clip:g}: expected a positive norm, or none")
        if self.law is not None and not self.law[1] > 0:
            raise FarfieldError(f"levels {self.law}: expected the mean and a positive standard deviation of ln sigma")
        for name, known in (("decay", get_args(Decay)), ("precision", get_args(Precision))):
            if getattr(self, name) not in known:
                raise FarfieldError(f"{name} {getattr(self, name)!r}: expected one of {', '.join(known)}")
        if not self.averages:
            raise FarfieldError("averages: expected at least one, such as 500k, found none")
        for spec in self.averages:
            Average(spec, {})  # refuses what is none

    def rate(self, seen: int) -> float:
        """The learning rate of the step that begins after so many images."""
        rate = self.learning_rate * min(1.0, (seen + self.batch_size) / max(self.warmup, 1))
        left = max(0.0, 1 - seen / self.images)
        if self.decay == "cosine":
            rate *= (1 - math.cos(math.pi * left)) / 2
        elif self.decay == "linear":
            rate *= left
        elif self.decay == "rsqrt":
            rate *= max(seen / max(self.decay_start, 1), 1.0) ** -0.5
        return rate

    def request(self) -> dict[str, Any]:
        request = asdict(self)
        if not self.turns:  # as requests were before there were turns: what they began can be continued
            del request["turns"]
        return request


class Training:
    """A training under way: ``step()`` until ``done``.

    Args:
        denoiser: what is trained, in place; its weights are moved to float32 and to ``device``.
        rows: the training set.
        recipe: how.
        augment: gives augmented images and what the network is told of them.
        layers: names of the parameters that are trained, as the network has them; all if not given. Others stay as they are.
        ranks: the processes that share each batch; all of them if not given.

    Raises:
        FarfieldError: an empty set, a batch that cannot be shared out, labels where the network takes none or the reverse.
    """

    def __init__(
        self,
        denoiser: NetworkDenoiser,
        rows: Rows,
        recipe: Recipe,
        *,
        augment: Augmentation | None = None,
        conditional: bool = False,
        layers: Sequence[str] = (),
        device: torch.device | None = None,
        ranks: Ranks | None = None,
    ):
        self.ranks = ranks or Ranks.current()
        parts = self.ranks.world * recipe.accumulate
        if len(rows) == 0:
            raise FarfieldError("training: expected at least one image, found none")
        if recipe.batch_size % parts:
            raise FarfieldError(
                f"batch size {recipe.batch_size}: expected a multiple of {parts} ({self.ranks.world} processes of "
                f"{recipe.accumulate} parts each)"
            )
        if conditional and rows.labels is None:
            raise FarfieldError(
                "training with classes: the data have no labels; give a dataset.json, or leave classes out"
            )
        if recipe.turns and denoiser.shape[-1] != denoiser.shape[-2]:
            raise FarfieldError(
                f"turns: images of {'×'.join(map(str, denoiser.shape[-2:]))}; only square ones are turned"
            )
        self.rows, self.recipe, self.augment, self.conditional = rows, recipe, augment, conditional
        self.device = device or torch.device("cpu")
        self.denoiser = denoiser.to(self.device, torch.float32).train().requires_grad_(True)
        # channels last is the quicker layout everywhere but in bfloat16 on CPUs; where a group norm's own weights stay as they
        # are, torch's backward pass through it in this layout writes to address 0 on CPUs
        quicker = self.device.type != "cpu" or (recipe.precision == "float32" and not layers)
        self.layout = torch.channels_last if quicker else torch.contiguous_format
        self.denoiser.network.to(memory_format=self.layout)  # type: ignore[call-overload]
        trained = {f"network.{name}" for name in layers}
        for name, p in self.denoiser.named_parameters() if layers else ():
            p.requires_grad_(name in trained)
        self.weights: dict[str, nn.Parameter] = {k: p for k, p in self.denoiser.named_parameters() if p.requires_grad}
        self.buffers: dict[str, Tensor] = dict(self.denoiser.named_buffers())
        self.engine = Engine(
            self.weights,
            betas=recipe.betas,
            weight_decay=recipe.weight_decay,
            clip=recipe.clip or math.inf,
            half=recipe.precision == "float16",
        )
        self.averages = [Average(spec, self.weights) for spec in recipe.averages]
        self.seen = 0
        self._epoch: tuple[int, Tensor] = -1, torch.empty(0)
        self._shift = float(torch.rand((), generator=generator(recipe.seed, "training-levels"), dtype=torch.float64))

    @property
    def done(self) -> bool:
        return self.seen >= self.recipe.images

    @property
    def steps(self) -> int:
        return self.seen // self.recipe.batch_size

    def step(self) -> float:
        """One update; the loss over the whole batch, before it.

        Raises:
            FarfieldError: the loss or its gradient is NaN or infinite. Nothing was updated then.
        """
        loss, norm, made = self.engine.step(self.recipe.rate(self.seen), self._backward)
        if not made:
            raise FarfieldError(
                f"step {self.steps + 1} (after {self.seen} images): the loss or its gradient became NaN or infinite "
                f"(loss {loss:g}, gradient norm {norm:g}); use a lower learning rate, a longer warm-up or float32"
            )
        self.seen += self.recipe.batch_size
        for average in self.averages:
            average.update(self.weights, self.seen, self.recipe.batch_size)
        return loss

    def save(self, file: StateFile, settings: dict[str, Any], beside: dict[str, Any]) -> None:
        """Keep all that it takes to go on; ``beside`` is what else its caller wants back, JSON values only."""
        scaler = self.engine.scaler.state_dict()
        plain = {"seen": self.seen, "overflows": self.engine.overflows, "scaler": scaler, "beside": beside}
        self.engine.save(file, settings, plain, self._groups())

    def load(self, file: StateFile, settings: dict[str, Any]) -> dict[str, Any] | None:
        """Set a fresh training to where the file's was; what was put beside it, or None if there is no whole state.

        Raises:
            FarfieldError: the state of another training.
        """
        plain = self.engine.load(file, settings, self._groups())
        if plain is None:
            return None
        self.seen, self.engine.overflows = plain["seen"], plain["overflows"]
        self.engine.scaler.load_state_dict(plain["scaler"])
        beside: dict[str, Any] = plain["beside"]
        return beside

    def _groups(self) -> Groups:
        averages = {f"average-{i}": average.values for i, average in enumerate(self.averages)}
        return {"weights": self.weights, "buffers": self.buffers, **averages}

    def _backward(self) -> float:
        """Gradients and loss of this step's batch, over all processes."""
        recipe = self.recipe
        share = recipe.batch_size // self.ranks.world
        first = self.seen + self.ranks.rank * share
        total = torch.zeros((), dtype=torch.float64)
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(generator(recipe.seed, f"training-dropout-{first}").initial_seed() % 2**63)
            batch_size = share // recipe.accumulate
            for start in range(first, first + share, batch_size):
                loss = self._loss(range(start, start + batch_size)).sum() / recipe.batch_size
                self.engine.scaler.scale(loss).backward()
                total += loss.detach().double().cpu()
        return self._gather(total)

    @contextlib.contextmanager
    def averaged(self, index: int = 0) -> Iterator[NetworkDenoiser]:
        """The denoiser with averaged weights, in evaluation mode, while inside."""
        with exchanged(self.weights, self.averages[index].values):
            self.denoiser.eval()
            try:
                yield self.denoiser
            finally:
                self.denoiser.train()

    def _loss(self, places: range) -> Tensor:
        """The loss of the images at these places of the training, ``[len(places)]``."""
        recipe, n = self.recipe, len(self.rows)
        index = torch.tensor([int(self._order(p // n)[p % n]) for p in places])
        x, noises, mirrored = self.rows.values(index), [], []
        for p in places:
            g = generator(recipe.seed, f"training-{p}")
            mirrored.append(float(torch.rand((), generator=g)) < 0.5)
            noises.append(torch.randn(x.shape[1:], generator=g))
        x = self._turned(x, places)
        if recipe.flips:
            x = torch.where(torch.tensor(mirrored).reshape(-1, 1, 1, 1), x.flip(-1), x)
        conditions: dict[str, Tensor] = {}
        if self.augment is not None:
            x, augment = self.augment(x, [generator(recipe.seed, f"training-augment-{p}") for p in places])
            conditions["augment"] = augment.to(self.device)
        if self.conditional and self.rows.labels is not None:
            conditions["label"] = self.rows.labels[index].to(self.device)
        quantile = torch.tensor([(self._shift + p * GOLDEN) % 1.0 for p in places], dtype=torch.float64)
        sigma = levels_at(self.denoiser.schedule, quantile, recipe.law).float().to(self.device)
        x, noise = x.to(self.device), torch.stack(noises).to(self.device)
        s = sigma.reshape(-1, *(1,) * (x.ndim - 1))
        low = {"float16": torch.float16, "bfloat16": torch.bfloat16}.get(recipe.precision)
        noisy = (x + s * noise).contiguous(memory_format=self.layout)
        with torch.autocast(self.device.type, low, enabled=low is not None):
            answer = self.denoiser(noisy, sigma, **conditions)
        return self.denoiser.weight(sigma) * (answer.float() - x).square().flatten(1).mean(1)

    def tried(self, count: int, backward: bool = True) -> None:
        """The loss of the first ``count`` images and its gradients, thrown away: what they take, and nothing is changed by it."""
        kept = {name: v.clone() for name, v in self.buffers.items()}
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            with torch.set_grad_enabled(backward):
                loss = self._loss(range(count)).sum()
            if backward:
                loss.backward()
        for p in self.weights.values():
            p.grad = None
        for name, v in kept.items():
            self.buffers[name].copy_(v)

    def _turned(self, x: Tensor, places: range) -> Tensor:
        """Images at these places of the training by so many quarters, if any are to be turned."""
        if not self.recipe.turns:
            return x
        streams = [generator(self.recipe.seed, f"training-turn-{p}") for p in places]
        quarters = [int(torch.randint(4, (), generator=g)) for g in streams]
        return torch.stack([image.rot90(k, (-2, -1)) for image, k in zip(x, quarters, strict=True)])

    def _order(self, epoch: int) -> Tensor:
        """The order of an epoch's images."""
        if self._epoch[0] != epoch:
            g = generator(self.recipe.seed, f"training-epoch-{epoch}")
            self._epoch = epoch, torch.randperm(len(self.rows), generator=g)
        return self._epoch[1]

    def _gather(self, loss: Tensor) -> float:
        """Sum gradients and loss over the processes."""
        if self.ranks.world > 1:
            self.ranks.wait()  # the first time, this is what makes the group
            gradients = [p.grad for p in self.weights.values() if p.grad is not None]
            flat = torch.cat([g.flatten() for g in gradients])
            torch.distributed.all_reduce(flat)
            for g, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
                g.copy_(part.reshape(g.shape))
            shared = loss.to(self.device)
            torch.distributed.all_reduce(shared)
            loss = shared.cpu()
        return float(loss)
