"""`farfield train`: a data set becomes a model, and can be left and taken up again at any moment."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from farfield.checkpoints.load import model_digest, open_network
from farfield.checkpoints.native import Blueprint, save_model, told_classes
from farfield.checkpoints.place import locate, split_name
from farfield.command.result import from_json, to_json
from farfield.command.settings import LEFT_OUT
from farfield.command.train import Architecture, LogRow, Optimization, Train, TrainedModel, TrainResult, Watch
from farfield.core.artifact import made_again, read_json, write_bytes, write_json
from farfield.core.error import FarfieldError
from farfield.core.note import say
from farfield.core.runtime import generator, progress, resolve_device
from farfield.core.state import StateFile
from farfield.data.apart import apart
from farfield.data.dataset import Dataset, open_dataset
from farfield.data.picture import png
from farfield.diffusion.denoiser import NetworkDenoiser
from farfield.diffusion.generation import generate
from farfield.diffusion.layers import chosen
from farfield.diffusion.objective import heldout_loss
from farfield.diffusion.training import Recipe, Training
from farfield.study.bench.opening import Work
from farfield.study.bench.run import Run
from farfield.study.model.board import Board, check_installed

STATE, LOG = "state.safetensors", "log.json"
DRAWS = 8
"""Levels and noises of each image in the held-out loss."""
STEPS = 18
"""Of the samples' solver."""


def train(settings: Train, out: Path, *, quiet: bool = False) -> TrainResult:
    """Train a network, from scratch or from another model.

    Writes ``log.json`` (a row each ``--every`` images), ``samples/``, ``snapshots/`` (model folders with the first average's
    weights), ``state.safetensors`` and in the end ``summary.json``; the log to ``tensorboard/`` too, if that is asked for.

    Raises:
        FarfieldError: bad input; tensorboard is asked for and not installed; or the loss became NaN or infinite, with the
            step, and the last good snapshot is kept.
    """
    source, origin, architecture, watch = settings.data, settings.start, settings.architecture, settings.watch
    if watch.log is not None:
        check_installed()
    recipe = _recipe(settings.recipe)
    place = resolve_device(settings.device)
    plan: Blueprint | None = None
    if origin is not None:
        plan, network = open_network(origin, architecture.precond)
        if plan.units is not None:
            raise FarfieldError(
                f"{origin}: its pictures are in units of its own ({plan.units}), and training here is in [-1, 1]; leave --from "
                "out, or give another model"
            )
    labels = bool(plan.classes) if plan else architecture.labels  # not read, and so not in the way, where not wanted
    most = settings.max_images
    shape, seed = plan.shape if plan else None, None if most is None else 0
    data = open_dataset(source, shape=shape, limit=most, seed=seed, labels=labels)
    if plan is None:
        if architecture.labels and data.labels is None:
            raise FarfieldError(
                f"{source}: --labels, but its images have no classes; leave --labels out, or add a dataset.json"
            )
        plan, network = _build(architecture, data, recipe.seed)
    elif plan.classes:
        data = data.with_classes_of(told_classes(locate(split_name(str(origin))[0])), source, str(origin))
        _check_classes(data, plan.classes, source, str(origin))
    held = None
    if settings.heldout is not None:
        held = _held_out(settings.heldout, settings.heldout_images, data, source, plan)
    denoiser = plan.inner(network)
    augment = None
    if architecture.augment:
        from farfield.diffusion.augment import Augment

        augment = Augment(architecture.augment)
    layers = _layers(network, settings.layers)
    training = Training(
        denoiser, data, recipe, augment=augment, conditional=bool(plan.classes), layers=layers, device=place
    )
    run = Run.of(
        out,
        settings,
        {"data": data, "heldout": held, "from": model_digest(origin) if origin is not None else None},
        quiet,
        _works(training, watch, held),
        images=len(data),
        class_names=list(data.class_names) if plan.classes else [],
        model={k: v for k, v in asdict(plan).items() if k not in ("scheduler", "units")},
        augment=architecture.augment,
        recipe=recipe.request(),
        samples=[watch.samples, STEPS],
        layers=settings.layers or LEFT_OUT,
        at=watch.at or LEFT_OUT,
    )
    if settings.compiled:
        denoiser.network.compile()
    session = _Session(run, training, plan, held, watch, torch.float16 if settings.float16 else torch.float32)
    with session.watched():
        session.go()
    return run.finish(session.result(source, len(data)))


def _layers(network: torch.nn.Module, patterns: Sequence[str]) -> list[str]:
    """The parameters that are trained, which is said; none where all are."""
    if not patterns:
        return []
    sizes = {name: p.numel() for name, p in network.named_parameters()}
    names = chosen(list(sizes), patterns)
    total, some = sum(sizes.values()), sum(sizes[name] for name in names)
    say(
        f"--layers {' '.join(patterns)}: {some:,} of {total:,} weights are trained, in {len(names)} of {len(sizes)} parameters; "
        f"the other {total - some:,} stay as they are"
    )
    return names


def _works(training: Training, watch: Watch, held: Dataset | None) -> list[Work]:
    """The steps; and at every row of the log the held-out loss and the samples."""
    recipe, denoiser = training.recipe, training.denoiser
    steps = Work(
        denoiser,
        recipe.batch_size // recipe.accumulate,
        {"training": float(recipe.images)},
        once=training.tried,
    )
    answered = partial(training.tried, backward=False)
    rows = recipe.images / (_every(watch, recipe) * recipe.batch_size) + 1
    beside = DRAWS * len(held or ()) + (STEPS + 1) * watch.samples
    return [steps, Work(denoiser, recipe.batch_size, {"training": rows * beside}, once=answered)]


def _every(watch: Watch, recipe: Recipe) -> int:
    """Steps between two rows of the log."""
    return _steps(watch.every or max(math.ceil(recipe.images / 50), 50 * recipe.batch_size), recipe.batch_size)


def _recipe(given: Optimization) -> Recipe:
    same = {field.name: getattr(given, field.name) for field in fields(Recipe) if hasattr(given, field.name)}
    averages = tuple(part.strip() for part in given.ema.split(","))
    return Recipe(
        **{**same, "images": given.length, "averages": averages, "clip": given.clip or None, "law": given.level_law}
    )


def _build(architecture: Architecture, data: Dataset, seed: int) -> tuple[Blueprint, torch.nn.Module]:
    """A new network."""
    from farfield.networks.build import from_config, network_config

    classes = data.classes if architecture.labels else 0
    shape = tuple(data.shape)
    config = network_config(
        architecture.network,
        shape,
        width=architecture.width,
        multipliers=architecture.multipliers,
        blocks=architecture.blocks,
        attention=architecture.attention,
        dropout=architecture.dropout,
        classes=classes,
        augment=9 if architecture.augment else 0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator(seed, "training-weights").initial_seed() % 2**63)
        network = from_config(config)
    spread = 0.5 if architecture.sigma_data is None else architecture.sigma_data
    return Blueprint(config, shape, architecture.precond or "edm", classes, spread), network


def _held_out(heldout: str, most: int, data: Dataset, source: str, plan: Blueprint) -> Dataset:
    """So many images at most, drawn at random, of those that are not among the training images."""
    held = open_dataset(heldout, shape=data.shape, labels=bool(plan.classes))
    if plan.classes:
        held = held.with_classes_of(data.class_names, heldout, source)
        _check_classes(held, plan.classes, heldout, source)
    rows = apart(held.keys, held.values(), [data.values()], heldout, source, "images that are never trained on")
    held = held.rows(torch.tensor(rows))
    return held.subset(min(most, len(held)), 0)


def _check_classes(data: Dataset, classes: int, where: str, other: str) -> None:
    """Every image of a conditional model's data has a class that it knows."""
    if data.labels is None:
        raise FarfieldError(f"{where}: has no classes, but the model is class-conditional; expected those of {other}")
    if int(data.labels.max()) >= classes:
        raise FarfieldError(
            f"{where}: has a class {int(data.labels.max())}, but {other} has {classes} classes; leave those images out"
        )


class _Session:
    """One run of a training: from its last state to its end, or to an interruption."""

    def __init__(
        self, run: Run, training: Training, plan: Blueprint, held: Dataset | None, watch: Watch, dtype: torch.dtype
    ):
        self.run, self.training, self.plan, self.watch, self.dtype = run, training, plan, watch, dtype
        batch, images = training.recipe.batch_size, training.recipe.images
        self.every = _every(watch, training.recipe)
        self.snapshots = _steps(watch.snapshots or math.ceil(images / 4), batch)
        self.places = {_steps(place, batch) for place in watch.at}
        self.held = held
        self.log: list[LogRow] = []
        self.board: Board | None = None
        self.recent: list[float] = []
        self.state = StateFile(run.folder / STATE, "training")
        self.settings = run.request
        if beside := training.load(self.state, self.settings):
            self.log, self.recent = self._read_log(beside.get("log")), beside["recent"]

    def _read_log(self, known: list[Any] | None) -> list[LogRow]:
        """The rows up to the state, which knows them (in older versions it did not) but for the seconds they took."""
        path = self.run.folder / LOG
        with contextlib.suppress(FarfieldError):
            rows = [row for row in read_log(path) if row.images <= self.training.seen]
            if known is None or _timeless(rows) == known:
                return rows
        if self.run.ranks.main:
            made_again(path)
            write_json(path, to_json(known or []))
        return from_json(list[LogRow], known or [])

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Inside, rows of the log go where else they are wanted."""
        if self.watch.log is None or not self.run.ranks.main:
            yield
            return
        self.board = Board(self.run.folder, self.log)
        try:
            yield
        finally:
            self.board.close()

    def go(self) -> None:
        training, run = self.training, self.run
        saved = logged = time.monotonic()
        count = training.steps
        if training.done and self.log:
            if not self._kept():
                self._snapshot()
            return
        label = f"training ({sum(p.numel() for p in training.weights.values()) / 1e6:.2f} M weights)"
        with (
            run.stage("training"),
            progress(label, training.recipe.images, done=training.seen, quiet=run.quiet) as advance,
        ):
            if not self.log:
                self._row(None)
            while not training.done:
                self.recent.append(training.step())
                advance(training.recipe.batch_size)
                count += 1
                if count % self.every == 0 or training.done:
                    seconds = time.monotonic() - logged
                    logged = time.monotonic()
                    self._row(seconds)
                kept = count % self.snapshots == 0 or count in self.places or training.done
                if kept:
                    self._snapshot()
                late = time.monotonic() - saved >= 60 * self.watch.minutes
                if run.ranks.main and (late or kept):
                    training.save(self.state, self.settings, {"recent": self.recent, "log": _timeless(self.log)})
                    saved = time.monotonic()
        run.ranks.wait()

    def result(self, source: str, n: int) -> TrainResult:
        training = self.training
        self.run.ranks.wait()  # the log is the main process's
        last = read_log(self.run.folder / LOG)[-1]
        return TrainResult(
            data=source,
            n=n,
            model=TrainedModel(
                name=str(self._folder()),
                shape=list(self.plan.shape),
                parameters=(whole := sum(p.numel() for p in training.denoiser.parameters())),
                trained=None if (some := sum(p.numel() for p in training.weights.values())) == whole else some,
            ),
            images=training.seen,
            epochs=training.seen / n,
            loss=last.loss,
            heldout=last.heldout,
        )

    def _kept(self) -> bool:
        """Whether the last snapshots are what the state says, to the bit."""
        for i in range(len(self.training.averages)):
            with contextlib.suppress(FarfieldError), self.training.averaged(i) as denoiser:
                kept, now = open_network(str(self._folder(i)))[1].state_dict(), denoiser.network.state_dict()
                if all(torch.equal(v.cpu().to(self.dtype).to(kept[k].dtype), kept[k]) for k, v in now.items()):
                    continue
            return False
        return True

    def _folder(self, average: int = 0) -> Path:
        name = f"{self.training.seen:010d}"
        spec = f"-{self.training.averages[average].spec}" if average else ""
        return self.run.folder / "snapshots" / (name + spec)

    def _row(self, seconds: float | None) -> None:
        """A row of the log: mean loss since the row before, held-out loss, samples."""
        training = self.training
        if not training.ranks.main:
            self.recent = []
            return
        with training.averaged() as denoiser, torch.no_grad():
            loss = None if self.held is None else self._heldout(denoiser, self.held)
            if self.watch.samples:
                self._samples(denoiser)
        row = LogRow(
            images=training.seen,
            loss=sum(self.recent) / len(self.recent) if self.recent else None,
            heldout=loss,
            rate=training.recipe.rate(max(0, training.seen - training.recipe.batch_size)),
            seconds=seconds,
        )
        self.log.append(row)
        self.recent = []
        write_json(self.run.folder / LOG, to_json(self.log))
        if self.board is not None:
            self.board.add(row)

    def _heldout(self, denoiser: NetworkDenoiser, held: Dataset) -> float:
        images = held.values(torch.arange(len(held))).to(self.training.device)
        labels = held.labels if self.training.conditional else None
        return float(heldout_loss(denoiser, images, draws=DRAWS, labels=labels).mean())

    def _samples(self, denoiser: NetworkDenoiser) -> None:
        from farfield.present.sheet import grid

        sigmas = denoiser.schedule.sigmas(STEPS)
        seeds = range(self.watch.samples)
        denoiser.label = self._labels(len(seeds))  # type: ignore[assignment]
        try:
            x = generate(denoiser, seeds, sigmas, device=self.training.device).float().cpu()
        except FarfieldError:
            return  # a model in its first steps may well answer nonsense; its loss is in the log
        finally:
            denoiser.label = None
        picture = png(grid(x), self.run.provenance.record())
        write_bytes(self.run.folder / "samples" / f"{self.training.seen:010d}.png", picture)

    def _labels(self, n: int) -> Tensor | None:
        classes = self.plan.classes
        return torch.arange(n, device=self.training.device) % classes if classes else None

    def _snapshot(self) -> None:
        if not self.training.ranks.main:
            return
        request = self.run.request
        origin = {key: request[key] for key in ("command", "data", "data_digest", "class_names", "from")}
        origin |= {"images_seen": self.training.seen, "recipe": request["recipe"]}
        for i in range(len(self.training.averages)):
            with self.training.averaged(i) as denoiser:
                save_model(self._folder(i), denoiser.network, self.plan, dtype=self.dtype, origin=origin)


def read_log(path: Path) -> list[LogRow]:
    rows: list[LogRow] = from_json(list[LogRow], read_json(path), LOG)
    return rows


def _timeless(log: list[LogRow]) -> Any:
    """A log without the seconds: two trainings of one request have states of the same bytes."""
    return to_json([row.but(seconds=None) for row in log])


def _steps(images: int, batch: int) -> int:
    """So many images in whole steps, at least one."""
    return max(1, round(images / batch))
