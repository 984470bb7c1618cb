"""Two processes that share a run end with the samples and measures of one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import torch
from fork import begin
from tiny import Outcome, decided, farfield, make_images, make_model, numbers, summary

from farfield.core.artifact import Images, Latents, Store, write_json
from farfield.study.bench.run import Run

pytestmark = pytest.mark.usefixtures("few_views")

OPTIONS = ("-n", 6, "--steps", 3, "--batch-size", 2, "--sigma", 5, "--examples", 6, "--candidates", 2)
OPTIONS += ("--sampler", "patchwork")
QUICK = ("--steps", 2, "--no-patches", "--no-control", "--device", "cpu")
DESCENT = ("-n", 4, "--batch-size", 16, "--examples", 8, *QUICK)


@dataclass(frozen=True)
class Runs:
    """The same command by one process and by two, and what the two said."""

    one: Path
    two: Path
    said: Outcome


def launch(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The command line under two processes on this machine."""
    line = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    line += ["-m", "farfield", *map(str, arguments)]
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(line, env=environment, capture_output=True, text=True)


def launched(rank: int, port: int) -> dict[str, str]:
    """The variables by which a launcher tells one of two processes its place."""
    place = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    return {**place, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}


def two_processes(*arguments: object) -> Outcome:
    """The same by two children that are told what a launcher tells."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def one(rank: int) -> list[object]:
        os.environ |= launched(rank, port)
        done = farfield(*arguments)
        return [done.code, done.out, done.err]

    children = [begin(partial(one, rank)) for rank in range(2)]
    codes, out, err = zip(*(child.end()[1] for child in children), strict=True)
    return Outcome(max(codes), "".join(out), "".join(err))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    root = tmp_path_factory.mktemp("ranks")
    given = (make_model(root / "model"), make_images(root / "images", 24))
    assert farfield("expand", *given, "-o", root / "one", *OPTIONS, "--device", "cpu").code == 0
    said = two_processes("expand", *given, "-o", root / "two", *OPTIONS, "--device", "cpu")
    assert said.code == 0, said.err
    return Runs(root / "one", root / "two", said)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("latents", Latents), ("samples", Images), ("sampled", Latents), ("base", Images), ("reconstructions", Images)],
)
def test_rows_and_keys_are_those_of_one_process(name: str, kind: type, runs: Runs):
    one, two = (Store(folder / name, kind).read() for folder in (runs.one, runs.two))
    assert two.keys == one.keys
    torch.testing.assert_close(two.values, one.values, rtol=1e-6, atol=1e-5)


def test_the_same_files_are_left(runs: Runs):
    assert decided(runs.two).keys() == decided(runs.one).keys()


def test_the_summary_is_that_of_one_process(runs: Runs):
    one, two = numbers(summary(runs.one)), numbers(summary(runs.two))
    assert two == pytest.approx(one, rel=1e-3, abs=1e-4)


def test_the_page_is_named_once(runs: Runs):
    verdict, page = runs.said.out.splitlines()
    assert "new images" in verdict and page == str(runs.two / "report.html")


def test_progress_is_shown_once(runs: Runs):
    assert runs.said.err.count(" to make; ") == 1


def test_a_level_is_searched_by_two_processes_as_by_one(runs: Runs, tmp_path: Path):
    given = [runs.one.parent / name for name in ("model", "images")]
    assert farfield("expand", *given, "-o", tmp_path / "one", *DESCENT).code == 0
    said = two_processes("expand", *given, "-o", tmp_path / "two", *DESCENT)
    assert said.code == 0, said.err
    one, two = numbers(summary(tmp_path / "one")), numbers(summary(tmp_path / "two"))
    assert two == pytest.approx(one, rel=1e-3, abs=1e-4) and "/sigma_search/0/copies" in one


def test_the_precision_that_one_process_finds_is_that_of_both(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("FARFIELD_CACHE", str(tmp_path))
    kept = tmp_path / "precision.json"
    line = ("generate", runs.one.parent / "model", "--seeds", "0-3", "--steps", 2, "--dtype", "auto", "--device", "cpu")
    said = two_processes(*line, "-o", tmp_path / "first")
    assert said.code == 0, said.err
    assert said.err.count("--dtype auto: ") == 1
    kept.write_text(json.dumps({key: {"quicker": 9.0, "off": 0.0} for key in json.loads(kept.read_text())}))
    said = two_processes(*line, "-o", tmp_path / "second")
    assert said.code == 0, said.err
    assert json.loads((tmp_path / "second" / "config.json").read_text())["request"]["dtype"] == "bfloat16"


def test_continued_by_one_process_it_is_already_done(runs: Runs):
    root = runs.two.parent
    options = ("-o", runs.two, *OPTIONS, "--device", "cpu")
    outcome = farfield("expand", root / "model", root / "images", *options)
    assert outcome.code == 0
    assert "to do" not in outcome.err


def test_a_second_process_is_not_put_off_by_the_half_written_folder_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The first may be about to put ``config.json`` in place when the second looks."""
    for name, value in launched(1, 29500).items():
        monkeypatch.setenv(name, value)
    config = tmp_path / "run" / "config.json"
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".writing-abcdefconfig.json").touch()
    finish = lambda ranks: write_json(config, {"request": {"command": "expand", "n": 4}})  # noqa: E731
    monkeypatch.setattr("farfield.core.runtime.Ranks.wait", finish)
    assert Run(tmp_path / "run", "expand", {"n": 4}, {}).folder == tmp_path / "run"


def test_bad_input_ends_both_processes_and_is_said(runs: Runs, tmp_path: Path):
    """A process that waits for another that has ended would wait for ever."""
    root = runs.two.parent
    found = two_processes("expand", root / "model", root / "images", "-o", tmp_path / "run", "--t", "2")
    assert found.code == 2
    assert "farfield: --t 2.0: expected" in found.err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_bad_input_ends_a_launcher(runs: Runs, tmp_path: Path):
    root = runs.two.parent
    found = launch("expand", root / "model", root / "images", "-o", tmp_path / "run", "--t", "2")
    assert found.returncode != 0
    assert "farfield: --t 2.0: expected" in found.stderr
    assert not (tmp_path / "run").exists()
