"""Every command that works for long, killed by SIGKILL at changes of its folder and given again: the unbroken run, to the bit."""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from fork import needs_fork
from kill import BESIDE, carried_out, killed
from test_prompt import make_pipeline
from tiny import decided, farfield, make_images, make_model, undrawn

pytestmark = [needs_fork, pytest.mark.usefixtures("few_views")]

DEEP = "--network unet2d --multipliers 1,2 --blocks 1 --attention none"
NETWORK = f"{DEEP} --width 4 --device cpu"
TRAIN = f"train --data images {NETWORK} --images 48 --batch-size 8 --warmup 8 --every 16 --snapshots 24 --samples 2"
CONVERT = "dataset convert images OUT --resize 8"

COMMANDS = {
    "expand": "expand model images --examples 6 -n 6 --sigma 5 --steps 2 --batch-size 4 --candidates 2 --descriptor pixels",
    "expand fields": "expand model fields --examples 6 -n 3 --sampler patchwork --sigma 5 --steps 2 --batch-size 2 "
    "--no-calibrate --descriptor pixels",
    "analyse": "analyse model images --examples 8 --levels 5 --eta 0 --noise 1 --decoded 2 --down-steps 4 "
    "--steps 4 --symmetry flip",
    "compare": "compare model images --counts 9 --methods ours,published,lora,release -n 9 --steps 2 --batch-size 8 "
    "--tuning-budget 0.1 --epochs 1 --descriptor pixels",
    "reconstruct": "reconstruct model images --limit 6 --steps 3 --batch-size 2",
    "reconstruct auto": "reconstruct small little --batch-size 2 --method auto --round-trip 20dB --latent 0.1 --sigma 5",
    "invert reversible-heun": "invert model images --limit 6 --steps 3 --batch-size 2 --method reversible-heun",
    "invert edit-friendly": "invert model images --limit 6 --steps 3 --batch-size 2 --method edit-friendly",
    "transfer": "transfer model images other -n 4 --examples 6 --strength 0,1 --steps 3 --batch-size 2 --descriptor pixels",
    "generate png": "generate model --seeds 0-5 --steps 3 --batch-size 2 --eta 0.5 --format png",
    "generate npz": "generate model --seeds 0-5 --steps 3 --batch-size 2 --format npz",
    "prompt": "prompt pipeline --prompt dust -n 4 --steps 2 --batch-size 2 --size 16 --heldout images --examples 4 --judge model",
    "audit": "audit model images --heldout other -n 6 --steps 2 --batch-size 2 --descriptor pixels --threshold 0.9",
    "score gl": "score gl other images --heldout third --descriptor pixels --rate 0.1 --batch-size 8",
    "score rp": "score rp images other --descriptor pixels --rate 0.1 --batch-size 8",
    "score matrix": "score matrix images other third --descriptor pixels --rate 0.1 --batch-size 8",
    "rank": "rank small --images little --points 2 --sigmas 0.3,3",
    "rank trajectory": "rank small --along trajectory --points 2 --sigmas 0.3,3",
    "dimension": "dimension small little --limit 2 --probes 4 --sigmas 0.1,1 --copies 768",
    "molrg": "molrg --n 8 --dimension 2 --per-class 8 --seeds 1 --starts 0 --points 2 --ratios 0.5,1 --sigmas 0.1,3 "
    "--network-counts 2 --images 1k --device cpu",
    "edit": "edit small little --each --limit 2 --mask 2,2,6,6 --direction 1,2 --strength=-2,2 --keep 2 --steps 3 --batch-size 1",
    "restore": "restore small little --scale 2 --against small -n 2 --steps 3 --iterations 1 --batch-size 3",
    "describe": "describe images --descriptor pixels --batch-size 4",
    "train": f"{TRAIN} --minutes 0 --heldout other --dropout 0.1 --flips",
    "train-descriptor": "train-descriptor images --images 96 --batch-size 8 --width 4 --features 8 --minutes 0 --device cpu",
    "convert": "convert small OUT",
    "dataset convert folder": CONVERT,
    "dataset convert zip": CONVERT.replace("OUT", "OUT.zip"),
    "dataset convert npz": CONVERT.replace("OUT", "OUT.npz"),
    "transition": f"transition --data images --sizes 4 --widths 4 --heldout-images 8 --samples 4 --threshold 0.9 "
    f"--descriptor pixels --device cpu --images 16 --batch-size 8 {DEEP}",
}
LONG = (
    "expand fields", "analyse", "compare", "reconstruct auto", "invert edit-friendly", "transfer", "generate npz", "prompt",
    "rank trajectory", "molrg", "edit", "dataset convert folder", "dataset convert npz", "score matrix",
)  # fmt: skip
"""Those that take longest, or go the way of another; killed with the slow tests."""
QUICK = [pytest.param(name, marks=pytest.mark.slow) if name in LONG else name for name in COMMANDS]
LOGS = ("log.txt", ".lock")
"""Of the jobs of a grid: they are added to, and no result."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("inputs")
    make_model(root / "model", channels=(8,))
    make_model(root / "small", (3, 8, 8), channels=(8,))
    make_images(root / "little", 3, 8, 8)
    for name, first in (("images", 0), ("other", 100), ("third", 200)):
        make_images(root / "drawn", 24, first=first).rename(root / name)
        for seed, path in enumerate(sorted((root / name).iterdir())):
            path.rename(root / name / f"{seed:06d}.png")
    (root / "fields").mkdir()
    for seed in range(24):
        np.save(root / "fields" / f"field-{seed:02d}.npy", np.random.default_rng(seed).random((16, 16)).cumsum(0))
    return root


def words(name: str) -> list[str]:
    """A command whose result is ``out/run``; its sources lie beside."""
    line = shlex.split(COMMANDS[name])
    if any(word.startswith("OUT") for word in line):
        return [f"out/run{word.removeprefix('OUT')}" if word.startswith("OUT") else word for word in line] + ["-q"]
    return [*line, "-q", "-o", "out/run"]


def left(out: Path) -> dict[str, Any]:
    """Everything that a command decides: left out are seconds, checksums over them, and what no reader looks at."""

    def timeless(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: timeless(v) for k, v in value.items() if "seconds" not in k and k != "sha256"}
        return [timeless(v) for v in value] if isinstance(value, list) else value

    found = {}
    for name, content in decided(out).items():
        if BESIDE in name or Path(name).name in (*LOGS, "cost.json", "config.json", "report.html"):
            continue
        if Path(name).parent.name == "tables":  # the page's, seconds among them
            continue
        if name.endswith(".json"):
            content = timeless(json.loads(content))
        elif name.endswith(".safetensors"):
            content = timeless(json.loads((content[0] or {}).get("farfield", "null"))), content[1]
        found[name] = content
    return found


@contextlib.contextmanager
def stage(root: Path, name: str, place: Path) -> Iterator[None]:
    """In a folder of its own with the sources beside, so that paths are the same words in every run."""
    from farfield.study.audit.grid import Job

    def here(job: Job, environment: object) -> None:
        for step in job.steps:
            if step.done:
                continue
            ended = farfield(*step.words)
            assert ended.code == 0, ended.err

    place.mkdir()
    for source in root.iterdir():
        (place / source.name).symlink_to(source)
    (place / "out").mkdir()
    with contextlib.chdir(place), patch.object(Job, "run", here):
        yield


class Killed:
    """A command that is killed once or more, and then given a last time."""

    def __init__(self, root: Path, name: str, place: Path):
        self.line, self.out = words(name), Path("out")
        self.root, self.name, self.place = root, name, place
        if name == "prompt" and not (root / "pipeline").exists():
            make_pipeline(root / "pipeline").with_name("pipeline-words").rename(root / ".words")

    def whole(self) -> tuple[dict[str, Any], int]:
        """What the unbroken run leaves, and in how many changes."""
        with stage(self.root, self.name, self.place / "whole"):
            ended = carried_out(self.out, self.line)
            assert (ended.code, ended.torn) == (0, []), ended
            return left(self.out), ended.changes

    def broken(self, *moments: int) -> dict[str, Any]:
        with stage(self.root, self.name, self.place / "-".join(map(str, ("broken", *moments)))):
            for moment in moments:
                killed(self.out, self.line, moment)
            ended = carried_out(self.out, self.line)
            assert ended.code == 0, ended.err
            assert [*self.out.rglob(f"{BESIDE}*")] == []
            return left(self.out)


def differing(whole: dict[str, Any], broken: dict[str, Any]) -> list[str]:
    return sorted(name for name in whole.keys() | broken.keys() if whole.get(name) != broken.get(name))


@pytest.fixture
def without_the_page() -> Iterator[None]:
    """It is drawn from what is compared here."""
    with undrawn():
        yield


@pytest.mark.parametrize("name", QUICK)
def test_killed_twice_it_ends_as_the_unbroken_run(name: str, root: Path, tmp_path: Path, without_the_page: None):
    command = Killed(root, name, tmp_path)
    whole, changes = command.whole()
    third = max(1, changes // 3)
    assert whole and differing(whole, command.broken(third, third)) == []


def test_killed_as_it_takes_its_folder_it_leaves_nothing(root: Path, tmp_path: Path, without_the_page: None):
    command = Killed(root, "describe", tmp_path)
    whole, _ = command.whole()
    for moment in range(1, 7):
        assert differing(whole, command.broken(moment)) == [], moment


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_killed_at_any_change_it_ends_as_the_unbroken_run(
    name: str, root: Path, tmp_path: Path, without_the_page: None
):
    """At every one, or at 20 of many; half of them then another time."""
    command = Killed(root, name, tmp_path)
    whole, changes = command.whole()
    moments = [*range(1, changes, max(1, changes // 20)), changes]
    for i, moment in enumerate(moments):
        again = (max(1, (changes - moment) // 2),) if i % 2 else ()
        assert differing(whole, command.broken(moment, *again)) == [], (moment, *again)


def test_killed_before_its_page_it_draws_it_when_given_again(root: Path, tmp_path: Path):
    command = Killed(root, "score rp", tmp_path)
    whole, changes = command.whole()
    assert differing(whole, command.broken(changes)) == []
    assert (tmp_path / f"broken-{changes}" / "out" / "run" / "report.html").is_file()
