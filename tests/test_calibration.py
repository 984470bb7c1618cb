"""A closed-form correction: what it must find is known where data and denoiser are Gaussian."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from scipy import fft

from farfield.core.error import FarfieldError, NonFiniteError
from farfield.diffusion.denoiser import Denoiser
from farfield.diffusion.exact import GaussianDenoiser
from farfield.diffusion.schedule import ContinuousSchedule
from farfield.unseen.calibration import LEFT_OUT, CalibratedDenoiser, Level, fit_level
from farfield.unseen.cosine import bands
from farfield.unseen.patches import Patches

SHAPE = (2, 8, 8)
LEVELS = torch.tensor([0.1, 0.5, 2.0, 8.0], dtype=torch.float64)


class Banded:
    """Data that are independent in the cosine basis, with one covariance of the channels for each band, and a mean."""

    def __init__(self) -> None:
        g = torch.Generator().manual_seed(0)
        self.places = bands(*SHAPE[1:])
        roots = torch.randn((int(self.places.max()) + 1, 2, 2), generator=g, dtype=torch.float64)
        self.covariances = roots @ roots.mT
        self.mean = torch.randn(SHAPE, generator=g, dtype=torch.float64)

    def draw(self, n: int) -> torch.Tensor:
        g = torch.Generator().manual_seed(1)
        white = torch.randn((n, *SHAPE), generator=g, dtype=torch.float64)
        roots = torch.linalg.cholesky(self.covariances)[self.places]
        return self.mean + dct(torch.einsum("hwoi,nihw->nohw", roots, white), back=True)

    def denoise(self, x: torch.Tensor, sigma: float) -> torch.Tensor:
        """C (C + s²)⁻¹ of each band, in closed form."""
        gains = self.covariances @ torch.linalg.inv(self.covariances + sigma**2 * torch.eye(2).double())
        return self.mean + dct(torch.einsum("hwoi,nihw->nohw", gains[self.places], dct(x - self.mean)), back=True)


def dct(x: torch.Tensor, back: bool = False) -> torch.Tensor:
    """scipy's, as a witness of ours."""
    transform = fft.idctn if back else fft.dctn
    return torch.from_numpy(transform(x.numpy(), axes=(-2, -1), norm="ortho"))


def white() -> GaussianDenoiser:
    """The denoiser of N(0, I): it knows nothing of the data."""
    d = 2 * 8 * 8
    return GaussianDenoiser(torch.zeros(SHAPE), torch.zeros(d, 0), torch.zeros(0), 1.0, ContinuousSchedule(0.05, 10.0))


def calibrate(denoiser: Denoiser, examples: torch.Tensor, **settings: Any) -> CalibratedDenoiser:
    fits = [fit_level(denoiser, examples, float(s), index=i, **settings) for i, s in enumerate(LEVELS)]
    asked = {name: settings[name] for name in ("network", "patches") if name in settings}
    return CalibratedDenoiser(denoiser, examples.mean(0), LEVELS, fits, **asked)


@pytest.fixture(scope="module")
def data() -> Banded:
    return Banded()


def test_an_ignorant_denoiser_becomes_the_wiener_filter_of_the_examples(data):
    examples = data.draw(4000)
    calibrated = calibrate(white(), examples, doubts=(1e-3,))
    fresh = data.draw(4100)[4000:]
    for sigma in LEVELS.tolist():
        x = fresh + sigma * torch.randn(fresh.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        exact = data.denoise(x, sigma)
        before = float((white()(x, torch.tensor(sigma)) - exact).square().mean())
        gap = float((calibrated(x, torch.tensor(sigma)) - exact).square().mean())
        assert gap < 0.01 * before, (sigma, gap, before)


def test_a_denoiser_that_is_right_is_left_alone(data):
    class Right(Denoiser):
        shape, schedule = SHAPE, ContinuousSchedule(0.05, 10.0)

        def forward(self, x, sigma):
            return data.denoise(x, float(sigma))

    right, fresh = Right(), data.draw(600)[500:]
    calibrated = calibrate(right, data.draw(500), views=2000)
    noise = torch.randn(fresh.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    for sigma in LEVELS.tolist():
        exact = right(fresh + sigma * noise, torch.tensor(sigma))
        gap = calibrated(fresh + sigma * noise, torch.tensor(sigma)) - exact
        assert float(gap.square().mean()) < 0.02 * float((exact - fresh).square().mean())


def test_without_evidence_nothing_changes(data):
    calibrated = calibrate(white(), data.draw(4), doubts=(1e12,))
    x = data.draw(3)
    for sigma in (0.5, 3.0):
        offset = float((calibrated(x, torch.tensor(sigma)) - white()(x, torch.tensor(sigma))).std(0).max())
        assert offset < 1e-6  # the same shift of every image: only the mean prediction is corrected


def test_between_levels_the_correction_is_a_line_in_log_sigma(data):
    calibrated = calibrate(white(), data.draw(50))
    x, middle = data.draw(3), (LEVELS[1] * LEVELS[2]).sqrt()
    i, part = calibrated._between(middle)
    assert i == 2 and float(part) == pytest.approx(0.5)
    for beyond, last in ((0.01, 0), (100.0, -1)):
        held = CalibratedDenoiser(white(), data.draw(50).mean(0), LEVELS, [calibrated.fits[last]] * 4)
        torch.testing.assert_close(calibrated(x, torch.tensor(beyond)), held(x, torch.tensor(beyond)))


def test_levels_of_their_own_and_batches_do_not_matter(data):
    calibrated = calibrate(white(), data.draw(30))
    x, levels = data.draw(5), torch.tensor([0.1, 0.3, 0.3, 2.0, 9.0], dtype=torch.float64)
    together = calibrated(x, levels)
    apart = torch.cat([calibrated(x[i : i + 1], levels[i]) for i in range(5)])
    torch.testing.assert_close(together, apart, rtol=0, atol=1e-12)
    one, other = (fit_level(white(), data.draw(9), 1.0, batch_size=size).flat() for size in (4, 64))
    torch.testing.assert_close(one, other, equal_nan=True)


def test_bands_are_rings_of_half_an_octave():
    places = bands(12, 12)
    assert places.shape == (12, 12) and places[0, 0] == 0 and (places == 0).sum() == 1
    assert places[0, 1] == places[1, 0] and places[0, 4] > places[0, 3] > places[0, 2] > places[0, 1]
    assert sorted(set(places.flatten().tolist())) == list(range(int(places.max()) + 1))
    assert places[0, 1] < places[1, 1] < places[0, 2]  # √2 waves are where a band begins, on every machine


def test_bands_are_rings_in_cycles_per_pixel_where_sides_differ():
    wide = bands(8, 16)
    assert torch.equal(wide[:, 0], wide[0, ::2])  # k waves over 8 pixels are 2 k over 16
    assert torch.equal(wide, bands(16, 8).T)
    square = bands(16, 16)[0]  # the same rings, though a number more may lie between two of them
    assert torch.equal(wide[0][:, None] == wide[0], square[:, None] == square)


def test_a_network_that_overflows_is_named(data):
    class Overflown(Denoiser):
        shape, schedule = SHAPE, ContinuousSchedule(0.05, 10.0)

        def forward(self, x, sigma):
            return x * float("inf")

    with pytest.raises(NonFiniteError, match="calibration at sigma 2: the network's answer"):
        fit_level(Overflown(), data.draw(3), 2.0)


def test_what_cannot_be_calibrated_is_refused(data):
    with pytest.raises(FarfieldError, match="at least 2 images of the model's shape"):
        fit_level(white(), data.draw(1), 1.0)
    with pytest.raises(FarfieldError, match="at least 2 images of the model's shape"):
        fit_level(white(), torch.zeros(4, 2, 8, 9), 1.0)
    level = fit_level(white(), data.draw(5), 1.0)
    with pytest.raises(FarfieldError, match="a correction for each"):
        CalibratedDenoiser(white(), data.mean, LEVELS, [level] * 3)
    with pytest.raises(FarfieldError, match=r"expected \d+ numbers for 1 guesses"):
        Level.of(level.flat()[:-1], SHAPE, 1, 5)


@pytest.mark.parametrize("patched", [False, True])
def test_its_gradient_goes_through_the_network_and_the_patches(data, patched):
    more = {"patches": Patches(data.draw(6), (3, 16))} if patched else {"doubts": (1e12,)}
    calibrated = calibrate(white(), data.draw(6), **more)
    x, v, w = data.draw(4)[1:2], data.draw(4)[2:3], data.draw(4)[3:4]
    s, h = torch.tensor(1.0), 1e-4
    there = (calibrated(x + h * w, s) - calibrated(x - h * w, s)) / (2 * h)
    point = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(calibrated(point, s), point, v)
    assert float((gradient * w).sum()) == pytest.approx(float((there * v).sum()), rel=1e-4)
    assert calibrated.asks(1.0) or patched


def test_a_level_is_the_same_after_it_was_kept(data):
    patches = Patches(data.draw(6), (3, 16))
    level = fit_level(white(), data.draw(6), 1.0, patches=patches)
    again = Level.of(level.flat(), SHAPE, 3, 6)
    for name, value in vars(level).items():
        torch.testing.assert_close(getattr(again, name), value, equal_nan=True)


class Right(Denoiser):
    """The exact denoiser of `Banded` data."""

    shape, schedule = SHAPE, ContinuousSchedule(0.05, 10.0)

    def __init__(self, data):
        super().__init__()
        self.data = data

    def forward(self, x, sigma):
        return self.data.denoise(x, float(sigma))


@pytest.mark.parametrize("sigma", [0.5, 2.0])
def test_what_was_left_out_is_denoised_as_badly_as_new_data(data, sigma):
    """The errors that leave-one-out says of each denoiser are those that it has on data it was not fitted to."""
    examples, fresh = data.draw(1100)[:100], data.draw(1100)[100:]
    patches = Patches(examples, (3, 16))
    for denoiser, network in ((white(), False), (Right(data), True)):
        level = fit_level(denoiser, examples, sigma, patches=patches, network=network)
        calibrated = CalibratedDenoiser(
            denoiser, examples.mean(0), LEVELS[:2], [level] * 2, patches=patches, network=network
        )
        noise = torch.randn(fresh.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
        truth = (calibrated(fresh + sigma * noise, torch.tensor(sigma)) - fresh).square().flatten(1).mean(1)
        said = level.errors[LEFT_OUT.index("all")]
        spread = (said.var() / len(said) + truth.var() / len(truth)).sqrt()
        assert abs(float(said.mean() - truth.mean())) < 5 * float(spread)


def test_a_right_network_is_believed_and_an_ignorant_one_is_not(data):
    examples = data.draw(100)
    patches = Patches(examples, (3, 16))
    right = fit_level(Right(data), examples, 1.0, patches=patches)
    assert bool((right.weights[:, 2:6] == 0).all())  # no patches
    torch.testing.assert_close(right.shares[:, 0], torch.ones(len(right.shares)).double(), rtol=0, atol=0.15)
    ignorant = fit_level(white(), examples, 1.0, patches=patches)
    assert float(ignorant.shares[:, 0].abs().max()) < 0.05
    network, wiener = (ignorant.errors[LEFT_OUT.index(name)] for name in ("network", "wiener"))
    assert float(network.mean()) > 0.99 * float(wiener.mean())


def test_without_the_network_it_is_never_asked(data):
    class Never(Denoiser):
        shape, schedule = SHAPE, ContinuousSchedule(0.05, 10.0)

        def forward(self, x, sigma):
            raise AssertionError

    calibrated = calibrate(Never(), data.draw(20), network=False, patches=Patches(data.draw(20), (3,)))
    assert bool(calibrated(data.draw(2), torch.tensor(1.0)).isfinite().all())
