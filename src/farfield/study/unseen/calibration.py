"""The frozen denoiser calibrated on a domain's examples, its corrections kept in the run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from farfield.core.artifact import Artifact, Images
from farfield.core.runtime import Advance, exact_matmul
from farfield.diffusion.denoiser import Denoiser
from farfield.study.bench.carrier import encode
from farfield.study.bench.run import Run
from farfield.unseen.calibration import CalibratedDenoiser, fit_level

STEPS = 16
"""Steps of the grid of levels at which corrections are fitted; they change slowly from level to level."""

VIEWS = 200
"""Noisy images shown to the network at a level; a few more where the examples do not divide it."""


@dataclass(frozen=True)
class Corrections(Artifact):
    """A row of `unseen.calibration.fit_level` for each level, named by it."""

    kind: ClassVar[str] = "corrections"


def calibrate(
    run: Run, denoiser: Denoiser, examples: Images, sigmas: Tensor, batch_size: int, name: str = "calibration"
) -> CalibratedDenoiser:
    """The denoiser corrected on the examples for the levels of a decoder's grid ``sigmas``."""
    levels = denoiser.schedule.sigmas(min(STEPS, len(sigmas) - 1), float(sigmas[0])).flip(0)
    keys = [f"{i:03d} {float(s):.6g}" for i, s in enumerate(levels)]
    place = {key: i for i, key in enumerate(keys)}
    x0 = encode(denoiser, examples)

    def work(part: tuple[str, ...], advance: Advance) -> Corrections:
        rows = []
        for key in part:
            i = place[key]
            with exact_matmul():
                rows.append(fit_level(denoiser, x0, float(levels[i]), index=i, views=VIEWS, batch_size=batch_size))
            advance(1)
        return Corrections(part, torch.stack(rows))

    fitted = run.compute(name, Corrections, keys, 4, work, "calibrating").read()
    return CalibratedDenoiser(denoiser, x0.mean(0), levels, fitted.values)


def calibration_calls(examples: int, steps: int) -> int:
    """Network calls of a calibration on so many examples, for a decoder of so many steps."""
    return (min(STEPS, steps) + 1) * 2 * max(1, -(-VIEWS // (2 * examples))) * examples
