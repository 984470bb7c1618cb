"""Which noise level to sample at, found on the examples alone (``--sigma auto``)."""

from __future__ import annotations

import math
from dataclasses import replace

from farfield.audit.local import SCALES, Parts
from farfield.command.expand import Sampler
from farfield.command.measures import SearchedLevel
from farfield.command.result import from_json, to_json
from farfield.command.shared import Solving
from farfield.core.artifact import Images, read_kept, write_kept
from farfield.core.interval import Z95
from farfield.core.score import Score
from farfield.data.picture import as_shown, channel_law
from farfield.data.subset import choose
from farfield.diffusion.denoiser import Denoiser
from farfield.study.bench.carrier import Carrier, Finish
from farfield.study.bench.run import Run
from farfield.study.unseen.calibration import calibrate, calibration_calls
from farfield.study.unseen.proposal import DESCENTS, Chooser, Producer, sampler_calls_each
from farfield.unseen.calibration import LEFT_OUT, CalibratedDenoiser

SEARCHED = (5.0, 10.0, 20.0)
"""Levels that are tried, as far as the model knows them."""

STARTS = (0.5, 0.75, 1.1, 1.6, 2.4, 3.5, 5.0, 7.5, 11.0)
"""Levels from which `least_level` tries to walk down."""
STARTED = (1, 2)
"""How many examples are mixed to start from."""
PILOT, FEWEST, CANDIDATES = 48, 8, 3

USUAL = 20.0
"""The level that is taken without a search: with a calibrated denoiser 5, 20 and 40 hardly differ in distance to held-out
images, and copies are fewest at the higher ones."""


def usual_level(denoiser: Denoiser) -> float:
    """`USUAL`, or the model's last level where that is lower."""
    return min(USUAL, denoiser.schedule.sigma_max)


def settle(
    run: Run, flow: Denoiser, given: Images, numerics: Solving, sampler: Sampler, finish: Finish | None
) -> tuple[Sampler, list[SearchedLevel], str | None]:
    """What ``auto`` and ``sdedit`` come to at the usual level: the sampler, the levels that were tried, and what is to be said.

    Sdedit starts from an example or from two that are mixed: each from its `least_level`. Where both make new samples it is an
    example, unless two come nearer to the examples, in the model's features, by more than the interval of the difference.
    ``auto`` is sdedit where one of the two makes new images, and else patchworks, the best of CANDIDATES. Nothing held out is
    looked at.
    """
    if sampler.sampler not in ("auto", "sdedit"):
        return sampler, [], None
    searched = _searched(run, flow, given, numerics, sampler, finish)
    chosen = next((row for row in searched if row.chosen), None)
    if chosen and (sampler.sampler == "sdedit" or chosen.new):
        return replace(sampler, sampler="sdedit", parents=chosen.parents), searched, None
    least = CANDIDATES if len(given) > 2 else 1  # of two there is nothing to tell a copy by
    most = max(2, sampler.parents or 2)
    mixing = replace(sampler, sampler="patchwork", parents=most, candidates=max(least, sampler.candidates))
    rows = [row.but(chosen=False) for row in searched if row.copies is not None]
    if not rows:
        said = f"Fewer than {FEWEST} examples tell nothing of copies"
    else:
        said = "From every level that was tried, examples that are walked down copy more than examples copy one another"
    best = f", the best of {mixing.candidates} candidates" if mixing.candidates > 1 else ""
    return mixing, rows, f"{said}: patchworks were made instead{best} (--sampler auto)."


def _searched(
    run: Run, flow: Denoiser, given: Images, numerics: Solving, sampler: Sampler, finish: Finish | None
) -> list[SearchedLevel]:
    """All levels that were tried, of all starts, one of them chosen."""
    kept = run.folder / "search.json"
    if (known := read_kept(kept)) is not None:
        searched: list[SearchedLevel] = from_json(list[SearchedLevel], known, str(kept))
        return searched
    rows: list[SearchedLevel] = []
    for parents in [sampler.parents] if sampler.parents else STARTED:
        walking = replace(sampler, sampler="sdedit", parents=parents, candidates=1)
        rows += least_level(run, flow, given, numerics, walking, finish)
    best: SearchedLevel | None = None
    for row in (row for row in rows if row.new):
        if best is None or _gap(best, row) > Z95 * math.hypot(best.error or 0.0, row.error or 0.0):
            best = row
    best = best or min(rows, key=lambda row: row.copies or 0.0)
    rows = [row for row in rows if row is not best] + [best.but(chosen=True)]
    if run.ranks.main:
        write_kept(kept, to_json(rows))
    run.ranks.wait()
    return rows


def least_level(
    run: Run, flow: Denoiser, given: Images, numerics: Solving, sampler: Sampler, finish: Finish | None
) -> list[SearchedLevel]:
    """The lowest level from which examples, walked down, copy no more than examples copy one another.

    The lower the level, the more of an example is left, and the likelier the sample; the higher, the newer. Of a pilot no larger
    share of the wholes, of the quarters or of the cells may be copies than one half of the examples has of the other, give or
    take a standard error of the difference. Levels are tried upwards, from the one where denoising is left with a fifth of what
    the examples vary by, until one passes or copies more than the one before.

    Returns:
        A row for each level that was tried, ``new`` and with its discrepancy the one that passes; with fewer than FEWEST
        examples, which tell nothing of copies, the usual level alone.
    """
    top, tried = usual_level(flow), f"search/{sampler.mixed}"
    levels = [s for s in STARTS if flow.schedule.sigma_min < s < top] if len(given) >= FEWEST else []
    parts = Parts.of(as_shown(given.values), grids=_grids(given)) if levels else None
    usual = _usual_copies(given) if levels else []
    keys = [f"{s:06d}" for s in range(PILOT)]
    rows: list[SearchedLevel] = []
    for sigma in (s for s in levels if _left(flow, s) > 0.2):
        carrier = Carrier.of(numerics, flow, flow.schedule.sigmas(numerics.steps, sigma))
        producer = Producer(carrier, given, None, sampler, finish)
        pilot = producer.pilot(run, f"{tried}-{sigma:g}/pilot", keys, f"trying {sigma:g} of {sampler.mixed}")
        shares = parts.shares(as_shown(pilot.values)) if parts else []
        calls = PILOT * sampler_calls_each(sampler, flow, numerics.solver, carrier.sigmas)[1]
        pairs = zip(shares, usual, strict=True)
        new = all(share.value - real <= math.hypot(_error(share), error) for share, (real, error) in pairs)
        copies = max(share.value for share in shares)
        worse = bool(rows) and copies > (rows[-1].copies or 0.0)  # what a higher level makes is all alike
        apart = error = None
        if new:
            asked = flow.denoiser if isinstance(flow, CalibratedDenoiser) and sampler.network else None
            judge = Chooser(asked, given, pilot, numerics.loading.batch_size)
            apart, error, calls = judge.discrepancy(), judge.error(), calls + (judge.calls if sampler.network else 0)
        rows.append(
            SearchedLevel(
                sigma=carrier.sigma,
                parents=sampler.mixed,
                discrepancy=apart,
                error=error,
                copies=copies,
                new=new,
                calls=calls,
                chosen=False,
            )
        )
        if new or worse:
            break
    last = float(flow.schedule.sigmas(numerics.steps, top)[0])
    return rows or [SearchedLevel(sigma=last, parents=sampler.mixed, chosen=False)]


def _gap(one: SearchedLevel, other: SearchedLevel) -> float:
    return (one.discrepancy or 0.0) - (other.discrepancy or 0.0)


def _error(share: Score) -> float:
    """A standard error of a share, to the side on which it is wider."""
    return max(share.value - (share.low or 0.0), (share.high or 1.0) - share.value) / Z95


def _usual_copies(given: Images) -> list[tuple[float, float]]:
    """At each scale, the share of parts of one half of the examples that copy the other half's, and its standard error."""
    first, second = (given.select(keys).values for keys in choose(given.keys, len(given) // 2, 0))
    ways = [
        Parts.of(as_shown(known), grids=_grids(given)).shares(as_shown(new))
        for known, new in ((first, second), (second, first))
    ]
    return [((a.value + b.value) / 2, math.hypot(_error(a), _error(b)) / 2) for a, b in zip(*ways, strict=True)]


def _grids(given: Images) -> list[int]:
    """Of wholes, quarters and cells those that images of this size have."""
    return [grid for grid in SCALES.values() if grid <= min(given.values.shape[2:])]


def _left(flow: Denoiser, sigma: float) -> float:
    """What part of the examples' variance is left unknown at a level; all of it, where that was not measured."""
    if not isinstance(flow, CalibratedDenoiser):
        return 1.0
    nearest = int((flow.levels - sigma).abs().argmin())
    mean, all_ = (flow.fits[nearest].errors[LEFT_OUT.index(name)].mean() for name in ("mean", "all"))
    return float(all_ / mean)


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
