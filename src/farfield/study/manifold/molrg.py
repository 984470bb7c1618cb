"""`farfield molrg`: data whose subspaces are known, how many samples it takes to find them, and the rank of denoisers on it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from farfield.command.molrg import Method, Molrg, MolrgResult, Recovery, Schooling, Setting, Trained
from farfield.command.result import fields_of, to_json
from farfield.core.artifact import Artifact, Score
from farfield.core.interval import mean_score, proportion
from farfield.core.runtime import generator, resolve_device
from farfield.diffusion.denoiser import Denoiser
from farfield.diffusion.exact import molrg as low_rank_denoiser
from farfield.manifold.jacobian import Jacobian
from farfield.manifold.molrg import Law, draw_law
from farfield.manifold.rank import numerical_rank
from farfield.manifold.spectrum import exact
from farfield.manifold.subspace import recovery_error
from farfield.present import words
from farfield.study.bench.run import Run
from farfield.study.manifold.molrg_network import COLUMNS, load_network, picture_shape, train_network
from farfield.study.manifold.molrg_recovery import METHODS, RECOVERED, empty_error, find, transition


@dataclass(frozen=True)
class Cells(Artifact):
    """Rows of numbers, float64; ``columns`` says what they are."""

    columns: tuple[str, ...] = ()
    kind: ClassVar[str] = "cells"

    def attributes(self) -> dict[str, Any]:
        return {"columns": self.columns}


def molrg(settings: Molrg, out: Path, *, quiet: bool = False) -> MolrgResult:
    """Measure it all.

    Writes ``recovery/`` (a row a ratio and seed), ``networks/`` (weights) and ``network/`` (a row a network), and ``rank/``
    (a row a model and level).
    """
    place = resolve_device(settings.device)
    schooling, ratios = settings.schooling, _ratios(settings)
    _law(settings, 0)  # refuses what does not fit
    if schooling is not None:
        picture_shape(schooling.kind, settings.n)
    run = Run.of(
        out,
        settings,
        {},
        quiet,
        read=f"{words.count(settings.classes, 'subspace')} in {settings.n} dimensions to find, "
        f"{words.count(len(ratios), 'ratio')} × {words.count(settings.seeds, 'seed')}",
        dimensions=settings.dimensions,
        network=None if schooling is None else to_json(schooling),
        network_counts=() if schooling is None else settings.network_counts,
    )
    recovery = _recovery(run, settings, ratios)
    networks = [] if schooling is None else _networks(run, settings, schooling, place)
    same = {name: getattr(settings, name) for name in fields_of(Setting)}
    return run.finish(
        MolrgResult(
            setting=Setting(**{**same, "ratios": ratios}),
            network=schooling,
            recovery=recovery,
            networks=networks,
            ranks=_ranks(run, settings, schooling, place),
        )
    )


def _law(settings: Molrg, seed: int) -> Law:
    return draw_law(settings.n, settings.dimensions, seed, noise=settings.noise, orthogonal=settings.orthogonal)


def _ratios(settings: Molrg) -> list[float]:
    """The ratios of the transition: those given, or some about 1 and few far from it."""
    if settings.ratios:
        return sorted(set(settings.ratios))
    d = max(settings.dimensions)
    counts = {round(d * r) for r in (0.25, 0.5, 0.75, 1.5, 2, 3, 4)} | {d - 1, d, d + 1}
    return [count / d for count in sorted(counts) if count >= 1]


def _recovery(run: Run, settings: Molrg, ratios: list[float]) -> Recovery:
    """The transition: a cell for each ratio and seed."""
    # one class has nothing to be clustered: PCA and the low-rank model from random bases are left
    known = ("labels", "low_rank_random") if settings.classes == 1 else METHODS
    methods = tuple(m for m in known if settings.starts or m != "low_rank_random")
    places = {f"r{ratio:.4f}-s{seed:02d}": (ratio, seed) for ratio in ratios for seed in range(settings.seeds)}

    def row(key: str) -> list[float]:
        ratio, seed = places[key]
        law = _law(settings, seed)
        samples, labels = law.draw([max(1, round(ratio * d)) for d in settings.dimensions], seed)
        each = (find(samples, labels, settings.dimensions, method, seed, settings.starts) for method in methods)
        return [float(recovery_error(bases, law.bases).mean()) for bases in each]

    cells = run.rows("recovery", Cells, list(places), row, "finding subspaces", columns=methods)
    errors = cells.values.reshape(len(ratios), settings.seeds, len(methods))
    return Recovery(
        threshold=RECOVERED,
        expected=None if settings.noise else [empty_error(r) for r in ratios],
        methods={
            method: Method(
                error=[mean_score(errors[i, :, k], 0.0, 1.0) for i in range(len(ratios))],
                found=[
                    proportion(int((errors[i, :, k] < RECOVERED).sum()), settings.seeds) for i in range(len(ratios))
                ],
                transition=transition(ratios, errors[:, :, k]),
            )
            for k, method in enumerate(methods)
        },
    )


def _networks(run: Run, settings: Molrg, schooling: Schooling, device: torch.device) -> list[Trained]:
    """Networks trained on more and more samples: a cell for each count and seed."""
    every, seeds = sorted({*settings.network_counts, settings.per_class}), settings.network_seeds
    places = {_network_key(count, seed): (count, seed) for count in every for seed in range(seeds)}

    def row(key: str) -> list[float]:
        count, seed = places[key]
        law = _law(settings, seed)
        samples = law.draw([count] * len(law.bases), seed)[0]
        return train_network(law, samples, schooling, seed, device, run.folder / "networks" / f"{key}.safetensors")

    cells = run.rows("network", Cells, list(places), row, "training networks", columns=COLUMNS)
    trained = []
    for count in every:
        rows = cells.select([_network_key(count, seed) for seed in range(seeds)]).values
        named = {name: rows[:, i] for i, name in enumerate(COLUMNS)}
        trained.append(
            Trained(
                per_class=count,
                ratio=count / max(settings.dimensions),
                new=_shared(named, "new", schooling.made),
                inside=_shared(named, "inside", schooling.made),
                held_out_inside=float(named["held_out_inside"].mean()),
                threshold=float(named["threshold"].mean()),
                loss=float(named["loss"].mean()),
            )
        )
    return trained


def _ranks(run: Run, settings: Molrg, schooling: Schooling | None, device: torch.device) -> dict[str, list[Score]]:
    """The numerical rank of each denoiser at noised new samples of the law of seed 0."""
    law = _law(settings, 0)
    models = ["exact", "low_rank", *([] if schooling is None else ["network"])]
    places = {f"{model}-{sigma:g}": (model, sigma) for model in models for sigma in settings.sigmas}
    opened: dict[str, Denoiser] = {}

    def denoiser(model: str) -> Denoiser:
        if model not in opened:
            opened[model] = law.denoiser() if model == "exact" else _trained(run, settings, schooling, model, device)
        return opened[model]

    def row(key: str) -> list[float]:
        model, sigma = places[key]
        return [float(_rank(denoiser(model), x, sigma, settings.share)) for x in _points(settings, law, sigma)]

    columns = tuple(f"point-{i}" for i in range(settings.points))
    cells = run.rows("rank", Cells, list(places), row, "ranks", columns=columns)
    return {
        model: [mean_score(cells.select([f"{model}-{s:g}"]).values[0], 0.0) for s in settings.sigmas]
        for model in models
    }


def _trained(run: Run, settings: Molrg, schooling: Schooling | None, model: str, device: torch.device) -> Denoiser:
    law = _law(settings, 0)
    samples, labels = law.draw([settings.per_class] * len(law.bases), 0)
    if model == "network" and schooling is not None:
        path = run.folder / "networks" / f"{_network_key(settings.per_class, 0)}.safetensors"
        return load_network(law, samples, schooling, 0, device, path)
    return low_rank_denoiser(find(samples, labels, settings.dimensions, "low_rank", 0, 1))


def _points(settings: Molrg, law: Law, sigma: float) -> Tensor:
    """New samples of all classes in turn with noise, ``[points, n]``; the same ones at every level."""
    classes = len(law.bases)
    each = math.ceil(settings.points / classes)
    clean = law.draw([each] * classes, 0, "molrg-points")[0]
    inturn = clean.reshape(classes, each, -1).transpose(0, 1).flatten(0, 1)[: settings.points]
    noise = torch.randn(inturn.shape, generator=generator(0, "molrg-noise"), dtype=torch.float64)
    return inturn + sigma * noise


def _rank(denoiser: Denoiser, x: Tensor, sigma: float, share: float) -> int:
    point = x.reshape(denoiser.shape).to(denoiser.device)
    return numerical_rank(exact(Jacobian(denoiser, point, sigma)), share).value


def _network_key(count: int, seed: int) -> str:
    return f"n{count:06d}-s{seed:02d}"


def _shared(named: dict[str, Tensor], name: str, made: int) -> Score:
    """Over several networks the mean and its interval over them; of one network its own, over its samples."""
    values = named[name]
    if len(values) > 1:
        return mean_score(values, 0.0, 1.0)
    return Score(float(values[0]), made, float(named[f"{name}_low"][0]), float(named[f"{name}_high"][0]))
