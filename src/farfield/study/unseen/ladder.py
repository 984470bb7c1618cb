"""Images climb through several noise levels in one pass, and come down again from each: by noise, or disturbed.

The ODE is carried from level to level, so that latents at seven levels cost no more than those at the highest.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from farfield.command.shared import Solving
from farfield.core.artifact import Images, Latents
from farfield.core.error import FarfieldError
from farfield.core.runtime import Advance, generator
from farfield.diffusion.denoiser import Denoiser
from farfield.diffusion.schedule import Schedule
from farfield.diffusion.solver import network_calls
from farfield.study.bench.carrier import Carrier, as_images
from farfield.study.bench.run import Run
from farfield.unseen.geometry import slerp

STANDARD = (2.0, 5.0, 10.0, 20.0, 40.0)
"""Levels that are looked at, as far as the model knows them, besides its last."""


def find_levels(schedule: Schedule, asked: Sequence[float] | None) -> list[float]:
    """The levels to look at, ascending, as the model was trained at them; what was asked for must be known to it."""
    last = schedule.sigma_max
    if asked is None:
        asked = [*(s for s in STANDARD if 4 * schedule.sigma_min < s < last / 1.2), last]
    for level in asked:
        if not level > schedule.sigma_min * (1 + 1e-6):
            raise FarfieldError(
                f"level {level:g}: expected one above the lowest, where images live; this model knows "
                f"{schedule.sigma_min:.4g} to {last:.4g}"
            )
    return sorted({float(schedule.sigmas(1, level)[0]) for level in asked})


@dataclass(frozen=True)
class Ladder:
    """The levels of one model: a climb to the highest takes the steps of ``numerics``, a descent from it ``down_steps``."""

    denoiser: Denoiser
    levels: Sequence[float]
    numerics: Solving
    down_steps: int

    def calls(self, level: float) -> int:
        """Steps of a descent from a level: a part of those from the highest, at least 4."""
        return self._part(self.down_steps, self.denoiser.schedule.sigma_min, level, 4)

    def grids(self, finer: int = 1) -> list[Tensor]:
        """The descending grid between each level and the one below it.

        Raises:
            FarfieldError: more steps than the model has levels there.
        """
        schedule = self.denoiser.schedule
        return [
            schedule.sigmas(finer * self._part(self.numerics.steps, low, high, 2), high, low)
            for low, high in pairwise([schedule.sigma_min, *self.levels])
        ]

    def check(self) -> None:
        """Refuse levels and steps that the model cannot do, before a folder is begun with them."""
        self.grids(2)
        for level in self.levels:
            self.denoiser.schedule.sigmas(self.calls(level), level)

    def climb(self, run: Run, name: str, images: Images, *, finer: int = 1) -> dict[float, Latents]:
        """Latents of images at every level, kept under ``<name>/<level>``; ``finer`` multiplies the steps."""
        latents: dict[float, Latents] = {}
        below: Images | Latents = images
        for level, grid in zip(self.levels, self.grids(finer), strict=True):
            carrier = Carrier.of(self.numerics, self.denoiser, grid)
            below = latents[level] = carrier.up(run, f"{name}/{level:.4g}", below, f"{name}, to {level:.4g}")
        return latents

    def climb_calls(self, finer: int = 1) -> int:
        """Network calls of an image's climb."""
        return sum(network_calls(self.numerics.solver, len(grid) - 1) for grid in self.grids(finer))

    def stochastic(self, latents: Latents, eta: float, advance: Advance | None = None) -> Images:
        """A descent with DDIM's noise, by Euler; the noise of a row depends on its key alone."""
        seeds = [_seed(key) for key in latents.keys]
        return as_images(latents.keys, self._descent(latents.sigma).stochastic(latents, eta, seeds, advance))

    def disturbed(self, latents: Latents, share: float, advance: Advance | None = None) -> Images:
        """A deterministic descent of latents turned towards N(0, I): 0 is the latent, 1 a fresh draw."""
        return self.down(toward_noise(latents, share), advance)

    def down(self, latents: Latents, advance: Advance | None = None) -> Images:
        """A deterministic descent."""
        return as_images(latents.keys, self._descent(latents.sigma).decode(latents, advance=advance))

    def _descent(self, level: float) -> Carrier:
        return Carrier.of(self.numerics, self.denoiser, self.denoiser.schedule.sigmas(self.calls(level), level))

    def _part(self, steps: int, low: float, high: float, least: int) -> int:
        """Steps between two levels, of so many from the lowest to the highest: as many as its share of log sigma."""
        schedule = self.denoiser.schedule
        return max(least, round(steps * math.log(high / low) / math.log(self.levels[-1] / schedule.sigma_min)))


def toward_noise(latents: Latents, share: float) -> Latents:
    """Each latent turned by ``share`` of the way to a draw of N(0, I) of its own, the same for every share and level."""
    rows = []
    for key, z in zip(latents.keys, latents.values.double(), strict=True):
        rows.append(
            slerp(z, torch.randn(z.shape, generator=generator(_seed(key), "noise"), dtype=torch.float64), share)
        )
    return Latents(latents.keys, torch.stack(rows), sigma=latents.sigma)


def _seed(key: str) -> int:
    return zlib.crc32(key.encode(errors="surrogateescape"))
