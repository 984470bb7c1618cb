"""Images climb through several noise levels in one pass, and come down again from each: by noise, or disturbed.

The ODE is carried from level to level, so that latents at seven levels cost no more than those at the highest.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

import torch
from torch import Tensor

from farfield.core.artifact import Images, Latents
from farfield.core.error import FarfieldError
from farfield.core.runtime import Advance, exact_matmul, generator, state_dtype
from farfield.diffusion.denoiser import Denoiser
from farfield.diffusion.schedule import Schedule
from farfield.diffusion.solver import integrate
from farfield.study.bench.run import Run
from farfield.unseen.geometry import slerp
from farfield.unseen.inversion import decode, from_latent, to_latent

STANDARD = (2.0, 5.0, 10.0, 20.0, 40.0)
"""Levels that are looked at, as far as the model knows them, besides its last."""

Work = Callable[[tuple[str, ...], Advance], Images]


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
    """The levels of one model, with the steps of a climb to the highest and of a descent from it."""

    denoiser: Denoiser
    levels: Sequence[float]
    steps: int
    down_steps: int
    solver: str = "multistep"

    @property
    def device(self) -> torch.device:
        held = chain(self.denoiser.parameters(), self.denoiser.buffers())
        return next((t.device for t in held), torch.device("cpu"))

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
            schedule.sigmas(finer * self._part(self.steps, low, high, 2), high, low)
            for low, high in pairwise([schedule.sigma_min, *self.levels])
        ]

    def check(self) -> None:
        """Refuse levels and steps that the model cannot do, before a folder is begun with them."""
        self.grids(2)
        for level in self.levels:
            self.denoiser.schedule.sigmas(self.calls(level), level)

    def climb(self, run: Run, name: str, images: Images, size: int, *, finer: int = 1) -> dict[float, Latents]:
        """Latents of images at every level, kept under ``<name>/<level>``; ``finer`` multiplies the steps."""
        found: dict[float, Latents] = {}
        below: Latents | None = None
        for level, grid in zip(self.levels, self.grids(finer), strict=True):
            start: Images | Latents = below or images

            def work(
                keys: tuple[str, ...], advance: Advance, grid: Tensor = grid, start: Images | Latents = start
            ) -> Latents:
                with exact_matmul():
                    x = self._state(start.select(keys))
                    x = integrate(self.denoiser, x, grid.flip(0), self.solver, callback=lambda step: advance(len(keys)))
                return Latents(keys, to_latent(x, x.new_tensor(float(grid[0]))).cpu(), sigma=float(grid[0]))

            below = found[level] = run.compute(
                f"{name}/{level:.4g}", Latents, images.keys, size, work, f"{name}, to {level:.4g}", len(grid) - 1
            )
        return found

    def stochastic(self, latents: Latents, eta: float) -> Work:
        """Descents with DDIM's noise, by Euler; the noise of a row depends on its key alone."""
        grid = self.denoiser.schedule.sigmas(self.calls(latents.sigma), latents.sigma)

        def work(keys: tuple[str, ...], advance: Advance) -> Images:
            x = self._place(latents.select(keys).values)
            seeds = [_seed(key) for key in keys]
            with exact_matmul():
                x = integrate(
                    self.denoiser,
                    from_latent(x, grid[0].to(x)),
                    grid,
                    "euler",
                    eta=eta,
                    seeds=seeds,
                    callback=lambda step: advance(len(keys)),
                )
                x = self.denoiser.decode(x)
            return Images(keys, x.float().cpu())

        return work

    def disturbed(self, latents: Latents, share: float) -> Work:
        """Deterministic descents of latents turned towards N(0, I): 0 is the latent, 1 a fresh draw."""
        grid = self.denoiser.schedule.sigmas(self.calls(latents.sigma), latents.sigma)

        def work(keys: tuple[str, ...], advance: Advance) -> Images:
            z = self._place(toward_noise(latents.select(keys), share).values)
            with exact_matmul():
                x = decode(self.denoiser, z, grid, self.solver, lambda step: advance(len(keys)))
            return Images(keys, x.float().cpu())

        return work

    def _part(self, steps: int, low: float, high: float, least: int) -> int:
        """Steps between two levels, of so many from the lowest to the highest: as many as its share of log sigma."""
        schedule = self.denoiser.schedule
        return max(least, round(steps * math.log(high / low) / math.log(self.levels[-1] / schedule.sigma_min)))

    def _state(self, rows: Images | Latents) -> Tensor:
        """Of the ODE: latents at their level, and images at the lowest, where they live as they are."""
        x = self._place(rows.values)
        return from_latent(x, x.new_tensor(rows.sigma)) if isinstance(rows, Latents) else self.denoiser.encode(x)

    def _place(self, values: Tensor) -> Tensor:
        return values.to(self.device, state_dtype(self.device))


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
