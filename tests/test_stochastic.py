"""Noise maps: exact return, the closed form of their statistics, and whose seed they hang on."""

import pytest
import torch
from test_implicit import GRID, Random, images

from farfield.core.error import FarfieldError
from farfield.diffusion.exact import GaussianDenoiser
from farfield.diffusion.solver import integrate
from farfield.unseen.stochastic import decode_maps, noise_maps

F64 = torch.float64
DOWN = GRID.flip(0)


@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_decoding_with_the_maps_returns_the_image_of_any_network(eta):
    model, x = Random(), images()
    top, maps = noise_maps(model, x, DOWN, [1, 2, 3, 4], eta)
    assert maps.shape == (4, 12, 5)
    assert float((decode_maps(model, top, maps, DOWN, eta) - x).abs().max()) < 1e-10
    assert float((decode_maps(model, top, maps + 0.1, DOWN, eta) - x).abs().max()) > 1e-3


def test_statistics_of_the_maps_are_the_closed_form():
    """Data N(0, l): with c = (s0 - s_down) s0 / (l + s0²) and t² = s² - s_min² a map is
    [c x + t1 n1 - (1 - c) t0 n0] / s_up. Its variance is above 1, and neighbours share -(1 - c) t²: 20,000 draws."""
    variance, n, eta = 0.5, 20_000, 0.8
    model = GaussianDenoiser(torch.zeros(1, dtype=F64), torch.eye(1, dtype=F64), torch.tensor([variance], dtype=F64))
    sigmas = torch.tensor([4.0, 2.0, 1.0, 0.5, 0.1], dtype=F64)
    x = variance**0.5 * torch.randn(n, 1, generator=torch.Generator().manual_seed(9), dtype=F64)
    _, maps = noise_maps(model, x, sigmas, list(range(n)), eta)
    s0, s1 = sigmas[:-1], sigmas[1:]
    up = eta * s1 * (1 - (s1 / s0) ** 2).sqrt()
    c = (s0 - (s1**2 - up**2).sqrt()) * s0 / (variance + s0**2)
    t0, t1 = ((s**2 - sigmas[-1] ** 2).sqrt() for s in (s0, s1))
    expected = torch.diag((c**2 * variance + t1**2 + (1 - c) ** 2 * t0**2) / up**2)
    for i in range(4):
        for j in range(i + 1, 4):
            shared = c[i] * c[j] * variance - (t1[i] ** 2 * (1 - c[j]) if j == i + 1 else 0)
            expected[i, j] = expected[j, i] = shared / (up[i] * up[j])
    found = maps[:, :, 0].T.cov()
    sd = expected.diagonal().sqrt()
    assert torch.allclose(found / sd / sd[:, None], expected / sd / sd[:, None], atol=5 / n**0.5)
    assert bool((expected.diagonal() > 1).all()) and bool((expected.diagonal(1)[:2] < 0).all())
    assert torch.allclose(maps.mean(0)[:, 0], torch.zeros(4, dtype=F64), atol=5 * float(sd.max()) / n**0.5)


def test_given_noise_is_the_solvers_own_stochastic_step():
    """With the solver's noise as maps, decoding is `integrate` with eta."""
    from farfield.core.runtime import generator

    model, x, g = Random(), 10 * images(1), generator(7, "eta")
    maps = torch.stack([torch.randn(5, generator=g) for _ in range(12)])[None].double()
    expected = integrate(model, x, DOWN, "euler", eta=0.6, seeds=[7])
    assert torch.allclose(decode_maps(model, x, maps, DOWN, 0.6), expected, atol=1e-12)


def test_noise_depends_on_the_seed_alone():
    whole_top, whole = noise_maps(Random(), images(), DOWN, [5, 6, 7, 8])
    top, alone = noise_maps(Random(), images()[[2]], DOWN, [7])
    assert torch.allclose(whole[[2]], alone, atol=1e-12) and torch.equal(whole_top[[2]], top)
    assert not torch.allclose(noise_maps(Random(), images()[[2]], DOWN, [8])[1], alone)


def test_bad_requests_are_refused():
    for eta in (0.0, -0.1, 1.5):
        with pytest.raises(FarfieldError, match="eta"):
            noise_maps(Random(), images(), DOWN, [0, 1, 2, 3], eta)
    with pytest.raises(FarfieldError, match="one seed for each"):
        noise_maps(Random(), images(), DOWN, [0])
    with pytest.raises(FarfieldError, match="descending"):
        noise_maps(Random(), images(), GRID, [0, 1, 2, 3])
    with pytest.raises(FarfieldError, match="found none"):
        decode_maps(Random(), images(), None, DOWN)
    with pytest.raises(FarfieldError, match=r"expected \(4, 12, 5\)"):
        decode_maps(Random(), images(), torch.zeros(4, 11, 5), DOWN)
