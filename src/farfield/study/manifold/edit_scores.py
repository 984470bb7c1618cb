"""What each move of `farfield edit` did to the images, against the images as they came back without one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from farfield.audit.labelled import Classifier
from farfield.command.edit import Move
from farfield.core.artifact import Images, Score
from farfield.core.interval import bootstrap, mean_score, proportion
from farfield.manifold.edit import change, departure
from farfield.study.manifold.edit_labels import perceive
from farfield.unseen.inversion import round_trip


@dataclass(frozen=True)
class Shift:
    """A move's name and strength, what it adds to each latent ``[n, *shape]``, and the moves whose sum it is, by index."""

    name: str
    strength: float
    values: Tensor
    parts: tuple[int, ...] = ()


class Scores:
    """Measures moves one by one: ``edits`` hold every image after every move (`key`), ``base`` the images as they came back."""

    def __init__(self, edits: Images, base: Images, mask: Tensor, judge: Classifier | None):
        self.edits, self.base, self.mask, self.judge = edits, base, mask, judge
        self.seen = perceive(base.values) if base.shape[0] in (1, 3) else None
        self.before = self._judged(self.seen)

    def _judged(self, features: Tensor | None) -> Tensor | None:
        """The probability of the attribute, ``[n]``."""
        return None if self.judge is None or features is None else self.judge.probabilities(features)[:, 1]

    def _images(self, index: int) -> Tensor:
        return self.edits.select([key(k.rpartition("/")[0], index) for k in self.base.keys]).values

    def move(self, shift: Shift, index: int) -> Move:
        """Mean absolute change on either side of the mask in units of the range of 2, likeness, and what the judge says."""
        edited = self._images(index)
        apart = change(edited, self.base.values, self.mask)
        inside, outside = apart.inside / 2, apart.outside / 2
        around = not bool(self.mask.all())
        alone = [self._images(i) for i in shift.parts]
        features = None if self.seen is None else perceive(edited)
        after = self._judged(features)
        flips = None if after is None or self.before is None else (after > 0.5) != (self.before > 0.5)
        alike = None if self.seen is None or features is None else (features * self.seen).sum(1)
        return Move(
            name=shift.name,
            strength=shift.strength,
            index=index,
            length=mean_score(shift.values.double().flatten(1).norm(dim=1), 0.0),
            inside=mean_score(inside, least=0.0),
            outside=mean_score(outside, least=0.0) if around else None,
            ratio=_ratio(inside, outside) if around and float(outside.mean()) > 0 else None,
            ssim=mean_score(round_trip(self.base.values, edited).ssim, -1.0, 1.0),
            perceived=None if alike is None else mean_score((1 - alike).clamp(min=0), 0.0, 2.0),
            flipped=None if flips is None else proportion(int(flips.sum()), len(flips)),
            toward=None if after is None or self.before is None else mean_score(after - self.before, -1.0, 1.0),
            departure=mean_score(departure(edited, alone, self.base.values), 0.0) if alone else None,
        )


def key(image: str, move: int) -> str:
    """Of one image after one move."""
    return f"{image}/{move:03d}"


def _ratio(values: Tensor, over: Tensor) -> Score:
    """The ratio of two means over the same images, with its bootstrap interval where there are several."""

    def statistic(rows: Tensor) -> float:
        return float(values[rows].mean() / over[rows].mean())

    n = len(values)
    return Score(statistic(torch.arange(n)), n, *bootstrap(statistic, n))
