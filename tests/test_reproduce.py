"""`farfield reproduce`: published numbers, steps that run once, and what is said of both."""

from __future__ import annotations

import importlib
import json
import shlex
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

import pytest
from tiny import farfield, summary

from farfield.command.commands import read_line
from farfield.command.reproduce import PUBLISHED, Name
from farfield.core.score import Score
from farfield.study.reproduce import regimes, settings
from farfield.study.reproduce.plan import Plan, published

NAMES = get_args(Name)


def module(name: str) -> Any:
    return importlib.import_module(f"farfield.study.reproduce.{name}")


def test_every_experiment_says_where_it_was_published() -> None:
    assert tuple(PUBLISHED) == NAMES
    listed = farfield("reproduce")
    assert listed.code == 0 and all(name in listed.out for name in NAMES)


@pytest.mark.parametrize("file", [f.name for f in (files("farfield.study.reproduce") / "published").iterdir()])
def test_published_curves_are_whole(file: str) -> None:
    kept = json.loads((files("farfield.study.reproduce") / "published" / file).read_text(encoding="utf-8"))
    assert file.removesuffix(".json") in NAMES and "arXiv" in kept["source"] and kept["read"]
    for name, curve in published(file.removesuffix(".json")).items():
        assert len(curve.x) == len(curve.y) and sorted(curve.x) == curve.x, name


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "plan", [Plan(Path("out")), Plan(Path("out"), True, "c.zip"), Plan(Path("out"), False, "c.zip")]
)
def test_steps_are_commands_with_folders_of_their_own(name: Name, plan: Plan) -> None:
    steps = module(name).steps(plan)
    assert steps and len({step.folder for step in steps}) == len(steps)
    for step in steps:
        command, words = read_line(shlex.split(step.line())[1:])
        command.settings.of(**command.settings.parse(words[:-2]))
        assert command.result is not None and words[-1] == str(step.folder)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The settings of two networks, hardly trained, and of two samplers."""
    patch = pytest.MonkeyPatch()
    patch.setattr(settings, "MODELS", {name: settings.MODELS[name] for name in ("ddpmpp-edm", "dit-v", "ddpmpp-flow")})
    patch.setattr(
        settings,
        "SAMPLERS",
        {"heun-18": ("--steps", "2"), "euler-18": ("--steps", "3"), "eta-1": ("--steps", "3", "--eta", "1")},
    )
    patch.setattr(settings, "STOCHASTIC", ("eta-1",))
    patch.setattr(settings, "LENGTHS", {"unet": "64", "dit": "64"})
    patch.setattr(settings, "SEEDS", "0-49")
    out = tmp_path_factory.mktemp("reproduce") / "run"
    made = farfield("reproduce", "settings", "-o", out)
    assert made.code == 0, made.out
    yield out
    patch.undo()


def test_steps_run_once_and_their_numbers_are_those_of_their_own_runs(run: Path) -> None:
    kept = summary(run)["experiments"][0]
    own = summary(run / "settings" / "networks")
    matrix = next(iter(own["rp"].values()))["score"]
    rows = {row["name"]: row["ours"] for row in kept["outcome"]["rows"]}
    assert rows["RP, ddpmpp-edm and dit-v"] == matrix[0][1] and rows["RP, dit-v and ddpmpp-flow"] == matrix[1][2]
    assert rows["RP, EDM and U-ViT"] is None
    before = {path: path.stat().st_mtime_ns for path in run.glob("settings/**/*.safetensors")}
    assert before and farfield("reproduce", "settings", "-o", run).code == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert farfield("reproduce", "settings", "--commands", "-o", run).out.strip() == ""


def test_the_page_has_both_the_published_and_ours(run: Path) -> None:
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "published" in page and "ddpmpp-flow" in page and "0.74" in page


def test_full_scale_asks_for_the_data() -> None:
    refused = farfield("reproduce", "regimes", "--full")
    assert refused.code != 0 and "--data" in refused.err


@pytest.mark.parametrize(("low", "high", "apart"), [(0.3, 0.5, True), (0.45, 0.5, False), (0.5, 0.3, False)])
def test_scores_are_apart_by_whole_intervals(low: float, high: float, apart: bool) -> None:
    a, b = (Score(value, 100, value - 0.05, value + 0.05) for value in (low, high))
    assert regimes.ends_apart(a, b) is apart
