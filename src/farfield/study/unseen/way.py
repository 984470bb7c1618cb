"""How a sampler goes about a domain's examples, settled before its samples are made."""

from __future__ import annotations

from dataclasses import dataclass, replace

from farfield.command.expand import Sampler
from farfield.command.measures import SearchedLevel
from farfield.command.shared import Solving
from farfield.core.artifact import Images
from farfield.diffusion.denoiser import Denoiser
from farfield.study.bench.carrier import Finish
from farfield.study.bench.run import Run
from farfield.study.unseen.bandwidth import usual_level
from farfield.study.unseen.calibration import calibrate
from farfield.study.unseen.start import settle


@dataclass(frozen=True)
class Way:
    """What a sampler asks, how it starts, the levels that were tried for it, and what is to be said of that."""

    run: Run
    flow: Denoiser
    sampler: Sampler
    searched: list[SearchedLevel]
    said: str | None

    @property
    def sigma(self) -> float | None:
        """The level that samples start from; None for the model's last."""
        usual = usual_level(self.flow) if self.sampler.calibrate else None
        return next((row.sigma for row in self.searched if row.chosen), usual)


def begin(
    run: Run,
    denoiser: Denoiser,
    given: Images,
    numerics: Solving,
    sampler: Sampler,
    finish: Finish | None,
    follows: Way | None = None,
) -> Way:
    """Calibrate, and settle what ``auto`` comes to; or go the way of another sampler, and differ in what is asked alone."""
    flow, searched, said = denoiser, list[SearchedLevel](), None
    if follows:
        searched = follows.searched
        sampler = replace(follows.sampler, network=sampler.network, patches=sampler.patches)
    if sampler.calibrate:
        sigmas = denoiser.schedule.sigmas(numerics.steps, usual_level(denoiser))
        flow = calibrate(run, denoiser, given, sigmas, numerics.loading.batch_size, sampler)
    if not follows:
        sampler, searched, said = settle(run, flow, given, numerics, sampler, finish)
    return Way(run, flow, sampler, searched, said)
