"""The noise of fields: estimated from their flat parts, taken off before samplers mix, given anew after."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from farfield.core.artifact import Images
from farfield.data.noise import NoiseLaw, estimate_noise, flat_pixels
from farfield.data.science import Fields
from farfield.data.signal import levels, scales_of, signal_of, split
from farfield.data.stretch import Channel, Stretch, fit_stretch
from farfield.study.bench.domain import Domain, Physical
from farfield.study.bench.grain import Grain, separate

SIDE, SIGMA = 48, 0.5


def named(values: Tensor) -> Fields:
    return Fields(tuple(f"{i:03d}" for i in range(len(values))), values)


def blobs(n: int, seed: int = 0, side: int = SIDE) -> Tensor:
    """Three sources in each field, far above the noise."""
    g = torch.Generator().manual_seed(seed)
    y = torch.arange(side, dtype=torch.float64)
    place, size, bright = (
        torch.rand(n, 3, 2, generator=g) * side,
        torch.rand(n, 3, generator=g),
        torch.rand(n, 3, generator=g),
    )
    rows, columns = ((y - place[..., i, None]) ** 2 for i in (0, 1))
    spread = 2 * (1.5 + 2 * size[..., None, None].double()) ** 2
    return (20 * bright[..., None, None] * torch.exp(-(rows[..., None] + columns[:, :, None]) / spread)).sum(1)[:, None]


def noise(n: int, width: float, seed: int = 1, side: int = SIDE) -> tuple[Tensor, Tensor]:
    """Noise of deviation SIGMA that was white before a Gaussian of this width, periodic at twice the side; its correlation."""
    size = 2 * side
    k = torch.fft.fftfreq(size, dtype=torch.float64)
    gain = torch.exp(-2 * (math.pi * width) ** 2 * (k[:, None] ** 2 + k**2))
    gain = gain / gain.square().mean().sqrt()
    white = torch.randn(n, size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    made = torch.fft.ifft2(torch.fft.fft2(white) * gain).real[:, :side, :side]
    return SIGMA * made[:, None], torch.fft.ifft2(gain.square()).real


def law_of(values: Tensor) -> NoiseLaw:
    law = estimate_noise(named(values))
    assert isinstance(law, NoiseLaw), law
    return law


class TestEstimate:
    @pytest.mark.parametrize("width", [0.0, 0.7, 1.2])
    def test_strength_and_correlation_are_the_true_ones(self, width):
        added, true = noise(40, width)
        law = law_of(blobs(40) + added)
        assert abs(float(law.sigmas.median()) / SIGMA - 1) < 0.03
        found = torch.fft.ifft2(law.power[0]).real
        independent = law.flat * len(added) * SIDE**2 / float(true.square().sum())
        assert float((found[:4, :4] - true[:4, :4]).abs().max()) < 0.02 + 3 / math.sqrt(independent)
        assert abs(float(law.correlations()[0, 8])) < 0.02
        # 1/e of exp(-d² / 4 w²) lies at 2 w; of white noise a straight line falls to it on the way to the first pixel
        assert law.lengths()[0] == pytest.approx(2 * width if width else 1 - 1 / math.e, abs=0.25)

    def test_the_spectrum_is_that_of_a_covariance(self):
        law = law_of(blobs(20) + noise(20, 0.7)[0])
        assert bool((law.power >= 0).all()) and float(law.power.mean()) == pytest.approx(1)
        assert law.shape == (1, SIDE, SIDE) and law.power.shape == (1, 2 * SIDE, 2 * SIDE)

    def test_each_field_has_its_own_strength(self):
        strong = torch.linspace(0.5, 2, 24, dtype=torch.float64)
        law = law_of(blobs(24) + strong[:, None, None, None] * noise(24, 0.0)[0])
        ratio = law.sigmas[:, 0] / (SIGMA * strong)
        assert float((ratio[law.told[:, 0]] - 1).abs().max()) < 0.1 and int(law.told.sum()) >= 20

    def test_channels_are_apart(self):
        both = torch.cat([noise(24, 0.0)[0], 3 * noise(24, 1.0, seed=2)[0]], 1)
        law = law_of(blobs(24) + both)
        assert (law.sigmas.median(0).values / SIGMA).tolist() == pytest.approx([1, 3], rel=0.04)
        assert law.lengths()[0] < 0.8 and law.lengths()[1] > 1.5

    def test_masked_pixels_are_neither_filled_nor_counted(self):
        values = blobs(24) + noise(24, 0.7)[0]
        gone = torch.rand(values.shape, generator=torch.Generator().manual_seed(3)) < 0.3
        law, whole = law_of(torch.where(gone, torch.nan, values)), law_of(values)
        assert float(law.sigmas.median()) == pytest.approx(float(whole.sigmas.median()), rel=0.03)
        assert torch.allclose(law.correlations()[0, :4], whole.correlations()[0, :4], atol=0.03)
        assert law.flat < 0.75 * whole.flat

    def test_sources_are_not_flat(self):
        clean = blobs(8)
        flat = flat_pixels((clean + noise(8, 0.0)[0])[:, 0], torch.ones(8, SIDE, SIDE, dtype=torch.bool))
        assert (
            not bool(flat[(clean > 5 * SIGMA)[:, 0]].any())
            and float(flat[(clean < 0.1 * SIGMA)[:, 0]].double().mean()) > 0.75
        )

    def test_a_halo_tells_nothing(self):
        values = blobs(24) + noise(24, 0.0)[0]
        y = torch.arange(SIDE, dtype=torch.float64) - SIDE / 2
        values[0, 0] += 60 * torch.exp(-(y[:, None] ** 2 + y**2) / 300)
        law = law_of(values)
        assert not bool(law.told[0, 0]) and float(law.sigmas[0, 0]) == float(law.sigmas[law.told].median())


class TestNoLaw:
    def test_a_noiseless_field_has_none(self):
        assert isinstance(estimate_noise(named(blobs(24))), str)
        assert "is constant" in str(estimate_noise(named((blobs(24) > 5).double())))

    def test_a_field_that_varies_everywhere_has_none(self):
        k = torch.fft.fftfreq(SIDE, 1 / SIDE, dtype=torch.float64)
        slope = torch.hypot(k[:, None], k).clamp(min=1) ** -1.5
        white = torch.randn(24, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        clouds = torch.fft.ifft2(torch.fft.fft2(white) * slope).real
        assert "varies together over long distances" in str(estimate_noise(named(clouds)))
        assert "varies together over long distances" in str(estimate_noise(named(clouds.exp())))

    def test_too_few_pixels_are_said(self):
        values = blobs(2, side=16) + noise(2, 0.0, side=16)[0]
        assert isinstance(estimate_noise(named(values)), str)
        assert "are too few" in str(estimate_noise(named(noise(1, 0.0, side=16)[0])))


class TestSignal:
    @pytest.fixture(scope="class")
    @classmethod
    def split_up(cls):
        clean, (added, _) = blobs(24), noise(24, 0.7)
        law = law_of(clean + added)
        return clean, added, law, signal_of(named(clean + added), law)

    def test_scales_sum_to_the_field(self):
        values = blobs(2) + noise(2, 0.0)[0]
        parts, rest = split(values, scales_of(SIDE, SIDE))
        assert torch.allclose(sum(parts) + rest, values) and len(parts) == 3
        assert [scales_of(side, 64) for side in (8, 16, 32, 64)] == [1, 2, 3, 4]

    def test_the_noise_of_each_scale_is_known(self, split_up):
        law = split_up[2]
        drawn = torch.stack([law.draw(torch.ones(1), torch.Generator().manual_seed(i)) for i in range(60)])
        parts, _ = split(drawn, 3)
        inner = [part[..., 12:-12, 12:-12].square().mean() for part in parts]  # beyond the border fields are mirrored
        assert [float(v) for v in inner] == pytest.approx([float(v) for v in levels(law, 3)], rel=0.08)

    def test_flat_parts_keep_little_and_sources_nearly_all(self, split_up):
        clean, _, _, signal = split_up
        flat, source = clean < 0.05 * SIGMA, clean > 10 * SIGMA
        assert float((signal - clean)[flat].std()) < 0.35 * SIGMA
        assert float((signal - clean)[source].std()) < 1.1 * SIGMA
        assert abs(float((signal - clean)[source].mean())) < 0.25 * SIGMA

    def test_no_field_leaves_its_range(self, split_up):
        clean, added, _, signal = split_up
        noisy = (clean + added).flatten(1)
        assert bool(
            (signal.flatten(1) >= noisy.amin(1)[:, None]).all() and (signal.flatten(1) <= noisy.amax(1)[:, None]).all()
        )


class TestFresh:
    @pytest.fixture(scope="class")
    @classmethod
    def domain(cls):
        added, _ = noise(40, 0.7)
        fields = named(blobs(40) + added)
        physical = Physical(fit_stretch("asinh", fields.values), {"examples": fields})
        return Domain(physical.to_model(fields, 3), {}, 40, physical=physical), added

    @pytest.fixture(scope="class")
    @classmethod
    def grain(cls, domain) -> Grain:
        _, grain = separate(domain[0], 3)
        assert grain is not None
        return grain

    def test_new_fields_have_the_instruments_noise(self, domain, grain):
        """Of the signal of new blobs, its deviation and spectrum are the truth's; without fresh noise there is none."""
        keys = tuple(f"{i:06d}" for i in range(40))
        clean = grain.physical.to_model(Fields(keys, blobs(40, seed=9)), 3)
        law = law_of(grain.physical.to_fields(grain(clean)).values)
        assert float(law.sigmas.median()) == pytest.approx(SIGMA, rel=0.04)
        assert torch.allclose(
            law.correlations()[0, :6],
            law_of(domain[0].physical.fields["examples"].values).correlations()[0, :6],
            atol=0.03,
        )
        assert isinstance(estimate_noise(grain.physical.to_fields(clean)), str)

    def test_noise_adds_in_physical_units_where_the_stretch_bends(self, grain):
        keys = tuple(f"{i:06d}" for i in range(60))
        level = torch.tensor([0.0, 5.0, 50.0]).repeat(20)[:, None, None, None].expand(-1, 1, SIDE, SIDE).double()
        noisy = grain.physical.to_fields(grain(grain.physical.to_model(Fields(keys, level), 3))).values - level
        each = [float(noisy[i::3].std()) for i in range(3)]
        assert each == pytest.approx([SIGMA] * 3, rel=0.04) and abs(float(noisy.mean())) < 0.02

    def test_image_k_has_the_noise_of_seed_k(self, domain, grain):
        images = Images(tuple(f"{i:06d}" for i in range(6)), domain[0].examples.values[:6])
        some = images.select(("000004", "000001"))
        assert torch.equal(grain(images).select(some.keys).values, grain(some).values)
        assert torch.equal(grain(some).values, grain(some).values[:, :1].expand(-1, 3, -1, -1))

    def test_it_is_no_examples_noise(self, domain, grain):
        images = Images(tuple(f"{i:06d}" for i in range(20)), domain[0].examples.values[:20] * 0)
        fresh = grain.physical.to_fields(grain(images)).values - grain.physical.to_fields(images).values
        rows, known = (x.flatten(1) / x.flatten(1).norm(dim=1, keepdim=True) for x in (fresh, domain[1]))
        # of unit vectors of so many independent pixels, 800 products stay below 5 deviations
        alike = SIDE**2 / float(torch.fft.ifft2(grain.law.power[0]).real.square().sum())
        assert float((rows @ known.T).abs().max()) < 5 / math.sqrt(alike)

    def test_signal_and_noise_give_the_examples_back_as_a_law(self, domain, grain):
        again = grain.physical.to_fields(
            grain(Images(tuple(f"{i:06d}" for i in range(40)), grain.signal(3).values))
        ).values
        before, after = (
            torch.fft.fft2(x[:, 0]).abs().square().mean(0)
            for x in (domain[0].physical.fields["examples"].values, again)
        )
        k = torch.fft.fftfreq(SIDE, 1 / SIDE)
        wave = torch.hypot(k[:, None], k)
        for low, high in ((4, 8), (8, 12), (12, 18), (18, 24)):
            ring = (wave >= low) & (wave < high)
            assert float(after[ring].mean() / before[ring].mean()) == pytest.approx(1, abs=0.17)

    def test_pictures_and_noiseless_fields_are_left_alone(self, domain):
        whole = domain[0]
        assert separate(whole, 3, asked=False) == (whole.examples, None)
        assert separate(Domain(whole.examples, {}, 40), 3) == (whole.examples, None)
        fields = named(blobs(24))
        physical = Physical(fit_stretch("asinh", fields.values), {"examples": fields})
        bare = Domain(physical.to_model(fields, 3), {}, 24, physical=physical)
        with pytest.warns(UserWarning, match="no law can be told"):
            assert separate(bare, 3) == (bare.examples, None)


class TestStretch:
    def test_noise_is_added_before_the_stretch(self):
        stretch = Stretch("asinh", (Channel(-1.0, 6.0, 0.3, 0.2),))
        v = torch.linspace(-1, 1, 50, dtype=torch.float64).view(1, 1, 5, 10)
        n = 0.1 * torch.randn(v.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        assert torch.allclose(stretch.inverse(stretch.plus(v, n)), stretch.inverse(v) + n)

    @pytest.mark.parametrize(("kind", "least"), [("log", 0.0), ("log1p", -1.0)])
    def test_a_logarithm_stays_above_its_least_value(self, kind, least):
        stretch = Stretch(kind, (Channel(math.log(0.01), math.log(10.0)),))
        v = torch.full((1, 1, 1, 4), -1.0, dtype=torch.float64)
        x, n = stretch.inverse(v), torch.tensor([-5.0, -0.001, 0.0, 1.0], dtype=torch.float64).view(1, 1, 1, 4)
        found = stretch.inverse(stretch.plus(v, n))
        assert bool((found > least).all()) and np.allclose((found - x)[0, 0, 0, 1:], [-0.001, 0.0, 1.0])
