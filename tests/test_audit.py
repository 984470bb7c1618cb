"""`farfield audit`: the rule of its verdict, what it leaves, bad input, interruptions, pages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import contents, farfield, make_images, make_model, numbers, summary

from farfield.audit.authenticity import Copying
from farfield.audit.verdict import Beside, judge
from farfield.command.commands import COMMANDS
from farfield.command.result import from_json
from farfield.core.artifact import Images, Score, load, read_json, save
from farfield.core.interval import proportion
from farfield.present.audit import PAIRS
from farfield.present.page import Content
from farfield.study.audit.audit_sets import is_model

QUICK = ("--descriptor", "pixels", "--rate", 0.05, "-q")


@pytest.fixture(autouse=True, scope="module")
def one_thread_only() -> Iterator[None]:
    """Problems this small are slower on two."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# The rule


def share(percent: float, n: int = 500) -> Score:
    return proportion(round(percent * n / 100), n)


NEW = Score(0.01, 500, 0.003, 0.02)
REAL = Beside(share(80), share(85))


def kind(memorized: Score, null: Score | None = NEW, **others: Beside | Copying) -> str:
    return judge(Beside(memorized, null), **{"precision": REAL, **others}).kind


def test_more_than_half_are_copies():
    assert kind(share(100)) == kind(share(60)) == "memorizes"
    assert kind(share(52)) == "copies some"  # its interval reaches below a half


def test_more_are_copies_than_of_new_images():
    assert kind(share(5)) == "copies some"
    assert kind(share(2)) == "generalizes"  # within what new images do


def test_the_distance_ratio_alone_tells_of_copies():
    assert kind(share(0), ratio=Beside(share(5), share(0))) == "copies some"
    assert kind(share(0), ratio=Beside(share(80), share(0))) == "memorizes"
    assert kind(share(0), ratio=Beside(share(5), share(5))) == "generalizes"
    assert kind(share(0), ratio=Beside(share(80))) == "generalizes"  # nothing to hold it against


def test_few_samples_tell_nothing_but_copies():
    assert kind(share(0, 30)) == "cannot be told"
    assert kind(share(0, 40)) == "generalizes"
    assert kind(share(100, 10)) == "memorizes"


def test_no_null_no_verdict():
    assert kind(share(0), None) == kind(share(100), None) == "cannot be told"
    found = judge(Beside(share(0), NEW))
    assert found.kind == "cannot be told" and "belong to the domain" in found.sentence


def test_what_is_not_the_domain_strays():
    assert kind(share(0), precision=Beside(share(0), share(85))) == "strays"
    assert kind(share(0), precision=Beside(share(60), share(85))) == "generalizes"
    assert kind(share(90), precision=Beside(share(0), share(85))) == "memorizes"


def test_scores_that_read_otherwise_are_named():
    nearer = Copying(Score(-5.0, 500, -7.0, -3.0), 1.0, 3e-7, 1, 0.0)
    found = judge(Beside(share(1), NEW), authenticity=Beside(share(30), share(60)), copying=nearer, precision=REAL)
    assert found.kind == "generalizes" and found.against == ("authenticity", "data_copying")
    assert [e.name for e in found.evidence] == ["memorized", "authenticity", "data_copying"]
    assert found.evidence[2].null == Score(0.0, 500, -1.959963984540054, 1.959963984540054)
    some = judge(Beside(share(70), NEW), ratio=Beside(share(0), share(0)), authenticity=Beside(share(30)))
    assert some.kind == "memorizes" and some.against == ("ratio",)
    assert "70.0% [65.8%, 73.9%] of the samples are copies" in some.sentence


# The command


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model, 40 training images, as many held-out ones, and 20 samples of which each other one is a copy."""
    root = tmp_path_factory.mktemp("audit")
    make_model(root / "model")
    make_images(root / "train", 40)
    make_images(root / "heldout", 40, first=1000)
    make_images(root / "drawn", 20, first=30)
    (root / "samples").mkdir()
    for seed, path in enumerate(sorted((root / "drawn").iterdir())):
        path.rename(root / "samples" / f"{seed:06d}.png")
    return root


def given(root: Path, *options: object, subject: str = "samples") -> tuple[object, ...]:
    return ("audit", root / subject, root / "train", "--heldout", root / "heldout", *QUICK, *options)


def run(out: Path, *arguments: object) -> Path:
    outcome = farfield(*arguments, "-o", out)
    assert outcome.code == 0, outcome.err
    return out


def refused(out: Path, *arguments: object) -> str:
    outcome = farfield(*arguments, "-o", out)
    assert outcome.code == 2 and outcome.out == "", outcome.out
    return outcome.err


@pytest.fixture(scope="module")
def done(root: Path) -> Path:
    return run(root / "done", *given(root, "--theory", "--steps", 4, "--other", root / "model"))


def test_what_it_leaves(done: Path, root: Path):
    found = summary(done)
    assert found["command"] == "audit" and found["verdict"]["kind"] == "copies some"
    assert [found[name]["n"] for name in ("subject", "training", "held_out")] == [20, 40, 40]
    assert found["gl"]["calibrated"]["memorized"]["value"] == 0.5 == found["ratio_test"]["samples"]["value"]
    assert found["duplicates"]["training_exact"] == 0 and found["duplicates"]["training"]["n"] == 40
    assert found["distances"]["n"] == 20 and set(found["distances"]["held_out"]) == {"samples", "training"}
    assert [other["theory"] for other in found["reproducibility"]] == [False, True]
    assert {path.name for path in (done / "made").iterdir()} == {"other-1", "theory"}
    near = read_json(done / "nearest.json")
    assert near["samples"]["0"] == {"training": "img-030", "similarity": 1} and len(near["held_out"]) == 40
    for name, size in (
        ("closest_samples", 20),
        ("drawn_samples", 18),
        ("closest_held_out", 36),
        ("drawn_held_out", 18),
    ):
        assert all(len(load_images(done / "pairs" / name / part)) == size for part in ("images", "training"))
    shown, beside = (load_images(done / "pairs" / "closest_samples" / part) for part in ("images", "training"))
    assert shown.keys == beside.keys and torch.equal(shown.values[:10], beside.values[:10])


def load_images(folder: Path) -> Images:
    return load(folder, Images)


def content(out: Path) -> Content:
    """What a run's page says."""
    found = summary(out)
    command = COMMANDS[found["command"]]
    page = command.load_page()
    assert page is not None
    said: Content = page(out, from_json(command.result, found))
    return said


def test_the_page_is_made_anew_without_the_model(done: Path):
    page = (done / "report.html").read_bytes()
    anchors = ["pairs", "evidence", "copying", "likeness", "distances", "reproducibility", "duplicates"]
    assert [section.anchor for section in content(done).sections] == anchors
    assert {path.name for path in (done / "grids").iterdir()} == {f"{name}.png" for name in PAIRS}
    (done / "report.html").unlink()
    assert farfield("report", done).code == 0 and (done / "report.html").read_bytes() == page


def test_it_says_its_verdict(root: Path, tmp_path: Path):
    out = farfield(*given(root), "--descriptor", "copy", "-o", tmp_path / "run").out
    assert out.startswith("It copies some training images: 50.0%") and out.endswith(
        f"{tmp_path / 'run' / 'report.html'}\n"
    )


def test_a_model_makes_its_samples_first(root: Path, tmp_path: Path):
    options = ("--seeds", "3-8", "--steps", 3, "--solver", "euler", "--json")
    out = run(tmp_path / "run", *given(root, *options, subject="model"))
    found = summary(out)
    assert found["subject"] == {"source": str(root / "model"), "kind": "model", "n": 6, "steps": 3, "solver": "euler"}
    assert load_images(out / "made" / "subject" / "samples").keys == ("3", "4", "5", "6", "7", "8")
    assert "Only 6 samples" in (out / "report.html").read_text()
    assert farfield("generate", root / "model", "--seeds", "3-8", "--steps", 3, "--solver", "euler", "--format", "shards",
                    "-o", tmp_path / "same", "-q").code == 0  # fmt: skip
    same = load_images(tmp_path / "same" / "samples")
    assert torch.equal(same.values, load_images(out / "made" / "subject" / "samples").values)


def timeless(folder: Path) -> dict[str, object]:
    """All that a run left, without times."""
    left = contents(folder)
    plain: dict[str, object] = {
        k: v for k, v in left.items() if not k.endswith(("cost.json", "config.json", "report.html"))
    }
    for name in (k for k in left if k.endswith("summary.json")):
        plain[name] = {k: v for k, v in json.loads(left[name]).items() if k != "cost_seconds"}
    return plain


@pytest.mark.slow
def test_two_processes_find_what_one_does(root: Path, tmp_path: Path):
    from test_ranks import launch

    options = given(root, "-n", 8, "--steps", 2, "--batch-size", 2, "--theory", subject="model")
    one = run(tmp_path / "one", *options)
    said = launch(*options, "-o", tmp_path / "two", "--device", "cpu")
    assert said.returncode == 0, said.stderr
    assert said.stdout.count("report.html") == 1 and timeless(tmp_path / "two").keys() == timeless(one).keys()
    assert numbers(summary(tmp_path / "two")) == pytest.approx(numbers(summary(one)), rel=1e-5, abs=1e-6)


def test_bad_input_is_one_clear_line(root: Path, tmp_path: Path):
    out = tmp_path / "run"
    assert "nothing" in refused(out, *given(root, subject="absent"))
    assert "nothing" in refused(out, "audit", root / "samples", root / "absent", *QUICK)
    assert "either -n or --seeds" in refused(out, *given(root, "-n", 4, "--seeds", "0-3"))
    assert "leave seeds out" in refused(out, *given(root, "--seeds", "0-3"))
    assert "expected samples named by their seeds, found 'img-" in refused(
        out, *given(root, "--theory", subject="train")
    )
    shared = farfield("audit", root / "heldout", root / "train", "--heldout", root / "heldout", *QUICK, "-o", out)
    assert shared.code == 2 and "40 of the samples are among the held-out images (img-" in shared.err
    assert "1 to 20 images, found 21" in refused(out, *given(root, "-n", 21))
    assert "at least -1 and at most 1" in refused(out, *given(root, "--threshold", 2))
    (tmp_path / "empty").mkdir()
    assert "empty" in refused(out, "audit", root / "samples", tmp_path / "empty", *QUICK)
    assert not out.exists()


def test_too_few_real_images_are_said_before_anything_is_made(root: Path, tmp_path: Path):
    said = refused(tmp_path / "run", *given(root, "--rate", 0.001, subject="model"))
    assert "held-out images: 40 similarities: expected at least 999" in said and "or a cosine with --threshold" in said
    assert not (tmp_path / "run" / "made").exists()
    one = make_images(tmp_path / "one", 1)
    assert "at least 4 reference images" in refused(tmp_path / "one-run", "audit", root / "samples", one, *QUICK)


def test_a_run_of_other_settings_is_left_alone(done: Path, root: Path):
    before = (done / "summary.json").read_bytes()
    same = ("--theory", "--steps", 4, "--other", root / "model")
    said = refused(done, "audit", root / "samples", root / "train", *QUICK, *same)
    assert "other settings (--heldout was" in said and "now not given" in said
    assert (done / "summary.json").read_bytes() == before


def test_broken_samples_are_named(root: Path, tmp_path: Path):
    values = torch.zeros(20, 3, 16, 16)
    values[7] = torch.nan
    save(Images(tuple(map(str, range(20))), values), tmp_path / "samples")
    said = refused(tmp_path / "run", "audit", tmp_path / "samples", root / "train", *QUICK)
    assert "'7'" in said or "NaN" in said


def test_fields_of_one_channel(tmp_path: Path):
    g = np.random.default_rng(0)
    for name, n in (("train", 60), ("heldout", 60), ("fresh", 30)):
        fields = g.standard_normal((n, 12, 10, 1)).cumsum(1).cumsum(2)
        np.savez(tmp_path / f"{name}.npz", images=(fields / np.abs(fields).max()).astype(np.float32))
    options = ("--heldout", tmp_path / "heldout.npz", *QUICK)
    found = summary(run(tmp_path / "run", "audit", tmp_path / "fresh.npz", tmp_path / "train.npz", *options))
    assert found["verdict"]["kind"] in ("generalizes", "cannot be told") and found["ratio_test"]["space"] == "pixels"


def test_physical_fields_are_stretched_alike(tmp_path: Path):
    """As training fields are, at the size of the samples; from a run's own folder as well."""
    g = np.random.default_rng(0)
    for name, n, side in (("train", 60, 24), ("heldout", 60, 24), ("run/physical/samples", 30, 12)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        fields = 1e21 * np.exp(g.standard_normal((n, 1, side // 12, side // 12)).repeat(12, 2).repeat(12, 3))
        np.savez(tmp_path / f"{name}.npz", images=fields + 1e20 * g.random((n, 1, side, side)))
    command = ("audit", tmp_path / "run", tmp_path / "train.npz", *QUICK)
    found = summary(run(tmp_path / "out", *command, "--heldout", tmp_path / "heldout.npz"))
    assert found["ratio_test"]["space"] == "pixels" and found["subject"]["n"] == 30
    copied = summary(run(tmp_path / "copied", "audit", tmp_path / "train.npz", tmp_path / "train.npz", *QUICK))
    assert copied["verdict"]["kind"] == "memorizes" and copied["similarity"]["samples"]["min"] == 1
    assert "has no unit" in refused(tmp_path / "no", "audit", "cifar10-32", *command[2:])
    assert "leave --other" in refused(tmp_path / "no", *command, "--theory")
    pictures = make_images(tmp_path / "pictures", 4)
    assert "expected physical fields" in refused(tmp_path / "no", "audit", pictures, *command[2:])


def test_what_a_model_is(root: Path, done: Path, tmp_path: Path):
    assert all(map(is_model, ("cifar10-32", "empirical:digits", str(root / "model"), "google/ddpm-cifar10-32")))
    assert not any(map(is_model, ("digits", str(root / "samples"), str(done), str(tmp_path / "absent"))))
    (tmp_path / "trained" / "snapshots").mkdir(parents=True)
    assert is_model(str(tmp_path / "trained"))


# The pages of `farfield score`


@pytest.mark.parametrize(
    ("arguments", "anchors"),
    [
        (("gl", "samples", "train", "--heldout", "heldout"), ["copying", "likeness", "pairs"]),
        (("rp", "samples", "samples"), ["reproducibility"]),
        (("matrix", "samples", "samples"), ["matrix"]),
    ],
)
def test_scores_have_pages(arguments: tuple[str, ...], anchors: list[str], root: Path, tmp_path: Path):
    kind, *rest = arguments
    places = [word if word.startswith("-") else root / word for word in rest]
    out = run(tmp_path / "run", "score", kind, *places, "--descriptor", "pixels", "--rate", 0.05, "-q")
    sections = content(out).sections
    assert [section.anchor for section in sections] == anchors
    assert all(picture.image.width > 100 for section in sections for picture in section.pictures)
    assert farfield("report", out).code == 0
