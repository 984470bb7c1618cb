"""Mode interference and bandwidth: images come down from every level, by noise and disturbed, and are judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch import Tensor

from farfield.audit.distribution import kernel_distance
from farfield.command.analyse import Descended, Interference, KeptShare, Way, WayKept
from farfield.core.artifact import Images, Latents, Score
from farfield.core.interval import mean_score, proportion
from farfield.core.runtime import Advance
from farfield.data.picture import as_shown
from farfield.study.bench.measure import Describe
from farfield.study.bench.run import Run
from farfield.study.unseen.ladder import Ladder
from farfield.unseen.bandwidth import recommended_level
from farfield.unseen.geometry import pair_distances
from farfield.unseen.interference import Border


@dataclass(frozen=True)
class Judge:
    """The border between two domains, and all that a decoded image is held against."""

    run: Run
    describe: Describe
    label: str
    border: Border
    examples: Images
    gap: Score

    @staticmethod
    def fit(run: Run, describe: Describe, label: str, examples: Images, training: Images, seed: int) -> Judge:
        known = describe(run, sets={"examples": examples, "in_domain": training})
        border = Border.fit(known["examples"].values, known["in_domain"].values, seed=seed)
        gap = kernel_distance(real=known["in_domain"], generated=known["examples"])
        return Judge(run, describe, label, border, examples, gap)

    @property
    def floor(self) -> Score:
        """The share of real examples that are taken for the training domain: what can be told from nothing."""
        return proportion(self.border.examples.captured, len(self.border.examples.drift))

    def report(self, keys: Sequence[str], curves: list[Descended]) -> Interference:
        """How well the border tells images that it did not see, and what became of those that came down."""
        training = self.border.training
        return Interference(
            descriptor=self.label,
            floor=self.floor,
            recognised=proportion(training.captured, len(training.drift)),
            decoded=len(keys),
            keys=list(keys),
            curves=curves,
            gap=self.gap,
        )

    def drift(self, name: str, images: Images) -> Tensor:
        """Place between the domains' means of images that came of no single example, ``[n]``."""
        shown = Images(images.keys, as_shown(images.values))
        return self.border.judge(self.describe(self.run, sets={name: shown})[name].values).drift

    def rows(self, level: float, decoded: Images) -> list[Descended]:
        """What became of the images that came down from a level, a row for each way and strength."""
        shown = Images(decoded.keys, as_shown(decoded.values))
        name = f"decoded/{level:.4g}"
        described = self.describe(self.run, sets={name: shown})[name].values
        place = {key: i for i, key in enumerate(self.examples.keys)}
        rows = []
        for job in dict.fromkeys(_job(key) for key in shown.keys):
            inside = [i for i, key in enumerate(shown.keys) if _job(key) == job]
            sources = [_source(shown.keys[i]) for i in inside]
            judged = self.border.judge(described[inside], [place[key] for key in sources])
            way, at = job.split("-", 1)
            rows.append(
                Descended(
                    way=cast(Way, way),
                    at=float(at),
                    sigma=level,
                    captured=proportion(judged.captured, len(inside)),
                    probability=float(judged.probability.mean()),
                    drift=mean_score(judged.drift),
                    distance=mean_score(self._distance(shown.values[inside], sources)),
                )
            )
        return rows

    def _distance(self, images: Tensor, sources: Sequence[str]) -> Tensor:
        """Root mean square difference from the example it came from, in units of that between two examples."""
        gap = (images.double() - self.examples.select(sources).values.double()).flatten(1).norm(dim=1)
        return gap / pair_distances(self.examples.values).square().mean().sqrt()


def descend(run: Run, ladder: Ladder, latents: Latents, etas: Sequence[float], shares: Sequence[float]) -> Images:
    """Images that come down from one level in every way, under ``eta-0.5/<key>`` and ``noise-0.5/<key>``."""
    ways = {f"eta-{eta:g}": partial(ladder.stochastic, eta=eta) for eta in etas}
    ways |= {f"noise-{share:g}": partial(ladder.disturbed, share=share) for share in shares}
    keys = [f"{job}/{key}" for job in ways for key in latents.keys]

    def work(part: tuple[str, ...], advance: Advance) -> Images:
        rows = [
            ways[job](latents.select([_source(key) for key in part if _job(key) == job]), advance=advance).values
            for job in dict.fromkeys(_job(key) for key in part)
        ]
        return Images(part, torch.cat(rows))

    level, steps = f"{latents.sigma:.4g}", ladder.calls(latents.sigma)
    return run.compute(
        f"decoded/{level}", Images, keys, ladder.numerics.loading.batch_size, work, f"down from {level}", steps
    ).read()


def _job(key: str) -> str:
    return key.split("/", 1)[0]


def _source(key: str) -> str:
    return key.split("/", 1)[1]


def bandwidth(rows: Sequence[Descended], floor: Score) -> list[WayKept]:
    """For each way and strength: the share kept at each level, and the highest level that keeps the domain."""
    ways = []
    for way, at in dict.fromkeys((row.way, row.at) for row in rows):
        part = [row for row in rows if (row.way, row.at) == (way, at)]
        kept = [KeptShare(sigma=row.sigma, kept=_rest(row.captured)) for row in part]
        best = recommended_level([row.sigma for row in part], [row.captured for row in part], floor)
        ways.append(WayKept(way=way, at=at, levels=kept, highest_kept=best))
    return ways


def _rest(share: Score) -> Score:
    """What a share leaves."""
    low, high = (None if end is None else 1 - end for end in (share.high, share.low))
    return Score(1 - share.value, share.n, low, high)
