import math

import pytest
import torch

from farfield.core.error import FarfieldError
from farfield.unseen.geometry import (
    angles,
    apex_angles,
    distances,
    expectation,
    norms,
    pair_angles,
    pair_distances,
    slerp,
    triangle_angles,
    walk,
)
from farfield.unseen.sampler import interpolation


def draws(n, d, shift=0.0, scale=1.0, seed=0):
    return shift / math.sqrt(d) + scale * torch.randn(
        n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


def test_closed_form_of_the_published_setting():
    """d = 196,608 standard normal: the paper's constants are 443.41, 627.07, 90 ± 0.129 degrees (TRUTHS §6)."""
    e = expectation(0.0, 1.0, 196608)
    assert (e.norm, e.distance) == pytest.approx((443.41, 627.07), abs=0.01)
    assert (e.angle, e.angle_sd) == pytest.approx((90.0, 0.129), abs=1e-3)


def test_draws_measure_what_the_closed_form_says():
    d, shift, scale = 20000, 40.0, 1.3
    z, e = draws(60, d, shift, scale), expectation(40.0, 1.3, 20000)
    assert float(norms(z).mean()) == pytest.approx(e.norm, rel=1e-3)
    assert float(pair_distances(z).mean()) == pytest.approx(e.distance, rel=1e-3)
    assert float(pair_distances(z).std()) == pytest.approx(e.distance_sd, rel=0.1)
    assert float(pair_angles(z).mean()) == pytest.approx(e.angle, abs=0.05)
    assert float(pair_angles(z).std()) == pytest.approx(e.angle_sd, rel=0.1)
    assert float(triangle_angles(z, torch.Generator().manual_seed(0)).mean()) == pytest.approx(60.0, abs=0.1)


def test_measures_are_those_of_small_figures():
    z = torch.tensor([[3.0, 0.0], [0.0, 4.0], [0.0, 0.0]])
    assert torch.allclose(pair_distances(z), torch.tensor([5.0, 3.0, 4.0], dtype=torch.float64))
    assert float(angles(z[[0]], z[[1]])) == pytest.approx(90.0)
    assert float(apex_angles(z[2], z[:2])) == pytest.approx(90.0)
    assert float(apex_angles(z[0], z[1:])) == pytest.approx(math.degrees(math.atan(4 / 3)))
    total = triangle_angles(z, torch.Generator().manual_seed(0), 3000).unique()
    assert float(total.sum()) == pytest.approx(180.0)
    assert distances(z[:1], z).shape == (1, 3)


def test_slerp_stays_on_the_shell_where_lerp_leaves_it():
    a, b = draws(2, 5000)
    a, b = a / a.norm(), b / b.norm()
    assert float(slerp(a, b, 0.5).norm()) == pytest.approx(1.0, abs=1e-12)
    assert float(((a + b) / 2).norm()) == pytest.approx(1 / math.sqrt(2), abs=0.02)
    quarter = slerp(a, b, 0.25)
    assert 4 * float(angles(a[None], quarter[None])) == pytest.approx(float(angles(a[None], b[None])), abs=1e-6)
    assert torch.allclose(slerp(a, b, 0.0), a) and torch.allclose(slerp(a, b, 1.0), b)
    assert torch.allclose(slerp(a, a * (1 + 1e-9), 0.5), a, atol=1e-6)


def test_the_published_interpolation_moves_lengths_linearly_and_ends_at_a_draw():
    """The release's form, written out: unit vectors by slerp, lengths by lerp, the other end a draw of the domain's law."""
    z = draws(2, 500, scale=3) * torch.tensor([[1.0], [4.0]])
    other = draws(1, 500, scale=9, seed=5)

    class Law:
        def sample(self, generators):
            return other

    for seed in range(4):
        made = interpolation(z, t=0.25, centre=False, partner=Law())(torch.Generator().manual_seed(seed))
        a = min(z, key=lambda end: float((made / made.norm() - end / end.norm()).norm()))
        u, v = a / a.norm(), other[0] / other.norm()
        angle = math.acos(float(u @ v))
        way = (math.sin(0.75 * angle) * u + math.sin(0.25 * angle) * v) / math.sin(angle)
        assert torch.allclose(made, (0.75 * a.norm() + 0.25 * other.norm()) * way, rtol=1e-9, atol=1e-9)
    around = interpolation(z, t=0.25, partner=Law())(torch.Generator().manual_seed(0))
    assert not torch.allclose(around.norm(), made.norm(), rtol=1e-3)


def test_slerp_of_raw_latents_scales_a_shared_mean_and_centred_slerp_does_not():
    """Two latents at nearly right angles: their common mean grows by √2 at the midpoint (DESIGN)."""
    z = draws(2, 100_000, shift=50.0)
    mean = torch.full_like(z[0], 50.0 / math.sqrt(100_000))
    along = mean / mean.norm()
    stops = [0.0, 0.25, 0.5, 1.0]
    raw, centred = walk(z[0], z[1], stops), walk(z[0], z[1], stops, mean)
    assert float(raw[2] @ along) == pytest.approx(math.sqrt(2) * 50, rel=0.05)
    assert (centred @ along).tolist() == pytest.approx([50] * 4, rel=0.05)
    for way in (raw, centred):
        assert torch.allclose(way[0], z[0]) and torch.allclose(way[3], z[1])
    assert torch.allclose(centred[2], mean + slerp(z[0] - mean, z[1] - mean, 0.5))


def test_too_few_latents_are_refused():
    with pytest.raises(FarfieldError, match="at least 2"):
        pair_distances(torch.zeros(1, 3))
    with pytest.raises(FarfieldError, match="at least 3"):
        triangle_angles(torch.zeros(2, 3), torch.Generator())
