"""`farfield score`: copies and new images told apart, pairs by seed, in any order, interrupted or not."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny import contents, farfield, make_images, numbers, summary, undrawn

from farfield.core.artifact import Features, Store, read_json, save

PIXELS = ("--descriptor", "pixels", "--rate", 0.05, "-q")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 training images, as many held-out ones, 40 new ones by two names, and copies of 40 training images."""
    root = tmp_path_factory.mktemp("score")
    make_images(root / "train", 60)
    make_images(root / "heldout", 60, first=1000)
    for name, first in (("new", 2000), ("other", 3000), ("copies", 0)):
        make_images(root / "drawn", 40, first=first)
        (root / name).mkdir()
        for seed, path in enumerate(sorted((root / "drawn").iterdir())):
            path.rename(root / name / f"{seed:06d}.png")
    return root


def run(*arguments: object, out: Path, drawn: bool = False) -> Path:
    with contextlib.nullcontext() if drawn else undrawn():
        outcome = farfield("score", *arguments[:1], *PIXELS, *arguments[1:], "-o", out)
    assert outcome.code == 0, outcome.err
    return out


def refused(*arguments: object, out: Path) -> str:
    outcome = farfield("score", *arguments[:1], *PIXELS, *arguments[1:], "-o", out)
    assert outcome.code == 2 and outcome.out == "", outcome.out
    return outcome.err


def vectors(n: int, seed: int, descriptor: str = "test", d: int = 12) -> Features:
    values = torch.randn(n, d, generator=torch.Generator().manual_seed(seed))
    return Features(tuple(map(str, range(n))), values, descriptor)


def test_copies_are_memorized_and_new_images_are_not(root: Path, tmp_path: Path):
    copied = summary(run("gl", root / "copies", root / "train", "--heldout", root / "heldout", out=tmp_path / "a"))
    new = summary(run("gl", root / "new", root / "train", "--heldout", root / "heldout", out=tmp_path / "b"))
    assert copied["gl"]["calibrated"]["score"]["value"] == 0 and copied["gl"]["calibrated"]["memorized"]["value"] == 1
    assert copied["ratio_test"]["samples"]["value"] == 1 and copied["ratio_test"]["space"] == "pixels"
    assert copied["authenticity"]["samples"]["value"] == 0
    assert copied["similarity"]["samples"]["min"] == 1
    assert new["gl"]["calibrated"]["score"]["value"] > 0.8
    assert new["ratio_test"]["samples"]["value"] == 0 == new["ratio_test"]["held_out"]["value"]
    assert new["authenticity"]["samples"]["value"] > 0 < new["authenticity"]["held_out"]["value"]
    assert new["gl"]["calibrated"]["held_out"]["n"] == 60 and new["gl"]["calibrated"]["held_out"]["value"] <= 0.05
    assert new["calibration"]["n"] == 60 and new["calibration"]["rate"] == 0.05
    assert copied["data_copying"] is None  # 40 are too few
    near = read_json(tmp_path / "a" / "nearest.json")
    assert near["7"] == {"training": "img-007", "similarity": 1}
    with Image.open(tmp_path / "a" / "closest.png") as picture:
        assert picture.width > 100


def test_the_threshold_that_was_given_stands_beside_the_calibrated_one(root: Path, tmp_path: Path):
    found = summary(run("gl", root / "new", root / "train", "--threshold", 0.999, out=tmp_path / "run"))
    assert found["thresholds"].keys() == {"given", "calibrated"} and found["thresholds"]["given"] == 0.999
    assert found["gl"]["given"]["score"]["value"] == 1 and found["gl"]["given"]["held_out"] is None
    assert any("training images stand in" in note for note in found["notes"])
    few = summary(run("gl", root / "new", root / "train", "--threshold", 0.9, "--rate", 0.001, out=tmp_path / "few"))
    assert few["thresholds"].keys() == {"given"} and few["calibration"] is None
    assert any("No calibrated threshold: 60 similarities: expected at least 999" in note for note in few["notes"])
    said = refused("gl", root / "new", root / "train", "--rate", 0.001, out=tmp_path / "none")
    assert "at least 999" in said and "or a cosine with --threshold" in said


def test_a_set_reproduces_itself_and_chance_is_low(root: Path, tmp_path: Path):
    same = summary(run("rp", root / "new", root / "new", out=tmp_path / "same"))
    assert same["rp"]["calibrated"]["score"]["value"] == 1 == same["mae"]["score"]["value"]
    assert same["pfd"]["score"] == {"value": 0, "n": 40, "low": 0, "high": 0} and same["pfd"]["chance"]["value"] > 1
    assert same["rp"]["calibrated"]["chance"]["value"] <= 0.05 and same["mae"]["chance"]["value"] == 0
    apart = summary(run("rp", root / "new", root / "other", "--calibrate", root / "heldout", out=tmp_path / "apart"))
    assert apart["rp"]["calibrated"]["score"]["value"] < 0.3 and apart["mae"]["score"]["value"] == 0
    assert apart["calibration"]["n"] == 60 and apart["held_out"]["n"] == 60
    table = read_json(tmp_path / "apart" / "pairs.json")
    assert list(table) == sorted(map(str, range(40))) and table["0"]["mae"] > 15 / 255


def test_models_that_repeat_few_images_need_held_out_images_to_calibrate(tmp_path: Path):
    """Samples of 8 images: one pair of different seeds in eight is the same image, chance enough for any threshold."""
    few = vectors(8, 0)
    repeats = Features(tuple(map(str, range(200))), few.values[torch.arange(200) % 8], "test")
    save(repeats, tmp_path / "samples")
    save(vectors(200, 1), tmp_path / "held")
    given = ("rp", tmp_path / "samples", tmp_path / "samples")
    among = summary(run(*given, out=tmp_path / "among"))
    assert among["rp"]["calibrated"]["score"]["value"] == 0 and any("held-out" in note for note in among["notes"])
    held = summary(run(*given, "--calibrate", tmp_path / "held", out=tmp_path / "run"))
    assert held["rp"]["calibrated"]["score"]["value"] == 1 and held["rp"]["calibrated"]["chance"]["value"] > 0.05


def test_a_published_threshold_stands_beside_the_calibrated_one(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("farfield.audit.pixels.Pixels.default_threshold", 0.6)
    found = summary(run("rp", root / "new", root / "other", out=tmp_path / "run"))
    assert found["thresholds"].keys() == {"published", "calibrated"} and found["thresholds"]["published"] == 0.6
    given = summary(run("rp", root / "new", root / "other", "--threshold", 0.7, out=tmp_path / "given"))
    assert given["thresholds"].keys() == {"given", "calibrated"}


def test_pairs_are_of_one_seed(root: Path, tmp_path: Path):
    part = tmp_path / "part"
    shutil.copytree(root / "new", part)
    (part / "000003.png").unlink()
    said = refused("rp", root / "new", part, out=tmp_path / "run")
    assert "1 (3) missing in the second" in said and not (tmp_path / "run").exists()
    found = summary(run("rp", part, root / "new", "--common", out=tmp_path / "common"))
    assert found["pairs"] == 39 and found["rp"]["calibrated"]["score"]["value"] == 1
    assert "missing" in refused("matrix", root / "new", root / "other", part, out=tmp_path / "matrix")


def test_matrix_of_three(root: Path, tmp_path: Path):
    out = run(
        "matrix", root / "new", root / "other", root / "new", "--threshold", 0.9, out=tmp_path / "matrix", drawn=True
    )
    found = summary(out)
    values = [[s["value"] for s in row] for row in found["rp"]["given"]["score"]]
    assert list(found["sets"]) == [f"{root / 'new'} (1)", "other", f"{root / 'new'} (3)"] and found["pairs"] == 40
    assert all(values[i][j] == values[j][i] for i in range(3) for j in range(3))
    assert values[0][0] == values[0][2] == values[1][1] == 1 and values[0][1] == values[2][1] < 0.3
    assert [[s["value"] for s in row] for row in found["mae"]["score"]] == [[1, 0, 1], [0, 1, 0], [1, 0, 1]]
    pair = summary(run("rp", root / "new", root / "other", "--threshold", 0.9, out=tmp_path / "pair"))
    assert pair["mae"]["score"] == found["mae"]["score"][0][1]
    for name in ("rp.png", "mae.png"):
        with Image.open(out / "grids" / name) as picture:
            assert picture.width > 300


def test_features_are_scored_in_any_order(tmp_path: Path):
    samples, training, held = vectors(300, 0), vectors(500, 1), vectors(400, 2)
    save(held, tmp_path / "held" / "features")
    scores = []
    for name, seed in (("a", 0), ("b", 1)):
        for kind, part in (("samples", samples), ("training", training)):
            order = torch.randperm(len(part), generator=torch.Generator().manual_seed(seed)).tolist()
            save(part.select([part.keys[i] for i in order]), tmp_path / name / kind)
        out = run(
            "gl",
            *(tmp_path / name / k for k in ("samples", "training")),
            "--heldout",
            tmp_path / "held",
            out=tmp_path / f"{name}-run",
        )
        found = summary(out)
        scores.append({k: found[k] for k in ("gl", "authenticity", "ratio_test", "calibration", "similarity")})
        assert found["descriptor"] == "test" and not (out / "closest.png").exists()
        assert found["ratio_test"]["space"] == "test" and any("features" in note for note in found["notes"])
        assert (
            found["data_copying"]["whole"]["cells"] == 1
            and abs(found["data_copying"]["whole"]["statistic"]["value"]) < 4
        )
    assert scores[0] == scores[1]


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_many_training_features_are_searched_in_shards(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    training = vectors(2000, 1)
    store = Store(tmp_path / "training", Features)
    for i in range(4):
        store.write(i, training.select(training.keys[500 * i : 500 * (i + 1)]))
    save(vectors(200, 0), tmp_path / "samples")
    whole = summary(run("gl", tmp_path / "samples", tmp_path / "training", out=tmp_path / "whole"))
    assert whole["search"] == {"kind": "exact", "recall": None} and whole["authenticity"] is not None
    monkeypatch.setattr("farfield.study.audit.gl.ENTRIES", 12 * 300)
    monkeypatch.setattr("farfield.audit.blocks.ENTRIES", 12 * 300)
    given = ("gl", tmp_path / "samples", tmp_path / "training", "--threshold", 0.9)
    shards = summary(run(*given, out=tmp_path / "shards"))
    assert shards["similarity"] == whole["similarity"] and shards["authenticity"] == whole["authenticity"]
    assert shards["training"]["n"] == 2000 and shards["ratio_test"] == whole["ratio_test"] is not None
    found = summary(run(*given, "--search", kind, out=tmp_path / kind))
    assert 0.5 < found["search"]["recall"]["value"] <= 1 and found["search"]["recall"]["n"] == 200
    assert list((tmp_path / kind / "index").glob(f"{kind}-*.faiss"))


def test_bad_input_is_one_clear_line(root: Path, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    assert "empty" in refused("rp", tmp_path / "empty", root / "new", out=tmp_path / "run")
    assert "nothing" in refused("gl", root / "new", tmp_path / "absent", out=tmp_path / "run")
    one = make_images(tmp_path / "one", 1)
    assert "at least 4 reference images, found 1" in refused("gl", root / "new", one, out=tmp_path / "one-run")
    save(vectors(1, 0), tmp_path / "one-vector")
    assert "at least 2" in refused("rp", *[tmp_path / "one-vector"] * 2, out=tmp_path / "one-rp")
    assert "--threshold 6: expected a number, at least -1" in refused(
        "gl", root / "new", root / "train", "--threshold", 6, out=tmp_path / "run"
    )
    assert "expected one of exact, ivf, hnsw" in refused(
        "gl", root / "new", root / "train", "--search", "tree", out=tmp_path / "run"
    )
    assert "at least 2 sets" in refused("matrix", root / "new", out=tmp_path / "run")
    larger = make_images(tmp_path / "larger", 60, 20, 20)
    assert "images of one size" in refused("rp", root / "train", larger, out=tmp_path / "larger-run")
    all_seen = refused("gl", root / "new", root / "train", "--heldout", root / "train", out=tmp_path / "seen")
    assert "never trained on, found all 60 among the training images" in all_seen
    for name, features in (("a", vectors(30, 0)), ("b", vectors(30, 1, "other")), ("c", vectors(30, 2, d=5))):
        save(features, tmp_path / name)
    assert "one descriptor" in refused("rp", tmp_path / "a", tmp_path / "b", out=tmp_path / "ab")
    assert "one length" in refused("gl", tmp_path / "a", tmp_path / "c", out=tmp_path / "ac")
    assert "expected reference images to whiten on" in refused("gl", root / "new", tmp_path / "a", out=tmp_path / "na")
    broken = vectors(30, 3)
    broken.values[4] = torch.nan
    save(broken, tmp_path / "nan")
    assert "NaN or infinity" in refused("gl", tmp_path / "nan", tmp_path / "a", out=tmp_path / "nan-run")
    run("gl", root / "new", root / "train", out=tmp_path / "done")
    assert "other settings" in refused("gl", root / "other", root / "train", out=tmp_path / "done")


def test_held_out_images_that_were_trained_on_are_left_out(root: Path, tmp_path: Path):
    mixed = shutil.copytree(root / "heldout", tmp_path / "mixed")
    shutil.copy(root / "train" / "img-005.png", mixed / "img-005.png")
    outcome = farfield("score", "gl", root / "new", root / "train", "--heldout", mixed, "-o", tmp_path / "run", *PIXELS)
    assert outcome.code == 0 and "1 held-out images are training images: img-005; left out" in outcome.err
    assert summary(tmp_path / "run")["calibration"]["n"] == 60


def test_it_says_what_it_found(root: Path, tmp_path: Path):
    given = ("score", "gl", root / "new", root / "train", "--heldout", root / "heldout", "-o", tmp_path / "gl", *PIXELS)
    out = farfield(*given).out
    assert "GL " in out and "held-out images" in out and "1/3 test" in (tmp_path / "gl" / "report.html").read_text()
    assert out.strip().endswith(str(tmp_path / "gl" / "report.html"))
    assert json.loads(farfield(*given, "--json").out)["command"] == "score gl"
    out = farfield("score", "rp", root / "new", root / "other", "-o", tmp_path / "rp", *PIXELS).out
    assert "RP " in out and "chance" in out
    assert all(name in (tmp_path / "rp" / "report.html").read_text() for name in ("MAE-RP", "PFD"))
    out = farfield("score", "matrix", root / "new", root / "other", "-o", tmp_path / "m", *PIXELS).out
    assert "1.000" in out and "other" in out


@pytest.mark.slow
def test_two_processes_score_as_one(root: Path, tmp_path: Path):
    from test_ranks import launch

    given = ("gl", root / "new", root / "train", "--heldout", root / "heldout", "--batch-size", 2)
    whole = run(*given, out=tmp_path / "one")
    said = launch("score", *given, "-o", tmp_path / "two", *PIXELS, "--device", "cpu")
    assert said.returncode == 0, said.stderr
    assert said.stdout.count("GL ") == 1 and contents(tmp_path / "two").keys() == contents(whole).keys()
    assert numbers(summary(tmp_path / "two")) == pytest.approx(numbers(summary(whole)), rel=1e-5, abs=1e-6)
