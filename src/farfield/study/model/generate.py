"""`farfield generate`: a model's own images of the seeds asked for."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import torch

from farfield.checkpoints.load import model_digest
from farfield.checkpoints.place import snapshots_of
from farfield.command.generate import ChurnFacts, Generate, GenerateResult, SampleCalls, Sampling
from farfield.command.settings import LEFT_OUT
from farfield.core.artifact import Images, Store, chunks, file_digest, write_bytes
from farfield.core.checksum import sums_hold, write_sums
from farfield.core.error import FarfieldError
from farfield.core.provenance import Provenance
from farfield.core.runtime import Advance, progress
from farfield.core.seeds import show_numbers
from farfield.data.noise_file import Noise, read_noise
from farfield.data.picture import decodes, png, save_png, to_uint8
from farfield.data.samples import open_samples
from farfield.data.source import SAMPLES
from farfield.diffusion.denoiser import Denoiser
from farfield.diffusion.generation import Labelled
from farfield.diffusion.solver import Churn, check_noise, find_solver
from farfield.present.sheet import grid
from farfield.study.bench.carrier import Carrier
from farfield.study.bench.numerics import load_model, model_facts
from farfield.study.bench.opening import Work
from farfield.study.bench.run import Run
from farfield.unseen.method import Method

SHOWN, COLUMNS = 64, 8
"""Images on the contact sheet; and of each set, where there are several."""
EACH = "each"
"""The folder of several sets."""


def generate(settings: Generate, out: Path, *, quiet: bool = False) -> GenerateResult:
    """Write ``samples/``, ``sheet.png`` and ``summary.json`` into the run folder.

    Image k depends on seed k alone: not on the others, the batch size or the number of processes. An interrupted run goes
    on with the batches that are missing. `data.samples.open_samples` reads what it leaves.

    Raises:
        NonFiniteError: an image became NaN or infinite; the seeds are named, and finished batches are kept.
        FarfieldError: settings that the model cannot do, or a folder of another run.
    """
    sampling, model = settings.sampling, settings.model
    solver = find_solver(sampling.rule)
    churn = Churn(sampling.churn, sampling.churn_min, sampling.churn_max, sampling.churn_noise)
    check_noise(solver, sampling.eta, churn)
    denoiser = _open(model, sampling)
    snapshots = snapshots_of(Path(model).expanduser()) if settings.each == "snapshot" else []
    places = [f"{EACH}/{path.name}" for path in snapshots] or [SAMPLES]
    if settings.each == "label":
        places = [f"{EACH}/{label}" for label in sampling.labels]
    if sampling.form == "png" and denoiser.image_shape[0] not in (1, 3):
        raise FarfieldError(
            f"{model}: png files have 1 or 3 channels, its images {denoiser.image_shape[0]}; use --format shards or npz"
        )
    noise = read_noise(Path(settings.noise).expanduser(), denoiser.shape) if settings.noise else None
    seeds = _seeds(settings, noise)
    sigmas = denoiser.schedule.sigmas(sampling.steps, sampling.sigma_max, sampling.sigma_min, sampling.rho)
    shown = show_numbers(seeds)
    calls = solver.calls(sampling.steps) + 1
    images = len(seeds) * len(places)
    work = Work(denoiser, sampling.loading.batch_size, {"generating": calls * images}, images)
    inputs = {"model": model_digest(model)}
    if snapshots:
        contents = "".join(model_digest(str(path)) for path in snapshots)
        inputs["snapshots"] = hashlib.sha256(contents.encode()).hexdigest()
    if settings.noise:
        inputs["noise"] = file_digest([Path(settings.noise).expanduser()])
    asked = sampling.asked() | {"each": settings.each or LEFT_OUT}
    run = Run.of(out, settings, inputs, quiet, work, seeds=shown, **asked)
    keys = [str(s) for s in seeds]
    for i, place in enumerate(places):
        one = load_model(str(snapshots[i]), sampling.labelled) if snapshots else denoiser
        labels = (sampling.labels[i],) * 2 if settings.each == "label" else sampling.labels
        carrier = Carrier(one, sigmas, Method(solver=solver.name))
        label = f"generating {place}" if settings.each else "generating"
        sample = partial(carrier.sample, eta=sampling.eta, churn=churn, labels=labels, noise=noise)
        if sampling.form == "png":
            _fill_pngs(run, keys, sampling, sample)
        else:
            run.compute(place, Images, keys, sampling.loading.batch_size, sample, label, sampling.steps)
    if run.ranks.main:
        if sampling.form == "npz":
            _write_npz(run.store(SAMPLES, Images), out / "images.npz", run.provenance)
        folders, most = ([out / place for place in places], COLUMNS) if settings.each else ([out], SHOWN)
        first = [open_samples(folder, limit=min(most, len(seeds))).values for folder in folders]
        sheet = grid(torch.cat(first), min(COLUMNS, len(seeds)) if settings.each else COLUMNS)
        write_bytes(out / "sheet.png", png(sheet, run.provenance.record()))
    return run.finish(
        GenerateResult(
            model=model_facts(run.request, denoiser),
            seeds=shown,
            n=images,
            each=[Path(place).name for place in places] if settings.each else None,
            solver=solver.name,
            steps=sampling.steps,
            sigma=(float(sigmas[0]), float(sigmas[-1])),
            eta=sampling.eta,
            churn=ChurnFacts(**asdict(churn)) if churn.amount > 0 else None,
            labels=list(sampling.labels),
            noise=settings.noise,
            format=sampling.form,
            network_calls=SampleCalls(per_image=calls, total=calls * images),
        )
    )


def _seeds(settings: Generate, noise: Noise | None) -> tuple[int, ...]:
    """Those that were asked for; all that there is noise of, or the first 64."""
    if settings.seeds is None:
        return tuple(range(SHOWN)) if noise is None else tuple(noise.rows)
    if noise is not None and (lacking := [seed for seed in settings.seeds if seed not in noise.rows]):
        raise FarfieldError(
            f"{settings.noise}: no noise of seed {lacking[0]}{f' and {len(lacking) - 1} more' if lacking[1:] else ''}; it has "
            f"{show_numbers(tuple(noise.rows))}"
        )
    return settings.seeds


def _open(model: str, sampling: Sampling) -> Denoiser:
    """The frozen denoiser, on its device; every label is one of its classes."""
    denoiser = load_model(model, sampling.labelled)
    if len(sampling.labels) > 1:
        Labelled(denoiser, torch.tensor(sampling.labels))  # or it says why not, before the run is begun
    return denoiser


def _fill_pngs(
    run: Run, keys: Sequence[str], sampling: Sampling, work: Callable[[tuple[str, ...], Advance], Images]
) -> None:
    """Make the batches that are not on disk; they are given out to the processes by position and never gathered.

    A batch that lacks one file, or has a damaged one, is made again as a whole: a network's last bits depend on how many rows
    it is given. Its files are listed with their checksums in ``checksums/``.
    """
    parts = chunks(keys, sampling.loading.batch_size)
    lists = {i: run.folder / "checksums" / f"{i:05d}.txt" for i in range(run.ranks.rank, len(parts), run.ranks.world)}
    files = {i: [_png(run.folder / SAMPLES, key) for key in parts[i]] for i in lists}
    left = [i for i, path in lists.items() if not sums_hold(path, run.folder, files[i], decodes)]
    if left:
        done = len(keys) - sum(len(parts[i]) for i in left)
        steps = sampling.steps
        with (
            run.stage(SAMPLES),
            progress("generating", len(keys) * steps, done=done * steps, quiet=run.quiet) as advance,
        ):
            for i in left:
                images = work(parts[i], advance)
                run.check()
                for path, key, image in zip(files[i], images.keys, images.values, strict=True):
                    save_png(image, path, run.provenance.record(key))
                write_sums(lists[i], run.folder, files[i])
    run.ranks.wait()


def _png(folder: Path, key: str) -> Path:
    return folder / f"{int(key):06d}.png"


def _write_npz(store: Store[Images], path: Path, made: Provenance) -> None:
    """All images as uint8 ``[n, H, W, C]`` under zero-padded seeds, read one shard at a time."""
    keys: list[str] = []
    pixels: list[np.ndarray] = []
    for part in store.parts():
        keys += [f"{int(k):06d}" for k in part.keys]
        pixels.append(to_uint8(part.values).permute(0, 2, 3, 1).contiguous().numpy())
    buffer = io.BytesIO()
    np.savez(buffer, images=np.concatenate(pixels), keys=np.array(keys), provenance=np.array(made.json()))
    write_bytes(path, buffer.getvalue())
