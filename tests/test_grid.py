"""`farfield transition` over time, with other halves, with classes and with a teacher: rows that can be taken by hand."""

from __future__ import annotations

import importlib
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from test_onset import planted
from tiny import Outcome, farfield, make_images, summary

from farfield.audit.descriptor import describe
from farfield.audit.distribution import kernel_distance
from farfield.audit.pixels import Pixels
from farfield.audit.reproducibility import agreement, pfd
from farfield.audit.similarity import similarity
from farfield.checkpoints.load import load_denoiser
from farfield.command.result import from_json, to_json
from farfield.command.transition import Transition, TransitionResult
from farfield.core.artifact import write_json
from farfield.core.error import FarfieldError
from farfield.core.runtime import seeded_noise
from farfield.core.score import Score
from farfield.data.dataset import open_dataset
from farfield.data.samples import open_samples
from farfield.diffusion.generation import generate
from farfield.diffusion.objective import heldout_loss
from farfield.study.audit.grid import Cell, differ
from farfield.study.audit.grid_course import course, law
from farfield.study.audit.transition import _jobs
from farfield.study.reproduce.plan import Plan

SMALL = (
    "--widths",
    2,
    "--heldout-images",
    12,
    "--samples",
    10,
    "--rate",
    0.1,
    "--descriptor",
    "pixels",
    "--device",
    "cpu",
)
TRAIN = (
    "--network",
    "ddpmpp",
    "--multipliers",
    "1,2",
    "--blocks",
    1,
    "--attention",
    "none",
    "--length",
    32,
    "--batch-size",
    8,
)

STEPS = 4


def transition(out: Path, *options: object) -> Outcome:
    """Its jobs are done in this process, which takes a fraction of the time."""
    with patch("farfield.present.report.draw", lambda folder, command: (folder, ())):
        for line in farfield("transition", "-o", out, *options, "--commands").out.splitlines():
            for command in line.split(" && "):
                done = farfield(*shlex.split(command)[1:])
                assert done.code == 0, (command, done.err)
    return farfield("transition", "-o", out, *options)


@pytest.fixture(scope="module", autouse=True)
def few_steps() -> Iterator[None]:
    """Of the solver: there are many samples to be made."""
    with patch("farfield.study.audit.transition.STEPS", STEPS), patch("farfield.study.audit.grid_sets.STEPS", STEPS):
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """36 pictures of 8×8 in three classes, of the last one alone: a training set at least has none of it."""
    folder = tmp_path_factory.mktemp("data")
    make_images(folder / "a", 20, 8, 8)
    make_images(folder / "b", 15, 8, 8, first=20)
    make_images(folder / "c", 1, 8, 8, first=35)
    for path in [*(folder / "b").iterdir(), *(folder / "c").iterdir()]:
        path.rename(path.with_name(f"b-{path.name}"))
    return folder


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    out = tmp_path_factory.mktemp("runs") / "run"
    done = transition(out, "--data", data, "--sizes", 8, *SMALL, *TRAIN, "--times", 2, "--halves", "--labels")
    assert done.code == 0, done.err
    yield out


def cell(run: Path, name: str) -> dict[str, Any]:
    return next(cell for cell in summary(run)["cells"] if cell["name"] == name)


def between(run: Path, first: str, second: str) -> dict[str, Any]:
    return next(pair for pair in summary(run)["between"] if (pair["first"], pair["second"]) == (first, second))


def test_halves_are_disjoint_and_nested_and_classes_stay_with_their_images(run: Path, data: Path):
    sets = [open_dataset(run / "data" / f"{name}.npz") for name in ("n00008", "n00008-other", "heldout")]
    rows = [image.numpy().tobytes() for part in sets for image in part.images]
    assert len(set(rows)) == len(rows) == 28
    for name in ("n00008-labels", "n00008-other-labels"):
        assert open_dataset(run / "data" / f"{name}.npz").classes == 3
    whole = open_dataset(data)
    assert whole.labels is not None
    known = {image.numpy().tobytes(): int(label) for image, label in zip(whole.images, whole.labels, strict=True)}
    for part in sets:
        assert part.labels is not None
        assert [known[image.numpy().tobytes()] for image in part.images] == part.labels.tolist()


def test_every_snapshot_is_a_row_and_the_last_is_the_model_itself(run: Path):
    for name in ("n00008-w2-s0", "n00008-w2-s0-other-labels"):
        found = cell(run, name)
        moments = found["course"]["moments"]
        kept = sorted(int(path.name) for path in (run / "cells" / name / "model" / "snapshots").iterdir())
        assert [m["images"] for m in moments] == kept == [8, 32]  # after 0.32 and 32 images, in whole steps of 8
        for part in ("gl", "nearest", "distance"):
            assert moments[-1][part] == found[part]
        assert moments[-1]["loss"] == found["loss"]


def test_a_row_is_what_one_takes_by_hand_from_its_snapshot(run: Path):
    row = cell(run, "n00008-w2-s0")["course"]["moments"][0]
    model = load_denoiser(str(run / "cells" / "n00008-w2-s0" / "model" / "snapshots" / "0000000008"))
    with torch.no_grad():
        samples = generate(model, range(10), model.schedule.sigmas(STEPS), "heun")
    training, held = (open_dataset(run / "data" / f"{name}.npz") for name in ("n00008", "heldout"))
    assert row["loss"]["held_out"]["value"] == pytest.approx(float(heldout_loss(model, held.values()).mean()))
    pixels = Pixels.fit(training.values())
    real = describe(pixels, held.as_images())
    distance = kernel_distance(real=real.values, generated=pixels(samples.float()))
    assert row["distance"]["value"] == pytest.approx(distance.value, rel=1e-3)


def test_cells_are_compared_that_differ_in_one_thing():
    plain, other, told, both = (Cell(4, 2, 0, half, labels) for labels in (False, True) for half in (0, 1))
    assert [differ(plain, cell) for cell in (plain, other, told, both)] == [None, "half", "labels", None]
    assert (differ(other, both), differ(told, both)) == ("labels", "half")
    assert differ(plain, Cell(8, 2, 0)) is None
    assert [cell.name for cell in (plain, both)] == ["n00004-w2-s0", "n00004-w2-s0-other-labels"]


def test_a_sample_of_several_classes_counts_by_the_best(run: Path):
    told, name = summary(run), "n00008-w2-s0"
    pair = between(run, name, f"{name}-labels")
    assert pair["differ"] == "labels" and "pfd" not in pair
    training = open_dataset(run / "data" / "n00008.npz").values()
    pixels = Pixels.fit(training)
    plain = describe(pixels, open_samples(run / "cells" / name / "samples"))
    classes = run / "cells" / f"{name}-labels" / "classes" / "each"
    best = torch.stack([similarity(describe(pixels, open_samples(classes / c)), plain) for c in "012"]).amax(0)
    for kind, threshold in told["alike"]["rp"].items():
        assert pair["rp"][kind]["score"]["value"] == pytest.approx(float((best > threshold).double().mean()))
    # seed k of its own samples has class k modulo 3
    own = open_samples(run / "cells" / f"{name}-labels" / "samples").values
    for c in range(3):
        assert torch.equal(own[c::3], open_samples(classes / str(c)).values[c::3])


def test_halves_agree_as_their_denoisers_do(run: Path):
    names = "n00008-w2-s0", "n00008-w2-s0-other"
    found = between(run, *names)["halves"]
    clean = open_dataset(run / "data" / "heldout.npz").values()
    noise = seeded_noise(range(len(clean)), clean.shape[1:], "agreement")
    level = found["levels"][3]
    sigma = torch.tensor(level["sigma"])
    with torch.no_grad():
        answers = [load_denoiser(str(run / "cells" / name / "model"))(clean + sigma * noise, sigma) for name in names]
    assert level["agreement"]["value"] == pytest.approx(agreement(*answers, clean).value, abs=1e-4)
    assert [round(part["sigma"], 3) for part in found["levels"]][::7] == [0.1, 10.0]
    assert "halves" not in between(run, names[0], f"{names[0]}-labels")


def test_flows_are_apart_by_their_pixels(run: Path):
    name = "n00008-w2-s0"
    mine, theirs = (open_samples(run / place / "samples") for place in (f"cells/{name}", "theory/n00008"))
    assert cell(run, name)["theory"]["pfd"]["score"]["value"] == pytest.approx(pfd(mine, theirs).value)


def test_its_page_shows_courses_halves_and_classes(run: Path):
    page = (run / "report.html").read_text(encoding="utf-8")
    for words in ("Over the training", "Stop at", "Two halves", "told the classes", "n00008-w2-s0-other-labels"):
        assert words in page, words


def told(found: Path, name: str, plan: Plan, change: Callable[[TransitionResult], TransitionResult] = lambda one: one):
    """What an experiment of `farfield reproduce` reads of a grid that is done."""
    experiment = importlib.import_module(f"farfield.study.reproduce.{name}")
    result = change(from_json(TransitionResult, summary(found)))
    for step in experiment.steps(plan):
        step.folder.mkdir(parents=True)
        write_json(step.folder / "summary.json", to_json(result))
    return result, experiment.read(plan)


def test_the_time_of_copies_is_read_beside_the_published_law(run: Path, tmp_path: Path):
    courses = {n: course([planted(round(250 * 2 ** (k / 2)), n) for k in range(24)]) for n in (16, 32, 64)}

    def plant(found: TransitionResult) -> TransitionResult:
        cells = [found.cells[0].but(size=n, course=one) for n, one in courses.items()]
        return found.but(cells=cells, laws={"w2-s0": law(courses)})

    found, outcome = told(run, "time", Plan(tmp_path), plant)
    assert len(outcome.agrees) == 3 and len(outcome.differs) == 1
    growth = found.laws["w2-s0"].copies
    # an exponent whose interval leaves 1 out is not the published one
    assert growth.high < 1 and str(growth) in outcome.differs[0]
    rows = {row.name: row for row in outcome.rows}
    assert rows["exponent of τ_mem"].published == 1 and rows["exponent of τ_mem"].ours == found.laws["w2-s0"].copies
    line = outcome.panels[0].ours[0]
    assert line.x == [16, 32, 64] and [y.value for y in line.y] == [courses[n].copies for n in courses]
    # hardly trained, its own grid has no copies: that is said, and no number is made up
    _, outcome = told(run, "time", Plan(tmp_path / "own"))
    assert "none" in outcome.differs[0] and outcome.rows[0].ours is None and outcome.panels[0].ours[0].x == []


def test_halves_are_read_beside_the_published_findings(run: Path, tmp_path: Path):
    def plant(found: TransitionResult) -> TransitionResult:
        pair = next(pair for pair in found.between if pair.halves)
        few, many = (pair.halves.but(same_seed=same, nearest=[near, near]) for same, near in ((0.2, 0.95), (0.9, 0.6)))
        low, high = ([level.but(agreement=Score(a, 12)) for level in few.levels] for a in (0.1, 0.9))
        pairs = [pair.but(size=16, halves=few.but(levels=low)), pair.but(size=512, halves=many.but(levels=high))]
        return found.but(between=pairs)

    found, outcome = told(run, "halves", Plan(tmp_path), plant)
    assert len(outcome.agrees) == 3 and "0.20" in outcome.agrees[0] and "0.90 beside 0.60" in outcome.agrees[1]
    assert outcome.panels[1].ours[0].y == [level.agreement for level in found.between[0].halves.levels]


def test_conditional_and_tuned_models_are_read(run: Path, tmp_path: Path):
    def seeds(found: TransitionResult) -> TransitionResult:
        return found.but(between=[pair.but(differ="seed" if pair.halves else pair.differ) for pair in found.between])

    found, outcome = told(run, "conditional", Plan(tmp_path), seeds)
    best = next(pair for pair in found.between if pair.differ == "labels")
    rows = {row.name: row.ours for row in outcome.rows}
    assert rows["a conditional model's best class and an unconditional one: RP, score"] == best.rp["calibrated"].score
    assert len(outcome.agrees) + len(outcome.differs) == 2
    found, outcome = told(run, "finetune", Plan(tmp_path))
    assert [line.name for line in outcome.panels[0].ours] == ["all layers", "the layers on the way up"]
    assert outcome.differs and not outcome.agrees  # with one size nothing rises


def test_a_teacher_is_what_its_students_are_held_against(tmp_path: Path):
    out = tmp_path / "run"
    options = ("--teacher", "digits-generalizing", "--sizes", 4, *SMALL, "--halves", *TRAIN)
    done = transition(out, *options)
    assert done.code == 0, done.err
    teacher = load_denoiser("digits-generalizing")
    sigmas = teacher.schedule.sigmas(STEPS)
    with torch.no_grad():
        first, far = (generate(teacher, [seed], sigmas, "heun")[0] for seed in (3, 3_000_007))
    training = open_dataset(out / "data" / "n00004.npz").values()
    assert float((training[3] - first.clamp(-1, 1)).abs().max()) <= 1.01 / 255
    samples = open_samples(out / "teacher" / "samples")
    assert samples.keys == tuple(str(3_000_000 + k) for k in range(10))
    assert torch.allclose(samples.values[7], far.float(), atol=1e-3)
    student = cell(out, "n00004-w2-s0")
    assert student["teacher"]["pfd"]["score"]["value"] == pytest.approx(
        pfd(open_samples(out / "cells" / "n00004-w2-s0" / "samples"), samples).value
    )
    assert summary(out)["data"]["source"] == "digits-generalizing" and "E_gen" in (out / "report.html").read_text()
    found, outcome = told(out, "teacher", Plan(tmp_path))
    assert [line.y[-1] for line in outcome.panels[0].ours] == [
        found.cells[-1].teacher.pfd.score, found.cells[-1].theory.pfd.score
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"teacher": "digits-generalizing", "data": "hubble"}, "leave --data and --labels out"),
        ({"teacher": "digits-generalizing", "labels": True}, "leave --data and --labels out"),
        ({"teacher": "cifar10-32"}, "cifar10-32: expected --sizes and --widths"),
        ({"train": ("--from", "digits-generalizing"), "widths": (8,)}, "--from: its network has its own width"),
        ({"train": ("--at", "1k")}, "--at: the grid decides it"),
        ({"times": 1}, "at least 2"),
        ({"times": 3, "train": ("--snapshots", "1k")}, "--snapshots: the grid decides it"),
    ],
)
def test_what_does_not_go_together_is_refused(given: dict[str, Any], message: str):
    with pytest.raises(FarfieldError, match=message):
        Transition(**given)


def test_the_default_says_what_its_halves_have_images_for():
    assert Transition(halves=True).grid.sizes == [16, 32, 64, 128, 256, 512]
    assert Transition().grid.sizes[-1] == Transition(halves=True, teacher="digits-generalizing").grid.sizes[-1] == 1024
    jobs = _jobs(Path("out"), Transition(times=3, samples=200), 0)
    seeds = [step.words[step.words.index("--seeds") + 1] for step in jobs[0].steps[1:]]
    assert seeds == ["0-199", "0-127"] and all(step.words.count("--seeds") == 1 for step in jobs[0].steps[1:])
    assert Transition(times=3).moments == [1000, 10000, 100000]
    assert Transition(times=2, train=("--length", "20k")).moments == [200, 20000]
    assert Transition(train=("--from", "digits-generalizing")).grid.widths == [0]
