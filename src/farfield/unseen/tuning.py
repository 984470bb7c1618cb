r"""Fine-tuning of a denoiser on a few images: the baseline that tuning-free samplers are held against.

- ``full``: all weights (Adam; with 20 epochs and without held-out images the baseline of arXiv 2310.09213);
- ``lora``: a low-rank update :math:`W + A B` of every convolution and linear map (arXiv 2106.09685), a convolution's
  weight taken as the matrix ``[out, in * height * width]``; merged in the end, so that the result is an ordinary denoiser;
- ``norm``: normalisation layers and biases only (arXiv 2106.10199, BitFit).

Step k depends on the seed and on k only (its batch, levels, noises), so a broken-off tuning that is taken up from its
checkpoint ends bit for bit as an unbroken one on the same machine and number of threads.
"""

from __future__ import annotations

import copy
import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from farfield.core.error import FarfieldError
from farfield.core.runtime import generator
from farfield.core.state import StateFile
from farfield.diffusion.denoiser import Denoiser
from farfield.diffusion.engine import Engine
from farfield.diffusion.objective import denoising_loss, draw_levels, heldout_loss
from farfield.unseen.tuning_state import State

Method = Literal["full", "lora", "norm"]
METHODS: tuple[Method, ...] = get_args(Method)
LEARNING_RATES: dict[Method, float] = {"full": 1e-4, "lora": 1e-3, "norm": 1e-3}
DRAWS = 8
"""Levels and noises of each image in the held-out loss."""

TRAINING_CALLS = 3
"""Cost of one image in training, in network calls: a forward pass, and a backward pass of about two."""

Callback = Callable[[int, float], None]
"""Called after each step with its number, from 1, and its training loss."""


@dataclass(frozen=True)
class Recipe:
    """How a denoiser is tuned.

    Args:
        epochs: passes through the images; None trains until ``most_calls``.
        learning_rate: `LEARNING_RATES`, if not given.
        rank: of LoRA's updates.
        patience: stop after so many validations without a new lowest loss.
        every: steps between validations; an epoch, if not given, but at least 20 steps, and so many that validating costs
            no more than a quarter.
        most_calls: budget in network calls, validations included.
        ema: decay of a moving average of the weights (warmed up as ``(1 + step) / (10 + step)``), which is then what is
            validated and kept.
        flips: mirror each image at random.

    Raises:
        FarfieldError: out of range.
    """

    method: Method = "full"
    epochs: int | None = 20
    batch_size: int = 8
    learning_rate: float | None = None
    rank: int = 8
    seed: int = 0
    patience: int | None = None
    every: int | None = None
    most_calls: int | None = None
    ema: float | None = None
    flips: bool = False

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise FarfieldError(f"method {self.method!r}: expected one of {', '.join(METHODS)}")
        if self.epochs is None and self.most_calls is None:
            raise FarfieldError("tuning: expected epochs, or most_calls as a budget, found neither; it would not end")
        for name in ("epochs", "batch_size", "rank", "patience", "every"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise FarfieldError(f"{name.replace('_', ' ')} {value}: expected at least 1")
        if not 0 < self.rate < math.inf:
            raise FarfieldError(f"learning rate {self.rate}: expected a positive number")
        if self.ema is not None and not 0 < self.ema < 1:
            raise FarfieldError(f"ema {self.ema}: expected a decay between 0 and 1, such as 0.999")

    @property
    def rate(self) -> float:
        """The learning rate."""
        return LEARNING_RATES[self.method] if self.learning_rate is None else self.learning_rate


@dataclass(frozen=True)
class Tuned:
    """What a tuning left.

    ``denoiser`` is a tuned copy, frozen; ``history`` has rows of ``step``, ``train`` (mean loss of the steps since the row
    before), ``heldout`` and ``calls``; ``calls`` counts network calls, three for an image trained on and one for an image
    validated; ``stopped`` says why it ended (``epochs``, ``budget``, ``patience``, or the step at which the loss was not
    finite), ``best`` whose weights were kept.
    """

    denoiser: Denoiser
    history: list[dict[str, Any]]
    calls: int
    seconds: float
    stopped: str
    best: int


def tune(
    denoiser: Denoiser,
    images: Tensor,
    recipe: Recipe,
    *,
    heldout: Tensor | float | None = None,
    checkpoint: StateFile | None = None,
    save_seconds: float = 60.0,
    callback: Callback | None = None,
) -> Tuned:
    """Train a copy of a denoiser on images; the original is not touched.

    Adam, gradients cut to norm 1, the loss of `diffusion.objective`, in float32 at least.

    Args:
        images: ``[n, *shape]`` in [-1, 1].
        heldout: images ``[m, *shape]`` for early stopping, or the share of ``images`` to split off for it. The weights of
            the lowest held-out loss are kept, those of step 0 among them. None keeps the last.
        checkpoint: a state to continue from and to keep up to date, every ``save_seconds`` and at the end.

    Raises:
        FarfieldError: images of another shape, nothing to tune, or another tuning's checkpoint.
    """
    first = next(denoiser.parameters(), None)
    if first is None:
        raise FarfieldError(f"{type(denoiser).__name__}: it has no weights to tune; expected a network")
    if denoiser.codec is not None:
        raise FarfieldError("tuning: a latent diffusion model is not tuned here; expected a model of pixels")
    dtype = torch.float64 if first.dtype == torch.float64 else torch.float32
    train, held = _split(images, heldout, denoiser.shape, recipe.seed)
    train = train.to(first.device, dtype)
    held = None if held is None else held.to(first.device, dtype)
    seed, epochs, every = recipe.seed, recipe.epochs, recipe.every
    settings = {
        **vars(recipe),
        "learning_rate": recipe.rate,
        "rank": recipe.rank if recipe.method == "lora" else None,
        "data": _digest(train, held, *denoiser.parameters()),
    }

    model = _prepare(denoiser, recipe, dtype)
    weights = {name: p for name, p in model.named_parameters() if p.requires_grad}
    state = State(weights, recipe.ema, settings)
    if checkpoint is not None:
        state.load(checkpoint)

    fresh = not state.stopped
    batch_size = min(recipe.batch_size, len(train))
    per_epoch = math.ceil(len(train) / batch_size)
    validation = 0 if held is None else len(held) * DRAWS
    if every is None:
        every = max(20, per_epoch, math.ceil(4 * validation / (TRAINING_CALLS * batch_size)))
    started, saved, seconds = time.monotonic(), time.monotonic(), state.seconds
    recent: list[float] = []

    def validate() -> None:
        loss: float | None = None
        if held is not None:
            with state.averaged():
                loss = float(heldout_loss(model, held, draws=DRAWS, batch_size=8 * recipe.batch_size).mean())
            state.calls += validation
        state.record(sum(recent) / len(recent) if recent else None, loss)
        recent.clear()

    if not state.history:
        validate()
    while not state.stopped:
        step = state.step + 1
        if epochs is not None and step > epochs * per_epoch:
            state.stopped = "epochs"
        elif recipe.patience is not None and held is not None and state.unimproved() >= recipe.patience:
            state.stopped = "patience"
        else:
            epoch, part = divmod(step - 1, per_epoch)
            order = torch.randperm(len(train), generator=generator(seed, f"tuning-epoch-{epoch}"))
            rows = train[order[part * batch_size : (part + 1) * batch_size].to(train.device)]
            cost = TRAINING_CALLS * len(rows)
            if recipe.most_calls is not None and state.calls + cost + validation > recipe.most_calls:
                state.stopped = "budget"
        if state.stopped:
            break
        loss = _step(model, state.engine, recipe, rows, generator(seed, f"tuning-step-{step}"))
        state.calls += cost
        if not math.isfinite(loss):
            state.stopped = (
                f"step {step}: the loss or its gradient became NaN or infinite; the weights of step {state.best} were "
                "kept; use a lower learning rate"
            )
            break
        state.step = step
        state.average()
        recent.append(loss)
        if callback:
            callback(step, loss)
        if step % every == 0:
            validate()
            # Between two rows nothing is kept but the rows, so a checkpoint belongs here.
            if checkpoint is not None and time.monotonic() - saved >= save_seconds:
                state.seconds = seconds + time.monotonic() - started
                state.save(checkpoint)
                saved = time.monotonic()
    if fresh and recent and state.stopped in ("epochs", "budget", "patience"):
        validate()
    if fresh:
        state.seconds = seconds + time.monotonic() - started
        if checkpoint is not None:
            state.save(checkpoint)
    with torch.no_grad():
        for name, p in weights.items():
            p.copy_(state.kept[name])
    _merge(model)
    model = model.to(first.dtype).eval().requires_grad_(False)
    return Tuned(model, state.history, state.calls, state.seconds, state.stopped, state.best)


class LowRank(nn.Module):
    """:math:`W \\mapsto W + A B`, A of zeros ``[out, rank]``, B random ``[rank, in]``."""

    def __init__(self, weight: Tensor, rank: int, g: torch.Generator):
        super().__init__()
        matrix = weight.flatten(1)
        rank = min(rank, *matrix.shape)
        inner = torch.randn(rank, matrix.shape[1], generator=g) / math.sqrt(matrix.shape[1])
        self.outer = nn.Parameter(weight.new_zeros(matrix.shape[0], rank))
        self.inner = nn.Parameter(inner.to(weight))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + (self.outer @ self.inner).reshape(weight.shape)


def _step(model: Denoiser, engine: Engine, recipe: Recipe, rows: Tensor, g: torch.Generator) -> float:
    """One update; its loss, NaN or infinite where loss or gradient is (then nothing is updated)."""
    if recipe.flips:
        mirrored = (torch.rand(len(rows), generator=g) < 0.5).to(rows.device)
        rows = torch.where(mirrored.reshape(-1, *(1,) * (rows.ndim - 1)), rows.flip(-1), rows)
    sigma = draw_levels(model.schedule, len(rows), g).to(rows)
    noise = torch.randn(rows.shape, generator=g).to(rows)

    def backward() -> float:
        with torch.random.fork_rng(devices=[rows.device] if rows.device.type == "cuda" else []):
            torch.manual_seed(g.initial_seed())  # dropout draws from the global generator
            loss = denoising_loss(model, rows, sigma, noise).mean()
        loss.backward()
        return float(loss.detach())

    step = engine.step(recipe.rate, backward)
    return step.loss if step.made else math.nan


def _prepare(denoiser: Denoiser, recipe: Recipe, dtype: torch.dtype) -> Denoiser:
    """A copy in which exactly the weights to be trained ask for gradients; statistics frozen, dropout as trained."""
    method = recipe.method
    model = copy.deepcopy(denoiser).to(dtype).eval().requires_grad_(False)
    for module in list(model.modules()):
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.train()
        if method == "norm" and isinstance(module, _NORMALISATIONS):
            module.requires_grad_(True)
    g = generator(recipe.seed, "lora")
    if method == "lora":
        for module in [m for m in model.modules() if isinstance(m, (nn.modules.conv._ConvNd, nn.Linear))]:
            parametrize.register_parametrization(module, "weight", LowRank(module.weight, recipe.rank, g))
    for name, p in model.named_parameters():
        if method == "full" or (method == "norm" and name.endswith("bias")):
            p.requires_grad_(True)
        elif method == "lora":
            p.requires_grad_(".parametrizations.weight.0." in name)
    if not any(p.requires_grad for p in model.parameters()):
        raise FarfieldError(f"method {method}: this network has no such weights to tune; use full")
    return model


_NORMALISATIONS = (nn.GroupNorm, nn.LayerNorm, nn.RMSNorm, nn.modules.batchnorm._NormBase)


def _merge(model: nn.Module) -> None:
    """Low-rank updates become plain weights again."""
    for module in list(model.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


def _split(
    images: Tensor, heldout: Tensor | float | None, shape: tuple[int, ...], seed: int
) -> tuple[Tensor, Tensor | None]:
    if images.ndim < 2 or tuple(images.shape[1:]) != tuple(shape) or len(images) == 0:
        raise FarfieldError(f"images {tuple(images.shape)}: expected at least one of the model's shape {tuple(shape)}")
    if not bool(torch.isfinite(images).all()):
        raise FarfieldError("images: expected finite values, found NaN or infinity")
    if heldout is None:
        return images, None
    if isinstance(heldout, Tensor):
        if tuple(heldout.shape[1:]) != tuple(shape) or len(heldout) == 0:
            raise FarfieldError(
                f"held-out images {tuple(heldout.shape)}: expected at least one of shape {tuple(shape)}"
            )
        return images, heldout
    count = max(1, round(heldout * len(images)))
    if not 0 < heldout < 1 or count >= len(images):
        raise FarfieldError(
            f"heldout {heldout:g} of {len(images)} images: expected a share between 0 and 1 that leaves some to train on"
        )
    order = torch.randperm(len(images), generator=generator(seed, "tuning-split"))
    return images[order[count:]], images[order[:count]]


def _digest(*tensors: Tensor | None) -> str:
    h = hashlib.sha256()
    for t in tensors:
        if t is not None:
            h.update(str(tuple(t.shape)).encode())
            h.update(t.detach().cpu().float().contiguous().numpy().tobytes())
    return h.hexdigest()
