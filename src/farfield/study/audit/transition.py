"""`farfield transition`: from how many training images on does a model make images of its own?

A grid of models is trained on nested subsets of one data set, and each makes the images of the same seeds. Held-out images
are split off first and never trained on: they set the thresholds, and are the floor of every score.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from farfield.audit.descriptor import Descriptor
from farfield.audit.named import identity, open_descriptor
from farfield.checkpoints.load import model_digest
from farfield.command.settings import LEFT_OUT
from farfield.command.shared import Loading
from farfield.command.transition import TAUGHT, GridData, Transition, TransitionResult
from farfield.core.error import FarfieldError
from farfield.core.runtime import resolve_device
from farfield.data.dataset import Dataset, open_dataset
from farfield.data.write import write_dataset
from farfield.present.words import count
from farfield.study.audit.grid import Job, Step, cells_of, run_jobs
from farfield.study.audit.grid_scores import Scores
from farfield.study.audit.grid_sets import BLOCK, MOMENT, SEED, SOLVER, STEPS, Sets, split, taught
from farfield.study.bench.likeness import WHITENED, find_thresholds
from farfield.study.bench.numerics import load_model
from farfield.study.bench.opening import what_was_read
from farfield.study.bench.run import Run


def transition(settings: Transition, out: Path, *, quiet: bool = False) -> TransitionResult | list[str]:
    """Train the grid and score it. A finished grid may be given more cells.

    Each cell is a folder in ``cells/`` with a run of `farfield train` (``model``) and runs of `farfield generate`
    (``samples``; of its snapshots ``moments``; of each class ``classes``); ``theory/`` has the samples of the empirical
    denoiser of each subset, ``data/`` the subsets. Of images that occur more than once, one is kept. A teacher's images are
    in ``taught/``, and its samples of the seeds that are compared in ``teacher/``.

    Returns:
        where commands alone are asked for, the lines of what is not done yet; the subsets are written then.

    Raises:
        FarfieldError: too few images for the largest subset, too few samples, or a cell that failed.
    """
    grid, place = settings.grid, resolve_device(settings.device)
    resolved: dict[str, Any] = {
        "options": settings.options,
        "solver": SOLVER,
        "steps": STEPS,
        "seed": SEED,
        "mae_limit": settings.mae_limit / 255,
    }
    if settings.teacher is None:
        begun = settings.begun
        shape = None if begun is None else load_model(begun, Loading(device="cpu")).image_shape
        whole = open_dataset(settings.data, shape=shape)
        if settings.labels and whole.labels is None:
            raise FarfieldError(f"{settings.data}: --labels, but its images have no classes; leave it out")
        sets = split(whole, settings.data, grid.sizes[-1], settings.heldout_images, settings.halves)
        descriptor = _descriptor(settings, sets, place)
        resolved |= {"held_out": len(sets.held), "descriptor": descriptor.name}
        inputs = {"data": whole} | ({} if begun is None else {"from": model_digest(begun)})
        run = Run.of(out, settings, inputs, quiet, read=f"{what_was_read(inputs)}; {_planned(settings)}", **resolved)
    else:
        held = settings.heldout_images or TAUGHT
        teacher = load_model(settings.teacher, Loading(device=settings.device))
        resolved |= {"data": LEFT_OUT, "teacher": settings.teacher, "held_out": held}
        resolved["descriptor"] = identity(settings.alike.spec)
        inputs = {"teacher": model_digest(settings.teacher)}
        run = Run.of(out, settings, inputs, quiet, read=_planned(settings), **resolved)
        sets = taught(run, teacher, grid, held)
        descriptor = _descriptor(settings, sets, place)
    if run.ranks.main:
        for name, part in sets.files(grid).items():
            _write(out / "data" / f"{name}.npz", part)
            if settings.labels:
                _write(out / "data" / f"{name}-labels.npz", part, sets.classes)
    run.ranks.wait()
    work = _jobs(out, settings, len(sets.classes))
    if settings.commands:
        return [job.line() for job in work if not job.done]
    with run.stage("grid"):
        run_jobs(work, settings.jobs, quiet)
    data = GridData(
        source=settings.source, shape=list(sets.held.shape), n=sets.n, repeated=sets.repeated, held_out=len(sets.held)
    )
    return run.finish_on_main(TransitionResult, lambda: Scores(run, settings, sets, descriptor).result(data))


def _planned(settings: Transition) -> str:
    return (
        f"{count(len(cells_of(settings.grid)), 'model')} to train, {count(settings.samples, 'image')} to make with each"
    )


def _descriptor(settings: Transition, sets: Sets, place: torch.device) -> Descriptor:
    """It, and a refusal now of too few held-out images."""
    descriptor = open_descriptor(settings.alike.spec, references=sets.largest.values(slice(WHITENED)), device=place)
    find_thresholds(settings.alike, descriptor.default_threshold, torch.zeros(len(sets.held)), [])
    return descriptor


def _write(path: Path, data: Dataset, classes: Sequence[str] = ()) -> None:
    labels = {} if data.labels is None else dict(zip(data.keys, data.labels.tolist(), strict=True))
    write_dataset(path, zip(data.keys, data.images, strict=True), labels, "npz", classes)


def _jobs(out: Path, settings: Transition, classes: int) -> list[Job]:
    """The cells, wide ones first because they take longest, the empirical denoisers, and the teacher's samples."""
    first = 0 if settings.teacher is None else 3 * BLOCK
    where = ("--device", settings.device, "-q")
    how = ("--solver", SOLVER, "--steps", str(STEPS), "--format", "shards", *where)

    def made(folder: Path, model: str, name: str = "samples", *more: str, n: int = settings.samples) -> Step:
        words = ("generate", model, "--seeds", f"{first}-{first + n - 1}", *how, *more, "-o", str(folder / name))
        return Step(words, folder / name / "summary.json")

    jobs = []
    for cell in sorted(cells_of(settings.grid), key=lambda cell: (-cell.width, cell)):
        folder = out / "cells" / cell.name
        data, heldout = (str(out / "data" / f"{name}{'-labels' * cell.labels}.npz") for name in (cell.data, "heldout"))
        model = str(folder / "model")
        own = ["--seed", str(cell.seed), "--heldout", heldout, "--samples", "0", *where]
        own = [*([] if settings.begun else ["--width", str(cell.width)]), *own, *["--labels"] * cell.labels]
        if settings.times is not None:
            own += [
                "--at",
                ",".join(map(str, settings.moments[:-1])),
                "--snapshots",
                str(2 * settings.moments[-1]),
            ]  # the end alone
        told = ("--labels", f"0-{classes - 1}" if classes > 1 else "0") if cell.labels else ()
        train = ("train", "--data", data, *settings.options, *own, "-o", model)
        steps = [Step(train, folder / "model" / "summary.json"), made(folder, model, "samples", *told)]
        if settings.times is not None:
            steps.append(made(folder, model, "moments", *told, "--each", "snapshot", n=min(settings.samples, MOMENT)))
        if cell.labels:
            steps.append(made(folder, model, "classes", *told, "--each", "label"))
        jobs.append(Job(folder, tuple(steps)))
    for name in dict.fromkeys(cell.data for cell in cells_of(settings.grid)):
        folder = out / "theory" / name
        jobs.append(Job(folder, (made(folder, f"empirical:{out / 'data' / f'{name}.npz'}"),)))
    if settings.teacher is not None:
        jobs.append(Job(out / "teacher", (made(out / "teacher", settings.teacher),)))
    return jobs
