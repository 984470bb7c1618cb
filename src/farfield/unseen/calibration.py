r"""A frozen denoiser corrected on a domain's examples in closed form: nothing is trained, no gradient is taken.

Far from its training data a network is off by little that varies from image to image and by much that does not: an offset, a
gain that depends on frequency, a leak between colours. All of that is linear, and known noise put on the examples shows
it. With :math:`x = x_0 + \sigma n`, :math:`a = 1/\sqrt{1 + \sigma^2}` and :math:`q = \sigma a`, the velocity
:math:`v = a n - q x_0` (arXiv 2202.00512) is what a denoiser has to find at every level, high or low, and
:math:`D = a^2 x - q v`. At each level the true v is regressed on several guesses :math:`v_r` and on the noisy image
itself, in an orthonormal cosine basis and for each band of frequencies b apart:

.. math:: v_b \approx \sum_r A_{rb} (v_r - \bar v_r)_b + B_b\, a (x - m)_b, \qquad
          D'(x, \sigma) = m + a^2 (x - m) - q\,[\ldots]

with C × C matrices A and B over the channels, m the examples' mean and :math:`\bar v_r` the mean of :math:`v_r`. The guesses are
the frozen network's, and what the examples' patches say (`unseen.patches`), window by window. With A = 1 for the network alone
it is the network but for the means; with A = 0 it is the Wiener filter of the examples, the best linear denoiser (Wiener 1949).
What takes part at a level is decided by leave-one-out on the examples (`unseen.regression`): an example's own patches are no
candidates for it, and neither it nor its views are in the means that it is held against,
:math:`x_i - m_{-i} = (x_i - m)\, n / (n - 1)`. So the fit tells, level by level, what the frozen network adds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor, nn

from farfield.core.error import FarfieldError, NonFiniteError
from farfield.core.runtime import generator, state_dtype
from farfield.diffusion.denoiser import Denoiser
from farfield.unseen.cosine import banded, bands, cosine
from farfield.unseen.patches import Patches
from farfield.unseen.regression import Choice, Products, choose, left_out_errors, shares, solve

DOUBTS = (3.0, 30.0, 300.0)
"""Imagined coefficients among which leave-one-out chooses."""

LEFT_OUT = ("mean", "wiener", "frozen", "network", "patches", "all")
"""Denoisers of which `Level.errors` are known: the examples' mean; their Wiener filter; the frozen network as it is;
calibrated; what there is without a network, patches or the Wiener filter; and what is taken, of all of these."""


@dataclass(frozen=True)
class Level:
    """The correction at one level.

    Attributes:
        offsets: the mean of each guess, ``[R, C, H, W]``.
        weights: ``[bands, (R + 1) C, C]``, A of each guess and then B.
        errors: mean squared error a pixel of each example left out, ``[6, n]``, in the order of `LEFT_OUT`; NaN of what there is
            not, as of patches or a network.
        shares: what part of the answer each guess makes, and last the noisy image, ``[bands, R + 1]``.
        alone: the weights of what is taken without the network, as `weights`; equal to them where none was asked.
    """

    offsets: Tensor
    weights: Tensor
    errors: Tensor
    shares: Tensor
    alone: Tensor

    def without_network(self) -> Level:
        """The same correction where the first guess, the network's, is not to be had; nothing is known of its shares."""
        c, unknown = self.offsets.shape[1], torch.full_like(self.shares[:, 1:], torch.nan)
        return Level(self.offsets[1:], self.alone[:, c:], self.errors, unknown, self.alone[:, c:])

    def flat(self) -> Tensor:
        return torch.cat([part.double().flatten().cpu() for part in vars(self).values()])

    @staticmethod
    def of(flat: Tensor, shape: tuple[int, int, int], guesses: int, examples: int) -> Level:
        """The inverse of `flat`, for images of this shape.

        Raises:
            FarfieldError: another number of values.
        """
        c, h, w = shape
        count = int(bands(h, w).max()) + 1
        weights = (count, (guesses + 1) * c, c)
        sizes = [(guesses, c, h, w), weights, (len(LEFT_OUT), examples), (count, guesses + 1), weights]
        lengths = [math.prod(size) for size in sizes]
        if flat.shape != (sum(lengths),):
            raise FarfieldError(
                f"calibration: expected {sum(lengths)} numbers for {guesses} guesses of images {shape}, found {tuple(flat.shape)}"
            )
        return Level(*(part.reshape(size) for part, size in zip(flat.split(lengths), sizes, strict=True)))


@torch.no_grad()
def fit_level(
    denoiser: Denoiser,
    examples: Tensor,
    sigma: float,
    *,
    network: bool = True,
    patches: Patches | None = None,
    index: int = 0,
    views: int = 200,
    doubts: tuple[float, ...] = DOUBTS,
    batch_size: int = 64,
) -> Level:
    """The correction at one level.

    Noise comes in pairs (n, −n), which cancels in the means.

    Args:
        denoiser: of images ``[C, H, W]``.
        examples: ``[n, C, H, W]``, n at least 2.
        sigma: the level.
        network: whether the denoiser is asked at all; False is the control, the same without it.
        patches: of these examples, in this order.
        index: the level's number, which seeds its noise.
        views: at least so many noisy images are looked at, the same number of each example.
        doubts: see `unseen.regression.Choice`; the fit takes one of them.
        batch_size: images through the network at a time.

    Raises:
        FarfieldError: images of another shape, or fewer than 2.
        NonFiniteError: the network's answer has NaN or infinity.
    """
    n, shape = len(examples), _checked(denoiser, examples)
    dtype = state_dtype(examples.device)
    pairs = max(1, math.ceil(views / (2 * n)))
    clean, level = examples.to(dtype), torch.tensor(sigma, dtype=dtype, device=examples.device)
    asked, c, a = _guesses(network, patches), shape[0], (1 + sigma**2) ** -0.5
    count, centred = len(asked), n / (n - 1) * (clean - clean.mean(0))  # each around the mean of the others
    errors = {"mean": centred.square().flatten(1).mean(1)}
    half = torch.randn((pairs, n, *shape), generator=generator(index, "calibration"), dtype=torch.float64)
    rounds = torch.arange(2 * pairs * n, device=examples.device).split(n)  # in each, all examples in turn
    x = torch.empty(2 * pairs * n, *shape, dtype=dtype, device=examples.device)
    true, given = torch.empty_like(x), x.new_empty(len(x), (count + 1) * c, *shape[1:], dtype=torch.float32)
    for k, part in enumerate(rounds):
        noise = sigma * (half[k % pairs] if k < pairs else -half[k % pairs]).to(x)
        x[part] = clean + noise
        given[part, count * c :] = cosine(a * (centred + noise)).float()  # single precision: they are the bulk
        true[part] = cosine(velocity(centred + noise, centred, level))
    del half
    offsets, rows = x.new_zeros(count, *shape), torch.arange(n, device=x.device).repeat(2 * pairs)
    for r, v in enumerate(_velocities(denoiser, patches, asked, x, level, rows, batch_size)):
        if not bool(torch.isfinite(v).all()):
            raise NonFiniteError(
                f"calibration at sigma {sigma:.4g}: the network's answer became NaN or infinite; use --dtype float32"
            )
        offsets[r] = v.mean(0)
        others = offsets[r] + (offsets[r] - v.unflatten(0, (-1, n)).mean(0)) / (n - 1)
        wrong = []
        for part in rounds:
            given[part, r * c : (r + 1) * c] = cosine(v[part] - others).float()
            if not asked[r]:
                wrong.append((sigma * a * (v[part] - velocity(x[part], clean, level))).square().flatten(1).mean(1))
        if wrong:
            errors["frozen"] = torch.stack(wrong).mean(0)
    products = Products.of(given, true, bands(*shape[1:]).to(x.device), n)
    del given, true

    first = (0,) if network else ()
    windows = tuple(range(len(first), count))
    some = [(), *((w,) for w in windows), *([windows] if len(windows) > 1 else [])]
    sets: dict[str, list[tuple[int, ...]]] = {
        "wiener": [()],
        "network": [first] if network else [],
        "patches": some if windows else [],
        "all": [k + s for k, s in product([(), first] if network else [()], some)],
    }
    taken = {name: _choices(group, doubts, network) for name, group in sets.items()}
    scale = sigma**2 * a**2 / (2 * pairs * math.prod(shape))
    # those of the other names are among these
    tried = dict(zip(taken["all"], left_out_errors(products, taken["all"], count), strict=True))
    chosen = {name: choose(torch.stack([tried[one] for one in group]), group) for name, group in taken.items() if group}
    errors |= {name: left * scale for name, (_, left) in chosen.items()}
    weights = solve(products, chosen["all"][0], count)
    alone = solve(products, (chosen.get("patches") or chosen["wiener"])[0], count)
    missing = torch.full_like(errors["mean"], torch.nan)
    known = torch.stack([errors.get(name, missing) for name in LEFT_OUT])
    return Level(offsets, weights, known, shares(products, weights), alone)


def _choices(sets: list[tuple[int, ...]], doubts: tuple[float, ...], network: bool) -> list[Choice]:
    return [
        Choice(guesses, doubt, keep)
        for guesses in sets
        for doubt in doubts
        for keep in ((0, None) if network and 0 in guesses else (None,))
    ]


class CalibratedDenoiser(Denoiser):
    r"""A denoiser with the corrections of `fit_level`, between fitted levels on a straight line in :math:`\ln\sigma`.

    What has no weight at a level is not asked there: neither network nor patches.

    Args:
        denoiser: the frozen one.
        centre: m, the examples' mean ``[C, H, W]``.
        levels: ``[L]`` ascending, at least two; beyond them the correction of the nearest is used.
        fits: L of `fit_level`.
        network: as it was fitted.
        patches: as they were fitted.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        centre: Tensor,
        levels: Tensor,
        fits: Sequence[Level],
        *,
        network: bool = True,
        patches: Patches | None = None,
    ):
        super().__init__()
        self.denoiser, self.shape, self.schedule = denoiser, denoiser.shape, denoiser.schedule
        self.codec = denoiser.codec
        self.patches, self.guesses = patches, _guesses(network, patches)
        if len(levels) < 2 or len(fits) != len(levels):
            raise FarfieldError(
                f"calibration: expected a correction for each of two or more levels, found {len(fits)} for {len(levels)} levels"
            )
        dtype = state_dtype(centre.device)
        self.fits = list(fits)
        self.levels = nn.Buffer(levels.to(centre.device, dtype))
        self.centre = nn.Buffer(centre.to(dtype))
        self.offsets = nn.Buffer(torch.stack([fit.offsets for fit in fits]).to(self.levels))
        self.weights = nn.Buffer(torch.stack([fit.weights for fit in fits]).to(self.levels))
        self.places = nn.Buffer(bands(*centre.shape[1:]).to(centre.device))
        c = len(centre)
        by_guess = self.weights.unflatten(2, (-1, c))
        self.used = (by_guess != 0).flatten(3).any(3).any(1).tolist()

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        level = torch.as_tensor(sigma, device=x.device)
        if level.ndim and bool((level != level.flatten()[0]).any()):
            return torch.cat([self.denoise(x[i : i + 1], level[i]) for i in range(len(x))])
        return self.denoise(x, level)

    def denoise(self, x: Tensor, level: Tensor, exclude: Tensor | None = None) -> Tensor:
        """All rows at one level; of the examples ``exclude [B] or [B, K]`` the patches are no candidates."""
        s = level.flatten()[0].to(self.levels)
        i, part = self._between(s)
        offsets, weights = (held[i - 1].lerp(held[i], part) for held in (self.offsets, self.weights))
        a, centred, c = (1 + s**2).rsqrt(), x.to(s) - self.centre, len(self.centre)
        v = banded(cosine(a * centred), weights[:, -c:], self.places)
        asked = [r for r in range(len(self.guesses)) if self.used[i - 1][r] or self.used[i][r]]
        guesses = _velocities(self.denoiser, self.patches, [self.guesses[r] for r in asked], x.to(s), s, exclude)
        for r, guess in zip(asked, guesses, strict=True):
            v = v + banded(cosine(guess - offsets[r]), weights[:, r * c : (r + 1) * c], self.places)
        return (self.centre + a**2 * centred - s * a * cosine(v, back=True)).to(x.dtype)

    def asks(self, sigma: float) -> bool:
        """Whether the network is asked at a level."""
        i, _ = self._between(self.levels.new_tensor(sigma))
        return 0 in self.guesses and bool(self.used[i - 1][0] or self.used[i][0])

    def without_network(self) -> CalibratedDenoiser:
        """The control: what the same fits take where the network is not to be had; it asks the network nothing."""
        fits = [fit.without_network() for fit in self.fits]
        return CalibratedDenoiser(self.denoiser, self.centre, self.levels, fits, network=False, patches=self.patches)

    def leaving_out(self, examples: Tensor) -> Denoiser:
        """The same for a batch of rows of which the examples are known, ``[B, K]``: their patches are no candidates."""
        return _LeavingOut(self, examples) if self.patches else self

    def _between(self, sigma: Tensor) -> tuple[int, Tensor]:
        """The upper of the two levels around one, and how near to it."""
        at = sigma.clamp(self.levels[0], self.levels[-1])
        i = int(torch.searchsorted(self.levels, at).clamp(1, len(self.levels) - 1))
        return i, (at / self.levels[i - 1]).log() / (self.levels[i] / self.levels[i - 1]).log()


class _LeavingOut(Denoiser):
    """A calibrated denoiser of rows whose examples are left out."""

    def __init__(self, calibrated: CalibratedDenoiser, examples: Tensor):
        super().__init__()
        self.calibrated, self.examples = calibrated, examples
        self.shape, self.schedule, self.codec = calibrated.shape, calibrated.schedule, calibrated.codec

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self.calibrated.denoise(x, torch.as_tensor(sigma, device=x.device), self.examples.to(x.device))


def _guesses(network: bool, patches: Patches | None) -> list[int]:
    """What is asked: 0 for the network, and the windows of the patches."""
    return [0] * network + list(patches.windows if patches else ())


def _velocities(
    denoiser: Denoiser,
    patches: Patches | None,
    asked: Sequence[int],
    x: Tensor,
    sigma: Tensor,
    exclude: Tensor | None = None,
    batch_size: int | None = None,
) -> Iterator[Tensor]:
    """The velocity ``[B, C, H, W]`` that each of those asked says, the network first; windows share most of their work."""
    if 0 in asked:
        parts = (velocity(part, denoiser(part, sigma).to(part), sigma) for part in x.split(batch_size or len(x)))
        yield _joined(parts, x)
    windows = [window for window in asked if window]
    if patches is not None and windows:
        size = batch_size or len(x)
        for clean in patches(x, sigma, windows, exclude):
            means = zip(x.split(size), clean.split(size), strict=True)
            yield _joined((velocity(part, mean.to(part), sigma) for part, mean in means), x)


def _joined(parts: Iterable[Tensor], like: Tensor) -> Tensor:
    """One after the other in a tensor like this one, without holding all twice; one alone as it is."""
    whole, start = torch.empty_like(like), 0
    for part in parts:
        if len(part) == len(like):
            return part
        whole[start : start + len(part)] = part
        start += len(part)
    return whole


def velocity(x: Tensor, clean: Tensor, sigma: Tensor) -> Tensor:
    r""":math:`v = a n - q x_0` of a noisy image and its clean one, or the network's with what it holds for the clean one."""
    return (x - (1 + sigma**2) * clean) / (sigma * (1 + sigma**2).sqrt())


def _checked(denoiser: Denoiser, examples: Tensor) -> tuple[int, int, int]:
    if len(denoiser.shape) != 3 or examples.shape[1:] != denoiser.shape or len(examples) < 2:
        raise FarfieldError(
            f"calibration: expected at least 2 images of the model's shape {tuple(denoiser.shape)}, [C, H, W], found "
            f"{tuple(examples.shape)}"
        )
    return denoiser.shape[0], denoiser.shape[1], denoiser.shape[2]
