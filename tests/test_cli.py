"""The command line as its user meets it: bad input is one clear line and exit code 2, good input a finished run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import Outcome, contents, decided, farfield, make_images, make_model, picture, summary, undrawn

from farfield import __version__
from farfield.core.artifact import Images, Latents, Store
from farfield.data.bundled import DOMAINS, FIELD_DOMAINS

pytestmark = pytest.mark.usefixtures("few_views")

QUICK = ("-n", 2, "--sigma", 5, "--steps", 4, "--no-calibrate")
"""What makes an expansion as short as can be; a later option overrides an earlier one."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models and sources, good and bad, by the names that the tests use."""
    root = tmp_path_factory.mktemp("inputs")
    model = make_model(root / "model")
    images = make_images(root / "images", 12)
    make_images(root / "one-image", 1)

    make_model(root / "conditional", classes=3)
    for name, part in (("no-unet", "unet"), ("no-scheduler", "scheduler")):
        shutil.rmtree(shutil.copytree(model, root / name) / part)
    (root / "no-weights").mkdir()
    weights = shutil.copytree(model, root / "truncated") / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:2000])
    config = shutil.copytree(model, root / "half-config") / "unet" / "config.json"
    config.write_text(config.read_text()[:100])
    config = shutil.copytree(model, root / "no-size") / "unet" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"sample_size": None}))
    config = shutil.copytree(model, root / "list-config") / "scheduler" / "scheduler_config.json"
    config.write_text("[]")

    (root / "empty").mkdir()
    (root / "no-images").mkdir()
    (root / "no-images" / "readme.txt").write_text("nothing to see")
    (root / "file.txt").write_text("a file")
    (root / "text.png").write_text("not a picture")
    (root / "all-broken").mkdir()
    for i in range(3):
        shutil.copy(root / "text.png", root / "all-broken" / f"text-{i}.png")
    shutil.copytree(images, root / "one-broken")
    whole = (images / "img-000.png").read_bytes()
    (root / "one-broken" / "torn.png").write_bytes(whole[: len(whole) // 2])
    make_images(root / "one-good", 1)
    (root / "one-good" / "torn.png").write_bytes(whole[: len(whole) // 2])
    (root / "sextuplets").mkdir()
    for i in range(6):
        picture(0).save(root / "sextuplets" / f"copy-{i}.png")

    rng = np.random.default_rng(0)
    values = rng.uniform(0, 1, (6, 16, 16, 3)).astype(np.float32)
    values[2, 3, 4, 1] = np.nan
    np.savez(root / "nan.npz", images=values)
    np.savez(root / "five.npz", images=rng.uniform(-1, 1, (12, 5, 16, 16)).astype(np.float32))
    np.savez(root / "nothing.npz", images=np.empty((0, 16, 16, 3), np.uint8))
    return root


def expand(root: Path, out: Path, *options: object, model: str = "model", source: str = "images") -> Outcome:
    """A quick expansion; ``model`` and ``source`` are things in ``root``, or names that mean nothing there."""
    given = [str(root / name) if (root / name).exists() else name for name in (model, source)]
    return farfield("expand", *given, "-o", out, *QUICK, *options)


@dataclass(frozen=True)
class Bad:
    """A bad expansion and what its message must name."""

    says: tuple[str, ...]
    options: tuple[object, ...] = ()
    model: str = "model"
    source: str = "images"


def option(flag: str, value: object, *says: str) -> Bad:
    return Bad(says, (flag, value))


BAD = {
    # sources
    "missing path": Bad(("no/such/folder",), source="no/such/folder"),
    "unknown domain": Bad(("hubbel", "hubble"), source="hubbel"),
    "empty folder": Bad(("empty", "found none"), source="empty"),
    "folder without images": Bad(("no-images", "found none"), source="no-images"),
    "text file as image": Bad(("text.png",), source="text.png"),
    "folder of broken images": Bad(("all-broken", "3 of 3 unreadable", "text-0.png"), source="all-broken"),
    "broken image, strict": Bad(("torn.png", "1 of 13 unreadable"), ("--strict",), source="one-broken"),
    "one good image left": Bad(("one-good", "at least 2"), source="one-good"),
    "NaN in npz": Bad(("nan.npz", "NaN"), source="nan.npz"),
    "five channels": Bad(("five.npz", "channels"), source="five.npz"),
    "npz of no images": Bad(("nothing.npz", "(0, 16, 16, 3)"), source="nothing.npz"),
    "one image": Bad(("one-image", "at least 2"), source="one-image"),
    "all the same image": Bad(("sextuplets", "same image"), source="sextuplets"),
    # how many
    "no example": option("--examples", 0, "--examples 0", "at least 2"),
    "one example": option("--examples", 1, "--examples 1", "at least 2"),
    "fewer than no examples": option("--examples", -1, "-1", "at least 2"),
    "more examples than images": option("--examples", 13, "13 examples", "12 images"),
    "too few examples for the limits": Bad(
        ("sampler geometric", "at least 4"), ("--sampler", "geometric", "--examples", 3)
    ),
    "nothing to make": option("-n", 0, "-n 0", "at least 1"),
    "less than nothing to make": option("-n", -3, "-n -3", "at least 1"),
    # words that are not known
    "unknown sampler": option("--sampler", "interpolate", "--sampler interpolate", "interpolation"),
    "unknown prior": option("--prior", "full", "--prior full", "lowrank"),
    "unknown partner": option("--partner", "friend", "--partner friend", "example, prior"),
    "unknown solver": option("--solver", "rk4", "--solver rk4", "heun"),
    "unknown device": option("--device", "gpu", "device 'gpu'", "cpu"),
    "device that holds nothing": option("--device", "meta", "device 'meta'", "cpu"),
    "device beyond the last": option("--device", "cuda:99", "device 'cuda:99'"),
    "unknown dtype": option("--dtype", "float8", "--dtype float8", "bfloat16"),
    "unknown descriptor": option("--descriptor", "squeezenet", "squeezenet", "pixels"),
    # models
    "unknown model": Bad(("no-such-model", "cifar10-32"), model="no-such-model"),
    "model is a file": Bad(("file.txt", "a file"), model="file.txt"),
    "model is an empty folder": Bad(("no-weights", "without a file"), model="no-weights"),
    "model without unet": Bad(("no-unet", "unet", "missing"), model="no-unet"),
    "model without scheduler": Bad(("no-scheduler", "scheduler", "missing"), model="no-scheduler"),
    "truncated weights": Bad(("truncated", "damaged", "copy it again"), model="truncated"),
    "truncated configuration": Bad(("half-config", "config.json"), model="half-config"),
    "configuration without a size": Bad(("no-size", "sample_size"), model="no-size"),
    "configuration that is a list": Bad(("list-config", "scheduler_config.json"), model="list-config"),
    # labels
    "label for an unconditional model": option("--label", 1, "label", "unconditional"),
    "no label for a conditional model": Bad(("label", "0 to 2"), model="conditional"),
    "label beyond the last class": Bad(("label", "0 to 2", "7"), ("--label", 7), model="conditional"),
    "negative label": Bad(("label", "0 to 2", "-1"), ("--label", -1), model="conditional"),
    # numbers
    "sigma zero": option("--sigma", 0, "sigma 0"),
    "sigma negative": option("--sigma", -1, "sigma -1"),
    "sigma too high": option("--sigma", 1e9, "sigma 1e+09"),
    "sigma not a number": option("--sigma", "nan", "--sigma nan: expected a number"),
    "sigma infinite": option("--sigma", "inf", "sigma inf"),
    "sigma a word": option("--sigma", "abc", "--sigma abc", "auto"),
    "sigma a range": option("--sigma", "5,10", "--sigma 5,10", "auto"),
    "sigma the lowest level": option("--sigma", 0.01, "0.01"),
    "no steps": option("--steps", 0, "--steps 0", "at least 1"),
    "fewer than no steps": option("--steps", -4, "--steps -4", "at least 1"),
    "more steps than levels": option("--steps", 5000, "5000 steps", "at most"),
    "t beyond the end": option("--t", "1.5", "t ", "1.5"),
    "t before the start": option("--t", "-0.1", "t ", "-0.1"),
    "t backwards": option("--t", "0.5,0.2", "--t 0.5,0.2"),
    "t a word": option("--t", "half", "t 'half'"),
    "t of three": option("--t", "0.1,0.2,0.3", "--t 0.1,0.2,0.3"),
    "t not a number": option("--t", "nan", "t ", "nan"),
    "t empty": option("--t", "", "t ''"),
    "no candidates": option("--candidates", 0, "candidates 0"),
    "batches of nothing": option("--batch-size", 0, "--batch-size 0"),
    "negative seed": option("--seed", -1, "seed -1"),
    "missing held-out images": option("--heldout", "no/such/folder", "no/such/folder"),
}

bad_inputs = pytest.mark.parametrize("bad", [pytest.param(bad, id=name) for name, bad in BAD.items()])


def assert_refused(outcome: Outcome, *says: str) -> None:
    """Exit code 2, nothing on stdout, and one line, the last, that names the thing."""
    assert outcome.code == 2, outcome
    assert outcome.out == ""
    lines = outcome.err.strip().splitlines()
    message = lines[-1]
    assert message.startswith("farfield: ")
    assert sum(line.startswith("farfield: ") and "left out" not in line for line in lines) == 1
    assert all(word in message for word in says), (message, says)
    assert len(message) < 600


@pytest.fixture(scope="module")
def tried(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Bad], tuple[Outcome, Path]]:
    """What a bad expansion said, and the output folder that it was given; each is tried once."""

    @cache
    def once(bad: Bad) -> tuple[Outcome, Path]:
        out = tmp_path_factory.mktemp("bad") / "out"
        return expand(root, out, *bad.options, model=bad.model, source=bad.source), out

    return once


@bad_inputs
def test_bad_input_is_one_clear_line_and_exit_code_2(bad: Bad, tried: Callable[[Bad], tuple[Outcome, Path]]):
    assert_refused(tried(bad)[0], *bad.says)


@bad_inputs
def test_bad_input_leaves_the_output_folder_free_for_the_right_command(
    bad: Bad, tried: Callable[[Bad], tuple[Outcome, Path]]
):
    """A folder begun with a wrong option would refuse the corrected one as "other settings"."""
    assert not tried(bad)[1].exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has what the message says is missing")
def test_a_device_that_is_absent_is_named(root: Path, tmp_path: Path):
    assert_refused(expand(root, tmp_path / "out", "--device", "cuda"), "cuda", "--device cpu")


def test_a_hub_id_that_cannot_be_had_is_named(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    outcome = expand(root, tmp_path / "out", model="farfield-tests/no-such-model")
    assert_refused(outcome, "farfield-tests/no-such-model", "cache")


REFUSED_BY_OTHERS = {
    "reconstruct, missing path": (("reconstruct", "model", "no/such/folder"), ("no/such/folder",)),
    "reconstruct, no images asked for": (("reconstruct", "model", "images", "--limit", 0), ("limit 0",)),
    "reconstruct, sigma zero": (("reconstruct", "model", "images", "--sigma", 0), ("sigma 0",)),
    "reconstruct, sigma a word": (("reconstruct", "model", "images", "--sigma", "abc"), ("--sigma abc",)),
    "expand, steps a word": (("expand", "model", "images", "--steps", "many"), ("--steps many", "whole number")),
    "expand, part of an image": (("expand", "model", "images", "-n", "1.5"), ("-n 1.5", "whole number")),
    "reconstruct, sigma nan": (("reconstruct", "model", "images", "--sigma", "nan"), ("sigma nan",)),
    "reconstruct, text file as image": (("reconstruct", "model", "text.png"), ("text.png", "1 of 1 unreadable")),
    "reconstruct, strict": (("reconstruct", "model", "one-broken", "--strict"), ("torn.png", "1 of 13")),
    "reconstruct, five channels": (("reconstruct", "model", "five.npz"), ("five.npz", "channels")),
    "reconstruct, steps that cannot be doubled": (
        ("reconstruct", "model", "one-image", "--steps", 600),
        ("600 steps",),
    ),
    "invert, unknown solver": (("invert", "model", "images", "--solver", "rk4"), ("--solver rk4",)),
    "invert, no label": (("invert", "conditional", "images"), ("label", "0 to 2")),
    "invert, batches of nothing": (("invert", "model", "images", "--batch-size", 0), ("--batch-size 0",)),
    "invert, empty folder": (("invert", "model", "empty"), ("empty",)),
}


@pytest.mark.parametrize(("arguments", "says"), REFUSED_BY_OTHERS.values(), ids=REFUSED_BY_OTHERS)
def test_other_commands_refuse_in_the_same_way(
    arguments: tuple[object, ...], says: tuple[str, ...], root: Path, tmp_path: Path
):
    given = [root / str(a) if (root / str(a)).exists() else a for a in arguments]
    assert_refused(farfield(*given, "-o", tmp_path / "out"), *says)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("expand", "model", "images", "--bogus"),
        ("expand", "model"),
        ("paint",),
    ],
)
def test_a_malformed_command_is_a_usage_error(arguments: tuple[str, ...]):
    outcome = farfield(*arguments)
    assert outcome.code == 2
    assert outcome.out == ""
    assert "Usage" in outcome.err
    assert "Traceback" not in outcome.err


class TestBrokenImages:
    """A broken image among good ones is left out and named; the run goes on."""

    def test_expand_names_the_file_and_the_count_once(self, root: Path, tmp_path: Path):
        outcome = expand(root, tmp_path / "out", source="one-broken")
        assert outcome.code == 0
        lines = [line for line in outcome.err.splitlines() if line.startswith("farfield: ")]
        assert len(lines) == 1
        assert "torn.png" in lines[0]
        assert "1 of 13 unreadable" in lines[0]
        assert summary(tmp_path / "out")["examples"]["n"] == 12

    def test_reconstruct_leaves_it_out(self, root: Path, tmp_path: Path):
        outcome = farfield("reconstruct", root / "model", root / "one-broken", "-o", tmp_path / "out", "--steps", 4)
        assert outcome.code == 0
        assert "torn.png" in outcome.err
        assert "torn" not in summary(tmp_path / "out")["images"]
        assert summary(tmp_path / "out")["n"] == 12


class TestOutputFolder:
    """What is not this command's own run is refused, and nothing in it is touched."""

    def test_below_a_regular_file(self, root: Path, tmp_path: Path):
        file = tmp_path / "file"
        file.write_text("mine")
        assert_refused(expand(root, file / "out"), str(file), "-o")
        assert file.read_text() == "mine"

    def test_a_regular_file(self, root: Path, tmp_path: Path):
        file = tmp_path / "file"
        file.write_text("mine")
        assert_refused(expand(root, file), str(file), "a file", "-o")
        assert file.read_text() == "mine"

    def test_a_foreign_folder(self, root: Path, tmp_path: Path):
        (tmp_path / "thesis").mkdir()
        (tmp_path / "thesis" / "chapter.tex").write_text("mine")
        before = contents(tmp_path)
        assert_refused(expand(root, tmp_path / "thesis"), "thesis", "not empty", "-o")
        assert contents(tmp_path) == before

    @pytest.mark.parametrize("command", ["reconstruct", "invert"])
    def test_a_run_of_another_command(self, command: str, root: Path, tmp_path: Path):
        assert farfield(command, root / "model", root / "images", "-o", tmp_path / "run", "--steps", 2).code == 0
        before = contents(tmp_path)
        assert_refused(expand(root, tmp_path / "run"), "run", command, "-o")
        assert contents(tmp_path) == before

    @pytest.mark.parametrize(
        ("flag", "value", "name"),
        [
            ("-n", 3, "-n was 2, now 3"),
            ("--seed", 1, "--seed was 0, now 1"),
            ("--steps", 5, "--steps was 4, now 5"),
            ("--sigma", 6, "--sigma was 5"),
            ("--sampler", "gaussian", "--sampler was "),
            ("--candidates", 2, "--candidates was 1, now 2"),
            ("--descriptor", "pixels", "--descriptor was "),
            ("--solver", "heun", "--solver was multistep, now heun"),
            ("--dtype", "float64", "--dtype was "),
            ("--t", "0.3", "--t was "),
        ],
    )
    def test_a_run_with_other_settings(self, flag: str, value: object, name: str, root: Path, finished: Path):
        before = contents(finished)
        assert_refused(expand(root, finished, flag, value), str(finished), f"({name}", "other settings", "-o")
        assert contents(finished) == before

    def test_a_run_whose_images_have_changed(self, root: Path, tmp_path: Path):
        source = shutil.copytree(root / "images", tmp_path / "mine")
        given = ("reconstruct", root / "model", source, "-o", tmp_path / "run", "--steps", 4)
        assert farfield(*given).code == 0
        before = contents(tmp_path / "run")
        picture(99).save(source / "img-003.png")
        assert_refused(farfield(*given), "images_digest")
        assert contents(tmp_path / "run") == before

    def test_an_empty_folder_is_used(self, root: Path, tmp_path: Path):
        (tmp_path / "new").mkdir()
        assert expand(root, tmp_path / "new").code == 0

    def test_parents_are_made(self, root: Path, tmp_path: Path):
        assert expand(root, tmp_path / "a" / "b" / "c").code == 0


class TestHelp:
    def test_help_names_every_command(self):
        outcome = farfield("--help")
        assert outcome.code == 0
        assert all(c in outcome.out for c in ("expand", "reconstruct", "invert", "report", "domains"))

    @pytest.mark.parametrize("command", ["expand", "reconstruct", "invert", "report", "domains"])
    def test_every_command_has_help(self, command: str):
        outcome = farfield(command, "--help")
        assert outcome.code == 0
        assert "Usage" in outcome.out

    def test_version(self):
        assert farfield("--version") == Outcome(0, f"{__version__}\n", "")

    def test_domains_lists_them_all(self):
        outcome = farfield("domains")
        assert outcome.code == 0
        assert [line.split()[0] for line in outcome.out.splitlines()] == [*DOMAINS, *FIELD_DOMAINS]


@pytest.fixture(scope="module")
def finished(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished quick expansion."""
    out = tmp_path_factory.mktemp("runs") / "finished"
    outcome = expand(root, out)
    assert outcome.code == 0, outcome
    return out


class TestFinishedRun:
    def test_the_page_is_where_stdout_says(self, root: Path, finished: Path):
        outcome = expand(root, finished)
        verdict, page = outcome.out.splitlines()
        assert verdict.endswith(".") and page == f"{finished / 'report.html'}"
        assert (finished / "report.html").is_file()

    def test_the_same_command_again_computes_nothing_and_changes_nothing(self, root: Path, finished: Path):
        before, page = decided(finished), (finished / "report.html").read_bytes()
        outcome = expand(root, finished)
        assert outcome.code == 0
        assert "to do" not in outcome.err
        assert decided(finished) == before
        assert (finished / "report.html").read_bytes() == page

    def test_json_is_all_of_stdout_and_equals_the_file(self, root: Path, finished: Path):
        outcome = expand(root, finished, "--json")
        assert json.loads(outcome.out) == json.loads((finished / "summary.json").read_text())

    def test_report_rebuilds_the_same_page_without_the_model(self, finished: Path, tmp_path: Path):
        run = shutil.copytree(finished, tmp_path / "moved")
        page = (run / "report.html").read_bytes()
        shutil.rmtree(run / "grids")
        (run / "report.html").unlink()
        outcome = farfield("report", run)
        assert outcome == Outcome(0, f"{run / 'report.html'}\n", "")
        assert (run / "report.html").read_bytes() == page
        assert any((run / "grids").iterdir())

    def test_a_picture_for_each_seed(self, finished: Path):
        assert sorted(p.name for p in (finished / "png").iterdir()) == ["000000.png", "000001.png"]

    def test_progress_is_on_stderr_alone_and_quiet_silences_it(self, root: Path, tmp_path: Path):
        given = (root / "model", root / "images", "--steps", 4, "--json")
        loud = farfield("reconstruct", *given, "-o", tmp_path / "loud")
        quiet = farfield("reconstruct", *given, "-o", tmp_path / "quiet", "--quiet")
        assert "12 images of" in loud.err
        assert json.loads(loud.out)["command"] == "reconstruct"
        assert quiet.err == ""


@pytest.mark.parametrize("what", ["nowhere", "empty", "images"])
def test_report_refuses_what_is_no_run(what: str, root: Path):
    before = contents(root)
    assert_refused(farfield("report", root / what), what, "run folder")
    assert contents(root) == before


def test_report_says_when_a_run_is_not_finished(finished: Path, tmp_path: Path):
    run = shutil.copytree(finished, tmp_path / "run")
    (run / "summary.json").unlink()
    assert_refused(farfield("report", run), "not finished")


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        '{"command": ["x"]}',
        '{"command": "compare", "domains": 1}',
        '{"command": "expand", "measures": [], "nearest": 5, "reconstruction": "x"}',
        "[" * 10**5,
    ],
)
def test_report_refuses_a_summary_that_no_run_left(content: str, finished: Path, tmp_path: Path):
    run = shutil.copytree(finished, tmp_path / "run")
    (run / "summary.json").write_text(content)
    assert_refused(farfield("report", run), "summary.json")


@pytest.mark.parametrize("damage", [b"", b"{", b"[]"])
def test_a_damaged_configuration_is_named(damage: bytes, root: Path, finished: Path, tmp_path: Path):
    run = shutil.copytree(finished, tmp_path / "run")
    (run / "config.json").write_bytes(damage)
    before = contents(run)
    assert_refused(expand(root, run), "config.json")
    assert contents(run) == before


def test_a_damaged_shard_is_named_and_made_again(root: Path, finished: Path, tmp_path: Path):
    run = shutil.copytree(finished, tmp_path / "run")
    shard = run / "samples" / "shard-00000.safetensors"
    shard.write_bytes(shard.read_bytes()[:100])
    outcome = expand(root, run)
    assert outcome.code == 0 and "samples/shard-00000.safetensors: damaged; made again" in outcome.err
    assert shard.read_bytes() == (finished / "samples" / shard.name).read_bytes() and summary(run) == summary(finished)


class TestOtherCommands:
    def test_reconstruct_brings_images_back(self, root: Path, tmp_path: Path):
        options = ("-o", tmp_path / "run", "--steps", 16, "--sigma", 10)
        outcome = farfield("reconstruct", root / "model", root / "images", *options)
        assert outcome.code == 0 and outcome.out.splitlines()[1:] == [f"{tmp_path / 'run' / 'report.html'}"]
        found = summary(tmp_path / "run")
        assert found["n"] == len(found["images"]) == 12
        assert found["reconstruction"]["psnr"]["min"] > 40
        assert len(list((tmp_path / "run" / "png").glob("img-*.png"))) == 12

    def test_reconstruct_limit_takes_the_first(self, root: Path, tmp_path: Path):
        options = ("-o", tmp_path / "run", "--steps", 4, "--limit", 3, "--json")
        outcome = farfield("reconstruct", root / "model", root / "images", *options)
        assert list(json.loads(outcome.out)["images"]) == ["img-000", "img-001", "img-002"]

    def test_a_single_image_can_be_reconstructed(self, root: Path, tmp_path: Path):
        one = root / "images" / "img-004.png"
        assert farfield("reconstruct", root / "model", one, "-o", tmp_path / "run", "--steps", 4).code == 0
        assert list(summary(tmp_path / "run")["images"]) == ["img-004"]

    def test_invert_leaves_keyed_latents_of_the_level_it_reports(self, root: Path, tmp_path: Path):
        outcome = farfield("invert", root / "model", root / "images", "-o", tmp_path / "run", "--steps", 4)
        assert outcome.out.splitlines()[1:] == [f"{tmp_path / 'run'}"]
        latents = Store(tmp_path / "run" / "latents", Latents).read()
        assert latents.keys == tuple(f"img-{i:03d}" for i in range(12))
        assert latents.values.shape == (12, 3, 16, 16)
        assert latents.sigma == summary(tmp_path / "run")["sigma"]
        assert not (tmp_path / "run" / "reconstructions").exists()

    def test_a_bundled_domain_is_a_source(self, root: Path, tmp_path: Path):
        options = ("-o", tmp_path / "run", "--steps", 4, "--limit", 2)
        assert farfield("invert", root / "model", "digits", *options).code == 0

    def test_a_class_conditional_model_takes_a_label(self, root: Path, tmp_path: Path):
        latents = []
        for label in (0, 2):
            out = tmp_path / str(label)
            options = ("-o", out, "--steps", 4, "--label", label, "--sigma", 10)
            assert farfield("invert", root / "conditional", root / "images", *options).code == 0
            latents.append(Store(out / "latents", Latents).read().values)
        assert not torch.equal(*latents)


WAYS = {
    "gaussian": ("--sampler", "gaussian"),
    "gaussian, diagonal": ("--sampler", "gaussian", "--prior", "diagonal"),
    "gaussian, lowrank": ("--sampler", "gaussian", "--prior", "lowrank"),
    "perturbation": ("--sampler", "perturbation", "--t", "0.1"),
    "geometric": ("--sampler", "geometric"),
    "published interpolation": ("--sampler", "interpolation", "--no-centre", "--t", "0.5"),
    "partner prior": ("--sampler", "interpolation", "--partner", "prior"),
    "noise": ("--sampler", "noise"),
    "patchwork of candidates": ("--sampler", "patchwork", "--candidates", 2),
    "euler": ("--sampler", "patchwork", "--solver", "euler"),
    "ddim": ("--sampler", "patchwork", "--solver", "ddim"),
    "heun": ("--sampler", "patchwork", "--solver", "heun"),
    "midpoint": ("--sampler", "patchwork", "--solver", "midpoint"),
    "bfloat16": ("--dtype", "bfloat16"),
    "float64": ("--dtype", "float64"),
}


@pytest.mark.parametrize("options", WAYS.values(), ids=WAYS)
def test_every_way_of_making_images_makes_them(options: tuple[object, ...], root: Path, tmp_path: Path):
    with undrawn():
        outcome = expand(root, tmp_path / "run", *options)
    assert outcome.code == 0, outcome.err
    samples = Store(tmp_path / "run" / "samples", Images).read()
    assert samples.keys == ("000000", "000001")
    assert torch.isfinite(samples.values).all()


FEW = {
    "one image": ("-n", 1),
    "several candidates": ("--candidates", 2),
    "few examples of many": ("--examples", 5),
    "two examples": ("--examples", 2),
    "one descriptor": ("--descriptor", "model"),
}


@pytest.mark.parametrize("options", FEW.values(), ids=FEW)
def test_a_run_with_little_in_it_still_gets_its_page(options: tuple[object, ...], root: Path, tmp_path: Path):
    outcome = expand(root, tmp_path / "run", *options)
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "run" / "report.html").stat().st_size > 1000


def test_two_images_are_enough(tmp_path: Path, root: Path):
    source = make_images(tmp_path / "two", 2)
    assert farfield("expand", root / "model", source, "-o", tmp_path / "run", *QUICK).code == 0
    assert summary(tmp_path / "run")["examples"]["n"] == 2


def test_identical_pairs_among_the_examples_are_no_obstacle(root: Path, tmp_path: Path):
    source = make_images(tmp_path / "images", 5)
    shutil.copy(source / "img-000.png", source / "img-zero-again.png")
    outcome = farfield("expand", root / "model", source, "-o", tmp_path / "run", *QUICK, "-n", 12)
    assert outcome.code == 0, outcome.err


class TestShapes:
    """Nothing assumes three channels or a square."""

    @pytest.mark.parametrize("shape", [(1, 16, 16), (3, 16, 24), (3, 24, 16)], ids=str)
    def test_rgb_files_for_a_model_of_another_shape(self, shape: tuple[int, int, int], root: Path, tmp_path: Path):
        model = make_model(tmp_path / "model", shape)
        assert farfield("expand", model, root / "images", "-o", tmp_path / "run", *QUICK).code == 0
        assert Store(tmp_path / "run" / "samples", Images).read().values.shape == (2, *shape)
        assert summary(tmp_path / "run")["model"]["shape"] == list(shape)

    @pytest.mark.parametrize("command", ["expand", "reconstruct", "invert"])
    def test_five_channels_from_an_npz(self, command: str, root: Path, tmp_path: Path):
        model = make_model(tmp_path / "model", (5, 16, 16))
        options = QUICK if command == "expand" else ("--steps", 4)
        outcome = farfield(command, model, root / "five.npz", "-o", tmp_path / "run", *options)
        assert outcome.code == 0, outcome.err
        if command == "expand":
            assert "descriptor copy: left out, it sees grey or colour pictures, found 5 channels" in outcome.err


class TestSigma:
    """The level that is asked for is the level that is used, to the nearest trained one."""

    def test_a_number(self, root: Path, tmp_path: Path):
        expand(root, tmp_path / "run", "--sigma", 3)
        assert summary(tmp_path / "run")["sigma"] == pytest.approx(3, rel=0.02)

    def test_last_is_the_last_trained_level(self, root: Path, tmp_path: Path):
        expand(root, tmp_path / "run", "--sigma", "last")
        assert summary(tmp_path / "run")["sigma"] == pytest.approx(157.4, rel=0.001)  # DDPM: linear betas, 1000 steps

    def test_auto_takes_the_least_discrepancy_of_the_levels_it_tried(self, root: Path, tmp_path: Path):
        expand(root, tmp_path / "run", "--sigma", "auto")
        found = summary(tmp_path / "run")
        (chosen,) = [row for row in found["sigma_search"] if row["chosen"]]
        assert found["sigma"] == chosen["sigma"]
        assert chosen["discrepancy"] == min(row["discrepancy"] for row in found["sigma_search"])

    def test_auto_has_a_default_for_few_examples(self, root: Path, tmp_path: Path):
        assert expand(root, tmp_path / "run", "--sigma", "auto", "--examples", 4).code == 0
        found = summary(tmp_path / "run")
        assert found["sigma"] == pytest.approx(20, rel=0.02)
        assert any("4 examples are too few to search the noise level" in note for note in found["notes"])


class TestHeldOut:
    """Held-out images are the rest of the source, or come from elsewhere; the examples are never among them."""

    def test_the_rest_of_the_source(self, root: Path, tmp_path: Path):
        source = make_images(tmp_path / "images", 24)
        options = ("-o", tmp_path / "run", *QUICK, "--examples", 6)
        assert farfield("expand", root / "model", source, *options).code == 0
        examples, references = (Store(tmp_path / "run" / name, Images).read() for name in ("examples", "references"))
        assert len(examples) == 6
        assert not set(examples.keys) & set(references.keys)
        assert summary(tmp_path / "run")["references"]["source"] == str(source)

    def test_elsewhere(self, root: Path, tmp_path: Path):
        elsewhere = make_images(tmp_path / "elsewhere", 20, first=100)
        assert expand(root, tmp_path / "run", "--heldout", elsewhere).code == 0
        found = summary(tmp_path / "run")
        assert found["references"]["source"] == str(elsewhere)
        assert found["examples"]["n"] == 12
        assert "real" in found["measures"]["pixels"]

    def test_examples_under_another_name_are_refused(self, root: Path, tmp_path: Path):
        outcome = expand(root, tmp_path / "run", "--heldout", make_images(tmp_path / "elsewhere", 20))
        assert outcome.code == 2 and "are among the examples" in outcome.err
        assert not (tmp_path / "run").exists()

    def test_too_few_are_said_to_be_none(self, root: Path, tmp_path: Path):
        assert expand(root, tmp_path / "run", "--examples", 8).code == 0
        found = summary(tmp_path / "run")
        assert found["references"] is None
        assert any("No held-out images" in note for note in found["notes"])


def test_an_interruption_is_exit_code_130_and_says_how_to_go_on(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("farfield.diffusion.denoiser.NetworkDenoiser.forward", interrupted)
    outcome = expand(root, tmp_path / "run")
    assert outcome.code == 130
    assert "same command again" in outcome.err


@pytest.fixture
def shell(root: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The command line as a process of its own."""
    return lambda *arguments: subprocess.run(
        [sys.executable, "-m", "farfield", *map(str, arguments)], capture_output=True, text=True
    )


class TestProcess:
    def test_help_is_instant_because_nothing_heavy_is_imported(self):
        heavy = ("torch", "numpy", "diffusers", "matplotlib", "scipy", "PIL")
        code = f"import sys, farfield.cli; print([m for m in {heavy} if m in sys.modules])"
        found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert found.stdout == "[]\n"

    def test_bad_input(self, shell: Callable[..., subprocess.CompletedProcess[str]], root: Path, tmp_path: Path):
        found = shell("expand", root / "model", root / "images", "-o", tmp_path / "run", "--prior", "full")
        assert found.returncode == 2
        assert found.stdout == ""
        (line,) = found.stderr.splitlines()
        assert line.startswith("farfield: --prior full: ")

    def test_json_is_all_of_stdout_and_warnings_are_one_line(
        self, shell: Callable[..., subprocess.CompletedProcess[str]], root: Path, tmp_path: Path
    ):
        options = ("-o", tmp_path / "run", "--descriptor", "pixels", "--json", "-q")
        found = shell("describe", root / "one-broken", *options)
        assert found.returncode == 0
        assert json.loads(found.stdout) == json.loads((tmp_path / "run" / "summary.json").read_text())
        (line,) = found.stderr.splitlines()
        assert line.startswith(f"farfield: {root / 'one-broken'}: ")
