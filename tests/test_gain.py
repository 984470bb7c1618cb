"""What a network adds: known where data and denoiser are Gaussian; the sentence; the ranking; the control of `expand`."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from test_calibration import white
from tiny import farfield, make_images, make_model, summary

from farfield.audit.contribution import contribution
from farfield.command.contribution import GainLevel
from farfield.core.artifact import Images, Store
from farfield.core.score import Score
from farfield.diffusion.denoiser import Denoiser
from farfield.diffusion.exact import GaussianDenoiser
from farfield.study.bench.run import Run
from farfield.study.unseen.calibration import calibrate_at, model_gain, overall_gain
from farfield.study.unseen.gain import gain_levels, knowing
from farfield.unseen.calibration import LEFT_OUT, CalibratedDenoiser
from farfield.unseen.gain import advise, counts, headline, overall, rank, widths


class Random(Denoiser):
    """A network that was never trained."""

    def __init__(self) -> None:
        super().__init__()
        self.shape, self.schedule = white().shape, white().schedule
        g = torch.Generator().manual_seed(5)
        self.kernels = [torch.randn(2, 2, 3, 3, generator=g, dtype=torch.float64) / 4 for _ in range(2)]

    def forward(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        for kernel in self.kernels:
            x = torch.tanh(torch.nn.functional.conv2d(x, kernel.to(x), padding=1))
        return x


SHAPE, N = tuple(white().shape), 40
"""Of the images, and how many examples."""


@pytest.fixture(scope="module")
def right() -> GaussianDenoiser:
    """The exact denoiser of data that vary in 6 of 128 directions, which no filter by bands of frequencies can know."""
    basis = torch.linalg.qr(torch.randn(128, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)).Q
    return GaussianDenoiser(torch.zeros(SHAPE), basis, torch.full((6,), 9.0), 1e-3, white().schedule)


def draw(right: GaussianDenoiser, n: int, seed: int) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    within = 3 * torch.randn(n, 6, generator=g, dtype=torch.float64) @ right.basis.T.double()
    return (within + 1e-3**0.5 * torch.randn(n, 128, generator=g, dtype=torch.float64)).reshape(n, *SHAPE)


@pytest.fixture(scope="module")
def known(right, tmp_path_factory) -> dict[str, CalibratedDenoiser]:
    """The exact denoiser of the data, that of white noise, one of nothing, and none, calibrated on the same examples."""
    root, given = tmp_path_factory.mktemp("gain"), Images(tuple(f"{i:03d}" for i in range(N)), draw(right, N, 1))
    made = {}
    for name, denoiser in (("right", right), ("white", white()), ("random", Random())):
        found = knowing(Run(root / name, "test", {}, {}, quiet=True), denoiser, given, 64)
        assert found is not None
        made[name] = found
    run = Run(root / "alone", "test", {}, {}, quiet=True)
    made["alone"] = calibrate_at(run, right, given, made["right"].levels, 64, network=False)
    return made


def test_a_right_network_adds_and_patches_nothing_to_it(known):
    gain = model_gain(known["right"])
    assert gain.adds.low > 0.5 and gain.says.startswith("The frozen network adds: ")
    for row in gain.levels:
        assert row.counts and row.adds.low > 0
        patches = [part for name, parts in row.shares.items() if name.startswith("patches") for part in parts]
        assert patches == [0.0] * len(patches) and len(patches) > 0


@pytest.mark.parametrize("name", ["white", "random"])
def test_a_network_that_knows_nothing_adds_nothing(known, name):
    gain = model_gain(known[name])
    assert gain.adds.low <= 0 <= gain.adds.high and abs(gain.adds.value) < 0.01
    assert gain.says.startswith(f"The frozen network adds nothing that these {N} examples can show: ")


def test_what_it_adds_is_what_it_adds_to_new_data(right, known):
    """Leave-one-out is honest: the same difference, measured on images that no fit has seen."""
    calibrated, alone = known["right"], known["alone"]
    fresh, differences = draw(right, 500, 2), []
    for i, sigma in enumerate(calibrated.levels):
        g = torch.Generator().manual_seed(i)
        x = fresh + sigma * torch.randn(fresh.shape, generator=g, dtype=torch.float64)
        errors = [(one(x, sigma) - fresh).square().flatten(1).mean(1) for one in (alone, calibrated)]
        differences.append((errors[0] - errors[1]) / errors[0].mean())
    truth, said = torch.stack(differences).mean(0), overall_gain(calibrated)
    spread = math.sqrt(float(truth.var()) / len(truth) + float(said.var()) / len(said))
    assert len(said) == N and abs(float(truth.mean() - said.mean())) < 5 * spread


def test_the_levels_of_white_data_are_those_of_its_wiener_filter():
    """Of N(0, v I) the Wiener filter leaves s² / (v + s²) of v: 5 to 95 % from v / 19 to 19 v."""
    x0 = 0.3 * torch.randn((300, *white().shape), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    spread = float((x0 - x0.mean(0)).square().mean().sqrt())
    found = gain_levels(white(), x0)
    torch.testing.assert_close(found, spread / 4 * 2 ** torch.arange(5).double())


def row(sigma: float, low: float, high: float, *, counting: bool = True) -> GainLevel:
    return GainLevel(
        sigma=sigma,
        errors={"patches": Score(1, 9)},
        adds=Score((low + high) / 2, 9, low, high),
        shares={},
        counts=counting,
    )


def test_the_one_number_by_hand():
    errors = torch.ones(len(LEFT_OUT), 2, dtype=torch.float64)
    mean, wiener, patches, everything = (LEFT_OUT.index(name) for name in ("mean", "wiener", "patches", "all"))
    errors[wiener], errors[patches] = 0.5, torch.tensor([0.2, 0.6])
    errors[everything] = torch.tensor([0.1, 0.5])
    lost, alone = errors.clone(), errors.clone()
    lost[wiener], alone[patches] = 0.96, torch.nan
    assert counts(errors) and not counts(lost)
    assert widths([1.0, 2.0, 8.0]) == pytest.approx([math.log(2), math.log(8) / 2, math.log(4)])
    # against patches 0.1 of 0.4, against the Wiener filter 0.4 and 0 of 0.5; the last level does not count
    by = (0.25 * math.log(2) + torch.tensor([0.8, 0.0]) * math.log(8) / 2) / (math.log(2) + math.log(8) / 2)
    torch.testing.assert_close(overall([1.0, 2.0, 8.0], [errors, alone, lost]), by.double())
    assert overall([1.0, 2.0], [lost, lost]) is None and mean == 0


@pytest.mark.parametrize(
    ("adds", "said"),
    [
        ("++--", "up to σ 2, and nothing above"),
        ("--++", "from σ 4 on, and nothing below"),
        ("-+--", "at σ 2, and nothing elsewhere"),
        ("-++-", "from σ 2 to 4, and nothing elsewhere"),
        ("+-+-", "at 2 of 4 levels"),
        ("++++", "at every level from σ 1 to 8"),
        ("----", "though no level shows it by itself"),
    ],
)
def test_the_sentence_says_where(adds, said):
    levels = [row(2.0**i, *((0.1, 0.3) if sign == "+" else (-0.1, 0.3))) for i, sign in enumerate(adds)]
    outside = [row(0.5, 0.1, 0.2, counting=False)]
    assert headline([*outside, *levels], Score(0.2, 9, 0.1, 0.3)).endswith(f"patches alone, {said}.")
    assert headline(levels, Score(0.2, 9, -0.1, 0.3)).startswith("The frozen network adds nothing that these 9")
    assert "cannot be told" in headline(levels, None) and headline([levels[0].but(adds=None)], None) == ""


def test_models_are_ranked_and_what_cannot_be_told_apart_is_said(known):
    names = ["random", "right", "white"]
    adds = [model_gain(known[name]).adds for name in names]
    order = rank([*adds, None])
    assert order[0] == 1 and order[-1] == 3
    clear, close, none = Score(0.3, 9, 0.2, 0.4), Score(0.25, 9, 0.2, 0.3), Score(0.0, 9, -0.1, 0.1)
    apart, near = Score(0.05, 9, 0.01, 0.09), Score(0.05, 9, -0.01, 0.11)
    assert advise(["a", "b"], [clear, close], [None, apart]).startswith("Freeze a: it lowers the error by 30")
    assert advise(["a", "b"], [clear, close], [None, near]).endswith("which cannot be told from b.")
    assert advise(["a", "b"], [none, none], [None, near]).startswith("None of these models adds")


@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [
        ((0.1, 0.3), (-0.1, 0.3), "adds"),
        ((-0.3, -0.1), (-0.1, 0.3), "harms"),
        ((0.1, 0.3), (-0.3, -0.1), "divided"),
        ((-0.1, 0.3), (-0.3, 0.1), "nothing"),
    ],
)
def test_what_is_said_of_the_samples(first, second, verdict):
    distance = {
        name: Score((low + high) / 2, 64, low, high) for name, (low, high) in (("pixels", first), ("copy", second))
    }
    found = contribution(distance, held=True)
    assert found.verdict == verdict and found.distance == distance and "pixels" in found.says and "copy" in found.says
    assert contribution({}, held=True) is None


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    make_model(root / "small", (3, 8, 8))
    make_model(root / "large", (3, 8, 12))
    make_images(root / "images", 22, 12, 12)
    return root


def test_the_command_ranks_models_of_different_sizes(root, few_views):
    line = ("gain", root / "images", root / "small", root / "large", "--examples", 8, "-q", "-o", root / "gain")
    done = farfield(*line)
    assert done.code == 0, done.err
    found = summary(root / "gain")
    assert (
        done.out.startswith(found["says"].replace("\u202f", " "))
        and len(found["models"]) == 2
        and found["examples"]["n"] == 8
    )
    assert found["models"][0]["behind"] is None and found["models"][1]["behind"]["value"] >= 0
    assert {tuple(one["model"]["shape"]) for one in found["models"]} == {(3, 8, 8), (3, 8, 12)}
    assert any("at its own size" in note for note in found["notes"])
    page = (root / "gain" / "report.html").read_text()
    assert all(one["gain"]["says"] for one in found["models"]) and found["says"].replace("'", "&#39;") in page
    again = json.loads((root / "gain" / "summary.json").read_text())["cost_seconds"]
    assert farfield(*line).code == 0 and summary(root / "gain") == found and again == {}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["small", "small"], "expected at least one, each only once"),
        (["small", "--examples", 1], "--examples 1: expected a whole number, at least 2"),
        (["small", "--examples", 99], "99 examples asked for, but it holds 22 images"),
    ],
)
def test_bad_input_is_one_line(root, tmp_path, options, said):
    given = [root / option if option == "small" else option for option in options]
    done = farfield("gain", root / "images", *given, "-o", tmp_path / "run")
    assert done.code == 2 and done.err.count("\n") == 1 and said in done.err, done.err


def test_the_control_is_what_a_run_without_the_network_makes(root, few_views):
    line = (
        "expand",
        root / "small",
        root / "images",
        "--examples",
        6,
        "-n",
        4,
        "--sigma",
        2,
        "--steps",
        2,
        "-q",
        "--seed",
        7,
    )
    done = farfield(*line, "-o", root / "both")
    assert done.code == 0, done.err
    assert farfield(*line, "--no-network", "--candidates", 1, "-o", root / "alone").code == 0
    control, alone = (
        Store(folder, Images).read() for folder in (root / "both" / "control" / "samples", root / "alone" / "samples")
    )
    assert control.keys == alone.keys == ("000007", "000008", "000009", "000010")
    torch.testing.assert_close(control.values, alone.values, rtol=0, atol=0)
    both, without = summary(root / "both"), summary(root / "alone")
    page = (root / "both" / "report.html").read_text().replace("&#39;", "'")
    assert "the 4 new images pass" in done.out and both["adds"]["says"] in page and both["gain"]["says"] in page
    for label, by in both["adds"]["distance"].items():
        sets = both["measures"][label]
        apart = sets["control"]["kernel_distance"]["value"] - sets["samples"]["kernel_distance"]["value"]
        assert by["value"] == pytest.approx(apart)
        assert sets["control"]["kernel_distance"] == pytest.approx(
            without["measures"][label]["samples"]["kernel_distance"]
        )
    assert "adds" not in without and without["gain"]["says"] == "" and "control" not in without["measures"][label]
