"""A walk between two examples by their latents, about the mean of all and about the origin: does it leave the domain?"""

from __future__ import annotations

from typing import Final

import torch

from farfield.command.analyse import Centre, Stop, Walk
from farfield.core.artifact import Images, Latents
from farfield.core.interval import mean_score
from farfield.core.runtime import Advance
from farfield.study.bench.run import Run
from farfield.study.unseen.interference import Judge
from farfield.study.unseen.ladder import Ladder
from farfield.unseen.geometry import walk as between

STOPS: Final = (0.0, 0.25, 0.5, 0.75, 1.0)
PAIRS: Final = 4
CENTRES: Final[tuple[Centre, ...]] = ("mean", "origin")
WALKED: Final = "walk"
"""The folder of the images, ``<centre>-<stop>/<pair>``."""


def walk_calls(ladder: Ladder, examples: int) -> int:
    """Images through the network."""
    return len(CENTRES) * len(STOPS) * min(PAIRS, examples // 2) * ladder.calls(ladder.levels[-1])


def walk(run: Run, ladder: Ladder, judge: Judge, latents: Latents) -> Walk:
    """From one example to the next, for the first pairs of them, and where their images stand between the two domains."""
    z = latents.values.double()
    pairs = [(2 * i, 2 * i + 1) for i in range(min(PAIRS, len(z) // 2))]
    rows: dict[str, torch.Tensor] = {}
    for centre in CENTRES:
        about = z.mean(0) if centre == "mean" else None
        for pair, (a, b) in enumerate(pairs):
            for stop, row in zip(STOPS, between(z[a], z[b], STOPS, about), strict=True):
                rows[_key(centre, stop, pair)] = row
    keys = list(rows)

    def work(part: tuple[str, ...], advance: Advance) -> Images:
        there = Latents(part, torch.stack([rows[key] for key in part]), sigma=latents.sigma)
        return ladder.down(there, advance)

    size, steps = ladder.numerics.loading.batch_size, ladder.calls(latents.sigma)
    images = run.compute(WALKED, Images, keys, size, work, "walking between examples", steps).read()
    drift = dict(zip(images.keys, judge.drift(WALKED, images).tolist(), strict=True))
    return Walk(
        sigma=latents.sigma,
        pairs=[[latents.keys[a], latents.keys[b]] for a, b in pairs],
        stops=[
            Stop(
                centre=centre,
                at=stop,
                drift=mean_score(torch.tensor([drift[_key(centre, stop, pair)] for pair in range(len(pairs))])),
            )
            for centre in CENTRES
            for stop in STOPS
        ],
    )


def _key(centre: Centre, stop: float, pair: int) -> str:
    return f"{centre}-{stop:g}/{pair}"
