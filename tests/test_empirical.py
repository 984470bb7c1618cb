"""The denoiser of many points answers as the full formula does, within its bound; and it is a model like others."""

from __future__ import annotations

import math

import pytest
import torch
from tiny import farfield, make_images, summary

from farfield.checkpoints.load import load_denoiser, locate, model_digest
from farfield.core.error import FarfieldError
from farfield.data.bundled import load_domain
from farfield.data.samples import open_samples
from farfield.data.subset import shuffled
from farfield.diffusion.empirical import FEW, SHARE, PrunedDenoiser, empirical_denoiser
from farfield.diffusion.exact import EmpiricalDenoiser, GaussianDenoiser, MixtureDenoiser
from farfield.diffusion.generation import generate

pytestmark = pytest.mark.usefixtures("without_the_page")

F64 = torch.float64
LEVELS = torch.tensor([0.002, 0.05, 0.3, 1.0, 2.0, 5.0, 20.0, 80.0], dtype=F64)


def cloud(kind: str, seed: int = 0, n: int = 600, d: int = 24) -> torch.Tensor:
    """Points in [-1, 1]: uniform, in tight clusters, or with every one several times."""
    g = torch.Generator().manual_seed(seed)
    if kind == "clusters":
        centres = torch.rand(5, d, generator=g) * 1.6 - 0.8
        return centres[torch.randint(5, (n,), generator=g)] + 0.01 * torch.randn(n, d, generator=g)
    points = torch.rand(n, d, generator=g) * 2 - 1
    return points[torch.arange(n) % (n // 4)] if kind == "duplicates" else points


def noisy(points: torch.Tensor, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    sigma = LEVELS.repeat(4)
    start = points[torch.randint(len(points), (len(sigma),), generator=g)].double()
    return start + sigma[:, None] * torch.randn(start.shape, generator=g, dtype=F64), sigma


@pytest.mark.parametrize("kind", ["uniform", "clusters", "duplicates"])
@pytest.mark.parametrize("tolerance", [1e-2, 1e-6])
@pytest.mark.parametrize("seed", range(2))
def test_the_answer_is_within_the_bound_of_the_full_one(kind, tolerance, seed):
    points = cloud(kind, seed)
    full = EmpiricalDenoiser(points, chunk=16)  # some rows keep none of a chunk
    pruned = PrunedDenoiser(full, tolerance)
    x, sigma = noisy(points, seed + 10)
    apart = (pruned(x, sigma) - full(x, sigma)).norm(dim=1)
    diameter = float(torch.cdist(points.double(), points.double()).max())
    assert float(apart.max()) <= tolerance * diameter + 1e-9  # the full one's own rounding
    share = pruned.kept(x, sigma).double().mean(1)
    assert float(share.min()) < SHARE < float(share.max())  # both ways were taken


def test_what_is_left_out_weighs_no_more_than_was_said():
    """Weights by the broadcast formula in float64."""
    points, tolerance = cloud("uniform"), 1e-3
    x, sigma = noisy(points)
    kept = PrunedDenoiser(EmpiricalDenoiser(points), tolerance).kept(x, sigma)
    squares = (x[:, None] - points.double()).square().sum(2)
    weights = torch.softmax(-squares / (2 * sigma[:, None] ** 2), 1)
    left = (weights * ~kept).sum(1)
    assert float(left.max()) <= tolerance
    assert float(left.max()) > 0 and int(kept.sum()) < kept.numel()


def test_points_far_from_the_origin_are_not_lost_to_rounding():
    """At an offset of 10⁴ float32 cannot tell these points apart: nearly all must be kept, and the answer hold."""
    points = 1e4 + cloud("uniform").double()
    full = EmpiricalDenoiser(points)
    x, sigma = noisy(points)
    assert torch.allclose(PrunedDenoiser(full)(x, sigma), full(x, sigma), atol=1e-4)
    assert bool(PrunedDenoiser(full).kept(x, sigma).any(1).all())


def test_order_and_copies_of_the_points_change_nothing():
    points = cloud("uniform")
    x, sigma = noisy(points)
    answer = PrunedDenoiser(EmpiricalDenoiser(points))(x, sigma)
    for other in (points.flip(0), points.repeat(3, 1)):
        assert torch.allclose(PrunedDenoiser(EmpiricalDenoiser(other))(x, sigma), answer, atol=1e-5)


def test_it_is_the_mixture_of_points():
    points = cloud("uniform", n=30, d=5).double()
    spikes = [GaussianDenoiser(p, torch.zeros(5, 0), torch.zeros(0)) for p in points]
    x, sigma = noisy(points)
    x, sigma = x[sigma > 0.01], sigma[sigma > 0.01]
    mixture = MixtureDenoiser(spikes, torch.ones(30))
    assert torch.allclose(PrunedDenoiser(EmpiricalDenoiser(points))(x, sigma), mixture(x, sigma), atol=1e-5)


def test_limits_are_the_nearest_point_and_the_mean():
    points = cloud("uniform").double()
    model = PrunedDenoiser(EmpiricalDenoiser(points))
    x = torch.randn(5, 24, dtype=F64)
    nearest = points[torch.cdist(x, points).argmin(1)]
    assert torch.allclose(model(x, torch.tensor(1e-3)), nearest, atol=1e-12)
    assert torch.allclose(model(x, torch.tensor(1e6)), points.mean(0), atol=1e-6)


def test_rows_do_not_depend_on_each_other(monkeypatch):
    points = cloud("clusters")
    x, sigma = noisy(points)
    model = PrunedDenoiser(EmpiricalDenoiser(points))
    together = model(x, sigma)
    monkeypatch.setattr("farfield.diffusion.empirical.CELLS", 5 * len(points))
    assert torch.allclose(model(x, sigma), together, atol=1e-12)
    assert torch.allclose(model(x[3:4], sigma[3:4]), together[3:4], atol=1e-12)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_state_that_is_not_finite_is_not_hidden(bad):
    points = cloud("uniform")
    x, sigma = noisy(points)
    x[2, 0] = bad
    answer = PrunedDenoiser(EmpiricalDenoiser(points))(x, sigma)
    finite = torch.isfinite(answer).all(1)
    assert not bool(finite[2]) and int(finite.sum()) == len(x) - 1


def test_a_state_too_large_for_float32_gets_the_full_pass():
    points = cloud("uniform")
    full = EmpiricalDenoiser(points)
    x, sigma = 1e40 * torch.randn(4, 24, dtype=F64), torch.ones(4)
    assert torch.equal(PrunedDenoiser(full)(x, sigma), full(x, sigma))


def test_samples_end_on_points_by_either_way():
    points = cloud("uniform", n=FEW + 100)
    model = empirical_denoiser(points)
    assert isinstance(model, PrunedDenoiser) and isinstance(empirical_denoiser(points[:FEW]), EmpiricalDenoiser)
    images = generate(model, range(16), model.schedule.sigmas(18), "heun")
    assert float(torch.cdist(images, points.double()).min(1).values.max()) < 1e-5
    assert torch.allclose(images, generate(model.full, range(16), model.schedule.sigmas(18), "heun"), atol=1e-4)


def test_a_tolerance_that_is_no_share_is_refused():
    with pytest.raises(FarfieldError, match="between 0 and 1"):
        PrunedDenoiser(EmpiricalDenoiser(cloud("uniform")), 1.0)


def test_a_bundled_domain_is_a_model():
    model = load_denoiser("empirical:digits")
    assert model.shape == (1, 8, 8) and model.device.type == "cpu"
    assert (model.schedule.sigma_min, model.schedule.sigma_max) == (0.002, 80.0)
    digits = load_domain("digits", (1, 8, 8)).values.double()
    assert torch.allclose(model(digits[:3] + 0.01, torch.tensor(0.002)), digits[:3], atol=1e-9)


def test_some_points_and_those_of_one_class():
    three = load_denoiser("empirical:digits@3")
    digits = load_domain("digits", (1, 8, 8)).values.double()
    keys = load_domain("digits", (1, 8, 8)).keys
    drawn = [keys.index(key) for key in shuffled(keys, 0)[:3]]
    x = torch.zeros(1, 1, 8, 8, dtype=F64)
    assert torch.allclose(three(x, torch.tensor(1e6)), digits[drawn].mean(0, keepdim=True), atol=1e-6)
    from sklearn.datasets import load_digits

    sevens = digits[torch.from_numpy(load_digits().target == 7)]
    assert torch.allclose(
        load_denoiser("empirical:digits", label=7)(x, torch.tensor(1e6)), sevens.mean(0, keepdim=True), atol=1e-6
    )


def test_its_digest_is_that_of_its_points(tmp_path):
    make_images(tmp_path / "a", 4)
    make_images(tmp_path / "b", 4)
    name = f"empirical:{tmp_path / 'a'}"
    assert model_digest(name) == model_digest(f"empirical:{tmp_path / 'b'}")
    assert model_digest(name) != model_digest(f"{name}@3")


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda: load_denoiser("empirical:"), "data behind the colon"),
        (lambda: load_denoiser("empirical:nothing-there"), "nothing-there"),
        (lambda: load_denoiser("empirical:digits@0"), "1 to 1797"),
        (lambda: load_denoiser("empirical:digits", label=10), "0 to 9, found 10"),
        (lambda: load_denoiser("empirical:brick", label=1), "no classes"),
        (lambda: locate("empirical:digits"), "no network"),
    ],
)
def test_bad_names_are_refused(act, said):
    with pytest.raises(FarfieldError, match=said):
        act()


def test_it_inverts_its_own_points_and_makes_them(tmp_path):
    """One point: the flow is a straight line, which Euler follows exactly, whatever the step."""
    make_images(tmp_path / "images", 1, 8, 8)
    name = f"empirical:{tmp_path / 'images'}"
    made = farfield("generate", name, "--seeds", "0-3", "--steps", 1, "--solver", "ddim", "-o", tmp_path / "run", "-q")
    assert made.code == 0, made.err
    assert summary(tmp_path / "run")["model"]["parameters"] == 0
    point = open_samples(tmp_path / "images").values
    assert torch.equal(open_samples(tmp_path / "run").values, point.expand(4, -1, -1, -1))
    back = farfield("reconstruct", name, tmp_path / "images", "-o", tmp_path / "back", "--steps", 4, "-q")
    assert back.code == 0, back.err
