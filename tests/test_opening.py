"""What a command says that it is about to do is what it does: its stages, and the calls of the network."""

import re
from collections import Counter

import pytest
import torch
from tiny import farfield, make_images, make_model, summary

from farfield.core.progress import Meter, current
from farfield.diffusion.denoiser import NetworkDenoiser
from farfield.study.bench.opening import Foreseen, Work
from farfield.study.unseen.foreseen import trying_calls
from farfield.unseen.tuning import TRAINING_CALLS

pytestmark = pytest.mark.usefixtures("without_the_page", "few_views")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("opening")
    make_model(root / "model", (3, 8, 8))
    make_model(root / "second", (3, 8, 8), channels=(8, 8))
    make_images(root / "images", 30, 8, 8)
    make_images(root / "others", 30, 8, 8, first=100)
    return root


class Clock:
    """Time that passes by so much for each image."""

    def __init__(self, each: float):
        self.now, self.each, self.asked = 0.0, each, list[int]()

    def perf_counter(self) -> float:
        return self.now

    def once(self, rows: int) -> None:
        self.asked.append(rows)
        self.now += self.each * rows


class Nowhere:
    device = torch.device("cpu")


def work(clock: Clock, plan: dict[str, float], **more) -> Work:
    return Work(Nowhere(), 64, plan, once=clock.once, **more)


@pytest.mark.parametrize(
    ("each", "rows"),
    [(0.001, [1, 64]), (0.1, [1, 8]), (2.0, [1, 1]), (20.0, [1])],
    ids=["quick", "usual", "slow", "slowest"],
)
def test_a_batch_is_measured_and_the_rest_is_told_from_it(monkeypatch, each, rows):
    clock = Clock(each)
    monkeypatch.setattr("farfield.study.bench.opening.time", clock)
    monkeypatch.setattr("farfield.study.bench.opening.peak", lambda device: 2.5e9)
    told = Foreseen.of([work(clock, {"up": 100, "down": 200}), work(clock, {"down": 100}, most=True)])
    assert clock.asked == rows * 2 and told.seconds == pytest.approx({"up": 100 * each, "down": 300 * each})
    assert told.plan == told.seconds and str(told).endswith(", 2.5 GB")
    assert str(told).startswith(
        {0.001: "under 1 s", 0.1: "at most about 40 s", 2.0: "at most about 13 min"}.get(each, "at most")
    )
    whole = Foreseen.of([work(clock, {"up": 1}), work(clock, {"all": 1}, staged=False)])
    assert whole.plan == {} and str(Foreseen.of([])) == ""


LINES = {
    "gain": ("gain", "IMAGES", "MODEL", "SECOND", "--examples", 8),
    "transfer": (
        "transfer",
        "MODEL",
        "IMAGES",
        "OTHERS",
        "-n",
        5,
        "--examples",
        9,
        "--steps",
        3,
        "--strength",
        "0.5,1",
    ),
    "analyse": ("analyse", "MODEL", "IMAGES", "--examples", 10, "--steps", 6, "--down-steps", 6, "--decoded", 3),
    "analyse, turned": (
        *("analyse", "MODEL", "IMAGES", "--examples", 10, "--steps", 6, "--down-steps", 6, "--decoded", 2),
        *("--symmetry", "flip", "--in-domain", "OTHERS"),
    ),
    "edit": ("edit", "MODEL", "IMAGES", "--mask", "2,2,5,5", "--limit", 2, "--steps", 3, "--direction", "1,2"),
    "edit, rivals": (
        *("edit", "MODEL", "IMAGES", "--mask", "2,2,5,5", "--limit", 2, "--steps", 2, "--direction", "1", "--each"),
        *("--rival", "noise", "--rival", "boundary", "--labels", "digits", "--attribute", "8:3", "--strength", "3"),
    ),
    "rank": ("rank", "MODEL", "--images", "IMAGES", "--points", 2, "--sigmas", "1,5", "--method", "exact"),
    "dimension": ("dimension", "MODEL", "IMAGES", "--limit", 2, "--sigmas", "1,5", "--probes", 4, "--copies", 0),
    "train": ("train", "--data", "IMAGES", "--length", 64, "--batch-size", 8, "--samples", 0, "--width", 8),
}


LONG = ("gain", "analyse", "analyse, turned")


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in LONG)) for name in LINES])
def test_the_plan_is_what_is_done(root, tmp_path, monkeypatch, name):
    """All stages of a plan are entered, and what else is has no network; where calls alone are planned they are those."""
    places = {"MODEL": root / "model", "SECOND": root / "second", "IMAGES": root / "images", "OTHERS": root / "others"}
    line = [places.get(word, word) for word in LINES[name]]
    works: list[Work] = []
    entered: list[str] = []
    real = Meter.enter

    def enter(self, label, total, done):
        real(self, label, total, done)
        entered.append(self.label)

    def of(given):
        works.extend(given)
        plan = {stage: 1.0 for one in works for stage in one.plan}
        return Foreseen(plan, 0.0, False, True)

    monkeypatch.setattr(Meter, "enter", enter)
    monkeypatch.setattr(Foreseen, "of", of)
    extra = () if name.split(",")[0] in ("rank", "gain", "dimension", "edit", "train") else ("--descriptor", "pixels")
    rows = Counter[str]()
    answer = NetworkDenoiser.forward

    def forward(self, x, *more, **named):
        rows[current().label] += len(x)
        return answer(self, x, *more, **named)

    monkeypatch.setattr(NetworkDenoiser, "forward", forward)
    done = farfield(*line, *extra, "-o", tmp_path / "run", "--device", "cpu")
    assert done.code == 0, done.err
    planned = {stage for one in works for stage in one.plan}
    assert planned <= set(entered), (planned, entered)
    assert all(stage.startswith(("describing", "searching")) for stage in set(entered) - planned), (
        set(entered) - planned
    )
    for one in works:
        if one.once is not None:
            one.once(2)
            continue
        for stage, calls in one.plan.items():
            # a calibrated denoiser does not ask a network that has no weight
            assert rows[stage] <= calls if stage.startswith("searching") else rows[stage] == calls, (
                stage,
                rows[stage],
                calls,
            )
    if name != "train":
        again = farfield(*line, *extra, "--dry-run", "-o", tmp_path / "other")
        assert again.code == 0 and not (tmp_path / "other").exists() and re.search(r"^\d+ images? of 8×8", again.out), (
            again.out
        )
    assert "images" in summary(tmp_path / "run")["read"] or name == "train"


def test_compare_says_what_each_method_will_make(root, tmp_path):
    line = ("compare", root / "model", root / "images", "--counts", "3,8", "-n", 6, "--steps", 4, "--device", "cpu")
    dry = farfield(*line, "--methods", "ours,full,pixels", "--dry-run", "-o", tmp_path / "run")
    said = f"30 images of {root / 'images'} → 8×8, 3 and 8 examples; 3 methods, 6 images to make by each; "
    assert dry.code == 0 and dry.out.startswith(said) and re.search("(at most about|under) .+ GB\n$", dry.out), dry.out
    assert not (tmp_path / "run").exists()
    free = farfield(*line, "--methods", "pixels,augment", "--dry-run")
    assert "2 methods" in free.out and "at most" not in free.out


def test_a_search_is_foreseen_where_there_is_one():
    from farfield.command.expand import Sampler

    assert trying_calls(Sampler(), 8, 10) > trying_calls(Sampler(parents=1), 8, 10) > 0
    assert trying_calls(Sampler(), 7, 10) == trying_calls(Sampler(network=False), 8, 10) == 0
    assert trying_calls(Sampler("gaussian"), 8, 10) == 0 and TRAINING_CALLS == 3


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (("molrg", "--ratios", "1,2", "--seeds", "1"), "2 subspaces in 48 dimensions to find, 2 ratios × 1 seed\n"),
        (
            ("transition", "--data", "digits", "--sizes", "16,32", "--widths", "8", "--seeds", "1"),
            "1,797 images of 8×8; 2 models to train, 256 images to make with each\n",
        ),
    ],
)
def test_a_grid_says_what_it_will_do(tmp_path, line, said):
    assert farfield(*line, "--dry-run", "-o", tmp_path / "run").out == said
