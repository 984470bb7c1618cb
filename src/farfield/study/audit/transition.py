"""`farfield transition`: from how many training images on does a model make images of its own?

A grid of models is trained on nested subsets of one data set, and each makes the images of the same seeds. Held-out images
are split off first and never trained on: they set the thresholds, and are the floor of every score.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch

from farfield.audit.named import open_descriptor
from farfield.command.transition import GridData, Transition, TransitionResult
from farfield.core.error import FarfieldError
from farfield.core.runtime import resolve_device
from farfield.data.dataset import Dataset, open_dataset
from farfield.data.subset import shuffled
from farfield.data.write import write_dataset
from farfield.study.audit.grid import Job, cells_of, run_jobs
from farfield.study.audit.grid_scores import Scores
from farfield.study.bench.likeness import WHITENED, find_thresholds
from farfield.study.bench.run import Run

LARGEST = 2000
"""Images that are held out, at most, where their number is not given."""
SOLVER, STEPS = "heun", 18
"""That make the samples."""
SEED = 0
"""Of the split and of the subsets."""


def transition(settings: Transition, out: Path, *, quiet: bool = False) -> TransitionResult | list[str]:
    """Train the grid and score it. A finished grid may be given more cells.

    Each cell is a folder in ``cells/`` with a run of `farfield train` (``model``) and one of `farfield generate`
    (``samples``); ``theory/`` has the samples of the empirical denoiser of each subset, ``data/`` the subsets. Of images that
    occur more than once, one is kept.

    Returns:
        where commands alone are asked for, the lines of what is not done yet; the subsets are written then.

    Raises:
        FarfieldError: too few images for the largest subset, too few samples, or a cell that failed.
    """
    source, grid = settings.data, settings.grid
    whole = open_dataset(source)
    training, held, repeated = split(whole, source, grid.sizes[-1], settings.heldout_images)
    place = resolve_device(settings.device)
    descriptor = open_descriptor(settings.alike.spec, references=training.values(slice(WHITENED)), device=place)
    # refuses too few held-out images now
    find_thresholds(settings.alike, descriptor.default_threshold, torch.zeros(len(held)), [])
    run = Run.of(
        out,
        settings,
        {"data": whole},
        quiet,
        options=settings.options,
        solver=SOLVER,
        steps=STEPS,
        seed=SEED,
        held_out=len(held),
        descriptor=descriptor.name,
        mae_limit=settings.mae_limit / 255,
    )
    if run.ranks.main:
        for name, part in {"heldout": held, **{f"n{n:05d}": training.subset(n) for n in grid.sizes}}.items():
            _write(out / "data" / f"{name}.npz", part)
    run.ranks.wait()
    work = _jobs(out, settings)
    if settings.commands:
        return [job.line() for job in work if not job.done]
    with run.stage("grid"):
        run_jobs(work, settings.jobs, quiet)
    data = GridData(source=source, shape=list(whole.shape), n=len(whole), repeated=repeated, held_out=len(held))
    return run.finish_on_main(TransitionResult, lambda: Scores(run, settings, training, held, descriptor).result(data))


def split(whole: Dataset, source: str, largest: int, held_out: int | None = None) -> tuple[Dataset, Dataset, int]:
    """The largest training set, of which smaller ones are the beginning; the held-out images; how many were repetitions.

    Args:
        held_out: how many [default: a quarter, at most LARGEST].
    """
    place = {key: i for i, key in enumerate(whole.keys)}
    different: dict[bytes, int] = {}
    for row in (place[key] for key in shuffled(whole.keys, SEED)):
        different.setdefault(hashlib.blake2b(whole.images[row].numpy().tobytes(), digest_size=16).digest(), row)
    rows = list(different.values())
    count = min(len(rows) // 4, LARGEST) if held_out is None else held_out
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


def _jobs(out: Path, settings: Transition) -> list[Job]:
    """The cells, wide ones first because they take longest, and the empirical denoisers."""
    seeds = f"0-{settings.samples - 1}"
    where = ("--device", settings.device, "-q")
    how = ("--seeds", seeds, "--solver", SOLVER, "--steps", str(STEPS), "--format", "shards", *where)
    heldout = str(out / "data" / "heldout.npz")
    jobs = []
    for cell in sorted(cells_of(settings.grid), key=lambda cell: (-cell.width, cell)):
        folder, data = out / "cells" / cell.name, str(out / "data" / f"n{cell.size:05d}.npz")
        model = str(folder / "model")
        own = ("--width", str(cell.width), "--seed", str(cell.seed), "--heldout", heldout, "--samples", "0", *where)
        train = ("train", "--data", data, *settings.options, *own, "-o", model)
        generate = ("generate", model, *how, "-o", str(folder / "samples"))
        jobs.append(Job(folder, (train, generate), folder / "samples" / "summary.json"))
    for size in settings.grid.sizes:
        folder, data = out / "theory" / f"n{size:05d}", str(out / "data" / f"n{size:05d}.npz")
        generate = ("generate", f"empirical:{data}", *how, "-o", str(folder / "samples"))
        jobs.append(Job(folder, (generate,), folder / "samples" / "summary.json"))
    return jobs
