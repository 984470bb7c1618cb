"""`farfield analyse`: Gaussians whose whole way up and down is known, and the command on a tiny model."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from tiny import farfield, make_images, make_model, numbers, summary

from farfield.command.shared import Loading, Numerics
from farfield.core.artifact import Images, Latents
from farfield.diffusion.exact import GaussianDenoiser
from farfield.diffusion.schedule import ContinuousSchedule
from farfield.study.bench.run import Run
from farfield.study.unseen.analyse import geometry
from farfield.study.unseen.ladder import Ladder, find_levels, toward_noise
from farfield.unseen.interference import Border

D, LOW, HIGH, VARIANCE = 6, 0.02, 40.0, 0.5
SHIFT = 2.0


@pytest.fixture(scope="module")
def isotropic() -> GaussianDenoiser:
    """The training domain, N(0, ½ I) in 6 dimensions."""
    nothing = torch.zeros(D, 0, dtype=torch.float64), torch.zeros(0, dtype=torch.float64)
    return GaussianDenoiser(torch.zeros(D), *nothing, residual=VARIANCE, schedule=ContinuousSchedule(LOW, HIGH))


@pytest.fixture(scope="module")
def examples() -> Images:
    """1,000 examples of N(m, ½ I), |m| = 2, moments exact."""
    g = torch.Generator().manual_seed(1)
    x = torch.randn(1000, D, generator=g, dtype=torch.float64)
    x = x - x.mean(0)
    factor = torch.linalg.cholesky(torch.linalg.inv(x.T @ x / len(x)))
    x = x @ factor * math.sqrt(VARIANCE) + SHIFT / math.sqrt(D)
    return Images(tuple(f"{i:04d}" for i in range(len(x))), x)


def stretch(level: float) -> float:
    return math.sqrt((VARIANCE + level**2) / (VARIANCE + LOW**2))


def descended(grid: torch.Tensor, eta: float, mean: float, variance: float) -> tuple[float, float]:
    """DDIM with eta in closed form: mean and variance of each coordinate, step by step."""
    for s0, s in zip(grid[:-1].tolist(), grid[1:].tolist(), strict=True):
        up = eta * s * math.sqrt(1 - (s / s0) ** 2)
        factor = 1 + (math.sqrt(s**2 - up**2) - s0) * s0 / (VARIANCE + s0**2)
        mean, variance = factor * mean, factor**2 * variance + up**2
    return mean, variance


def test_a_climb_passes_the_exact_latents_of_every_level(isotropic, examples, tmp_path):
    levels = find_levels(isotropic.schedule, [1.0, 5.0, HIGH])
    ladder = Ladder(isotropic, levels, Numerics(steps=120, loading=Loading(400)), 30)
    found = ladder.climb(Run(tmp_path / "run", "test", {}, {}, quiet=True), "latents", examples)
    for level in levels:
        exact = examples.values * stretch(level) / math.sqrt(1 + level**2)
        assert found[level].sigma == pytest.approx(level)
        assert float((found[level].values - exact).norm() / exact.norm()) < 2e-3


@pytest.mark.parametrize("level", [1.0, HIGH])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_capture_and_drift_are_those_of_the_linear_recursion(isotropic, examples, level, eta):
    """Examples and training domain differ in their mean alone: the border lies half way, and what comes down is
    Gaussian with known mean and variance, so the share beyond the border is known."""
    ladder = Ladder(isotropic, [level], Numerics(steps=30), 30)
    latents = Latents(examples.keys, examples.values * stretch(level) / math.sqrt(1 + level**2), sigma=level)
    from_above = ladder.stochastic(latents, eta).values
    g = torch.Generator().manual_seed(2)
    training = torch.randn(1000, D, generator=g, dtype=torch.float64) * math.sqrt(VARIANCE)
    border = Border.fit(examples.values, training)
    judged = border.judge(from_above, range(1000))

    grid = isotropic.schedule.sigmas(ladder.calls(level), level)
    start = stretch(level)
    mean, variance = descended(grid, eta, start, start**2 * VARIANCE)  # mean as a share of the examples' own
    assert float(judged.drift.mean()) == pytest.approx(1 - mean, abs=0.05)
    beyond = 0.5 * math.erfc((mean - 0.5) * SHIFT / math.sqrt(2 * variance))
    assert judged.captured / 1000 == pytest.approx(beyond, abs=4 * math.sqrt(beyond * (1 - beyond) / 1000) + 0.03)
    if eta == 0:  # the deterministic way gives back what came
        assert abs(judged.captured - border.examples.captured) < 40
    if (eta, level) == (1.0, HIGH):  # all noise from the last level: nothing of the example is left
        assert mean < 0.02 and judged.captured > 850


def test_noise_depends_on_the_key_alone(isotropic, examples):
    ladder = Ladder(isotropic, [5.0], Numerics(steps=8), 8)
    latents = Latents(examples.keys[:6], examples.values[:6], sigma=5.0)
    for descent, amount in ((ladder.stochastic, 0.7), (ladder.disturbed, 0.4)):
        together = descent(latents, amount)
        alone = descent(latents.select([latents.keys[4]]), amount)
        torch.testing.assert_close(together.select([latents.keys[4]]).values, alone.values)


def test_latents_turn_towards_noise_and_end_there(examples):
    latents = Latents(examples.keys[:50], examples.values[:50], sigma=5.0)
    torch.testing.assert_close(toward_noise(latents, 0.0).values, latents.values)
    fresh = toward_noise(latents, 1.0).values
    assert abs(float(fresh.var()) - 1) < 0.3 and abs(float(fresh.mean())) < 0.3
    other = Latents(latents.keys, latents.values + 1, sigma=9.0)
    torch.testing.assert_close(toward_noise(other, 1.0).values, fresh)


def test_geometry_of_a_gaussian_is_its_closed_form():
    g = torch.Generator().manual_seed(0)
    mean, d = 3.0, 2000
    found = geometry(0.8 * torch.randn(60, d, generator=g, dtype=torch.float64) + mean / math.sqrt(d))
    assert found.mean_norm == pytest.approx(mean, rel=0.1)
    assert found.distance.mean == pytest.approx(0.8 * math.sqrt(2 * d), rel=0.005)
    assert found.distance.sd == pytest.approx(0.8, rel=0.2)
    assert found.directions == pytest.approx(d, rel=0.4)
    # variance in 40 of the directions alone
    few = geometry(torch.randn(200, 40, generator=g, dtype=torch.float64) @ torch.eye(40, d, dtype=torch.float64))
    assert found.directions > 10 * few.directions and few.directions == pytest.approx(40, rel=0.35)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return make_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    return make_images(tmp_path_factory.mktemp("images") / "new", 14)


SMALL = ["--levels", "2,20", "--eta", "0,1", "--noise", "1", "--decoded", 4, "--down-steps", 4, "--steps", 8, "-q"]


@pytest.fixture(scope="module")
def whole(model, images, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "whole"
    done = farfield("analyse", model, images, "-o", run, "--examples", 12, "--symmetry", "rot90,flip", *SMALL)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("The frozen network adds nothing that these 12 examples can show: ")
    return run


def test_a_run_says_all_it_should(whole):
    found = summary(whole)
    assert found["levels"] == pytest.approx([2, 20], rel=0.02)
    assert found["in_domain"] == {"source": None, "n": 12, "kind": "the model's own samples, inverted again"}
    for part in ("normality", "geometry", "separability", "latent_certificate"):
        assert [row["sigma"] for row in found[part]] == found["levels"], part
    rows = found["interference"]["curves"]
    assert [(r["way"], r["at"]) for r in rows] == [("eta", 0.0), ("eta", 1.0), ("noise", 1.0)] * 2
    assert all(0 <= r["captured"]["low"] <= r["captured"]["value"] <= r["captured"]["high"] <= 1 for r in rows)
    # undisturbed, an example comes back; with all noise it is farther away
    near, far = (next(r for r in rows if r["sigma"] > 10 and r["at"] == at)["distance"]["value"] for at in (0.0, 1.0))
    assert near < 0.3 < far
    assert found["bandwidth"]["searched"] in [row["sigma"] for row in found["bandwidth"]["search"]]
    assert all(row.get("counts", True) for row in found["gain"]["levels"]) and len(found["gain"]["levels"]) > 2
    assert len(found["symmetry"]["group"]) == 8 and len(found["symmetry"]["levels"]) == 2
    walked = {(stop["centre"], stop["at"]): stop["drift"]["value"] for stop in found["walk"]["stops"]}
    assert len(walked) == 10 and [len(pair) for pair in found["walk"]["pairs"]] == [2, 2]
    assert all(walked["mean", at] == pytest.approx(walked["origin", at], abs=1e-4) for at in (0.0, 1.0))
    assert abs(walked["mean", 0.5] - walked["origin", 0.5]) > 1e-3
    gap = found["interference"]["gap"]
    assert gap["n"] == 12 and gap["low"] < gap["value"] < gap["high"]
    assert all(math.isfinite(v) for v in numbers(found).values())


def test_the_page_shows_every_analysis(whole):
    html = (whole / "report.html").read_text()
    anchors = ["gain", "gaussianity", "geometry", "separability", "interference", "bandwidth", "walk", "symmetry"]
    assert [a for a in anchors if f'id="{a}"' not in html] == []
    strips = ["strip-eta", "strip-levels", "strip-noise", "walk-mean", "walk-origin"]
    assert sorted(p.stem for p in (whole / "grids").iterdir()) == strips
    assert "eta 1" in html and "captured" in html and "nan" not in html.lower().split("<body>")[1].split("settings")[0]


def test_real_images_of_the_training_domain(model, images, tmp_path):
    run, known = tmp_path / "run", make_images(tmp_path / "known", 20, first=500)
    least = (*SMALL, "--levels", "2", "--eta", "1", "--decoded", 2, "--steps", 4)
    assert (
        farfield("analyse", model, images, "-o", run, "--in-domain", known, "--limit", 9, "--brief", *least).code == 0
    )
    found = summary(run)
    assert "gain" not in found and found["bandwidth"]["search"] == [] and found["bandwidth"]["searched"] is None
    assert "sigma auto" not in (run / "report.html").read_text()
    assert found["in_domain"] == {"source": str(known), "n": 9, "kind": "images"} and found["symmetry"] is None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--eta", "0,1.5"], "--eta 1.5: expected a number, at least 0 and at most 1"),
        (["--eta", "many"], "eta 'many': expected numbers"),
        (["--noise", "-0.1"], "--noise -0.1: expected a number, at least 0 and at most 1"),
        (["--symmetry", "spin"], "symmetry 'spin': expected some of rot90"),
        (["--levels", "2,900"], "sigma 900: out of range"),
        (["--levels", "20,20.2"], "this model was trained at only"),
        (["--levels", "0.001"], "level 0.001: expected one above the lowest"),
        (["--examples", 5], "expected at least 8 examples to analyse, found 5"),
        (["--examples", 500], "500 examples asked for, but it holds 14"),
        (["--in-domain", "EMPTY"], "EMPTY"),
        (["--in-domain", "FEW"], "expected at least 8 images of the training domain, found 3"),
        (["--descriptor", "missing.pt"], "missing.pt"),
    ],
)
def test_bad_input_is_one_line_and_no_folder(model, images, tmp_path, options, said):
    (tmp_path / "EMPTY").mkdir()
    make_images(tmp_path / "FEW", 3)
    options = [tmp_path / o if o in ("EMPTY", "FEW") else o for o in options]
    done = farfield("analyse", model, images, "-o", tmp_path / "run", *options)
    assert done.code == 2 and done.err.count("\n") == 1 and said in done.err, done.err
    assert not (tmp_path / "run").exists()


def test_images_that_are_not_square_are_not_turned(tmp_path):
    model, wide = make_model(tmp_path / "wide", (3, 16, 24)), make_images(tmp_path / "images", 9, 16, 24)
    done = farfield("analyse", model, wide, "-o", tmp_path / "run", "--symmetry", "rot90")
    assert done.code == 2 and "needs square images, found 16 × 24" in done.err and not (tmp_path / "run").exists()
