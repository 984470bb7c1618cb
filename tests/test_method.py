"""Every method through one contract and through the command line; the choice of the cheapest."""

import shutil
from pathlib import Path

import pytest
import torch
from test_implicit import Random, images
from tiny import differences, farfield, make_images, make_model, summary

from farfield.command.reconstruct import Budget, Choice, Kept
from farfield.command.result import from_json
from farfield.core.artifact import Latents, load, read_kept, write_kept
from farfield.core.error import FarfieldError
from farfield.core.terminal import plain
from farfield.diffusion.schedule import karras
from farfield.present.method import budget
from farfield.study.bench.carrier import key_seed
from farfield.unseen.method import METHODS, Method, Trial, budgets, choose, decode_by, invert_by

EXACT = {
    "fixed-point": (),
    "belm": ("second",),
    "bdia": ("second",),
    "reversible-heun": ("second",),
    "edit-friendly": ("noise_maps",),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("inputs")
    make_model(root / "model", (3, 8, 8))
    make_images(root / "images", 3, 8, 8)
    return root


def run(root, out, *options, command="reconstruct"):
    return farfield(command, root / "model", root / "images", "-o", out, "--batch-size", 2, *options)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_goes_there_and_back(name):
    """All but the explicit one to 1e-9 on a random network in float64; without what stands beside, not at all."""
    model, x, sigmas = Random(), images(), karras(12, 0.02, 10.0)
    method = Method(name, "heun", tolerance=1e-13)
    found = invert_by(method, model, x, sigmas, [0, 1, 2, 3])
    back = decode_by(method, model, found.latents, found.beside, sigmas)
    assert (float((back - x).abs().max()) < 1e-9) == (name != "explicit")
    if method.beside:
        with pytest.raises(FarfieldError, match=r"second state is missing|found none"):
            decode_by(method, model, found.latents, None, sigmas)


@pytest.mark.parametrize("name", [m for m in METHODS if m != "fixed-point"])
def test_calls_are_what_is_said(name):
    model, sigmas, method = Random(), karras(12, 0.02, 10.0), Method(name)
    found = invert_by(method, model, images(1), sigmas, [0])
    assert (model.rows, int(found.calls[0])) == (method.calls(12)[0],) * 2
    model.rows = 0
    decode_by(method, model, found.latents, found.beside, sigmas)
    assert model.rows == method.calls(12)[1]


def trial(calls, psnr, latent, name="explicit"):
    return Trial(name, "multistep", 12, calls, psnr, latent)


def test_the_cheapest_that_meets_both_budgets_is_chosen():
    cheap, good, dear = trial(20, 60, 0.02), trial(30, 41, 0.009), trial(50, 300, 1e-4)
    assert choose([dear, cheap, good], 40, 1e-2) == good
    assert choose([dear, cheap, good], 50, 1e-2) == dear
    assert choose([dear, cheap, good], 40, 0.05) == cheap
    assert choose([good, trial(30, 300, 0.001, "bdia")], 40, 1e-2).method == "bdia"
    with pytest.raises(FarfieldError, match=r"nearest is explicit .* 30 calls\) with 41.0 dB and 0.009"):
        choose([cheap, good], 40, 8e-3)


def test_budgets_are_read():
    for trip, latent in (("40dB", "1e-2"), ("40", ".01"), (40, 0.01)):
        choice = Choice(round_trip=trip, latent=latent)
        assert (choice.round_trip, choice.latent) == (40.0, 0.01)
    for bad in ({"round_trip": "forty"}, {"latent": "small"}, {"round_trip": "-3dB"}, {"round_trip": ""}, {"latent": 0.0},
                {"round_trip": 300}):  # fmt: skip
        with pytest.raises(FarfieldError, match="expected a"):
            Choice(**bad)


def test_an_images_seed_is_its_own():
    assert len({key_seed(k, s) for k in ("a", "b") for s in (0, 1)}) == 4
    assert key_seed("a", 0) == key_seed("a", 0) >= 0


@pytest.mark.parametrize("name", EXACT)
def test_reconstruct_by_an_exact_method(name, root, tmp_path):
    out = tmp_path / "run"
    outcome = run(root, out, "--method", name, "--steps", 8)
    assert outcome.code == 0, outcome.err
    found = summary(out)
    assert found["method"] == name and found["steps"] == 8
    assert found["reconstruction"]["psnr"]["min"] > 80
    assert ("latent_certificate" in found) == (name != "edit-friendly")
    whole = Path(shutil.copytree(out, tmp_path / "whole"))
    for folder in EXACT[name]:
        beside = load(out / folder, Latents)
        assert beside.keys == load(out / "latents", Latents).keys
        assert beside.sigma == found["sigma"] or name in ("belm", "bdia")
        # half of a pair is lost: the other half is made again with it, and all ends as it was
        (out / folder / "shard-00001.safetensors").unlink()
    assert run(root, out, "--method", name, "--steps", 8).code == 0
    assert differences(out, whole) == []


def test_another_seed_is_another_set_of_maps(root, tmp_path):
    maps = []
    for i, options in enumerate([("--seed", 0), ("--seed", 1), ("--seed", 0, "--batch-size", 3)]):
        outcome = run(root, tmp_path / str(i), "--method", "edit-friendly", "--steps", 4, *options, command="invert")
        assert outcome.code == 0
        maps.append(load(tmp_path / str(i) / "noise_maps", Latents).values)
    assert not torch.allclose(maps[0], maps[1]) and torch.allclose(maps[0], maps[2], atol=1e-4)


def test_auto_finds_a_method_and_says_what_it_tried(root, tmp_path):
    options = ("--method", "auto", "--round-trip", "25dB", "--latent", "0.05", "--sigma", 5, "--batch-size", 3)
    outcome = run(root, tmp_path / "run", *options)
    assert outcome.code == 0, outcome.err
    found = summary(tmp_path / "run")
    tried = found["method_search"]["tried"]
    (chosen,) = [row for row in tried if row.get("chosen")]
    meets = [r for r in tried if "failed" not in r and r["psnr"] >= 25 and r["latent"] <= 0.05]
    assert chosen in meets and chosen["calls"] == min(r["calls"] for r in meets)
    assert (found["method"], found["steps"]) == (chosen["method"], chosen["steps"])
    assert found["reconstruction"]["psnr"]["min"] == pytest.approx(chosen["psnr"], abs=0.5)  # all images are the probe
    assert found["latent_certificate"]["error"]["max"] < 0.1
    trip, latent = found["budget"]["round_trip"], found["budget"]["latent"]
    assert (trip["asked"], trip["found"]) == (25, found["reconstruction"]["psnr"]["min"]) and trip["met"]
    assert (latent["asked"], latent["found"]) == (0.05, found["latent_certificate"]["error"]["max"])
    assert latent["met"] == (latent["found"] <= 0.05)
    (said,) = budget(from_json(Budget, found["budget"]))
    assert latent["probe"] == chosen["latent"] and trip["probe"] == chosen["psnr"]
    assert plain(said) in outcome.out and said in (tmp_path / "run" / "report.html").read_text()
    # continued from half of its table, it ends as it did
    probe = read_kept(tmp_path / "run" / "probe.json")
    whole = Path(shutil.copytree(tmp_path / "run", tmp_path / "whole"))
    write_kept(whole / "probe.json", probe[: len(probe) // 2])
    (whole / "summary.json").unlink()
    assert run(root, whole, *options).code == 0
    assert summary(whole) == found


@pytest.mark.parametrize(
    ("psnr", "latent", "met", "said"),
    [
        (
            41.0,
            0.005,
            True,
            "The budgets are met: the worst image comes back with 41.0 dB (asked: 40.0 dB), the worst certified",
        ),
        (39.0, 0.005, False, "ask for more than needed with --round-trip."),
        (39.0, 0.02, False, "ask for more than needed with --round-trip and --latent."),
        (None, 0.01, True, "The round trip was not measured: nothing was decoded."),
        (None, None, None, "was not measured"),
    ],
)
def test_whether_the_budgets_are_met_is_said(psnr, latent, met, said):
    found = budgets((40.0, 0.01), (43.0, 0.008), psnr, latent)
    assert found.met is met and said in budget(found)[0]
    met = None if psnr is None else psnr >= 40
    assert found.round_trip == Kept(asked=40.0, probe=43.0, found=psnr, met=met)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--method", "null-text"), "expected one of explicit"),
        (("--method", "auto", "--round-trip", "loud"), "such as 40dB"),
        (("--method", "auto", "--latent", "x"), "--latent x: expected a number"),
        (("--method", "auto", "--latent", "1e-9", "--sigma", 1, "--limit", 1), "cannot be told"),
        (("--method", "auto", "--steps", 8), "leave one of the two out"),
        (("--method", "belm", "--solver", "heun"), "leave one of the two out"),
        (("--method", "belm", "--steps", 1), "at least 2"),
        (("--method", "fixed-point", "--solver", "multistep"), "no inverse step"),
        (("--method", "edit-friendly", "--eta", "1.5"), "eta 1.5"),
        (("--method", "edit-friendly", "--eta", "0"), "eta 0"),
        (("--method", "edit-friendly", "--seed", "-1"), "seed -1"),
    ],
)
def test_bad_requests_are_one_line(options, message, root, tmp_path):
    outcome = run(root, tmp_path / "run", *options)
    assert outcome.code == 2 and message in outcome.err
