"""What a domain's own symmetries do to its latents, and what they are worth to a prior."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from farfield.command.analyse import Check, LevelSymmetry, Separated, Symmetries
from farfield.core.artifact import Images, Latents, Score
from farfield.core.interval import mean_score
from farfield.data.subset import choose
from farfield.data.symmetry import SAVED, apply, augment, group
from farfield.study.bench.run import Run
from farfield.study.unseen.ladder import Ladder
from farfield.unseen.geometry import pair_distances
from farfield.unseen.normality import normality
from farfield.unseen.prior import LowRankPrior
from farfield.unseen.separability import separability


def symmetry(
    run: Run,
    ladder: Ladder,
    examples: Images,
    latents: dict[float, Latents],
    names: Sequence[str],
    seed: int = 0,
) -> Symmetries:
    """Each example is turned once, by the elements of the group in order, and climbs: a row of measures for each level.

    At each level `LevelSymmetry.separable` holds no image on both sides, and ``gain`` is that of the turned latents of one
    half for the other half under a low-rank prior.
    """
    elements = [name for name in group(names) if name != "identity"]
    applied = {key: elements[i % len(elements)] for i, key in enumerate(examples.keys)}
    everything = augment(examples, names)
    turned = everything.select([f"{key}{SAVED}{name}" for key, name in applied.items()])
    climbed = ladder.climb(run, "latents/turned", turned)
    halves = choose(examples.keys, len(examples) // 2, seed)
    rows: list[LevelSymmetry] = []
    for level, originals in latents.items():
        there = Latents(examples.keys, climbed[level].values, sigma=level)  # by the key of the image that was turned
        expected = torch.stack([apply(z, applied[k]) for k, z in zip(originals.keys, originals.values, strict=True)])
        unit = pair_distances(originals.values).square().mean().sqrt()
        error = (there.values.double() - expected.double()).flatten(1).norm(dim=1) / unit
        of = {n: [i for i, key in enumerate(examples.keys) if applied[key] == n] for n in elements}
        first, second = originals.select(halves[0]).values, there.select(halves[1]).values
        folds = min(5, len(first) // 2)
        rows.append(
            LevelSymmetry(
                sigma=level,
                equivariance=mean_score(error),
                elements={name: float(error[i].mean()) for name, i in of.items() if i},
                separable=Separated(**vars(separability(first, second, folds=folds, seed=seed))) if folds > 1 else None,
                normality=checked(there.values, seed),
                gain=_gain(originals, there, halves),
            )
        )
    return Symmetries(group=list(group(names)), n=len(examples), levels=rows)


def checked(z: Tensor, seed: int) -> list[Check]:
    """The tests of latents ``[n, ...]`` against a Gaussian."""
    return [Check(**vars(check)) for check in normality(z, seed=seed)]


def _gain(originals: Latents, turned: Latents, halves: Sequence[Sequence[str]]) -> Score:
    """Held-out log density with the turned latents less that without, in nats per dimension, over both halves."""
    gains: list[Tensor] = []
    for fitted, held in (halves, halves[::-1]):
        mine, test = originals.select(fitted).values, originals.select(held).values
        more = torch.cat([mine, turned.select(fitted).values])
        gain = LowRankPrior.fit(more).log_prob(test) - LowRankPrior.fit(mine).log_prob(test)
        gains.append(gain / test[0].numel())
    return mean_score(torch.cat(gains))
