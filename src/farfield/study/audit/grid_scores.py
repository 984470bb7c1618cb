"""The scores of a grid of models: against their training sets, between each other and with the optimal denoisers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise

from farfield.audit.descriptor import Descriptor, describe
from farfield.audit.generalization import generalization
from farfield.audit.reproducibility import mae_rp
from farfield.audit.search import Neighbours, neighbours
from farfield.audit.similarity import repaired, similarity, unit
from farfield.audit.threshold import calibrate
from farfield.command.likeness import Paired
from farfield.command.result import from_json, to_json
from farfield.command.score import Generalization
from farfield.command.shared import Loading
from farfield.command.train import TrainResult
from farfield.command.transition import (
    Agreement,
    Between,
    CellScores,
    GridAlike,
    GridData,
    Losses,
    Nearest,
    Regime,
    TheoryScores,
    Transition,
    TransitionResult,
)
from farfield.core.artifact import Images, Score, read_json, read_kept, save, write_kept
from farfield.core.interval import mean_score
from farfield.core.runtime import progress
from farfield.data.dataset import Dataset
from farfield.data.samples import open_samples
from farfield.diffusion.objective import heldout_loss
from farfield.study.audit.grid import Cell, cells_of, pairs
from farfield.study.audit.score import reproduced
from farfield.study.bench.likeness import find_thresholds
from farfield.study.bench.numerics import load_model
from farfield.study.bench.run import Run

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
    """The scores of a grid whose jobs are done.

    One threshold serves them all, as in arXiv 2310.05264: two images are one where they are more alike than new images
    are to their nearest of the largest training set. Agreement is also counted with the far lower one that pairs of
    different held-out images exceed at the same rate (``pairs``).
    """

    def __init__(self, run: Run, settings: Transition, training: Dataset, held: Dataset, descriptor: Descriptor):
        self.run, self.settings, self.training, self.held = run, settings, training, held
        self.mae_limit = settings.mae_limit / 255
        self.grid = grid = settings.grid
        self.cells = cells_of(grid)
        self.images = {cell.name: self._samples("cells", cell.name) for cell in self.cells}
        self.images |= {f"n{n:05d}": self._samples("theory", f"n{n:05d}") for n in grid.sizes}
        sets = {"training": training.as_images(), "held out": held.as_images(), **self.images}
        self.features = {name: describe(descriptor, images) for name, images in sets.items()}
        self.notes: list[str] = []
        references = unit(self.features["training"])
        self.references = {n: references.select(references.keys[:n]) for n in grid.sizes}
        real = self.features["held out"]
        self.held_near = {n: neighbours(unit(real), part) for n, part in self.references.items()}
        near = self.held_near[grid.sizes[-1]].similarity
        alike = find_thresholds(settings.alike, descriptor.default_threshold, near, self.notes)
        self.thresholds = alike.thresholds
        self.pairs = dict(self.thresholds)
        if "calibrated" in self.thresholds:
            self.pairs["pairs"] = calibrate(similarity(real, repaired(real)), settings.alike.rate).value
        self.alike = GridAlike(**vars(alike), rp=self.pairs)

    def result(self, data: GridData) -> TransitionResult:
        with progress("scoring the grid", len(self.cells), quiet=self.run.quiet) as advance:
            cells = []
            for cell in self.cells:
                cells.append(self._cell(cell))
                advance(1)
        kind = next(iter(self.thresholds))
        lines = {
            f"w{width}-s{seed}": crossing(
                self.grid.sizes, [c.gl[kind].score.value for c in cells if (c.width, c.seed) == (width, seed)]
            )
            for width in self.grid.widths
            for seed in self.grid.seeds
        }
        return TransitionResult(
            data=data,
            grid=self.grid,
            descriptor=self.features["training"].descriptor,
            alike=self.alike,
            mae_limit=self.mae_limit,
            held_out_exceed={
                str(n): {kind: generalization(near, t).memorized for kind, t in self.thresholds.items()}
                for n, near in self.held_near.items()
            },
            cells=cells,
            between=[
                Between(first=a.name, second=b.name, size=a.size, **vars(self._agreement(a.name, b.name)))
                for a, b in pairs(self.cells)
            ],
            theory=[TheoryScores(size=n, gl=self._gl(f"n{n:05d}", n)[0]) for n in self.grid.sizes],
            crossing=lines,
            notes=self.notes,
        )

    def _cell(self, cell: Cell) -> CellScores:
        gl, near = self._gl(cell.name, cell.size)
        if cell.size in (self.grid.sizes[0], self.grid.sizes[-1]):
            self._show(cell, near)
        summary = read_json(self.run.folder / "cells" / cell.name / "model" / "summary.json")
        trained: TrainResult = from_json(TrainResult, summary)
        return CellScores(
            name=cell.name,
            **asdict(cell),
            parameters=trained.model.parameters,
            images=trained.images,
            epochs=trained.epochs,
            seconds=sum(summary.get("cost_seconds", {}).values()),
            loss=self._losses(cell),
            gl=gl,
            nearest=Nearest(
                samples=float(near.similarity.median()), held_out=float(self.held_near[cell.size].similarity.median())
            ),
            regime=regime(next(iter(gl.values())).score),
            theory=self._agreement(cell.name, f"n{cell.size:05d}"),
        )

    def _gl(self, name: str, size: int) -> tuple[dict[str, Generalization], Neighbours]:
        near = neighbours(unit(self.features[name]), self.references[size])
        scores = {kind: generalization(near, t, self.held_near[size]) for kind, t in self.thresholds.items()}
        return {kind: Generalization(**vars(score)) for kind, score in scores.items()}, near

    def _agreement(self, first: str, second: str) -> Agreement:
        """Reproducibility of two sets of samples, in features and in pixels, each beside chance."""
        a, b = self.features[first], self.features[second]
        x, y = self.images[first], self.images[second]
        return Agreement(
            rp=reproduced(a, b, self.pairs),
            mae=Paired(score=mae_rp(x, y, self.mae_limit), chance=mae_rp(x, repaired(y), self.mae_limit)),
        )

    def _losses(self, cell: Cell) -> Losses:
        """The denoising loss of training images and of held-out ones, over the same levels and noises."""
        path = self.run.folder / "cells" / cell.name / "loss.json"
        if kept := read_kept(path):
            losses: Losses = from_json(Losses, kept, path.name)
            return losses
        denoiser = load_model(str(path.parent / "model"), Loading(device=self.settings.device))
        training, held_out = (
            mean_score(heldout_loss(denoiser, part.values(slice(LOSSES)).to(denoiser.device), draws=DRAWS), least=0.0)
            for part in (self.training.subset(cell.size), self.held)
        )
        losses = Losses(training=training, held_out=held_out, gap=held_out.value - training.value)
        write_kept(path, to_json(losses))
        return losses

    def _show(self, cell: Cell, near: Neighbours) -> None:
        """Put the first samples and their nearest training images where the page finds them."""
        samples = self.images[cell.name]
        keys = near.keys[:SHOWN]
        index = near.index[: len(keys)]
        folder = self.run.folder / "shown" / cell.name
        save(samples.select(keys), folder / "samples")
        save(Images(keys, self.training.values(index)), folder / "nearest")

    def _samples(self, *place: str) -> Images:
        return open_samples(str(self.run.folder.joinpath(*place) / "samples"))
