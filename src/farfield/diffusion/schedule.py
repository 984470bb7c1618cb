r"""Which noise levels a model knows, and the grids of levels that a solver walks.

Everything is in the variance-exploding coordinate :math:`x = x_0 + \sigma n`. A discrete-time model with cumulative
signal :math:`\bar\alpha_t` knows the levels :math:`\sigma_t = \sqrt{(1 - \bar\alpha_t) / \bar\alpha_t}`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Final

import torch
from torch import Tensor

from farfield.core.error import FarfieldError
from farfield.core.runtime import state_dtype

CENTRE: Final = 1.5
SPREAD: Final = 0.35
"""The middle and the exponent of `spread`. Of a lower middle latents are better, of a higher one images."""


def linear_betas(steps: int = 1000, start: float = 1e-4, end: float = 0.02) -> Tensor:
    """Betas equally spaced from ``start`` to ``end`` (DDPM, arXiv 2006.11239), float64 ``[steps]``."""
    return torch.linspace(start, end, steps, dtype=torch.float64)


def scaled_linear_betas(steps: int = 1000, start: float = 0.00085, end: float = 0.012) -> Tensor:
    """Betas whose square roots are equally spaced (latent diffusion, arXiv 2112.10752), float64 ``[steps]``."""
    return torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float64) ** 2


def cosine_betas(steps: int = 1000, offset: float = 0.008, most: float = 0.999) -> Tensor:
    r"""Betas of :math:`\bar\alpha(u) = \cos^2(\frac{u + s}{1 + s} \frac\pi2)`, each at most ``most`` (arXiv 2102.09672)."""
    u = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    signal = torch.cos((u + offset) / (1 + offset) * math.pi / 2) ** 2
    return (1 - signal[1:] / signal[:-1]).clamp(max=most)


def karras(steps: int, sigma_min: float, sigma_max: float, rho: float = 7.0) -> Tensor:
    r"""Descending grid, equally spaced in :math:`\sigma^{1/\rho}` (EDM, arXiv 2206.00364, eq. 5), float64 ``[steps + 1]``."""
    _check_range(steps, sigma_min, sigma_max)
    ramp = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    sigmas = (high + ramp * (low - high)) ** rho
    sigmas[0], sigmas[-1] = sigma_max, sigma_min
    return sigmas


def spread(steps: int, sigma_min: float, sigma_max: float) -> Tensor:
    r"""Descending grid, equally spaced in :math:`1 / (1 + (\sigma / c)^{-p})`, c = 1.5 and p = 0.35, float64 ``[steps + 1]``.

    Pictures in [-1, 1] are decided between the levels 0.1 and 10, and there it has the most levels in :math:`\ln\sigma`. At
    equal calls the multistep solver mostly has less error than on Karras's grid, often half: docs/performance.md has where, and
    where not.
    """
    _check_range(steps, sigma_min, sigma_max)
    high, low = (1 / (1 + (level / CENTRE) ** -SPREAD) for level in (sigma_max, sigma_min))
    share = high + torch.linspace(0, 1, steps + 1, dtype=torch.float64) * (low - high)
    sigmas = CENTRE * (share / (1 - share)) ** (1 / SPREAD)
    sigmas[0], sigmas[-1] = sigma_max, sigma_min
    return sigmas


class Schedule(ABC):
    """Abstract: the levels a model was trained on and how its network is told the level."""

    @property
    @abstractmethod
    def sigma_min(self) -> float:
        """The lowest trained level; images are taken to live there."""

    @property
    @abstractmethod
    def sigma_max(self) -> float:
        """The highest trained level."""

    @property
    def open_end(self) -> bool:
        r"""Whether it was trained on pure noise too: :math:`\sigma = \infty`, no level. `sigma_max` is the last below it."""
        return False

    @abstractmethod
    def time(self, sigma: Tensor) -> Tensor:
        """What the network is given for a level: same shape as ``sigma``, float64 where the device has it."""

    @abstractmethod
    def sigmas(
        self, steps: int, sigma_max: float | None = None, sigma_min: float | None = None, rho: float | None = None
    ) -> Tensor:
        """A descending grid ``[steps + 1]`` float64 between two known levels; ``flip(0)`` it to invert.

        It is `spread`, or with a ``rho`` Karras's of this exponent.
        """

    def check(self, sigma: float) -> float:
        """The level itself, or an error when the model was not trained there."""
        if not self.sigma_min * (1 - 1e-6) <= sigma <= self.sigma_max * (1 + 1e-6):
            beyond = ", and above these pure noise alone, which is no level" if self.open_end else ""
            raise FarfieldError(
                f"sigma {sigma:g}: out of range, this model knows the levels {self.sigma_min:.4g} to "
                f"{self.sigma_max:.4g}{beyond}"
            )
        return sigma


class Bounded(Schedule, ABC):
    """Abstract: every level between two bounds."""

    bounds: tuple[float, float]

    @property
    def sigma_min(self) -> float:
        return self.bounds[0]

    @property
    def sigma_max(self) -> float:
        return self.bounds[1]

    def sigmas(
        self, steps: int, sigma_max: float | None = None, sigma_min: float | None = None, rho: float | None = None
    ) -> Tensor:
        low = self.check(self.sigma_min if sigma_min is None else sigma_min)
        high = self.check(self.sigma_max if sigma_max is None else sigma_max)
        return _grid(steps, low, high, rho)


class ContinuousSchedule(Bounded):
    """Told to the network as ``log(sigma) / 4`` (EDM, arXiv 2206.00364, table 1), or that times a ``scale``.

    Networks that were made for time steps are told it times 1000 (arXiv 2303.01469).
    """

    def __init__(self, sigma_min: float = 0.002, sigma_max: float = 80.0, scale: float = 1.0):
        _check_range(1, sigma_min, sigma_max)
        if not 0 < scale < math.inf:
            raise FarfieldError(f"ln(sigma)/4 told times {scale:g}: expected a positive number")
        self.bounds, self.scale = (sigma_min, sigma_max), scale

    def time(self, sigma: Tensor) -> Tensor:
        return sigma.to(state_dtype(sigma.device)).log() / 4 * self.scale


class VESchedule(Bounded):
    """Told to the network as ``log(sigma / 2)`` (the variance-exploding SDE; arXiv 2206.00364, table 1)."""

    def __init__(self, sigma_min: float = 0.02, sigma_max: float = 100.0):
        _check_range(1, sigma_min, sigma_max)
        self.bounds = sigma_min, sigma_max

    def time(self, sigma: Tensor) -> Tensor:
        return (sigma.to(state_dtype(sigma.device)) / 2).log()


class LinearBetas(Bounded, ABC):
    r"""Abstract: a continuous SDE with linear betas (arXiv 2011.13456), told to the network as the time step :math:`(M - 1)\,t`.

    Its levels are those of t in ``[t_min, 1]``, by the integral of the betas, :math:`B = \beta_d t^2 / 2 + \beta_{min} t`.
    """

    def __init__(self, beta_d: float = 19.9, beta_min: float = 0.1, steps: int = 1000, t_min: float = 1e-3):
        self.beta_d, self.beta_min, self.steps, self.t_min = beta_d, beta_min, steps, t_min
        low, high = self.level(torch.tensor([t_min, 1.0], dtype=torch.float64)).tolist()
        self.bounds = low, high

    @abstractmethod
    def of_integral(self, integral: Tensor) -> Tensor:
        """The level where the betas have this integral."""

    @abstractmethod
    def integral(self, sigma: Tensor) -> Tensor:
        """The inverse of `of_integral`."""

    def level(self, t: Tensor) -> Tensor:
        """The level at time t."""
        return self.of_integral(self.beta_d * t**2 / 2 + self.beta_min * t)

    def time(self, sigma: Tensor) -> Tensor:
        integral = self.integral(sigma.to(state_dtype(sigma.device)))
        return (self.steps - 1) * ((self.beta_min**2 + 2 * self.beta_d * integral).sqrt() - self.beta_min) / self.beta_d


class VPSchedule(LinearBetas):
    r"""The variance-preserving SDE: :math:`\sigma = \sqrt{e^B - 1}` (arXiv 2206.00364, table 1)."""

    def of_integral(self, integral: Tensor) -> Tensor:
        return torch.expm1(integral).sqrt()

    def integral(self, sigma: Tensor) -> Tensor:
        return torch.log1p(sigma**2)


class SubVPSchedule(LinearBetas):
    r"""The sub-VP SDE (arXiv 2011.13456, section 3.4).

    It has the signal of the variance-preserving one, :math:`a = e^{-B/2}`, and less noise, :math:`x_t = a\,x_0 + (1 - a^2)\,n`.
    So :math:`\sigma = (1 - a^2)/a = 2 \sinh(B/2)`, and the network sees :math:`x_t = a x`,
    :math:`a = e^{-\mathrm{asinh}(\sigma/2)}`.
    """

    def of_integral(self, integral: Tensor) -> Tensor:
        return 2 * torch.sinh(integral / 2)

    def integral(self, sigma: Tensor) -> Tensor:
        return 2 * torch.asinh(sigma / 2)

    def signal(self, sigma: Tensor) -> Tensor:
        """a."""
        return (-torch.asinh(sigma / 2)).exp()


class TimeSchedule(Bounded):
    r"""The variance-preserving SDE with a constant rate, :math:`x_t = e^{-t/2} x_0 + \sqrt{1 - e^{-t}}\,n` (arXiv 2011.13456).

    So :math:`\sigma^2 = e^t - 1` for t in ``[t_min, t_max]``, and the network is given :math:`t / t_{max}`.
    """

    def __init__(self, t_max: float = 10.0, t_min: float = 1e-3):
        self.t_max = t_max
        self.bounds = math.sqrt(math.expm1(t_min)), math.sqrt(math.expm1(t_max))
        _check_range(1, *self.bounds)

    def time(self, sigma: Tensor) -> Tensor:
        return torch.log1p(sigma.to(state_dtype(sigma.device)) ** 2) / self.t_max


class Scaled(Schedule):
    """The levels of a model whose own numbers are ``factor`` times those of pictures (`diffusion.units`): its own over that.

    Args:
        rho: exponent of Karras's grid, in place of `spread`.
    """

    def __init__(self, inner: Schedule, factor: float, rho: float | None = None):
        self.inner, self.factor, self.rho = inner, factor, rho

    @property
    def sigma_min(self) -> float:
        return self.inner.sigma_min / self.factor

    @property
    def sigma_max(self) -> float:
        return self.inner.sigma_max / self.factor

    @property
    def open_end(self) -> bool:
        return self.inner.open_end

    def time(self, sigma: Tensor) -> Tensor:
        return self.inner.time(sigma * self.factor)

    def sigmas(
        self, steps: int, sigma_max: float | None = None, sigma_min: float | None = None, rho: float | None = None
    ) -> Tensor:
        low, high = (None if s is None else self.check(s) * self.factor for s in (sigma_min, sigma_max))
        return self.inner.sigmas(steps, high, low, self.rho if rho is None else rho) / self.factor


class DiscreteSchedule(Schedule):
    """The levels of a model trained at whole time steps 0, 1, …, told to the network as the time step.

    Grids are built from the trained levels themselves: each point of a grid moves to the nearest trained level that is still
    free, the two ends exactly. Between levels (solvers with inner stages) the time step is interpolated
    linearly in log sigma, never rounded. Levels without any signal (zero terminal SNR) have no place in this
    coordinate: the schedule ends at the last one that has some.

    Args:
        betas: ``[T]`` noise variances per step, each in (0, 1].
        scale: the network is told the time step times this; 1000 / T where T steps are told as if they were 1000
            (improved DDPM, arXiv 2102.09672).
    """

    def __init__(self, betas: Tensor, scale: float = 1.0):
        betas = betas.double()
        if betas.ndim != 1 or len(betas) < 2 or not bool(((betas > 0) & (betas <= 1)).all()):
            raise FarfieldError(f"betas: expected at least two values in (0, 1], found shape {tuple(betas.shape)}")
        signal = torch.cumprod(1 - betas, 0)
        self.levels = ((1 - signal) / signal).sqrt()[signal > 1e-10]
        self.cut = len(self.levels) < len(betas)
        self.scale = scale

    @property
    def sigma_min(self) -> float:
        return float(self.levels[0])

    @property
    def sigma_max(self) -> float:
        return float(self.levels[-1])

    @property
    def open_end(self) -> bool:
        return self.cut

    def time(self, sigma: Tensor) -> Tensor:
        dtype = state_dtype(sigma.device)
        logs = self.levels.log().to(sigma.device, dtype)
        at = sigma.to(dtype).log()
        right = torch.searchsorted(logs, at.contiguous()).clamp(1, len(logs) - 1)
        fraction = (at - logs[right - 1]) / (logs[right] - logs[right - 1])
        return (right - 1 + fraction).clamp(0, len(logs) - 1) * self.scale

    def nearest(self, sigma: float) -> float:
        """The trained level nearest to ``sigma`` in log sigma."""
        self.check(sigma)
        return float(self.levels[int((self.levels.log() - math.log(sigma)).abs().argmin())])

    def sigmas(
        self, steps: int, sigma_max: float | None = None, sigma_min: float | None = None, rho: float | None = None
    ) -> Tensor:
        low = self.nearest(self.sigma_min if sigma_min is None else sigma_min)
        high = self.nearest(self.sigma_max if sigma_max is None else sigma_max)
        target = _grid(steps, low, high, rho).flip(0)
        first, last = (int((self.levels - v).abs().argmin()) for v in (low, high))
        if steps > last - first:
            raise FarfieldError(
                f"{steps} steps: this model was trained at only {last - first + 1} levels from {low:.4g} to "
                f"{high:.4g}; use at most {last - first} steps"
            )
        index = torch.searchsorted((self.levels[1:] * self.levels[:-1]).sqrt(), target)
        # One level each: push upwards from the bottom, then down again from the top.
        order = torch.arange(steps + 1)
        index = torch.cummax(index.clamp(first, last) - order, 0).values + order
        index = (torch.cummin(index.flip(0).clamp(max=last) + order, 0).values - order).flip(0)
        return self.levels[index].flip(0)


def _grid(steps: int, low: float, high: float, rho: float | None) -> Tensor:
    return spread(steps, low, high) if rho is None else karras(steps, low, high, rho)


def _check_range(steps: int, sigma_min: float, sigma_max: float) -> None:
    if steps < 1:
        raise FarfieldError(f"{steps} steps: expected at least 1")
    if not 0 < sigma_min < sigma_max < math.inf:
        raise FarfieldError(f"noise levels {sigma_min:g} to {sigma_max:g}: expected 0 < sigma_min < sigma_max")
