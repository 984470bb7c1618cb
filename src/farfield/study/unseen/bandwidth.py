"""Which noise level to sample latents at, found on the examples alone (``--sigma auto``)."""

from __future__ import annotations

from farfield.command.expand import Sampler
from farfield.command.measures import SearchedLevel
from farfield.command.result import from_json, to_json
from farfield.command.shared import Solving
from farfield.core.artifact import Images, read_kept, write_kept
from farfield.data.picture import channel_law
from farfield.data.subset import choose
from farfield.diffusion.denoiser import Denoiser
from farfield.study.bench.carrier import Carrier
from farfield.study.bench.run import Run
from farfield.study.unseen.calibration import calibrate, calibration_calls
from farfield.study.unseen.proposal import DESCENTS, Chooser, Producer, sampler_calls_each

SEARCHED = (5.0, 10.0, 20.0)
"""Levels that are tried, as far as the model knows them."""

USUAL = 20.0
"""The level that is taken without a search: with a calibrated denoiser 5, 20 and 40 hardly differ in distance to held-out
images, and copies are fewest at the higher ones."""


def usual_level(denoiser: Denoiser) -> float:
    """`USUAL`, or the model's last level where that is lower."""
    return min(USUAL, denoiser.schedule.sigma_max)


def search_level(
    run: Run, denoiser: Denoiser, given: Images, numerics: Solving, sampler: Sampler
) -> list[SearchedLevel]:
    """Which level to sample at, judged on the examples alone: first candidates made from one half of them are held
    against the other half in the model's own features, copies of the first half left out. The least discrepancy wins."""
    kept = run.folder / "search.json"
    if (known := read_kept(kept)) is not None:
        searched: list[SearchedLevel] = from_json(list[SearchedLevel], known, str(kept))
        return searched
    levels = sorted({min(s, denoiser.schedule.sigma_max) for s in SEARCHED})
    if len(given) < 8:  # two halves of fewer than four say nothing
        return [SearchedLevel(sigma=usual_level(denoiser), chosen=True)]
    first, second = choose(given.keys, len(given) // 2, 0)
    sources, others, batch_size = given.select(first), given.select(second), numerics.loading.batch_size
    keys = [f"{s:06d}" for s in range(64)]
    rows = []
    # Half the steps: the order of the levels, not the last decibel, is what is asked.
    grids = [denoiser.schedule.sigmas(max(8, numerics.steps // 2), sigma) for sigma in levels]
    flow: Denoiser = denoiser
    if sampler.calibrate:
        flow = calibrate(run, denoiser, sources, grids[-1], batch_size, sampler, "search/calibration")
    for sigma, sigmas in zip(levels, grids, strict=True):
        carrier = Carrier.of(numerics, flow, sigmas)
        latents = None
        if sampler.sampler not in DESCENTS:
            latents = carrier.up(run, f"search/{sigma:g}/latents", sources, f"searching {sigma:g}, up")
        producer = Producer(carrier, sources, latents, sampler, channel_law(given.values))
        pilot = producer.pilot(run, f"search/{sigma:g}/pilot", keys, f"searching {sigma:g}, down")
        judge = Chooser(denoiser if sampler.network else None, others, pilot, batch_size, sources=sources)
        up, down = sampler_calls_each(sampler, flow, numerics.solver, sigmas)
        calls = up * len(sources) + down * len(keys) + judge.calls
        if sampler.calibrate and sigmas is grids[-1]:
            calls += calibration_calls(len(sources), carrier.steps)
        rows.append((carrier.sigma, judge.discrepancy(), judge.copies, calls if sampler.network else 0))
    best = min(rows, key=lambda row: row[1])
    searched = [
        SearchedLevel(sigma=row[0], discrepancy=row[1], copies=row[2], calls=row[3], chosen=row is best) for row in rows
    ]
    if run.ranks.main:
        write_kept(kept, to_json(searched))
    run.ranks.wait()
    return searched
