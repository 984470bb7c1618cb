r"""Does a model denoise as it should, and would it do better if it were read in another way?

Images are noised, :math:`x = x_0 + \sigma n`, and given to the denoiser. Its error :math:`|D - x_0|^2 / d` stands beside those of
three trivial denoisers, with :math:`m = E|x_0|^2 / d`: the noisy image itself (:math:`\sigma^2`), zero (m), and the best
multiple of the noisy image, :math:`m \sigma^2 / (m + \sigma^2)`: all that can be done about white data (Wiener). Neighbouring
pixels of pictures are alike, so a trained network that is read rightly is far below the last.

Of each image the logarithm of its error over that of the best multiple is averaged over the levels. These numbers are compared
between readings, image by image with the same noise; intervals are Student's, at 95 %, over the images.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor

from farfield.core.artifact import Score
from farfield.core.error import FarfieldError
from farfield.core.interval import mean_score
from farfield.core.runtime import Advance, seeded_noise
from farfield.diffusion.denoiser import Denoiser
from farfield.diffusion.reading import Readings
from farfield.diffusion.schedule import Schedule

MATTERS: Final = 1.1
"""Readings whose errors differ by less than this factor are the same for all that is done with them."""
LEVELS: Final = 5
LOWEST: Final = 0.1
HIGHEST: Final = 10.0
FAR: Final = 3.0
"""Readings that are worse than the best by more than this factor, at first look, are not looked at again."""
_WORST: Final = 1e30  # what is not finite counts as

Verdict = Literal["understood", "misread", "undecided", "senseless"]


@dataclass(frozen=True)
class Tried:
    """How a reading denoises.

    Attributes:
        name: of the reading.
        changes: what differs from the present one.
        errors: mean error at each level.
        ratio: error over that of the best multiple of the noisy image, geometric mean over levels and images.
        against: error over that of the present reading, likewise.
        finite: whether all of its answers are numbers.
    """

    name: str
    changes: dict[str, str]
    errors: tuple[float, ...]
    ratio: Score
    against: Score
    finite: bool


@dataclass(frozen=True)
class Sanity:
    """What was found.

    Attributes:
        n: images.
        sigmas: levels.
        power: m, the mean square of the images.
        trivial: errors at each level of the ``image`` itself, of ``zero``, and of the best ``multiple``.
        present: as the model is read now.
        others: the other readings, the best first.
        far: how many more were `FAR` from the best at first look.
    """

    n: int
    sigmas: tuple[float, ...]
    power: float
    trivial: dict[str, tuple[float, ...]]
    present: Tried
    others: tuple[Tried, ...]
    far: int

    @property
    def verdict(self) -> Verdict:
        """``understood``; ``misread``: `better` is; ``undecided``: more images would tell; ``senseless``: nothing denoises."""
        if self.better is not None:
            return "misread"
        if _low(self.present.ratio) > 1 and not self.open:
            return "senseless"
        return "understood" if _high(self.present.ratio) < 1 and not self.open else "undecided"

    @property
    def better(self) -> Tried | None:
        """The best reading, where it denoises and is better than the present one, both beyond error, and it matters."""
        candidates = (t for t in self.others if _high(t.against) < 1 / MATTERS and _high(t.ratio) < 1)
        return next(candidates, None)

    @property
    def open(self) -> tuple[Tried, ...]:
        """Readings that could be better than the present one: more images would tell."""
        return tuple(t for t in self.others if _low(t.against) < 1 / MATTERS <= _high(t.against))

    @property
    def same(self) -> tuple[Tried, ...]:
        """Other readings that differ from the present one by less than matters; not those that are the same network."""
        near = (t for t in self.others if _low(t.against) >= 1 / MATTERS and _high(t.against) <= MATTERS)
        return tuple(t for t in near if abs(t.against.value - 1) > 1e-6)


def levels(schedule: Schedule, n: int = LEVELS) -> Tensor:
    """The levels that are tried: equally spaced in log sigma between 0.1 and 10, as far as the schedule knows them."""
    low, high = max(LOWEST, schedule.sigma_min), min(HIGHEST, schedule.sigma_max)
    if low >= high:
        low, high = schedule.sigma_min, schedule.sigma_max
    return torch.logspace(math.log10(low), math.log10(high), n, dtype=torch.float64)


def first_look(
    groups: Sequence[Readings],
    pictures: Mapping[str, Tensor],
    sigmas: Tensor,
    *,
    batch_size: int = 32,
    report: Advance | None = None,
) -> tuple[str, frozenset[str]]:
    """Which kind of pictures a model denoises best, in whatever reading, and which readings are worth a second look there.

    A model that has seen nothing but digits makes digits of everything, and how badly it does then says nothing of how it is
    to be read.

    Args:
        groups: the first reading of the first is the present one; it is always worth it.
        pictures: a few of each kind.
    """
    x0 = torch.cat(list(pictures.values()))
    sizes = [len(part) for part in pictures.values()]
    power = torch.cat([part.double().square().mean().expand(len(part)) for part in pictures.values()])
    logs = _logs(_measured(groups, x0, sigmas, None, batch_size, report)[1], multiple_errors(x0, sigmas, power))
    means = torch.stack([part.mean(1) for part in logs.split(sizes, dim=1)], 1)
    best = int(means.min(0).values.argmin())
    names = [name for group in groups for name in group.names]
    worth = means[:, best] <= means[:, best].min() + math.log(FAR)
    return list(pictures)[best], frozenset(n for n, w in zip(names, worth.tolist(), strict=True) if w) | {names[0]}


def examine(
    groups: Sequence[Readings],
    x0: Tensor,
    sigmas: Tensor,
    *,
    keep: Collection[str] | None = None,
    batch_size: int = 32,
    report: Advance | None = None,
) -> Sanity:
    """Denoise the same noisy images in every reading.

    Args:
        groups: the first reading of the first is the present one.
        x0: ``[n, *shape]``, at least four; image k has the noise of seed k.
        keep: only readings of these names, the present one among them.
        report: told the images that were denoised, ``n * len(sigmas)`` for each reading.

    Raises:
        FarfieldError: too few images, or images without content.
    """
    n, power = len(x0), float(x0.double().square().mean())
    if n < 4 or not 0 < power < math.inf:
        raise FarfieldError(
            f"{n} images of mean square {power:g}: expected at least 4, which are not all zero; give others"
        )
    changes, errors = _measured(groups, x0, sigmas, keep, batch_size, report)
    multiple = multiple_errors(x0, sigmas, torch.tensor(power, dtype=torch.float64))
    logs = _logs(errors, multiple)
    tried = [
        Tried(
            ", ".join(f"{what} {value}" for what, value in changed.items()) or "as read",
            changed,
            tuple(errors[k].mean(1).tolist()),
            _factor(logs[k]),
            _factor(logs[k] - logs[0]),
            bool(errors[k].isfinite().all()),
        )
        for k, changed in enumerate(changes)
    ]
    trivial = {
        "image": tuple((sigmas**2).tolist()),
        "zero": (power,) * len(sigmas),
        "multiple": tuple(multiple.mean(1).tolist()),
    }
    others = tuple(sorted(tried[1:], key=lambda t: t.ratio.value))
    far = sum(len(group.names) for group in groups) - len(tried)
    return Sanity(n, tuple(sigmas.tolist()), power, trivial, tried[0], others, far)


@torch.no_grad()
def _measured(
    groups: Sequence[Readings],
    x0: Tensor,
    sigmas: Tensor,
    keep: Collection[str] | None,
    batch_size: int,
    report: Advance | None,
) -> tuple[list[dict[str, str]], Tensor]:
    """What each reading changes, and its errors ``[readings, levels, n]`` float64."""
    changes: list[dict[str, str]] = []
    parts: list[Tensor] = []
    for group in groups:
        if keep is not None and not any(name in keep for name in group.names):
            continue
        tried = [r for r in group.open() if keep is None or r.name in keep]
        errors = torch.empty(len(tried), len(sigmas), len(x0), dtype=torch.float64)
        for i, sigma in enumerate(sigmas.tolist()):
            noise = _noise(len(x0), x0.shape[1:], i)
            for rows in torch.arange(len(x0)).split(batch_size):
                for k, reading in enumerate(tried):  # neighbours share the network's answer
                    errors[k, i, rows] = _error(reading.denoiser, x0[rows].double(), noise[rows], sigma)
                    if report:
                        report(len(rows))
        changes += [dict(r.changes) for r in tried]
        parts.append(errors)
    return changes, torch.cat(parts)


def multiple_errors(x0: Tensor, sigmas: Tensor, power: Tensor) -> Tensor:
    r"""Errors of :math:`\frac{m}{m + \sigma^2} x` for the same noisy images, ``[levels, n]``; m is ``power``, one or ``[n]``."""
    errors = torch.empty(len(sigmas), len(x0), dtype=torch.float64)
    for i, sigma in enumerate(sigmas.tolist()):
        x = x0.double() + sigma * _noise(len(x0), x0.shape[1:], i)
        factor = (power / (power + sigma**2)).expand(len(x0)).reshape(-1, *(1,) * (x0.ndim - 1))
        errors[i] = (factor * x - x0).square().flatten(1).mean(1)
    return errors


def _noise(n: int, shape: torch.Size, level: int) -> Tensor:
    return seeded_noise(range(n), shape, f"sanity-{level}").double()


def _logs(errors: Tensor, multiple: Tensor) -> Tensor:
    """Logarithm of error over the best multiple's, averaged over the levels: ``[readings, n]``."""
    return (errors.nan_to_num(_WORST, _WORST).clamp(1 / _WORST, _WORST) / multiple).log().mean(1)


def _error(denoiser: Denoiser, clean: Tensor, noise: Tensor, sigma: float) -> Tensor:
    place = denoiser.device
    dtype = torch.float32 if place.type == "mps" else torch.float64
    x = (clean + sigma * noise).to(place, dtype)
    answer = denoiser(x, torch.tensor(sigma, dtype=dtype, device=place))
    return (answer.cpu().double() - clean).square().flatten(1).mean(1)


def _factor(logs: Tensor) -> Score:
    """The geometric mean and its interval."""
    mean = mean_score(logs, most=700.0)
    ends = (None if end is None else math.exp(end) for end in (mean.low, mean.high))
    return Score(math.exp(mean.value), mean.n, *ends)


def _low(score: Score) -> float:
    return -math.inf if score.low is None else score.low


def _high(score: Score) -> float:
    return math.inf if score.high is None else score.high
