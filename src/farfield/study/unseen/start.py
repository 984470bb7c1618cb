"""What samples start from where ``auto`` decides: noise, an example under noise, or examples that are mixed.

Every start makes a pilot of images, which is judged on the examples alone: it may copy no more of them than one half of the
examples copies of the other, and of the starts that pass the one is taken whose pilot comes nearest to the examples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from farfield.audit.local import SCALES, Parts
from farfield.command.expand import Sampler
from farfield.command.measures import SearchedLevel
from farfield.command.result import from_json, to_json
from farfield.command.shared import Solving
from farfield.core.artifact import Images, Latents, read_kept, write_kept
from farfield.core.interval import Z95
from farfield.core.score import Score
from farfield.data.picture import as_shown
from farfield.data.subset import choose
from farfield.diffusion.denoiser import Denoiser
from farfield.study.bench.carrier import Carrier, Finish
from farfield.study.bench.run import Run
from farfield.study.unseen.bandwidth import usual_level
from farfield.study.unseen.calibration import calls_each
from farfield.study.unseen.proposal import DESCENTS, Chooser, Producer, sampler_calls_each
from farfield.unseen.calibration import LEFT_OUT, CalibratedDenoiser

LEVELS = (0.5, 0.75, 1.1, 1.6, 2.4, 3.5, 5.0, 7.5, 11.0)
"""Levels from which `least_level` tries to walk down."""
MIXED = (1, 2)
"""How many examples are mixed to start from."""
MIXERS: tuple[Literal["patchwork", "interpolation"], ...] = ("patchwork", "interpolation")
"""Samplers that mix the examples' latents, tried where nothing that is walked down is new."""
PILOT, FEWEST, CANDIDATES = 48, 8, 3


def settle(
    run: Run, flow: Denoiser, given: Images, numerics: Solving, sampler: Sampler, finish: Finish | None
) -> tuple[Sampler, list[SearchedLevel], str | None]:
    """What ``auto`` and ``sdedit`` come to at the usual level: the sampler, the starts that were tried, and what is to be said.

    ``auto`` tries noise, and both try an example and two that are mixed, each from its lowest level. Of those that make new
    images the first is taken, unless a later one comes nearer to the examples, in the model's features, by more than the
    interval of the difference: what holds least of single examples comes first. Where none is new ``auto`` tries MIXERS of
    latents too; where these are no newer, what copies least is taken, and it is said. Nothing held out is looked at.
    """
    if sampler.sampler not in ("auto", "sdedit"):
        return sampler, [], None
    rows = Trials(run, flow, given, numerics, sampler, finish).all()
    chosen = next((row for row in rows if row.chosen), None)
    if chosen is None:
        sampler = replace(sampler, sampler="patchwork", parents=max(2, sampler.parents or 2))
        sampler = replace(sampler, candidates=max(CANDIDATES if len(given) > 2 else 1, sampler.candidates))
        best = f", the best of {sampler.candidates} candidates" if sampler.candidates > 1 else ""
        said = f"Fewer than {FEWEST} examples tell nothing of copies: patchworks were made{best} (--sampler auto)."
        return sampler, rows, said
    sampler = replace(sampler, sampler=chosen.sampler or sampler.sampler, parents=chosen.parents)
    if chosen.new or chosen.copies is None:
        return sampler, rows, None
    if sampler.sampler in MIXERS:
        sampler = replace(sampler, candidates=max(CANDIDATES, sampler.candidates))
    said = (
        "Every start that was tried copies more than examples copy one another. What copies least was taken: "
        f"{chosen.sampler} from sigma {chosen.sigma:.3g}, of whose pilot {chosen.copies:.0%} are copies, at the scale with most."
    )
    return sampler, rows, said


@dataclass(frozen=True)
class Trials:
    """Pilots of a run's starts, and how each is judged."""

    run: Run
    flow: Denoiser
    given: Images
    numerics: Solving
    sampler: Sampler
    finish: Finish | None

    def all(self) -> list[SearchedLevel]:
        """All that were tried, one of them chosen; none of ``auto`` with fewer than FEWEST examples."""
        kept = self.run.folder / "search.json"
        if (known := read_kept(kept)) is not None:
            searched: list[SearchedLevel] = from_json(list[SearchedLevel], known, str(kept))
            return searched
        auto, told = self.sampler.sampler == "auto", len(self.given) >= FEWEST
        if auto and not told:
            return []
        rows = [self.from_noise()] if auto else []
        for parents in [self.sampler.parents] if self.sampler.parents else MIXED:
            rows += self.from_examples(parents)
        best = first_of([row for row in rows if row.new])
        if auto and not best:
            mixed = [self.from_latents(name) for name in MIXERS]
            best = first_of([row for row in mixed if row.new])
            rows += mixed
            best = best or min(rows, key=lambda row: row.copies or 0.0)
            if best.sampler in DESCENTS:  # else the inversion is counted with the samples
                rows[-1] = rows[-1].but(calls=rows[-1].calls + self._inversion())
        best = best or min(rows, key=lambda row: row.copies or 0.0)
        rows = [row for row in rows if row is not best] + [best.but(chosen=True)]
        if self.run.ranks.main:
            write_kept(kept, to_json(rows))
        self.run.ranks.wait()
        return rows

    def from_noise(self) -> SearchedLevel:
        """From noise around the examples' mean: nothing of a single example is left."""
        return self._tried(replace(self.sampler, sampler="noise", parents=None), usual_level(self.flow))

    def from_examples(self, parents: int) -> list[SearchedLevel]:
        """From examples under noise, ``parents`` mixed, at the lowest level from which they copy no more than examples do.

        The lower the level, the more of an example is left, and the likelier the sample; the higher, the newer. Levels are
        tried upwards, from the one where denoising is left with a fifth of what the examples vary by, until one is new or
        copies more than the one before.

        Returns:
            A row for each level that was tried; with fewer than FEWEST examples, which tell nothing of copies, the usual level
            alone.
        """
        sampler, top = replace(self.sampler, sampler="sdedit", parents=parents), usual_level(self.flow)
        rows: list[SearchedLevel] = []
        for sigma in LEVELS if len(self.given) >= FEWEST else ():
            if self.flow.schedule.sigma_min < sigma < top and self._left(sigma) > 0.2:
                rows.append(self._tried(sampler, sigma))
                worse = len(rows) > 1 and (rows[-1].copies or 0) > (rows[-2].copies or 0)
                if rows[-1].new or worse:  # what a higher level makes is all alike
                    break
        last = float(self.flow.schedule.sigmas(self.numerics.steps, top)[0])
        return rows or [SearchedLevel(sampler="sdedit", sigma=last, parents=parents, chosen=False)]

    def from_latents(self, name: Literal["patchwork", "interpolation"]) -> SearchedLevel:
        """From the examples' latents at the usual level, by one of MIXERS."""
        sampler = replace(self.sampler, sampler=name, parents=max(2, self.sampler.parents or 2))
        carrier = self._carrier(usual_level(self.flow))
        return self._tried(sampler, carrier.sigma, carrier.up(self.run, "latents", self.given, "inverting"))

    def _inversion(self) -> int:
        """Calls that the latents of MIXERS took."""
        if not self.sampler.network:
            return 0
        up, _ = calls_each(self.flow, self.numerics.solver, self._carrier(usual_level(self.flow)).sigmas)
        return up * len(self.given)

    def _tried(self, sampler: Sampler, sigma: float, latents: Latents | None = None) -> SearchedLevel:
        """A pilot of one start, judged on the examples."""
        sampler, carrier = replace(sampler, candidates=1), self._carrier(sigma)
        of = f"{sampler.mixed}" if sampler.sampler == "sdedit" else sampler.sampler
        producer = Producer(carrier, self.given, latents, sampler, self.finish)
        keys = [f"{s:06d}" for s in range(PILOT)]
        pilot = producer.pilot(self.run, f"search/{of}-{sigma:g}/pilot", keys, f"trying {sigma:g} of {of}")
        shares = self._parts.shares(as_shown(pilot.values))
        calls = PILOT * sampler_calls_each(sampler, self.flow, self.numerics.solver, carrier.sigmas)[1]
        pairs = zip(shares, self._usual, strict=True)
        new = all(share.value - real <= math.hypot(_error(share), error) for share, (real, error) in pairs)
        apart = error = None
        if new:
            asked = self.flow.denoiser if isinstance(self.flow, CalibratedDenoiser) and sampler.network else None
            judge = Chooser(asked, self.given, pilot, self.numerics.loading.batch_size)
            apart, error, calls = judge.discrepancy(), judge.error(), calls + (judge.calls if sampler.network else 0)
        return SearchedLevel(
            sampler=sampler.sampler,
            sigma=carrier.sigma,
            parents=None if sampler.sampler in ("noise", "interpolation") else sampler.mixed,
            discrepancy=apart,
            error=error,
            copies=max(share.value for share in shares),
            new=new,
            calls=calls,
            chosen=False,
        )

    def _carrier(self, sigma: float) -> Carrier:
        return Carrier.of(self.numerics, self.flow, self.flow.schedule.sigmas(self.numerics.steps, sigma))

    @cached_property
    def _parts(self) -> Parts:
        return Parts.of(as_shown(self.given.values), grids=self._grids)

    @cached_property
    def _usual(self) -> list[tuple[float, float]]:
        """At each scale, the share of parts of one half of the examples that copy the other half's, and its standard error."""
        given = self.given
        first, second = (given.select(keys).values for keys in choose(given.keys, len(given) // 2, 0))
        ways = [
            Parts.of(as_shown(known), grids=self._grids).shares(as_shown(new))
            for known, new in ((first, second), (second, first))
        ]
        return [((a.value + b.value) / 2, math.hypot(_error(a), _error(b)) / 2) for a, b in zip(*ways, strict=True)]

    @property
    def _grids(self) -> list[int]:
        """Of wholes, quarters and cells those that images of this size have."""
        return [grid for grid in SCALES.values() if grid <= min(self.given.values.shape[2:])]

    def _left(self, sigma: float) -> float:
        """What part of the examples' variance is left unknown at a level; all of it, where that was not measured."""
        if not isinstance(self.flow, CalibratedDenoiser):
            return 1.0
        nearest = int((self.flow.levels - sigma).abs().argmin())
        mean, all_ = (self.flow.fits[nearest].errors[LEFT_OUT.index(name)].mean() for name in ("mean", "all"))
        return float(all_ / mean)


def first_of(rows: Sequence[SearchedLevel]) -> SearchedLevel | None:
    """The first, unless a later one comes nearer than it by more than the interval of the difference; None of none."""
    best: SearchedLevel | None = None
    for row in rows:
        if best is None or _gap(best, row) > Z95 * math.hypot(best.error or 0.0, row.error or 0.0):
            best = row
    return best


def _gap(one: SearchedLevel, other: SearchedLevel) -> float:
    return (one.discrepancy or 0.0) - (other.discrepancy or 0.0)


def _error(share: Score) -> float:
    """A standard error of a share, to the side on which it is wider."""
    return max(share.value - (share.low or 0.0), (share.high or 1.0) - share.value) / Z95
