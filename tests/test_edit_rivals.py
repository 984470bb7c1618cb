"""Edits beside rivals, labels and measures: closed forms of Gaussian denoisers, and the bundled digits end to end."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from skimage.metrics import structural_similarity
from tiny import farfield, summary
from torch import nn

from farfield.audit.labelled import Classifier
from farfield.checkpoints.load import load_denoiser
from farfield.command.edit import Edit
from farfield.core.artifact import Images, Latents, load
from farfield.diffusion.activation import middle
from farfield.diffusion.denoiser import NetworkDenoiser
from farfield.diffusion.exact import GaussianDenoiser
from farfield.diffusion.schedule import ContinuousSchedule
from farfield.manifold import rival
from farfield.manifold.boundary import Boundary
from farfield.manifold.edit import departure
from farfield.manifold.jacobian import Jacobian
from farfield.manifold.molrg import random_basis
from farfield.study.manifold.edit_labels import Labelled
from farfield.study.reproduce import edits
from farfield.study.reproduce.plan import Plan, Step
from farfield.unseen.separability import separability

F64 = torch.float64
LEVELS = ContinuousSchedule(0.02, 10.0)


class Linear(nn.Module):
    """A network whose middle is a linear map A of its 9 pixels, 2×2 after it, and whose answer is 0."""

    def __init__(self, matrix: torch.Tensor):
        super().__init__()
        self.mid_block = nn.Conv2d(1, len(matrix) // 4, 2)
        self.mid_block.forward = lambda x: (x.flatten(1) @ matrix.to(x).T).reshape(len(x), -1, 2, 2)  # type: ignore[method-assign]

    def forward(self, x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        return 0 * x + 0 * self.mid_block(x).sum()


@pytest.fixture
def linear() -> tuple[NetworkDenoiser, torch.Tensor]:
    matrix = torch.randn(8, 9, generator=torch.Generator().manual_seed(3), dtype=F64)
    return NetworkDenoiser(Linear(matrix).double(), LEVELS, (1, 3, 3), "sample"), matrix


def test_the_jacobian_of_a_layer_is_its_matrix_by_rows_and_by_columns(linear):
    model, matrix = linear
    jacobian = Jacobian(model, torch.randn(1, 3, 3, dtype=F64), 1.0, of=middle(model))
    matrix = matrix / 2**0.5  # the network is given x / sqrt(1 + sigma²)
    assert (jacobian.height, jacobian.dimension) == (8, 9)
    assert torch.allclose(jacobian.dense(), matrix)
    assert torch.allclose(jacobian.columns(torch.eye(9, dtype=F64)), matrix.T)


def test_the_pullback_is_the_first_singular_vector_of_the_middle_and_a_boundary_there_has_its_gradient(linear):
    model, matrix = linear
    x = torch.randn(1, 3, 3, dtype=F64)
    found = rival.pullback(model, x, 1.0)
    assert abs(float(found @ torch.linalg.svd(matrix).Vh[0])) == pytest.approx(1, abs=1e-6)
    normal = torch.randn(2, 2, 2, dtype=F64)
    expected = normal.flatten() @ matrix
    assert torch.allclose(rival.gradient(model, x, 1.0, normal), expected / expected.norm())


@pytest.mark.parametrize("side", [3, 9])
def test_what_moves_gaussian_noise_most_is_the_direction_of_least_variance(side: int):
    """dε/dx = (I - J) / σ = σ (C + σ²)^-1; of 9 numbers row by row, of 81 by the iteration."""
    d = side * side
    basis = random_basis(d, d, torch.Generator().manual_seed(0))
    variances = torch.cat([torch.linspace(9, 4, d - 1, dtype=F64), torch.tensor([0.0])])
    model = GaussianDenoiser(torch.zeros(1, side, side), basis, variances, schedule=LEVELS)
    found = rival.noise(model, torch.randn(1, side, side, dtype=F64), 1.0, torch.ones(d, dtype=torch.bool))
    assert abs(float(found @ basis[:, -1])) == pytest.approx(1, abs=1e-4)


def test_the_boundary_of_two_gaussians_is_that_of_the_linear_discriminant():
    g = torch.Generator().manual_seed(1)
    basis = random_basis(6, 6, g)
    covariance = basis @ torch.tensor([4.0, 2.0, 1.0, 0.5, 0.25, 0.1], dtype=F64).diag() @ basis.T
    root = torch.linalg.cholesky(covariance)
    a, b = torch.randn(2, 6, generator=g, dtype=F64)
    points = torch.cat([m + torch.randn(n, 6, generator=g, dtype=F64) @ root.T for m, n in ((a, 900), (b, 300))])
    positive = torch.arange(1200) < 900
    wall = Boundary.fit(points.reshape(-1, 1, 2, 3), positive)
    truth = torch.linalg.solve(covariance, a - b)
    assert float(wall.normal.norm()) == pytest.approx(1)
    assert float(wall.normal.flatten() @ truth / truth.norm()) > 0.97
    middle_point = (a + b).reshape(1, 1, 2, 3) / 2
    assert abs(float(wall.distance(middle_point))) < 0.1 * float((a - b).norm())
    moved = middle_point + (1.5 - wall.distance(middle_point)) * wall.normal
    assert float(wall.distance(moved)) == pytest.approx(1.5)


def test_edits_that_add_depart_by_nothing_and_else_by_what_is_missing():
    before = torch.zeros(1, 1, 2, 2)
    one, two = torch.tensor([3.0, 0, 0, 0]).reshape(1, 1, 2, 2), torch.tensor([0.0, 4, 0, 0]).reshape(1, 1, 2, 2)
    assert float(departure(one + two, [one, two], before)) == 0.0
    assert float(departure(two, [one, two], before)) == pytest.approx(3 / 5)


DIGITS = (
    "edit",
    "digits-generalizing",
    "digits",
    "--limit",
    4,
    "--mask",
    "0,0,4,8",
    "--keep",
    4,
    "--sigma",
    2,
    "--steps",
    4,
)
ASKED = (
    "--direction",
    "1,2",
    "--strength=-2,2",
    "--compose",
    "1:2,2:2",
    "--labels",
    "digits",
    "--attribute",
    "8:3",
    "--each",
)
RIVALS = [w for name in ("random", "noise", "pullback", "boundary", "mid-boundary") for w in ("--rival", name)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "digits"
    done = farfield(*DIGITS, *ASKED, *RIVALS, "-q", "--device", "cpu", "-o", out)
    assert done.code == 0, done.err
    return out


def moves(found: dict, name: str) -> dict[float, dict]:
    return {move["strength"]: move for move in found["moves"] if move["name"] == name}


def test_every_rival_is_moved_along_and_measured(run: Path):
    found = summary(run)
    for name in ("direction 1", "direction 1 of the first", "random", "noise", "pullback", "boundary", "mid-boundary"):
        for strength, move in moves(found, name).items():
            assert move["ssim"]["n"] == move["flipped"]["n"] == 4
            assert -1 <= move["toward"]["value"] <= 1 and move["perceived"]["value"] >= 0
            if name != "boundary":
                assert move["length"]["value"] == pytest.approx(abs(strength), rel=1e-4)
    origin = found["moves"][0]
    assert origin["ssim"]["value"] == pytest.approx(1) and origin["flipped"]["value"] == 0 == origin["toward"]["value"]
    assert found["moves"][0]["perceived"]["value"] == pytest.approx(0, abs=1e-6)
    assert [len(moves(found, "+2 of 1 and +2 of 2")), len(found["agreement"])] == [1, 2]
    assert moves(found, "+2 of 1 and +2 of 2")[1.0]["departure"]["value"] > 0


def test_ssim_is_that_of_skimage(run: Path):
    found, edits = summary(run), load(run / "edits", Images)
    move = moves(found, "direction 1")[2.0]
    keys = [key.rpartition("/")[0] for key in edits.keys if key.endswith("/000")]
    each = [
        structural_similarity(
            *(edits.select([f"{key}/{i:03d}"]).values[0, 0].double().numpy() for i in (0, move["index"])),
            data_range=2.0,
            win_size=7,
        )
        for key in keys
    ]
    assert move["ssim"]["value"] == pytest.approx(sum(each) / 4, abs=1e-6)


def test_the_classes_of_digits_are_told_apart_and_the_boundary_is_crossed(run: Path):
    found = summary(run)
    assert found["attribute"]["accuracy"]["value"] > 0.9
    for wall in found["boundaries"]:
        assert wall["accuracy"]["low"] > wall["null_high"] and wall["null"] < 0.6 and wall["p_value"] < 0.05
    beyond = moves(found, "boundary")
    assert beyond[2.0]["toward"]["value"] > 0.2 > moves(found, "random")[2.0]["toward"]["value"]
    assert beyond[2.0]["toward"]["value"] > beyond[-2.0]["toward"]["value"]


def test_latents_end_at_the_signed_distance(run: Path):
    z, labelled = load(run / "latents", Latents), load(run / "labelled", Latents)
    edited = load(run / "images", Images)
    given = Labelled.open(
        Edit("", "", mask="", labels="digits", attribute="8:3"), load_denoiser("digits-generalizing"), edited
    )
    half = given.half(True)
    assert half.images.keys == labelled.keys and not set(half.images.keys) & set(edited.keys)
    assert set(half.images.keys).isdisjoint(given.half(False).images.keys)
    wall = Boundary.fit(labelled.values, half.positive)
    lengths = (2.0 - wall.distance(z.values)).abs()
    assert moves(summary(run), "boundary")[2.0]["length"]["value"] == pytest.approx(float(lengths.mean()), rel=1e-6)


def test_shuffled_labels_are_told_apart_at_chance(run: Path):
    z = load(run / "labelled", Latents).values
    for seed in range(3):
        side = torch.randperm(len(z), generator=torch.Generator().manual_seed(seed)) < len(z) // 2
        found = separability(z[side], z[~side])
        assert found.accuracy.value < found.null_high + 0.06 and abs(found.accuracy.value - 0.5) < 0.15


def test_a_judge_of_two_far_sets_is_sure():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(60, 5, generator=g, dtype=F64) + 6 * (torch.arange(60) % 2)[:, None]
    told = Classifier.fit(x, torch.arange(60) % 2).probabilities(x)[:, 1]
    assert bool(((told > 0.5) == (torch.arange(60) % 2 == 1)).all())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--rival", "boundary"), "expected labelled images"),
        (("--rival", "nobody"), "random, noise, pullback, boundary, mid-boundary"),
        (("--labels", "digits"), "expected a class of digits"),
        (("--labels", "digits", "--attribute", "12"), "expected a class of digits"),
        (("--labels", "brick", "--attribute", "1"), "at least two classes"),
        (("--each", "--load", "nowhere"), "leave out --each"),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, options: tuple[str, ...], message: str):
    done = farfield(*DIGITS, *options, "-q", "-o", tmp_path / "run")
    assert done.code == 2 and message in done.err and done.err.count("\n") == 1, done.err
    assert not (tmp_path / "run").exists()


def test_the_experiment_reads_success_beside_the_published(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(edits, "steps", lambda plan: [Step(run, ())])
    outcome = edits.read(Plan(tmp_path))
    rows = {row.name: row for row in outcome.rows}
    best = max(move["flipped"]["value"] for move in moves(summary(run), "pullback").values())
    assert rows["success, pullback"].ours.value == best and rows["success, pullback"].published == 0.32
    assert rows["held-out accuracy, boundary"].ours.value > 0.7
    assert len(outcome.agrees) + len(outcome.differs) == 8
