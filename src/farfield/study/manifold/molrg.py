"""`farfield molrg`: data whose subspaces are known, how many samples it takes to find them, and the rank of denoisers on it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from farfield.core import note
from farfield.core.artifact import Artifact, Score
from farfield.core.error import FarfieldError
from farfield.core.interval import mean_score, proportion
from farfield.core.runtime import Advance, generator, resolve_device
from farfield.diffusion.denoiser import Denoiser
from farfield.diffusion.exact import molrg as low_rank_denoiser
from farfield.manifold.jacobian import Jacobian
from farfield.manifold.molrg import Law, draw_law
from farfield.manifold.rank import numerical_rank
from farfield.manifold.spectrum import exact
from farfield.manifold.subspace import recovery_error
from farfield.study.bench.run import Run
from farfield.study.manifold.molrg_network import COLUMNS, Schooling, load_network, picture_shape, train_network
from farfield.study.manifold.molrg_recovery import METHODS, RECOVERED, empty_error, find, transition


@dataclass(frozen=True)
class Cells(Artifact):
    """Rows of numbers, float64; ``columns`` says what they are."""

    columns: tuple[str, ...] = ()
    kind: ClassVar[str] = "cells"

    def attributes(self) -> dict[str, Any]:
        return {"columns": self.columns}


@dataclass(frozen=True)
class Setting:
    """The laws, and where they are looked at.

    Attributes:
        n: dimensions of the space.
        dimensions: of the subspaces, one a class.
        per_class: training samples of each class, where the rank is measured.
        noise: around the subspaces.
        orthogonal: subspaces to each other.
        ratios: of samples to dimensions, of the transition.
        seeds: 0, 1, …, each with subspaces and samples of its own.
        starts: random beginnings of the low-rank model, of which the one with the lowest loss counts; 0 leaves it out.
        sigmas: levels of the rank.
        points: where the rank is taken at each level.
        share: of the Frobenius norm, that the rank holds.
    """

    n: int = 48
    dimensions: tuple[int, ...] = (7, 7)
    per_class: int = 350
    noise: float = 0.0
    orthogonal: bool = True
    ratios: tuple[float, ...] = ()
    seeds: int = 10
    starts: int = 4
    sigmas: tuple[float, ...] = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0)
    points: int = 8
    share: float = 0.99

    def __post_init__(self) -> None:
        if self.seeds < 1 or self.points < 1 or self.per_class < 1 or self.starts < 0:
            raise FarfieldError(
                f"{self.seeds} seeds, {self.points} points, {self.per_class} samples per class: expected at least 1 of each"
            )
        if not 0 < self.share < 1:
            raise FarfieldError(f"share {self.share:g}: expected a number between 0 and 1, such as 0.99")
        if not all(r > 0 for r in self.ratios) or not self.sigmas or not all(s > 0 for s in self.sigmas):
            raise FarfieldError("ratios and sigmas: expected positive numbers, and at least one sigma")
        self.law(0)

    def law(self, seed: int) -> Law:
        return draw_law(self.n, self.dimensions, seed, noise=self.noise, orthogonal=self.orthogonal)

    def swept(self) -> list[float]:
        """The ratios of the transition: those given, or some about 1 and few far from it."""
        if self.ratios:
            return sorted(set(self.ratios))
        d = max(self.dimensions)
        counts = {round(d * r) for r in (0.25, 0.5, 0.75, 1.5, 2, 3, 4)} | {d - 1, d, d + 1}
        return [count / d for count in sorted(counts) if count >= 1]

    def counts(self, ratio: float) -> list[int]:
        """Samples of each class at a ratio."""
        return [max(1, round(ratio * d)) for d in self.dimensions]

    @property
    def methods(self) -> tuple[str, ...]:
        """One class has nothing to be clustered: PCA and the low-rank model from random bases are left."""
        known = ("labels", "low_rank_random") if len(self.dimensions) == 1 else METHODS
        return tuple(m for m in known if self.starts or m != "low_rank_random")


@note.kept()
def molrg(
    out: Path,
    setting: Setting,
    schooling: Schooling | None = None,
    *,
    network_counts: Sequence[int] = (),
    network_seeds: int = 1,
    device: str = "auto",
    quiet: bool = False,
) -> dict[str, Any]:
    """Measure it all; the summary, as in ``summary.json``.

    Writes ``recovery/`` (a row a ratio and seed), ``networks/`` (weights) and ``network/`` (a row a network), and ``rank/``
    (a row a model and level).

    Args:
        schooling: of the trained networks; none are trained if not given.
        network_counts: samples per class that networks are trained on, beside those of the setting.
        network_seeds: networks of each.
    """
    place = resolve_device(device)
    if schooling is not None:
        picture_shape(schooling.kind, setting.n)
        if network_seeds < 1 or any(c < 1 for c in network_counts):
            raise FarfieldError("networks: expected at least one seed, and counts of at least 1")
    request = {
        **asdict(setting),
        "network": None if schooling is None else asdict(schooling),
        "network_counts": list(network_counts),
        "network_seeds": network_seeds,
    }
    run = Run(out, "molrg", request, {}, quiet)
    recovery = _recovery(run, setting)
    networks = [] if schooling is None else _networks(run, setting, schooling, network_counts, network_seeds, place)
    ranks = _ranks(run, setting, schooling, place)
    summary = {
        "command": "molrg",
        "setting": {**asdict(setting), "ratios": setting.swept()},
        "network": None if schooling is None else asdict(schooling),
        "recovery": recovery,
        "networks": networks,
        "ranks": ranks,
    }
    return run.conclude(summary)


def _recovery(run: Run, setting: Setting) -> dict[str, Any]:
    """The transition: a cell for each ratio and seed."""
    ratios, methods = setting.swept(), setting.methods
    places = {f"r{ratio:.4f}-s{seed:02d}": (ratio, seed) for ratio in ratios for seed in range(setting.seeds)}

    def work(keys: tuple[str, ...], advance: Advance) -> Cells:
        rows = []
        for key in keys:
            ratio, seed = places[key]
            law = setting.law(seed)
            samples, labels = law.draw(setting.counts(ratio), seed)
            rows.append(
                [
                    float(recovery_error(found, law.bases).mean())
                    for found in (find(samples, labels, setting.dimensions, m, seed, setting.starts) for m in methods)
                ]
            )
            advance(1)
        return Cells(keys, torch.tensor(rows, dtype=torch.float64), methods)

    cells = run.compute("recovery", Cells, list(places), 1, work, "finding subspaces")
    errors = cells.values.reshape(len(ratios), setting.seeds, len(methods))
    return {
        "threshold": RECOVERED,
        "expected": None if setting.noise else [empty_error(r) for r in ratios],
        "methods": {
            method: {
                "error": [mean_score(errors[i, :, k], 0.0, 1.0) for i in range(len(ratios))],
                "found": [
                    proportion(int((errors[i, :, k] < RECOVERED).sum()), setting.seeds) for i in range(len(ratios))
                ],
                "transition": transition(ratios, errors[:, :, k]),
            }
            for k, method in enumerate(methods)
        },
    }


def _networks(
    run: Run, setting: Setting, schooling: Schooling, counts: Sequence[int], seeds: int, device: torch.device
) -> list[dict[str, Any]]:
    """Networks trained on more and more samples: a cell for each count and seed."""
    every = sorted({*counts, setting.per_class})
    places = {_network_key(count, seed): (count, seed) for count in every for seed in range(seeds)}

    def work(keys: tuple[str, ...], advance: Advance) -> Cells:
        rows = []
        for key in keys:
            count, seed = places[key]
            law = setting.law(seed)
            samples = law.draw([count] * len(law.bases), seed)[0]
            path = run.folder / "networks" / f"{key}.safetensors"
            rows.append(train_network(law, samples, schooling, seed, device, path))
            advance(1)
        return Cells(keys, torch.tensor(rows, dtype=torch.float64), COLUMNS)

    cells = run.compute("network", Cells, list(places), 1, work, "training networks")
    found = []
    for count in every:
        rows = cells.select([_network_key(count, seed) for seed in range(seeds)]).values
        named = {name: rows[:, i] for i, name in enumerate(COLUMNS)}
        found.append(
            {
                "per_class": count,
                "ratio": count / max(setting.dimensions),
                "new": _shared(named, "new", schooling.made),
                "inside": _shared(named, "inside", schooling.made),
                "held_out_inside": float(named["held_out_inside"].mean()),
                "threshold": float(named["threshold"].mean()),
                "loss": float(named["loss"].mean()),
            }
        )
    return found


def _ranks(run: Run, setting: Setting, schooling: Schooling | None, device: torch.device) -> dict[str, Any]:
    """The numerical rank of each denoiser at noised new samples of the law of seed 0."""
    law = setting.law(0)
    models = ["exact", "low_rank", *([] if schooling is None else ["network"])]
    places = {f"{model}-{sigma:g}": (model, sigma) for model in models for sigma in setting.sigmas}
    opened: dict[str, Denoiser] = {}

    def denoiser(model: str) -> Denoiser:
        if model not in opened:
            opened[model] = law.denoiser() if model == "exact" else _trained(run, setting, schooling, model, device)
        return opened[model]

    def work(keys: tuple[str, ...], advance: Advance) -> Cells:
        rows = []
        for key in keys:
            model, sigma = places[key]
            rows.append([float(_rank(denoiser(model), x, sigma, setting.share)) for x in _points(setting, law, sigma)])
            advance(1)
        return Cells(keys, torch.tensor(rows, dtype=torch.float64), tuple(f"point-{i}" for i in range(setting.points)))

    cells = run.compute("rank", Cells, list(places), 1, work, "ranks")
    return {
        model: [mean_score(cells.select([f"{model}-{s:g}"]).values[0], 0.0) for s in setting.sigmas] for model in models
    }


def _trained(run: Run, setting: Setting, schooling: Schooling | None, model: str, device: torch.device) -> Denoiser:
    law = setting.law(0)
    samples, labels = law.draw([setting.per_class] * len(law.bases), 0)
    if model == "network" and schooling is not None:
        path = run.folder / "networks" / f"{_network_key(setting.per_class, 0)}.safetensors"
        return load_network(law, samples, schooling, 0, device, path)
    return low_rank_denoiser(find(samples, labels, setting.dimensions, "low_rank", 0, 1))


def _points(setting: Setting, law: Law, sigma: float) -> Tensor:
    """New samples of all classes in turn with noise, ``[points, n]``; the same ones at every level."""
    classes = len(law.bases)
    each = math.ceil(setting.points / classes)
    clean = law.draw([each] * classes, 0, "molrg-points")[0]
    inturn = clean.reshape(classes, each, -1).transpose(0, 1).flatten(0, 1)[: setting.points]
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
