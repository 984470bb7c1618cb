"""What a domain's own symmetries do to its latents, and what they are worth to a prior."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from farfield.core.artifact import Images, Latents
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
) -> dict[str, Any]:
    """Each example is turned once, by the elements of the group in order, and climbs: a row of measures for each level.

    Returns:
        ``elements`` and ``levels``; at each level: ``equivariance``, the distance of turned-then-inverted from
        inverted-then-turned latents in units of that between two examples, over all and for each element; ``separable``,
        originals of one half against turned images of the other (no image is on both sides); ``normality``; and
        ``gain``, what the turned latents of one half add to the log density of the other half under a low-rank prior,
        in nats per dimension.
    """
    elements = [name for name in group(names) if name != "identity"]
    applied = {key: elements[i % len(elements)] for i, key in enumerate(examples.keys)}
    everything = augment(examples, names)
    turned = everything.select([f"{key}{SAVED}{name}" for key, name in applied.items()])
    climbed = ladder.climb(run, "latents/turned", turned)
    halves = choose(examples.keys, len(examples) // 2, seed)
    rows = []
    for level, originals in latents.items():
        found = Latents(examples.keys, climbed[level].values, sigma=level)  # by the key of the image that was turned
        expected = torch.stack([apply(z, applied[k]) for k, z in zip(originals.keys, originals.values, strict=True)])
        unit = pair_distances(originals.values).square().mean().sqrt()
        error = (found.values.double() - expected.double()).flatten(1).norm(dim=1) / unit
        of = {n: [i for i, key in enumerate(examples.keys) if applied[key] == n] for n in elements}
        first, second = originals.select(halves[0]).values, found.select(halves[1]).values
        folds = min(5, len(first) // 2)
        rows.append(
            {
                "sigma": level,
                "equivariance": mean_score(error),
                "elements": {name: float(error[i].mean()) for name, i in of.items() if i},
                "separable": separability(first, second, folds=folds, seed=seed) if folds > 1 else None,
                "normality": normality(found.values, seed=seed),
                "gain": _gain(originals, found, halves),
            }
        )
    return {"group": list(group(names)), "n": len(examples), "levels": rows}


def _gain(originals: Latents, turned: Latents, halves: Sequence[Sequence[str]]) -> Any:
    """Held-out log density with the turned latents less that without, in nats per dimension, over both halves."""
    gains: list[Tensor] = []
    for fitted, held in (halves, halves[::-1]):
        mine, test = originals.select(fitted).values, originals.select(held).values
        more = torch.cat([mine, turned.select(fitted).values])
        gain = LowRankPrior.fit(more).log_prob(test) - LowRankPrior.fit(mine).log_prob(test)
        gains.append(gain / test[0].numel())
    return mean_score(torch.cat(gains))
