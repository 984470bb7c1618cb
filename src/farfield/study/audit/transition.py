"""`farfield transition`: from how many training images on does a model make images of its own?

A grid of models is trained on nested subsets of one data set, and each makes the images of the same seeds. Held-out images
are split off first and never trained on: they set the thresholds, and are the floor of every score.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import torch

import farfield
from farfield.audit.descriptor import Descriptor, describe
from farfield.audit.generalization import generalization
from farfield.audit.named import open_descriptor
from farfield.audit.reproducibility import MAE_LIMIT, mae_rp, rp
from farfield.audit.search import Neighbours, neighbours
from farfield.audit.similarity import repaired, similarity, unit
from farfield.audit.threshold import calibrate
from farfield.command.likeness import Likeness
from farfield.command.shared import Loading
from farfield.core import note
from farfield.core.artifact import Images, Score, read_json, read_kept, save, write_kept
from farfield.core.error import FarfieldError
from farfield.core.interval import mean_score
from farfield.core.runtime import progress, resolve_device
from farfield.data.dataset import Dataset, open_dataset
from farfield.data.samples import open_samples
from farfield.data.subset import shuffled
from farfield.data.write import write_dataset
from farfield.diffusion.objective import heldout_loss
from farfield.study.audit.grid import Cell, Grid, Job, run_jobs
from farfield.study.bench.likeness import WHITENED, find_thresholds
from farfield.study.bench.numerics import load_model
from farfield.study.bench.run import Run

LARGEST = 2000
"""Images that are held out, at most, where their number is not given."""
LOSSES = 256
"""Images whose loss is taken, of the training set and of the held-out ones."""
DRAWS = 8
"""Levels and noises of each."""
SHOWN = 24
"""Samples of the smallest and of the largest cells that are shown beside their nearest training images."""
LOW, HIGH = 0.1, 0.9

Regime = Literal["memorizes", "generalizes", "between"]


@dataclass(frozen=True)
class Design:
    """What the cells share.

    Attributes:
        options: of `farfield train`, as they are typed.
        samples: images of each model, of the seeds 0, 1, …
        solver, steps: that make them.
        heldout: images that are split off [default: a quarter, at most LARGEST].
        seed: of the split and of the subsets.
    """

    options: tuple[str, ...]
    samples: int = 256
    solver: str = "heun"
    steps: int = 18
    heldout: int | None = None
    seed: int = 0


@note.kept()
def transition(
    source: str,
    out: Path,
    grid: Grid,
    design: Design,
    likeness: Likeness,
    *,
    jobs: int | None = None,
    device: str = "auto",
    mae_limit: float = MAE_LIMIT,
    only_commands: bool = False,
    quiet: bool = False,
) -> dict[str, Any] | list[str]:
    """Train the grid and score it; the summary, as in ``summary.json``. A finished grid may be given more cells.

    Each cell is a folder in ``cells/`` with a run of `farfield train` (``model``) and one of `farfield generate`
    (``samples``); ``theory/`` has the samples of the empirical denoiser of each subset, ``data/`` the subsets.

    Args:
        source: the data set, see `data.dataset.open_dataset`; of images that occur more than once, one is kept.
        jobs: cells at a time [default: as many as there are cores].
        mae_limit: mean absolute pixel difference up to which two images agree.
        only_commands: train nothing; write the subsets and return the command lines of what is not done yet.

    Raises:
        FarfieldError: too few images for the largest subset, too few samples, or a cell that failed.
    """
    if design.samples < 2:
        raise FarfieldError(f"{design.samples} samples: expected at least 2, better 256; give more")
    whole = open_dataset(source)
    training, held, repeated = _split(whole, source, grid.sizes[-1], design)
    place = resolve_device(device)
    descriptor = open_descriptor(likeness.spec, references=training.values(slice(WHITENED)), device=place)
    find_thresholds(
        likeness, descriptor.default_threshold, torch.zeros(len(held)), []
    )  # refuses too few held-out images now
    request = {
        "data": source,
        **asdict(design),
        "held_out": len(held),
        **likeness.request(),
        "descriptor": descriptor.name,
        "mae_limit": mae_limit,
    }
    run = Run(out, "transition", request, {"data": whole}, quiet)
    if run.ranks.main:
        for name, part in {"heldout": held, **{f"n{n:05d}": training.subset(n) for n in grid.sizes}}.items():
            _write(out / "data" / f"{name}.npz", part)
    run.ranks.wait()
    work = _jobs(out, grid, design, device)
    if only_commands:
        return [job.line() for job in work if not job.done]
    with run.stage("grid"):
        run_jobs(work, jobs, quiet)
    if run.ranks.main:
        with run.stage("scores"):
            found = _Scores(run, grid, training, held, descriptor, likeness, mae_limit, place).summary()
        data = {
            "source": source,
            "shape": list(whole.shape),
            "n": len(whole),
            "repeated": repeated,
            "held_out": len(held),
        }
        summary = {"command": "transition", "farfield": farfield.__version__, "data": data, **found}
        run.conclude(summary)
    else:
        run.ranks.wait()
    result: dict[str, Any] = read_json(out / "summary.json")
    return result


def regime(score: Score) -> Regime:
    """What a generalization score says: its whole interval below 0.1, above 0.9, or neither."""
    low, high = (score.value if end is None else end for end in (score.low, score.high))
    return "memorizes" if high < LOW else "generalizes" if low > HIGH else "between"


def crossing(sizes: Sequence[int], values: Sequence[float], level: float = 0.5) -> float | None:
    """The size at which a score rises through a level, between two sizes on a logarithmic scale; None if it does not.

    Of several, the last.
    """
    found = None
    for (n, low), (m, high) in pairwise(zip(sizes, values, strict=True)):
        if low < level <= high:
            found = math.exp(math.log(n) + (level - low) / (high - low) * math.log(m / n))
    return found


def _split(whole: Dataset, source: str, largest: int, design: Design) -> tuple[Dataset, Dataset, int]:
    """The largest training set, of which smaller ones are the beginning; the held-out images; how many were repetitions."""
    place = {key: i for i, key in enumerate(whole.keys)}
    different: dict[bytes, int] = {}
    for row in (place[key] for key in shuffled(whole.keys, design.seed)):
        different.setdefault(hashlib.blake2b(whole.images[row].numpy().tobytes(), digest_size=16).digest(), row)
    rows = list(different.values())
    count = min(len(rows) // 4, LARGEST) if design.heldout is None else design.heldout
    if not 1 <= count <= len(rows) - largest:
        raise FarfieldError(
            f"{source}: {len(rows)} different images, of which {count} are held out; expected at least 1 held-out one "
            f"and {largest} others for the largest training set; give smaller sizes"
        )
    return _rows(whole, rows[count : count + largest]), _rows(whole, rows[:count]), len(whole) - len(rows)


def _rows(whole: Dataset, rows: list[int]) -> Dataset:
    """These rows, in this order, with keys that sort in it."""
    keys = tuple(f"{i:06d}-{whole.keys[row]}" for i, row in enumerate(rows))
    index = torch.tensor(rows)
    return Dataset(keys, whole.images[index], None if whole.labels is None else whole.labels[index])


def _write(path: Path, data: Dataset) -> None:
    labels = {} if data.labels is None else dict(zip(data.keys, data.labels.tolist(), strict=True))
    write_dataset(path, zip(data.keys, data.images, strict=True), labels, "npz")


def _jobs(out: Path, grid: Grid, design: Design, device: str) -> list[Job]:
    """The cells, wide ones first because they take longest, and the empirical denoisers."""
    seeds = f"0-{design.samples - 1}"
    where = ("--device", device, "-q")
    how = ("--seeds", seeds, "--solver", design.solver, "--steps", str(design.steps), "--format", "shards", *where)
    heldout = str(out / "data" / "heldout.npz")
    found = []
    for cell in sorted(grid.cells, key=lambda cell: (-cell.width, cell)):
        folder, data = out / "cells" / cell.name, str(out / "data" / f"n{cell.size:05d}.npz")
        model = str(folder / "model")
        own = ("--width", str(cell.width), "--seed", str(cell.seed), "--heldout", heldout, "--samples", "0", *where)
        train = ("train", "--data", data, *design.options, *own, "-o", model)
        generate = ("generate", model, *how, "-o", str(folder / "samples"))
        found.append(Job(folder, (train, generate), folder / "samples" / "summary.json"))
    for size in grid.sizes:
        folder, data = out / "theory" / f"n{size:05d}", str(out / "data" / f"n{size:05d}.npz")
        generate = ("generate", f"empirical:{data}", *how, "-o", str(folder / "samples"))
        found.append(Job(folder, (generate,), folder / "samples" / "summary.json"))
    return found


class _Scores:
    """The scores of a grid whose jobs are done.

    One threshold serves them all, as in arXiv 2310.05264: two images are one where they are more alike than new images
    are to their nearest of the largest training set. Agreement is also counted with the far lower one that pairs of
    different held-out images exceed at the same rate (``pairs``).
    """

    def __init__(
        self,
        run: Run,
        grid: Grid,
        training: Dataset,
        held: Dataset,
        descriptor: Descriptor,
        likeness: Likeness,
        mae_limit: float,
        device: torch.device,
    ):
        self.run, self.grid, self.training, self.held = run, grid, training, held
        self.mae_limit, self.device = mae_limit, device
        self.images = {cell.name: self._samples("cells", cell.name) for cell in grid.cells}
        self.images |= {f"n{n:05d}": self._samples("theory", f"n{n:05d}") for n in grid.sizes}
        sets = {"training": training.as_images(), "held out": held.as_images(), **self.images}
        self.features = {name: describe(descriptor, images) for name, images in sets.items()}
        self.notes: list[str] = []
        references = unit(self.features["training"])
        self.references = {n: references.select(references.keys[:n]) for n in grid.sizes}
        real = self.features["held out"]
        self.held_near = {n: neighbours(unit(real), part) for n, part in self.references.items()}
        near = self.held_near[grid.sizes[-1]].similarity
        self.alike = find_thresholds(likeness, descriptor.default_threshold, near, self.notes)
        self.thresholds = self.alike.thresholds
        self.pairs = dict(self.thresholds)
        if "calibrated" in self.thresholds:
            self.pairs["pairs"] = calibrate(similarity(real, repaired(real)), likeness.rate).value

    def summary(self) -> dict[str, Any]:
        with progress("scoring the grid", len(self.grid.cells), quiet=self.run.quiet) as advance:
            cells = []
            for cell in self.grid.cells:
                cells.append(self._cell(cell))
                advance(1)
        kind = next(iter(self.thresholds))
        lines = {
            f"w{width}-s{seed}": crossing(
                self.grid.sizes,
                [c["gl"][kind].score.value for c in cells if (c["width"], c["seed"]) == (width, seed)],
            )
            for width in self.grid.widths
            for seed in self.grid.seeds
        }
        return {
            "grid": asdict(self.grid),
            "descriptor": self.features["training"].descriptor,
            "alike": {**vars(self.alike), "rp": self.pairs},
            "mae_limit": self.mae_limit,
            "held_out_exceed": {
                n: {kind: generalization(near, t).memorized for kind, t in self.thresholds.items()}
                for n, near in self.held_near.items()
            },
            "cells": cells,
            "between": [
                {"first": a.name, "second": b.name, "size": a.size, **self._reproduced(a.name, b.name)}
                for a, b in self.grid.pairs()
            ],
            "theory": [{"size": n, "gl": self._gl(f"n{n:05d}", n)[0]} for n in self.grid.sizes],
            "crossing": lines,
            "notes": self.notes,
        }

    def _cell(self, cell: Cell) -> dict[str, Any]:
        gl, near = self._gl(cell.name, cell.size)
        if cell.size in (self.grid.sizes[0], self.grid.sizes[-1]):
            self._show(cell, near)
        told = read_json(self.run.folder / "cells" / cell.name / "model" / "summary.json")
        return {
            "name": cell.name,
            **asdict(cell),
            "parameters": told["model"]["parameters"],
            "images": told["images"],
            "epochs": told["epochs"],
            "seconds": sum(told.get("cost_seconds", {}).values()),
            "loss": self._losses(cell),
            "gl": gl,
            "nearest": {
                name: float(found.similarity.median())
                for name, found in (("samples", near), ("held_out", self.held_near[cell.size]))
            },
            "regime": regime(next(iter(gl.values())).score),
            "theory": self._reproduced(cell.name, f"n{cell.size:05d}"),
        }

    def _gl(self, name: str, size: int) -> tuple[dict[str, Any], Neighbours]:
        near = neighbours(unit(self.features[name]), self.references[size])
        gl = {kind: generalization(near, t, self.held_near[size]) for kind, t in self.thresholds.items()}
        return gl, near

    def _reproduced(self, first: str, second: str) -> dict[str, Any]:
        """Reproducibility of two sets of samples, in features and in pixels, each beside chance."""
        a, b = self.features[first], self.features[second]
        x, y = self.images[first], self.images[second]
        return {
            "rp": {kind: {"score": rp(a, b, t), "chance": rp(a, repaired(b), t)} for kind, t in self.pairs.items()},
            "mae": {"score": mae_rp(x, y, self.mae_limit), "chance": mae_rp(x, repaired(y), self.mae_limit)},
        }

    def _losses(self, cell: Cell) -> dict[str, Any]:
        """The denoising loss of training images and of held-out ones, over the same levels and noises."""
        path = self.run.folder / "cells" / cell.name / "loss.json"
        kept: dict[str, Any] | None = read_kept(path)
        if kept:
            return kept
        denoiser = load_model(str(path.parent / "model"), Loading(device=str(self.device)))
        found: dict[str, Any] = {}
        for name, part in (("training", self.training.subset(cell.size)), ("held_out", self.held)):
            images = part.values(slice(LOSSES)).to(self.device)
            found[name] = mean_score(heldout_loss(denoiser, images, draws=DRAWS), least=0.0)
        found["gap"] = found["held_out"].value - found["training"].value
        write_kept(path, found)
        return found

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
