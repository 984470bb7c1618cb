"""The scores of a grid of models: against their training sets, between each other and with the optimal denoisers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from farfield.audit.descriptor import Descriptor, describe
from farfield.audit.distribution import kernel_distance
from farfield.audit.generalization import generalization
from farfield.audit.reproducibility import agreement, mean_absolute_differences, pfd
from farfield.audit.search import Neighbours, neighbours
from farfield.audit.similarity import repaired, similarity, unit
from farfield.audit.threshold import calibrate
from farfield.checkpoints.place import snapshots_of
from farfield.command.likeness import Paired
from farfield.command.result import from_json, to_json
from farfield.command.score import Generalization
from farfield.command.shared import Loading
from farfield.command.train import TrainResult
from farfield.command.transition import (
    Agreement,
    AtLevel,
    Between,
    CellScores,
    Course,
    GridAlike,
    GridData,
    Halves,
    Losses,
    Moment,
    Nearest,
    Regime,
    Row,
    TheoryScores,
    Transition,
    TransitionResult,
)
from farfield.core.artifact import Features, Images, Score, read_json, read_kept, save, write_kept
from farfield.core.interval import mean_score, proportion
from farfield.core.runtime import progress, seeded_noise
from farfield.data.dataset import Dataset
from farfield.data.samples import open_samples
from farfield.diffusion.denoiser import Denoiser
from farfield.diffusion.objective import heldout_loss
from farfield.diffusion.sanity import levels
from farfield.study.audit.grid import Cell, cells_of, data_name, differ, pairs
from farfield.study.audit.grid_course import course, law
from farfield.study.audit.grid_sets import MOMENT, Sets
from farfield.study.bench.likeness import find_thresholds
from farfield.study.bench.numerics import load_model
from farfield.study.bench.run import Run

R = TypeVar("R")

EACH = "each"
"""Where `farfield generate` puts several sets."""
LEVELS = 8
"""At which denoisers of halves are held against each other."""
LOSSES = 256
"""Images whose loss is taken, of the training set and of the held-out ones."""
DRAWS = 8
"""Levels and noises of each."""
SHOWN = 24
"""Samples of the smallest and of the largest cells that are shown beside their nearest training images."""
LOW, HIGH = 0.1, 0.9


def regime(score: Score) -> Regime:
    """What a generalization score says: its whole interval below 0.1, above 0.9, or neither."""
    low, high = (score.value if end is None else end for end in (score.low, score.high))
    return "memorizes" if high < LOW else "generalizes" if low > HIGH else "between"


def crossing(sizes: Sequence[int], values: Sequence[float], level: float = 0.5) -> float | None:
    """The size at which a score rises through a level, between two sizes on a logarithmic scale; None if it does not.

    Of several, the last.
    """
    crossed = None
    for (n, low), (m, high) in pairwise(zip(sizes, values, strict=True)):
        if low < level <= high:
            crossed = math.exp(math.log(n) + (level - low) / (high - low) * math.log(m / n))
    return crossed


class Scores:
    """The scores of a grid whose jobs are done: a row of a cell, at its end or at a snapshot, and of two cells.

    One threshold serves them all, as in arXiv 2310.05264: two images are one where they are more alike than new images
    are to their nearest of the largest training set. Agreement is also counted with the far lower one that pairs of
    different held-out images exceed at the same rate (``pairs``).
    """

    def __init__(self, run: Run, settings: Transition, sets: Sets, descriptor: Descriptor):
        self.run, self.settings, self.sets, self.descriptor = run, settings, sets, descriptor
        self.mae_limit = settings.mae_limit / 255
        self.grid = grid = settings.grid
        self.cells = cells_of(grid)
        self.data = {name: part for name, part in sets.files(grid).items() if name != "heldout"}
        self.images = {cell.name: self._samples("cells", cell.name, "samples") for cell in self.cells}
        self.images |= {name: self._samples("theory", name, "samples") for name in self.data}
        self.images |= {
            name: self._samples("cells", cell.name, "classes", EACH, name.rpartition("/")[2])
            for cell in self.cells
            for name in self._classes(cell)
        }
        if settings.teacher is not None:
            self.images["teacher"] = self._samples("teacher", "samples")
        shown = {**self.images, "held out": sets.held.as_images()}
        self.features = {name: describe(descriptor, images) for name, images in shown.items()}
        self.notes: list[str] = []
        largest = [unit(describe(descriptor, part.as_images())) for part in sets.halves]
        self.references = {
            data_name(n, half): part.select(part.keys[:n]) for half, part in enumerate(largest) for n in grid.sizes
        }
        real = self.features["held out"]
        self.held_near = {name: neighbours(unit(real), part) for name, part in self.references.items()}
        near = self.held_near[data_name(grid.sizes[-1])].similarity
        alike = find_thresholds(settings.alike, descriptor.default_threshold, near, self.notes)
        self.thresholds = alike.thresholds
        self.pairs = dict(self.thresholds)
        if "calibrated" in self.thresholds:
            self.pairs["pairs"] = calibrate(similarity(real, repaired(real)), settings.alike.rate).value
        self.alike = GridAlike(**vars(alike), rp=self.pairs)

    def result(self, data: GridData) -> TransitionResult:
        with progress("scoring the grid", len(self.cells), quiet=self.run.quiet) as advance:
            cells = {}
            for cell in self.cells:
                cells[cell] = self._cell(cell)
                advance(1)
        kind = next(iter(self.thresholds))
        lines: dict[str, list[CellScores]] = {}
        for cell, scores in cells.items():
            lines.setdefault(cell.line, []).append(scores)
        return TransitionResult(
            data=data,
            grid=self.grid,
            descriptor=self.features["held out"].descriptor,
            alike=self.alike,
            mae_limit=self.mae_limit,
            held_out_exceed={
                str(n): {
                    kind: generalization(self.held_near[data_name(n)], t).memorized
                    for kind, t in self.thresholds.items()
                }
                for n in self.grid.sizes
            },
            cells=list(cells.values()),
            between=[self._between(a, b) for a, b in pairs(self.cells)],
            theory=[
                TheoryScores(size=n, half=half, gl=self._gl(self.features[name], name)[0])
                for half in range(1 + self.grid.halves)
                for n in self.grid.sizes
                for name in [data_name(n, half)]
            ],
            crossing={
                line: crossing(self.grid.sizes, [cell.gl[kind].score.value for cell in row])
                for line, row in lines.items()
            },
            laws=None
            if self.settings.times is None
            else {line: law({cell.size: cell.course for cell in row if cell.course}) for line, row in lines.items()},
            notes=self.notes,
        )

    def _cell(self, cell: Cell) -> CellScores:
        folder = self.run.folder / "cells" / cell.name
        row, near = self._row(cell, self.features[cell.name], str(folder / "model"), folder / "loss.json", LOSSES)
        if cell.size in (self.grid.sizes[0], self.grid.sizes[-1]):
            self._show(cell, near)
        summary = read_json(folder / "model" / "summary.json")
        trained: TrainResult = from_json(TrainResult, summary)
        return CellScores(
            name=cell.name,
            **asdict(cell),
            parameters=trained.model.parameters,
            images=trained.images,
            epochs=trained.epochs,
            seconds=sum(summary.get("cost_seconds", {}).values()),
            **vars(row),
            regime=regime(next(iter(row.gl.values())).score),
            theory=self._agreement([cell.name], cell.data),
            teacher=self._agreement([cell.name], "teacher") if "teacher" in self.images else None,
            course=None if self.settings.times is None else self._course(cell),
        )

    def _row(self, cell: Cell, features: Features, model: str, kept: Path, images: int) -> tuple[Row, Neighbours]:
        """A cell at one moment, by its samples and by its model, whose loss is taken of so many images."""
        gl, near = self._gl(features, cell.data)
        real = self.features["held out"]
        held = float(self.held_near[cell.data].similarity.median())
        return Row(
            loss=self._losses(cell, model, kept, images),
            gl=gl,
            nearest=Nearest(samples=float(near.similarity.median()), held_out=held),
            distance=kernel_distance(real=real, generated=features) if min(len(real), len(features)) > 2 else None,
        ), near

    def _course(self, cell: Cell) -> Course:
        """Every snapshot; those that the training keeps of itself are among them."""
        folder, moments = self.run.folder / "cells" / cell.name, []
        for model in snapshots_of(folder / "model"):
            samples = self._samples("cells", cell.name, "moments", EACH, model.name)
            kept = folder / "losses" / f"{model.name}.json"
            row, _ = self._row(cell, describe(self.descriptor, samples), str(model), kept, MOMENT // 2)
            moments.append(Moment(images=int(model.name), **vars(row)))
        return course(moments)

    def _gl(self, features: Features, data: str) -> tuple[dict[str, Generalization], Neighbours]:
        near = neighbours(unit(features), self.references[data])
        scores = {kind: generalization(near, t, self.held_near[data]) for kind, t in self.thresholds.items()}
        return {kind: Generalization(**vars(score)) for kind, score in scores.items()}, near

    def _between(self, a: Cell, b: Cell) -> Between:
        thing = differ(a, b)
        # of labels, the second is the one that is told them
        found = self._agreement(*((self._classes(b), a.name) if thing == "labels" else ([a.name], b.name)))
        halves = self._halves(a, b) if thing == "half" else None
        return Between(first=a.name, second=b.name, size=a.size, differ=thing, **vars(found), halves=halves)

    def _agreement(self, firsts: Sequence[str], second: str) -> Agreement:
        """Reproducibility of two sets of samples, in features and in pixels, each beside chance.

        Of several first ones, the sample of each seed that is most alike, by chance too.
        """
        b, y = self.features[second], self.images[second]
        other = repaired(b), repaired(y)
        cosines = [
            torch.stack([similarity(self.features[name], of) for name in firsts]).amax(0) for of in (b, other[0])
        ]
        apart = [
            torch.stack([mean_absolute_differences(self.images[name], of) for name in firsts]).amin(0)
            for of in (y, other[1])
        ]
        x = self.images[firsts[0]]
        return Agreement(
            rp={kind: _paired(*(found > t for found in cosines)) for kind, t in self.pairs.items()},
            mae=_paired(*(found <= self.mae_limit for found in apart)),
            pfd=Paired(score=pfd(x, y), chance=pfd(x, other[1])) if len(firsts) == 1 else None,
        )

    def _halves(self, a: Cell, b: Cell) -> Halves:
        x, y = self.features[a.name], self.features[b.name]
        near = [neighbours(unit(self.features[cell.name]), self.references[cell.data]) for cell in (a, b)]
        return Halves(
            same_seed=float(similarity(x, y).median()),
            strangers=float(similarity(x, repaired(y)).median()),
            nearest=[float(part.similarity.median()) for part in near],
            held_out=[float(self.held_near[cell.data].similarity.median()) for cell in (a, b)],
            levels=self._kept(
                self.run.folder / "cells" / b.name / "levels.json", list[AtLevel], lambda: self._levels(a, b)
            ),
        )

    def _levels(self, *cells: Cell) -> list[AtLevel]:
        """How far two denoisers agree on held-out images, at levels that both know, of the same noise."""
        first, second = (self._model(cell, str(self.run.folder / "cells" / cell.name / "model")) for cell in cells)
        clean = self.sets.held.values(slice(LOSSES)).to(first.device)
        labels = self._told(cells[0], self.sets.held, LOSSES)
        told = {} if labels is None else {"label": labels.to(first.device)}
        noise = seeded_noise(range(len(clean)), clean.shape[1:], "agreement").to(first.device)
        found = []
        for sigma in levels(first.schedule, LEVELS):
            with torch.no_grad():
                x, y = (one(clean + float(sigma) * noise, sigma.to(clean), **told) for one in (first, second))
            found.append(AtLevel(sigma=float(sigma), agreement=agreement(x, y, clean)))
        return found

    def _losses(self, cell: Cell, model: str, kept: Path, n: int) -> Losses:
        """The denoising loss of training images and of held-out ones, over the same levels and noises."""

        def work() -> Losses:
            denoiser, found = self._model(cell, model), []
            for part in (self.data[cell.data], self.sets.held):
                images, labels = part.values(slice(n)).to(denoiser.device), self._told(cell, part, n)
                found.append(mean_score(heldout_loss(denoiser, images, draws=DRAWS, labels=labels), least=0.0))
            return Losses(training=found[0], held_out=found[1], gap=found[1].value - found[0].value)

        return self._kept(kept, Losses, work)

    def _model(self, cell: Cell, model: str) -> Denoiser:
        return load_model(model, Loading(device=self.settings.device, label=0 if cell.labels else None))

    def _told(self, cell: Cell, data: Dataset, n: int) -> Tensor | None:
        """The classes of the first images, for a model that is told them."""
        return data.labels[:n] if cell.labels and data.labels is not None else None

    def _kept(self, path: Path, kind: Any, work: Callable[[], R]) -> R:
        """What takes the models, once."""
        if kept := read_kept(path):
            found: R = from_json(kind, kept, path.name)
            return found
        made = work()
        write_kept(path, to_json(made))
        return made

    def _show(self, cell: Cell, near: Neighbours) -> None:
        """Put the first samples and their nearest training images where the page finds them."""
        samples = self.images[cell.name]
        keys = near.keys[:SHOWN]
        index = near.index[: len(keys)]
        folder = self.run.folder / "shown" / cell.name
        save(samples.select(keys), folder / "samples")
        save(Images(keys, self.data[cell.data].values(index)), folder / "nearest")

    def _classes(self, cell: Cell) -> list[str]:
        """The sets of samples of a class each, of a cell that is told classes."""
        return [f"{cell.name}/{c}" for c in range(len(self.sets.classes))] if cell.labels else []

    def _samples(self, *place: str) -> Images:
        return open_samples(str(self.run.folder.joinpath(*place)))


def _paired(score: Tensor, chance: Tensor) -> Paired:
    """Shares of pairs that agree, of one seed and of different ones."""
    return Paired(score=proportion(int(score.sum()), len(score)), chance=proportion(int(chance.sum()), len(chance)))
