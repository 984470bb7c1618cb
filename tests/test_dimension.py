"""Estimates of intrinsic dimension against data whose dimension is known, and the command that makes them."""

import math

import pytest
import torch

from farfield.core.error import FarfieldError
from farfield.diffusion.exact import GaussianDenoiser, molrg
from farfield.manifold.dimension import error_dimension, flipd, normal_bundle
from farfield.manifold.jacobian import Jacobian
from farfield.manifold.trace import trace
from farfield.study.manifold.dimension import recommend
from tests.test_jacobian import F64, seeded
from tests.tiny import differences, farfield, make_images, make_model, summary


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def law():
    """Rank 5 of 20, and a point of it."""
    basis, variances = torch.linalg.qr(seeded(20, 5)).Q, torch.tensor([3.0, 2.0, 1.0, 0.8, 0.5], dtype=F64)
    return GaussianDenoiser(torch.zeros(20), basis, variances), basis @ (variances.sqrt() * seeded(5, seed=1))


@pytest.mark.parametrize("sigma", [0.1, 0.01])
def test_flipd_of_a_gaussian_is_its_formula(law, sigma):
    """tr J + |x − D|² / s² in closed form; and near the rank."""
    model, x = law
    s2, inside = sigma**2, x @ model.basis
    truth = float(
        (model.variances / (model.variances + s2)).sum() + (inside * sigma / (model.variances + s2)).square().sum()
    )
    found = flipd(Jacobian(model, x, sigma), 20, generator())
    assert found.value == pytest.approx(truth, abs=1e-9) and found.error == 0
    assert found.value == pytest.approx(5, abs=10 * s2)


def test_flipd_is_the_slope_of_the_log_density(law):
    """d + ∂ log p / ∂ log s, by central differences of the density."""
    model, x = law
    x = x + 0.1 * seeded(20, seed=4)
    at = [float(model.log_density(x[None], torch.tensor(0.5 * math.exp(h), dtype=F64))) for h in (1e-4, -1e-4)]
    found = flipd(Jacobian(model, x, 0.5), 20, generator())
    assert found.value == pytest.approx(20 + (at[0] - at[1]) / 2e-4, rel=1e-6)


@pytest.mark.parametrize(("sigma", "near"), [(0.05, 0.05), (0.01, 0.002)])
def test_flipd_of_molrg_is_the_dimension_of_its_subspaces(sigma, near):
    bases = torch.linalg.qr(seeded(48, 14)).Q
    model = molrg([bases[:, :7], bases[:, 7:]])
    assert flipd(Jacobian(model, bases[:, :7] @ seeded(7, seed=1), sigma), 48, generator()).value == pytest.approx(
        7, abs=near
    )


def test_the_interval_of_flipd_holds_the_truth(law):
    model, x = law
    truth = flipd(Jacobian(model, x, 0.5), 20, generator()).value
    found = [flipd(Jacobian(model, x, 0.5), 12, generator(k)).score() for k in range(100)]
    inside = sum(s.low <= truth <= s.high for s in found)
    assert 80 <= inside <= 100 and all(s.high > s.low and s.n == 12 for s in found)


def test_the_denoising_error_is_the_trace_on_average(law):
    """E|x0 − D|² / s² over data = tr J of a Gaussian, at any level; per image it needs a small one."""
    model, x = law
    noise = seeded(4000, 20, seed=5)
    near = error_dimension(model, x, 0.01, noise)
    assert near.value == pytest.approx(5, abs=4 * near.error + 1e-3) and near.error < 0.1
    data = (model.variances.sqrt() * seeded(400, 5, seed=6)) @ model.basis.T
    errors = [error_dimension(model, x0, 0.8, seeded(40, 20, seed=7 + k)).value for k, x0 in enumerate(data)]
    mean = torch.tensor(errors, dtype=F64)
    truth = trace(Jacobian(model, x, 0.8), 20, generator()).value
    assert float(mean.mean()) == pytest.approx(truth, abs=4 * float(mean.std()) / 20)


def test_the_normal_bundle_counts_the_directions_across(law):
    model, x = law
    found = normal_bundle(model, x, 0.05, seeded(400, 20, seed=3))
    assert found.threshold == found.gap == 5 and found.step > 0.5
    assert float(found.values[:15].min()) > 0.5 and float(found.values[15:].max()) < 0.1
    # every direction varies by less than the level: the image is all noise
    assert normal_bundle(model, x, 50.0, seeded(400, 20, seed=3)).threshold == 0
    with pytest.raises(FarfieldError, match="at least 80"):
        normal_bundle(model, x, 0.05, seeded(79, 20))


def test_the_level_is_the_flattest_that_is_possible():
    values = torch.tensor([[-50.0, -49.0, 20.0, 8.0, 7.5, 3.0]])
    place, _, _ = recommend([0.01, 0.02, 0.1, 0.3, 0.5, 2.0], values, 64)
    assert place in (3, 4) and not recommend([0.1, 1.0], torch.tensor([[60.0, 10.0]]), 64)[2]
    assert recommend([0.1, 1.0, 3.0], torch.tensor([[7.0, 7.0, 7.0]]), 64)[2]
    assert recommend([0.1], torch.tensor([[7.0]]), 64) == (0, None, False)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dimension")
    return make_model(folder / "model", (3, 8, 8)), make_images(folder / "images", 3, 8, 8)


def test_the_command_tells_each_image_and_continues(inputs, tmp_path):
    model, images = inputs
    command = ("dimension", model, images, "--sigmas", "0.1,0.5,2", "--probes", 8, "--copies", 768, "-q", "-o")
    done = farfield(*command, tmp_path / "run")
    assert done.code == 0 and (tmp_path / "run" / "report.html").exists()
    found = summary(tmp_path / "run")
    assert found["n"] == 3 and found["dimension"] == 192 and len(found["levels"]) == 3
    assert all(
        s["low"] < s["value"] < s["high"] and s["n"] == 8 for image in found["images"].values() for s in image["flipd"]
    )
    assert set(found["bundle"]["images"]) == set(found["images"])
    # an image tells the same in other company, and a broken run ends as an unbroken one
    for path in (tmp_path / "run" / "levels").glob("shard-0000[3-8]*"):
        path.unlink()
    before = summary(tmp_path / "run")
    assert farfield(*command, tmp_path / "run").code == 0 and summary(tmp_path / "run") == before
    assert farfield(*command[:3], "--limit", 1, *command[3:], tmp_path / "one").code == 0
    name = next(iter(found["images"]))
    assert summary(tmp_path / "one")["images"][name] == found["images"][name]
    assert differences(tmp_path / "run", tmp_path / "one")  # the other two images


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--sigmas", "500"), "out of range"),
        (("--probes", 193), "at most 192"),
        (("--probes", 1), "at least 2"),
        (("--copies", 100), "at least 768"),
        (("--sigmas", "0.5,0.5"), "same level"),
        (("--sigmas", "much"), "numbers with commas"),
    ],
)
def test_bad_input_is_one_line(inputs, tmp_path, options, message):
    model, images = inputs
    done = farfield("dimension", model, images, *options, "-o", tmp_path / "run")
    assert done.code == 2 and message in done.err and done.err.count("\n") == 1 and not (tmp_path / "run").exists()
