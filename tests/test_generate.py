"""Image k depends on seed k alone, noise put in has the law that was asked for, and a killed run ends as an unbroken one."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import farfield, summary

from farfield.checkpoints.native import Blueprint, save_model
from farfield.command.generate import Generate
from farfield.core.artifact import Images, Store
from farfield.core.error import FarfieldError, NonFiniteError
from farfield.core.runtime import generator
from farfield.data.samples import open_samples
from farfield.diffusion.exact import GaussianDenoiser
from farfield.diffusion.generation import generate
from farfield.diffusion.solver import Churn, integrate
from farfield.networks.build import from_config, network_config
from farfield.study.model import generate as study

pytestmark = pytest.mark.usefixtures("without_the_page")

F64 = torch.float64
CHURN = Churn(8.0, 0.05, 5.0, 1.1)


def network(folder: Path, classes: int = 0) -> Path:
    """A model folder: the smallest network whose images differ, by seed and by class."""
    config = network_config("ddpmpp", (3, 8, 8), width=4, multipliers=(1, 2), blocks=1, attention=(), classes=classes)
    net = from_config(config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for weight in net.parameters():
            torch.nn.init.normal_(weight, std=0.1)  # a new network answers with zeros
    save_model(folder, net, Blueprint(config, (3, 8, 8), classes=classes))
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return network(tmp_path_factory.mktemp("model") / "m")


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    return network(tmp_path_factory.mktemp("classes") / "m", classes=4)


def factor(solver: str, variance: torch.Tensor, s0: float, s1: float) -> torch.Tensor:
    """What a step from s0 to s1 multiplies a direction of this variance by."""
    g0, g1, h = s0 / (variance + s0**2), s1 / (variance + s1**2), s1 - s0
    return 1 + h * g0 if solver == "euler" else 1 + h / 2 * (g0 + g1 * (1 + h * g0))


def begins(churn: Churn, s: float, steps: int, most: float) -> float:
    gamma = min(churn.amount / steps, math.sqrt(2) - 1) if churn.low <= s <= churn.high else 0
    return max(s, min(s * (1 + gamma), most))


@pytest.mark.parametrize("solver", ["euler", "heun"])
@pytest.mark.parametrize("churn", [CHURN, Churn(100.0), Churn(3.0, 0.5, 1.0)])
def test_churn_of_gaussian_data_is_linear(gaussian, solver, churn):
    """Every direction of the data is multiplied by a known number and gets known noise, step by step."""
    sigmas, seeds = gaussian.schedule.sigmas(10), [3, 8]
    start = torch.randn(2, 6, generator=torch.Generator().manual_seed(1), dtype=F64) * 10
    streams = [generator(s, "churn") for s in seeds]
    y = (start - gaussian.mean) @ gaussian.basis
    for s0, s1 in pairwise(sigmas.tolist()):
        high = begins(churn, s0, 10, 10.0)
        if high > s0:
            noise = torch.stack([torch.randn(6, generator=g) for g in streams]).double()
            y = y + churn.noise * math.sqrt(high**2 - s0**2) * noise @ gaussian.basis
        y = y * factor(solver, gaussian.variances, high, s1)
    found = integrate(gaussian, start, sigmas, solver, churn=churn, seeds=seeds)
    assert torch.allclose(found, gaussian.mean + y @ gaussian.basis.T, atol=1e-10)


def test_churn_has_the_variance_of_its_recursion():
    variances = torch.tensor([4.0, 1.0, 0.1], dtype=F64)
    model = GaussianDenoiser(torch.zeros(3), torch.eye(3), variances)
    sigmas, n = model.schedule.sigmas(8), 3000
    expected = torch.full((3,), 1 + 80.0**2, dtype=F64)
    for s0, s1 in pairwise(sigmas.tolist()):
        high = begins(CHURN, s0, 8, 80.0)
        added = CHURN.noise**2 * (high**2 - s0**2)
        expected = factor("heun", variances, high, s1) ** 2 * (expected + added)
    expected *= (variances / (variances + float(sigmas[-1]) ** 2)) ** 2
    images = generate(model, range(n), sigmas, "heun", churn=CHURN)
    assert torch.allclose(images.var(0) / expected, torch.ones(3, dtype=F64), atol=5 * math.sqrt(2 / n))


def test_churn_zero_and_levels_beyond_are_the_deterministic_solver(gaussian):
    sigmas = gaussian.schedule.sigmas(6)
    plain = generate(gaussian, [1, 2], sigmas, "heun")
    for churn in (Churn(0.0), Churn(8.0, 50.0)):
        assert torch.equal(generate(gaussian, [1, 2], sigmas, "heun", churn=churn), plain)
    assert not torch.allclose(generate(gaussian, [1, 2], sigmas, "heun", churn=CHURN), plain, atol=1e-3)


@pytest.mark.parametrize("noise", [{}, {"eta": 0.7}, {"churn": CHURN}])
def test_an_image_depends_on_its_seed_alone(gaussian, noise):
    sigmas = gaussian.schedule.sigmas(6)
    together = generate(gaussian, [5, 0, 9], sigmas, "euler", **noise)
    for row, seed in zip(together, [5, 0, 9], strict=True):
        assert torch.allclose(generate(gaussian, [seed], sigmas, "euler", **noise)[0], row, atol=1e-12)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"churn": CHURN, "solver": "multistep"}, "multistep"),
        ({"churn": CHURN, "eta": 0.5}, "both put noise in"),
        ({"churn": CHURN, "seeds": [1]}, "one seed for each of the 2"),
        ({"churn": CHURN, "up": True}, "on the way up"),
    ],
)
def test_churn_where_it_makes_no_sense_is_refused(gaussian, settings, said):
    sigmas = gaussian.schedule.sigmas(4)
    sigmas = sigmas.flip(0) if settings.pop("up", False) else sigmas
    with pytest.raises(FarfieldError, match=said):
        integrate(gaussian, torch.zeros(2, 6, dtype=F64), sigmas, **{"solver": "heun", "seeds": [1, 2], **settings})


@pytest.mark.parametrize("values", [(-1.0,), (1.0, 2.0, 1.0), (1.0, 0.0, 1.0, 0.0), (math.nan,), (math.inf,)])
def test_churn_out_of_range_is_refused(values):
    with pytest.raises(FarfieldError, match="churn"):
        Churn(*values)


@pytest.mark.parametrize("options", [(), ("--eta", 0.5), ("--churn", 4, "--churn-max", 50)])
def test_any_batch_and_any_other_seeds_make_the_same_images(model, tmp_path, options):
    common = ("--steps", 4, "-q", "--format", "shards", *options)
    assert farfield("generate", model, "--seeds", "0-6", "-o", tmp_path / "a", *common).code == 0
    assert farfield("generate", model, "--seeds", "5,2", "-o", tmp_path / "b", "--batch-size", 1, *common).code == 0
    a, b = (open_samples(tmp_path / name) for name in "ab")
    assert b.keys == ("5", "2")
    assert torch.allclose(a.select(b.keys).values, b.values, atol=1e-4)
    assert not torch.allclose(a.values[0], a.values[1], atol=1e-2)


def test_every_format_holds_the_same_images(model, tmp_path):
    for form in ("png", "shards", "npz"):
        options = ("--seeds", "3-7", "--steps", 2, "--batch-size", 2, "--format", form, "-q")
        assert farfield("generate", model, "-o", tmp_path / form, *options).code == 0
    png, shards = open_samples(tmp_path / "png"), open_samples(tmp_path / "shards")
    packed = open_samples(tmp_path / "npz" / "images.npz")
    assert png.keys == shards.keys == packed.keys == ("3", "4", "5", "6", "7")
    assert torch.equal(png.values, packed.values)
    assert float((png.values - shards.values.clamp(-1, 1)).abs().max()) <= 0.5 / 127.5 + 1e-6
    assert sorted(p.name for p in (tmp_path / "png" / "samples").iterdir())[0] == "000003.png"
    with Image.open(tmp_path / "png" / "sheet.png") as sheet:
        assert np.asarray(sheet).std() > 0


def test_the_summary_says_what_was_done(model, tmp_path):
    outcome = farfield(
        "generate", model, "--seeds", "0-2,9", "--steps", 3, "--churn", 2, "-o", tmp_path / "r", "--json"
    )
    found = summary(tmp_path / "r")
    assert outcome.code == 0 and '"seeds": "0-2,9"' in outcome.out
    assert (found["n"], found["solver"], found["network_calls"]) == (4, "heun", {"per_image": 7, "total": 28})
    again = farfield("generate", model, "--seeds", "0-2,9", "--steps", 3, "--churn", 2, "-o", tmp_path / "r")
    assert again.code == 0 and "to do" not in again.err


def test_classes_go_round_by_seed(classes, tmp_path):
    common = ("--steps", 3, "--format", "shards", "-q")
    assert farfield("generate", classes, "--seeds", "0-5", "--labels", "0-3", "-o", tmp_path / "all", *common).code == 0
    mixed = open_samples(tmp_path / "all")
    for label in (0, 3):
        one = tmp_path / str(label)
        assert farfield("generate", classes, "--seeds", "0-5", "--label", label, "-o", one, *common).code == 0
        alike = (mixed.values - open_samples(one).values).abs().amax((1, 2, 3)) < 1e-5
        assert [i for i in range(6) if alike[i]] == [i for i in range(6) if i % 4 == label]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--seeds", "4-1"), "runs backwards"),
        (("--seeds", "1,1"), "more than once"),
        (("--seeds=-1",), "at least 0"),
        (("--format", "gif"), "png, shards, npz"),
        (("--batch-size", 0), "at least 1"),
        (("--solver", "rk9"), "rk9"),
        (("--solver", "multistep", "--eta", 0.5), "fresh noise"),
        (("--eta", 2), "eta 2"),
        (("--eta", 1, "--churn", 3), "both put noise in"),
        (("--churn", -3), "churn -3"),
        (("--steps", 0), "at least 1"),
        (("--sigma-max", 1e9), "out of range"),
        (("--label", 1), "unconditional"),
        (("--labels", "0-3"), "unconditional"),
    ],
)
def test_bad_requests_are_refused_before_a_folder_is_begun(model, tmp_path, options, said):
    outcome = farfield("generate", model, "-o", tmp_path / "run", "-q", *options)
    assert outcome.code == 2 and said in outcome.err
    assert not (tmp_path / "run").exists()


def test_several_labels_need_a_network(tmp_path):
    outcome = farfield("generate", "empirical:digits", "--labels", "0-3", "-o", tmp_path / "run", "-q")
    assert outcome.code == 2 and "class-conditional" in outcome.err


def test_other_settings_are_not_mixed_in(model, tmp_path):
    common = ("generate", model, "-o", tmp_path, "--steps", 2, "-q")
    assert farfield(*common, "--seeds", "0-1").code == 0
    outcome = farfield(*common, "--seeds", "0-2")
    assert outcome.code == 2 and "--seeds was 0-1, now 0-2" in outcome.err


def test_a_batch_with_nan_is_named_and_the_others_are_kept(tmp_path, monkeypatch):
    points = BreaksDown(seed=5)
    monkeypatch.setattr("farfield.study.bench.numerics.load_denoiser", lambda *_, **__: points)
    monkeypatch.setattr("farfield.study.model.generate.model_digest", lambda _: "0")
    settings = Generate.of(model="m", seeds=range(8), steps=2, batch_size=2, device="cpu")
    with pytest.raises(NonFiniteError, match=r"1 of 2 states \(seeds 5\)"):
        study.generate(settings, tmp_path / "run", quiet=True)
    assert open_samples(tmp_path / "run" / "samples").keys == ("0", "1", "2", "3")


class BreaksDown(GaussianDenoiser):
    """A model that breaks down at the noise of one seed."""

    def __init__(self, seed: int):
        super().__init__(torch.zeros(1, 4, 4), torch.zeros(16, 0), torch.zeros(0), 0.1)
        self.bad = torch.randn(1, 4, 4, generator=generator(seed)).double()

    def forward(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        scaled = x / (1 + sigma**2).sqrt()
        hit = (scaled - self.bad).flatten(1).norm(dim=1) < 1e-6
        return torch.where(hit[:, None, None, None], torch.nan, super().forward(x, sigma))


def test_levels_are_spaced_as_asked_and_those_of_before_are_not_mixed_in(model, tmp_path):
    names = {"plain": (), "edm": ("--rho", 7)}
    for name, words in names.items():
        assert (
            farfield(
                "generate", model, "--seeds", "0-1", "--format", "shards", *words, "-o", tmp_path / name, "-q"
            ).code
            == 0
        )
    plain, edm = (open_samples(tmp_path / name).values for name in names)
    assert not torch.equal(plain, edm)
    config = tmp_path / "plain" / "config.json"
    before = json.loads(config.read_text())
    assert before["request"].pop("grid") == "spread"
    config.write_text(json.dumps(before))
    again = farfield("generate", model, "--seeds", "0-1", "--format", "shards", "-o", tmp_path / "plain", "-q")
    assert again.code and "begun by an earlier farfield" in again.err


def test_what_is_lost_or_damaged_is_made_again_and_said(model, tmp_path):
    common = ("generate", model, "--seeds", "0-4", "--steps", 2, "--batch-size", 2, "-q", "-o")
    assert farfield(*common, tmp_path / "png").code == 0
    lost = tmp_path / "png" / "samples" / "000003.png"
    before = lost.read_bytes()
    lost.unlink()
    assert farfield(*common, tmp_path / "png").code == 0 and lost.read_bytes() == before
    assert farfield(*common, tmp_path / "shards", "--format", "shards").code == 0
    shard = Store(tmp_path / "shards" / "samples", Images).shards()[0]
    shard.write_bytes(shard.read_bytes()[:40])
    outcome = farfield(*common, tmp_path / "shards", "--format", "shards")
    assert outcome.code == 0 and outcome.err.count("damaged; made again") == 1 and shard.name in outcome.err
    whole = lost.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 64
    for damage in (b"", whole[:60], bytes(flipped), lost.with_name("000001.png").read_bytes()):
        lost.write_bytes(damage)
        outcome = farfield(*common, tmp_path / "png")
        assert outcome.code == 0 and outcome.err.count("farfield:") == 1 and "00001.txt" in outcome.err
        assert lost.read_bytes() == whole


def test_images_of_a_version_without_checksums_are_kept_as_they_are(model, tmp_path):
    common = ("generate", model, "--seeds", "0-3", "--steps", 2, "--batch-size", 2, "-q", "-o", tmp_path)
    assert farfield(*common).code == 0
    lists = sorted((tmp_path / "checksums").iterdir())
    before, first = [path.read_bytes() for path in lists], tmp_path / "samples" / "000000.png"
    for path in lists:
        path.unlink()
    stamp = first.stat().st_mtime_ns
    assert farfield(*common).code == 0 and first.stat().st_mtime_ns == stamp
    assert [path.read_bytes() for path in lists] == before
    lists[0].unlink()
    first.write_bytes(first.read_bytes()[:60])
    assert farfield(*common).code == 0 and lists[0].read_bytes() == before[0]


@pytest.mark.slow
def test_two_processes_leave_the_files_of_one(model, tmp_path):
    from test_ranks import launch

    options = ("--seeds", "0-8", "--steps", 3, "--batch-size", 2, "--device", "cpu", "-o")
    assert farfield("generate", model, *options, tmp_path / "one").code == 0
    said = launch("generate", model, *options, tmp_path / "two")
    assert said.returncode == 0, said.stderr
    one, two = open_samples(tmp_path / "one"), open_samples(tmp_path / "two")
    assert one.keys == two.keys and float((one.values - two.values).abs().max()) <= 1 / 127.5 + 1e-6
