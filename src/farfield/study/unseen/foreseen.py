"""What samplers and tunings will ask of the network, before any has begun: by it the time of a run is told.

Where a search ends is not known: it is taken to end at the second level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from farfield.command.compare import Compare
from farfield.command.expand import Sampler
from farfield.command.shared import Solving
from farfield.diffusion.denoiser import Denoiser
from farfield.diffusion.solver import network_calls
from farfield.study.bench.opening import Work
from farfield.study.unseen.bandwidth import SEARCHED
from farfield.study.unseen.calibration import calibration_calls
from farfield.study.unseen.control import SAMPLERS
from farfield.study.unseen.proposal import DESCENTS, sampler_calls
from farfield.study.unseen.start import CANDIDATES, FEWEST, MIXED, PILOT
from farfield.study.unseen.tuned import TUNINGS
from farfield.unseen.tuning import TRAINING_CALLS

TRIED, SEARCH_PILOT = 2, 64
"""Levels of each start that a search comes to; images of `bandwidth.search_level` at each level."""


def own_calls(solver: str, steps: int) -> int:
    """Network calls of a model's own sample, which ends with one that takes the last noise away."""
    return network_calls(solver, steps) + 1


def trying_calls(sampler: Sampler, examples: int, steps: int) -> int:
    """Network calls of finding what to start from (`start.settle`); latents that are mixed are not foreseen."""
    if sampler.sampler not in ("auto", "sdedit") or not sampler.network or examples < FEWEST:
        return 0
    starts = TRIED * (1 if sampler.parents else len(MIXED)) + (sampler.sampler == "auto")
    return starts * PILOT * (steps + 1)


def search_plan(denoiser: Denoiser, sampler: Sampler, examples: int, numerics: Solving) -> dict[str, float]:
    """Network calls of a search on one half of the examples (`bandwidth.search_level`), by the labels of its bars."""
    if examples < FEWEST or not sampler.network:
        return {}
    steps, sources = max(8, numerics.steps // 2), examples // 2
    walks = sampler.sampler in DESCENTS
    up, down = (0, steps + 1) if walks else (network_calls(numerics.solver, steps),) * 2
    plan: dict[str, float] = {"calibrating": calibration_calls(sources, steps)} if sampler.calibrate else {}
    levels = sorted({min(s, denoiser.schedule.sigma_max) for s in SEARCHED})
    return plan | {f"searching {sigma:g}": float(sources * up + SEARCH_PILOT * down) for sigma in levels}


def allowance(settings: Compare, examples: int) -> int:
    """Network calls that ours takes at most, its search aside; what it does take is not known where it is no method."""
    dearest = replace(SAMPLERS["ours"], sampler="patchwork", candidates=CANDIDATES)
    return sum(sampler_calls(dearest, examples, settings.n, settings.numerics).values())


def training_calls(settings: Compare, examples: int) -> int:
    """Network calls that a tuning may take for training, beside those of its samples."""
    n, numerics = settings.n, settings.numerics
    sampling = n * network_calls(numerics.solver, numerics.steps)
    return max(0, int(settings.tuning.budget * allowance(settings, examples)) - sampling)


def contest_work(settings: Compare, denoiser: Denoiser, places: Sequence[Sequence[int]]) -> Work:
    """Of all methods on domains of which each gives so many examples."""
    total = sum(_calls(settings, c) for counts in places for c in counts)
    total += len(places) * settings.n * own_calls(settings.numerics.solver, settings.numerics.steps)
    tuned = any(name in TUNINGS and name != "release" for name in settings.chosen)
    plan = {"methods": float(total)}
    return Work(denoiser, settings.numerics.loading.batch_size, plan, most=tuned, staged=False)


def _calls(settings: Compare, examples: int) -> int:
    """Of all methods on so many examples."""
    n, numerics, total = settings.n, settings.numerics, 0
    for name in settings.chosen:
        if name in TUNINGS:
            trained = (
                TRAINING_CALLS * examples * settings.tuning.epochs
                if name == "release"
                else training_calls(settings, examples)
            )
            total += trained + n * own_calls(numerics.solver, numerics.steps)
        elif name in SAMPLERS:
            total += foreseen_calls(SAMPLERS[name], examples, n, numerics)
    return total


def foreseen_calls(sampler: Sampler, examples: int, n: int, numerics: Solving) -> int:
    """Of one sampler."""
    trying = trying_calls(sampler, examples, numerics.steps) if sampler.sampler == "auto" else 0
    return trying + sum(sampler_calls(likely(sampler, examples), examples, n, numerics).values())


def likely(sampler: Sampler, examples: int) -> Sampler:
    """What ``auto`` is taken to come to: a walk down; with too few examples to try one, patchworks."""
    if sampler.sampler != "auto":
        return sampler
    if examples >= FEWEST:
        return replace(sampler, sampler="sdedit")
    return replace(sampler, sampler="patchwork", candidates=max(CANDIDATES, sampler.candidates))
