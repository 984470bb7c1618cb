"""`farfield transition`: the grid as ordinary commands, and scores that can be taken from its folders by hand."""

from __future__ import annotations

import fcntl
import json
import math
import shlex
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from test_ranks import launched
from tiny import Outcome, contents, farfield, make_images, summary

from farfield.audit.descriptor import describe
from farfield.audit.generalization import generalization
from farfield.audit.pixels import Pixels
from farfield.audit.search import neighbours
from farfield.audit.similarity import unit
from farfield.audit.threshold import calibrate
from farfield.checkpoints.load import load_denoiser
from farfield.command.result import from_json
from farfield.command.transition import Grid, Transition, TransitionResult
from farfield.core.artifact import Images, Score
from farfield.core.error import FarfieldError
from farfield.data.dataset import Dataset, open_dataset
from farfield.data.samples import open_samples
from farfield.diffusion.generation import generate
from farfield.diffusion.objective import heldout_loss
from farfield.present.transition import content
from farfield.study.audit.grid import Cell, Job, Step, cells_of, environment, pairs, run_jobs
from farfield.study.audit.grid_scores import crossing, regime
from farfield.study.audit.grid_sets import split

SIZES, WIDTHS = (4, 16), (2, 4)
GRID = ("--sizes", "4,16", "--widths", "2,4", "--heldout-images", 24, "--samples", 12, "--rate", 0.1)
TRAIN = ("--multipliers", "1,2", "--blocks", 1, "--attention", "none", "--images", 64, "--batch-size", 16)


def transition(data: Path, out: Path, *options: object) -> Outcome:
    return farfield(
        "transition", "--data", data, "-o", out, *GRID, "--descriptor", "pixels", "--device", "cpu", *TRAIN, *options
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """50 pictures of 8×8, two of which are the same."""
    folder = make_images(tmp_path_factory.mktemp("data") / "images", 49, 8, 8)
    (folder / "again.png").write_bytes((folder / "img-003.png").read_bytes())
    return folder


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A grid whose cells were given out as commands, and then collected."""
    out = tmp_path_factory.mktemp("runs") / "run"
    given = transition(data, out, "--commands")
    assert given.code == 0, given.err
    lines = given.out.splitlines()
    assert len(lines) == len(SIZES) * len(WIDTHS) + len(SIZES)
    with patch("farfield.present.report.draw", lambda folder, command: (folder, ())):
        for line in lines:
            for command in line.split(" && "):
                done = farfield(*shlex.split(command)[1:])
                assert done.code == 0, (command, done.err)
    assert transition(data, out, "--commands").out.strip() == ""
    collected = transition(data, out, "--jobs", 1)
    assert collected.code == 0 and collected.out.splitlines()[-1] == str(out / "report.html"), collected.err
    return out


def test_the_cells_are_ordinary_runs(run: Path):
    for size in SIZES:
        for width in WIDTHS:
            cell = run / "cells" / f"n{size:05d}-w{width}-s0"
            assert summary(cell / "model")["n"] == size
            assert len(open_samples(cell / "samples")) == 12


def test_the_subsets_are_nested_and_none_holds_a_held_out_image(run: Path, data: Path):
    small, large, held = (open_dataset(run / "data" / f"{name}.npz") for name in ("n00004", "n00016", "heldout"))
    assert small.keys == large.keys[:4]
    assert torch.equal(small.images, large.images[:4])
    rows = [image.numpy().tobytes() for image in (*large.images, *held.images)]
    assert len(set(rows)) == len(rows) == 40
    assert set(rows) <= {image.numpy().tobytes() for image in open_dataset(data).images}


def cosines(a: torch.Tensor, b: torch.Tensor, about: torch.Tensor) -> np.ndarray:
    """Of whitened pixels, by numpy: axes of the largest training set, as `Pixels` states them."""
    flat = about.flatten(1).double().numpy()
    mean = flat.mean(0)
    values, vectors = np.linalg.eigh(np.cov(flat.T))
    order = np.argsort(-values)[: len(flat) // 3]
    basis = vectors[:, order] / np.sqrt(values[order] + 0.1 * values.max())
    first, second = ((x.flatten(1).double().numpy() - mean) @ basis for x in (a, b))
    first, second = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (first, second))
    return np.asarray(first @ second.T)


def test_its_scores_are_those_that_one_takes_from_its_folders_by_hand(run: Path):
    told = summary(run)
    training, held = (open_dataset(run / "data" / f"{name}.npz").values() for name in ("n00016", "heldout"))
    near = np.sort(cosines(held, training, training).max(1))
    threshold = near[math.ceil(25 * 0.9) - 1]
    assert told["alike"]["thresholds"]["calibrated"] == pytest.approx(threshold, abs=1e-9)
    samples = {name: open_samples(run / "cells" / name / "samples").values for name in ("n00016-w2-s0", "n00016-w4-s0")}
    cell = next(cell for cell in told["cells"] if cell["name"] == "n00016-w4-s0")
    alike = cosines(samples["n00016-w4-s0"], training, training).max(1)
    assert cell["gl"]["calibrated"]["score"]["value"] == pytest.approx((alike <= threshold).mean())
    pair = next(pair for pair in told["between"] if pair["size"] == 16)
    same = np.diag(cosines(*samples.values(), training))
    assert pair["rp"]["calibrated"]["score"]["value"] == pytest.approx((same > threshold).mean())
    theory = open_samples(run / "theory" / "n00016" / "samples").values
    same = np.diag(cosines(samples["n00016-w4-s0"], theory, training))
    assert cell["theory"]["rp"]["calibrated"]["score"]["value"] == pytest.approx((same > threshold).mean())


def test_the_optimal_denoiser_makes_nothing_new(run: Path):
    for entry in summary(run)["theory"]:
        assert entry["gl"]["calibrated"]["score"]["value"] == 0


def test_a_summary_has_every_cell_and_pair_with_its_interval(run: Path):
    told = summary(run)
    assert [cell["name"] for cell in told["cells"]] == [Cell(n, w, 0).name for n in SIZES for w in WIDTHS]
    assert [(pair["first"], pair["second"]) for pair in told["between"]] == [
        (f"n{n:05d}-w2-s0", f"n{n:05d}-w4-s0") for n in SIZES
    ]
    for cell in told["cells"]:
        score = cell["gl"]["calibrated"]["score"]
        assert score["n"] == 12 and score["low"] <= score["value"] <= score["high"]
        assert cell["loss"]["training"]["n"] == cell["size"] and cell["loss"]["held_out"]["n"] == 24
        assert cell["loss"]["gap"] == pytest.approx(
            cell["loss"]["held_out"]["value"] - cell["loss"]["training"]["value"]
        )
        assert cell["images"] == 64
        assert set(cell["nearest"]) == {"samples", "held_out"}


def test_its_request_and_its_summary_are_read_as_before_there_were_courses(run: Path):
    request = json.loads((run / "config.json").read_text())["request"]
    known = "command data options samples heldout descriptor threshold rate mae_limit solver steps grid seed held_out data_digest"
    assert set(request) == set(known.split())
    old = json.loads(json.dumps(summary(run)))
    for row in (*old["cells"], *old["between"], *(cell["theory"] for cell in old["cells"])):
        for key in ("pfd", "distance", "differ"):
            row.pop(key, None)
    found = from_json(TransitionResult, old)
    assert found.cells[0].course is None and found.between[0].differ is None and found.laws is None
    assert [section.anchor for section in content(run, found).sections] == ["transition", "samples", "numbers"]


def test_the_page_shows_figures_sheets_and_tables(run: Path):
    page = (run / "report.html").read_text()
    for words in ("new samples (GL)", "agreement of two models", "agreement with the optimal denoiser", "n00016-w4-s0"):
        assert words in page
    assert {p.name for p in (run / "grids").iterdir()} == {"n00004-w4-s0.png", "n00016-w4-s0.png"}


def test_given_again_it_changes_nothing(run: Path, data: Path):
    before = {k: v for k, v in contents(run).items() if k not in ("cost.json", "summary.json", "report.html")}
    told = summary(run)
    again = transition(data, run)
    assert again.code == 0, again.err
    assert {k: v for k, v in contents(run).items() if k not in ("cost.json", "summary.json", "report.html")} == before
    assert summary(run) == told


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--lerning-rate", 1), "lerning-rate"),
        (("--width", 8), "--width: the grid decides it"),
        (("--heldout", "digits"), "--heldout: the grid decides it"),
        (("--sizes", "4,40"), "40 others for the largest training set"),
        (("--sizes", "4,4"), "different whole numbers"),
        (("--sizes", "1"), "at least 2"),
        (("--widths", "many"), "whole numbers"),
        (("--rate", 2), "--rate 2: expected a number, above 0 and below 1"),
        (("--rate", 0.01), "at least 99"),
        (("--descriptor", "eyes"), "eyes"),
        (("--data", "nowhere"), "nowhere"),
    ],
)
def test_bad_input_is_said_before_anything_is_trained(
    options: tuple[object, ...], message: str, data: Path, tmp_path: Path
):
    outcome = transition(data, tmp_path / "run", *options)
    assert outcome.code == 2
    assert message in outcome.err.replace("\n", " ")
    assert not (tmp_path / "run").exists()


def test_other_data_than_the_default_need_sizes(data: Path, tmp_path: Path):
    outcome = farfield("transition", "--data", data, "-o", tmp_path / "run")
    assert (outcome.code, "--sizes" in outcome.err) == (2, True)


def job(folder: Path, *commands: tuple[str, ...], result: str = "log.txt") -> Job:
    return Job(
        folder, tuple(Step(command, folder / (result if command == commands[-1] else "none")) for command in commands)
    )


def test_a_failing_job_is_named_and_the_others_go_on(tmp_path: Path):
    good = job(tmp_path / "good", ("--version",))
    bad = job(tmp_path / "bad", ("nonsense",), ("--version",), result="never")
    with pytest.raises(FarfieldError, match=r"1 of 2 jobs failed: bad \(.*log.txt: .*; the others are done"):
        run_jobs([bad, good], 1, quiet=True)
    assert good.done
    assert (tmp_path / "bad" / "log.txt").read_text().count("nonsense") == 1


def test_a_command_that_a_signal_ends_is_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nkill -SEGV $$\n")
    python.chmod(0o755)
    monkeypatch.setattr("farfield.study.audit.grid.sys.executable", str(python))
    with pytest.raises(FarfieldError, match="nonsense was ended by a signal: Segmentation fault"):
        run_jobs([job(tmp_path / "bad", ("nonsense",), result="never")], 1, quiet=True)


def test_one_process_at_a_time_works_on_a_folder(tmp_path: Path):
    one = job(tmp_path / "one", ("--version",), result="log.txt")
    (tmp_path / "one").mkdir()
    order: list[str] = []
    with open(tmp_path / "one" / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiting = threading.Thread(target=lambda: (one.run({}), order.append("ran")))
        waiting.start()
        while not (tmp_path / "one" / "log.txt").exists():  # opened just before the lock is asked for
            time.sleep(0.001)
        order.append("let go")
    waiting.join()
    assert order == ["let go", "ran"]


def test_processes_share_the_jobs_by_position(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    jobs = [job(tmp_path / str(i), ("--version",)) for i in range(3)]
    for name, value in launched(1, 29500).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("farfield.core.runtime.Ranks.wait", lambda ranks: None)
    with pytest.raises(FarfieldError, match="2 of 3 jobs failed: 0, 2"):  # those of the other process
        run_jobs(jobs, 1, quiet=True)
    assert [one.done for one in jobs] == [False, True, False]


def test_a_job_is_one_process_on_a_gpu_of_its_own():
    around = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "TORCHELASTIC_RUN_ID": "x", "HOME": "/home"}
    found = environment(around, 3, ["4", "7"], 3)
    assert found == {"HOME": "/home", "OMP_NUM_THREADS": "3", "OMP_WAIT_POLICY": "PASSIVE", "CUDA_VISIBLE_DEVICES": "7"}
    assert "CUDA_VISIBLE_DEVICES" not in environment(around, 1, [], 0)


def test_a_grid_has_every_combination_and_compares_what_differs_in_one():
    grid = Transition(sizes=(8, 4), widths=(16,), seeds=(1, 0)).grid
    assert [cell.name for cell in cells_of(grid)] == [f"n{n:05d}-w16-s{s}" for n in (4, 8) for s in (0, 1)]
    assert [(a.name, b.name) for a, b in pairs(cells_of(grid))] == [
        (f"n{n:05d}-w16-s0", f"n{n:05d}-w16-s1") for n in (4, 8)
    ]
    cells = cells_of(Grid(sizes=[4], widths=[8, 16], seeds=[0, 1]))
    assert len(pairs(cells)) == 4 and all(a.width == b.width or a.seed == b.seed for a, b in pairs(cells))
    for wrong, message in (((), "different whole numbers"), ((4, 4), "different whole numbers"), ((1,), "at least 2")):
        with pytest.raises(FarfieldError, match=message):
            Transition(sizes=wrong)


def test_a_regime_needs_its_whole_interval():
    assert regime(Score(0.02, 256, 0.01, 0.05)) == "memorizes"
    assert regime(Score(0.08, 256, 0.05, 0.12)) == "between"
    assert regime(Score(0.97, 256, 0.94, 0.99)) == "generalizes"


def test_a_crossing_lies_between_two_sizes_on_a_logarithmic_scale():
    assert crossing((16, 64, 256), (0.0, 0.0, 1.0)) == pytest.approx(128)
    assert crossing((16, 64, 256), (0.0, 0.5, 1.0)) == pytest.approx(64)
    assert crossing((16, 64), (0.6, 0.9)) is None


def test_a_split_depends_on_the_images_alone():
    g = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (40, 1, 2, 2), generator=g, dtype=torch.uint8)
    whole = Dataset(tuple(f"k{i:02d}" for i in range(40)), images)
    shuffled = torch.randperm(40, generator=g)
    other = Dataset(tuple(whole.keys[i] for i in shuffled.tolist()), images[shuffled])
    one, again = (split(data, "x", 10, halves=True) for data in (whole, other))
    for a, b in zip((*one.halves, one.held), (*again.halves, again.held), strict=True):
        assert a.keys == b.keys and torch.equal(a.images, b.images)
    with pytest.raises(FarfieldError, match="of which 10 are held out"):
        split(whole, "x", 31)


@pytest.mark.parametrize(("name", "size"), [("digits-memorizing", 16), ("digits-generalizing", 1024)])
def test_the_bundled_pair_memorizes_and_generalizes(name: str, size: int):
    sets = split(open_dataset("digits"), "digits", 1024)
    training, held = sets.largest, sets.held
    denoiser = load_denoiser(name)
    with torch.no_grad():
        samples = generate(denoiser, range(64), denoiser.schedule.sigmas(12), "heun").float()
    pixels = Pixels.fit(training.values())
    known, new, real = (
        describe(pixels, images)
        for images in (training.as_images(), Images(tuple(map(str, range(64))), samples), held.as_images())
    )
    threshold = calibrate(neighbours(unit(real), unit(known)).similarity).value
    found = generalization(neighbours(unit(new), unit(known.select(known.keys[:size]))), threshold).score
    assert found.high < 0.1 if size == 16 else found.low > 0.9
    images = training.subset(size).values(slice(128))
    losses = [float(heldout_loss(denoiser, x).mean()) for x in (images, held.values(slice(128)))]
    assert losses[1] > 10 * losses[0] if size == 16 else losses[1] < 1.1 * losses[0]


def told(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "summary.json").read_text())
    return found


@pytest.mark.slow
def test_the_default_shows_both_regimes(tmp_path: Path):
    done = farfield("transition", "--sizes", "16,1024", "-o", tmp_path / "run")
    assert done.code == 0, done.err
    for cell in told(tmp_path / "run")["cells"]:
        score = cell["gl"]["calibrated"]["score"]
        assert score["high"] < 0.1 if cell["size"] == 16 else score["low"] > 0.9
