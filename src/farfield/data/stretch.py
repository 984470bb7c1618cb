"""A reversible map from physical values to about [-1, 1], fitted on the examples and inverted exactly on output.

``v = 2 (g(x) - low) / (high - low) - 1``, a channel at a time, with g by the kind:

- ``linear``: x; low and high are the least and greatest value of the examples.
- ``percentile``: x; low and high are their 1st and 99th percentile.
- ``log``: ln x; ends as for linear. Values must be above 0.
- ``asinh``: asinh((x - centre) / softening); centre is the median, softening 1.4826 times the median absolute
  deviation (the noise of an empty background; Lupton, Gunn and Szalay, astro-ph/9903081). Linear near the centre,
  logarithmic far from it, for any sign.
- ``log1p``: ln(1 + x), fitted on nothing: what a model was trained with, which brings low and high (`model_stretch`).
  Values must be above -1.

Nothing is clipped: values beyond the examples' lie beyond [-1, 1]. All in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from farfield.core.error import FarfieldError, NonFiniteError
from farfield.data.picture import some

KINDS = ("linear", "log", "asinh", "percentile")

TAILS = (1.0, 99.0)
SKEWED = 1.0
"""Skewness, of either sign, from which a linear map wastes the range on the tail."""
RANGE = 3.0
"""Ratio of the 99th to the 1st percentile from which a logarithm spreads positive values."""


@dataclass(frozen=True)
class Channel:
    """The numbers of one channel; ``centre`` and ``softening`` in physical units, ``low`` and ``high`` of g."""

    low: float
    high: float
    centre: float = 0.0
    softening: float = 1.0


@dataclass(frozen=True)
class Stretch:
    """A fitted stretch; ``forward`` and ``inverse`` take ``[n, C, ...]`` with as many channels, and keep NaN."""

    kind: str
    channels: tuple[Channel, ...]
    unit: str = ""

    def forward(self, values: Tensor, keys: Sequence[str] = ()) -> Tensor:
        """Physical values to about [-1, 1], float64. ``keys`` name the fields in errors."""
        x = self._checked(values)
        if self.kind == "log1p" and bool((low := x <= -1).any()):
            raise FarfieldError(
                f"stretch of the model, ln(1 + x): expected values above -1, found {float(x[low].min()):.4g} in "
                f"{_where(low, keys)}; use --stretch asinh, which takes any sign"
            )
        if self.kind == "log" and bool((low := x <= 0).any()):
            raise FarfieldError(
                f"stretch log: expected values above 0, found {float(x[low].min()):.4g} in {_where(low, keys)}; "
                "use --stretch asinh, which takes any sign"
            )
        if self.kind == "log":
            x = x.log()
        elif self.kind == "log1p":
            x = x.log1p()
        elif self.kind == "asinh":
            x = ((x - self._of("centre", x)) / self._of("softening", x)).asinh()
        low, high = self._of("low", x), self._of("high", x)
        stretched = 2 * ((x - low) / (high - low)) - 1
        return _finite(stretched, values, "stretch", keys)

    def inverse(self, values: Tensor, keys: Sequence[str] = ()) -> Tensor:
        """Back to physical values, float64: ``inverse(forward(x)) = x`` up to rounding."""
        v = self._checked(values)
        low, high = self._of("low", v), self._of("high", v)
        x = low + (v + 1) * 0.5 * (high - low)
        if self.kind == "log":
            x = x.exp()
        elif self.kind == "log1p":
            x = x.expm1()
        elif self.kind == "asinh":
            x = self._of("centre", v) + self._of("softening", v) * x.sinh()
        return _finite(x, values, "inverse of the stretch", keys)

    def plus(self, values: Tensor, noise: Tensor, keys: Sequence[str] = ()) -> Tensor:
        """Values in the model's range ``[n, C, ...]`` with noise added in physical units, float64.

        A logarithm takes noise that is below its least value at the slope that it has where it is added.
        """
        x = self.inverse(values, keys)
        noisy = x + noise
        if (least := {"log": 0.0, "log1p": -1.0}.get(self.kind)) is not None:
            above = x - least
            noisy = torch.where(noisy > least, noisy, least + above / (1 - noise / above))
        return self.forward(noisy, keys)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def _of(self, name: str, like: Tensor) -> Tensor:
        numbers = [getattr(c, name) for c in self.channels]
        return torch.tensor(numbers, dtype=torch.float64).view(1, -1, *[1] * (like.ndim - 2))

    def _checked(self, values: Tensor) -> Tensor:
        if values.ndim < 2 or values.shape[1] != len(self.channels):
            raise FarfieldError(
                f"stretch: expected [n, {len(self.channels)}, ...] as fitted, found {list(values.shape)}"
            )
        return values.detach().cpu().double()


def fit_stretch(kind: str, values: Tensor, *, unit: str = "", keys: Sequence[str] = ()) -> Stretch:
    """Fit a stretch on examples ``[n, C, ...]``; NaN is no data. ``kind`` is one of KINDS, or ``auto`` (`choose_kind`)."""
    if kind not in ("auto", *KINDS):
        raise FarfieldError(f"stretch {kind!r}: expected auto, {', '.join(KINDS)}, model")
    columns = [_data(values[:, c], c) for c in range(values.shape[1])]
    if kind == "auto":
        kind = choose_kind(columns)
    if kind == "log" and bool((low := values <= 0).any()):
        raise FarfieldError(
            f"stretch log: expected values above 0, found {float(values[low].min()):.4g} in {_where(low, keys)}; "
            "use --stretch asinh, which takes any sign"
        )
    return Stretch(kind, tuple(_fit(kind, x) for x in columns), unit)


BRIGHTEST = (-0.5, 1.5)
"""Where, in the model's range of [-1, 1], the brightest pixel of half of its pictures may be expected."""


def model_stretch(low: float, high: float, channels: int, unit: str = "") -> Stretch:
    """The stretch that a model was trained with: ln(1 + x), of which ``low`` is -1 and ``high`` is 1."""
    return Stretch("log1p", (Channel(low, high),) * channels, unit)


def suits(stretch: Stretch, values: Tensor) -> bool:
    """Whether examples ``[n, C, ...]`` are in the units that a model's stretch takes, as far as their range tells.

    It is so if all are above -1 and the median of the brightest pixels lies in `BRIGHTEST`: values of other units by far
    would be all black, or all white.
    """
    x = values[values.flatten(1).isfinite().any(1)].nan_to_num(0.0)
    if not len(x) or bool((x <= -1).any()):
        return False
    brightest = float(stretch.forward(x).flatten(1).amax(1).median())
    return BRIGHTEST[0] <= brightest <= BRIGHTEST[1]


def choose_kind(columns: Sequence[Tensor]) -> str:
    """The kind for these channels' pixels, one for all of them:

    linear if none is skewed (|skewness| ≤ SKEWED); log if all are above 0 and each skewed one spans enough (99th over
    1st percentile of at least RANGE, without which a logarithm does nothing); else asinh.
    """
    skewed = [x for x in columns if abs(_skewness(x)) > SKEWED]
    if not skewed:
        return "linear"
    if any(bool((x <= 0).any()) for x in columns):
        return "asinh"
    ends = [_percentiles(x) for x in skewed]
    return "log" if all(high / low >= RANGE for low, high in ends) else "asinh"


def _skewness(x: Tensor) -> float:
    centred = (x - x.mean()) / x.std()
    return float((centred**3).mean())


def _fit(kind: str, x: Tensor) -> Channel:
    low, high = (float(v) for v in x.aminmax())
    if kind == "percentile":
        low, high = _percentiles(x)
        if low == high:
            raise FarfieldError(
                f"stretch percentile: the percentiles {TAILS[0]:g} and {TAILS[1]:g} are both {low:.4g}; use another stretch"
            )
    if kind != "asinh":
        ends = torch.tensor([low, high], dtype=torch.float64)
        ends = ends.log() if kind == "log" else ends
        return Channel(float(ends[0]), float(ends[1]))
    centre = float(x.median())
    away = (x - centre).abs()
    softening = 1.4826 * float(away.median()) or 1.4826 * float(away[away > 0].median())  # half of it may be one value
    ends = ((torch.tensor([low, high], dtype=torch.float64) - centre) / softening).asinh()
    return Channel(float(ends[0]), float(ends[1]), centre, softening)


def _data(values: Tensor, channel: int) -> Tensor:
    x = values.detach().cpu().double().flatten()
    x = x[torch.isfinite(x)]
    if not len(x):
        raise FarfieldError(f"stretch: channel {channel} of the examples is masked throughout (NaN); expected numbers")
    if bool((x == x[0]).all()):
        raise FarfieldError(
            f"stretch: channel {channel} of the examples is {float(x[0]):.4g} throughout; expected a spread"
        )
    return x


def _percentiles(x: Tensor) -> tuple[float, float]:
    import numpy as np

    low, high = np.percentile(x.numpy(), TAILS)
    return float(low), float(high)


def _finite(result: Tensor, values: Tensor, what: str, keys: Sequence[str]) -> Tensor:
    bad = ~torch.isfinite(result) & ~torch.isnan(values.detach().cpu())
    if bool(bad.any()):
        raise NonFiniteError(f"{what}: found NaN or infinity in {_where(bad, keys)}; use another --stretch")
    return result


def _where(bad: Tensor, keys: Sequence[str]) -> str:
    rows = bad.flatten(1).any(1).nonzero().flatten().tolist()
    return some([keys[i] if keys else f"row {i}" for i in rows])
