"""Edits along the Jacobian's directions: closed forms of Gaussian denoisers, and `farfield edit` end to end."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny import Outcome, farfield, make_images, make_model, summary

from farfield.command.edit import Edit
from farfield.core.artifact import Images, Latents, load
from farfield.core.error import FarfieldError
from farfield.diffusion.exact import GaussianDenoiser
from farfield.diffusion.schedule import ContinuousSchedule
from farfield.manifold.edit import Directions, change, compose, find_directions, right_singular
from farfield.manifold.jacobian import Jacobian
from farfield.manifold.molrg import draw_law, random_basis
from farfield.study.bench.carrier import Carrier
from farfield.study.manifold.edit import move
from farfield.unseen.inversion import decode

F64 = torch.float64
LEVELS = ContinuousSchedule(0.02, 10.0)


def gaussian_image(side: int = 6, rank: int | None = None, seed: int = 0) -> GaussianDenoiser:
    """One channel; eigenvalues fall from 4 as a geometric series, or are 1 on a subspace of this rank."""
    d = side * side
    basis = random_basis(d, d, torch.Generator().manual_seed(seed))
    if rank is None:
        return GaussianDenoiser(
            torch.zeros(1, side, side), basis, 4 * 0.8 ** torch.arange(d, dtype=F64), schedule=LEVELS
        )
    return GaussianDenoiser(torch.zeros(1, side, side), basis[:, :rank], torch.ones(rank), schedule=LEVELS)


def jacobian_matrix(model: GaussianDenoiser, sigma: float) -> torch.Tensor:
    return model.basis @ (model.variances / (model.variances + sigma**2)).diag() @ model.basis.T


def alike(found: torch.Tensor, expected: torch.Tensor, tolerance: float) -> bool:
    """Rows that agree up to their signs."""
    return bool(((found * expected).sum(1).abs() > 1 - tolerance).all())


def test_without_a_mask_the_directions_are_the_eigenvectors_of_the_covariance():
    model, sigma = gaussian_image(), 1.3
    jacobian = Jacobian(model, torch.randn(1, 6, 6, dtype=F64), sigma)
    found = find_directions(jacobian, torch.ones(36, dtype=torch.bool), 3)
    assert alike(found.vectors, model.basis[:, :3].T, 1e-3)
    gains = model.variances / (model.variances + sigma**2)
    assert torch.allclose(found.gains, gains[:3], rtol=1e-3)
    assert float(found.leaks.max()) == 0.0


def test_of_a_mixture_they_span_the_subspace_of_the_certain_class():
    law = draw_law(40, [3, 3], 0)
    x = 3 * law.bases[0].sum(1)
    found = find_directions(Jacobian(law.denoiser(), x, 0.2), torch.ones(40, dtype=torch.bool), 3)
    assert torch.allclose(found.vectors @ law.bases[0] @ law.bases[0].T, found.vectors, atol=1e-6)
    assert torch.allclose(found.gains, torch.full((3,), 1 / 1.04, dtype=F64), atol=1e-6)


@pytest.mark.parametrize("keep", [0, 4, 24])
def test_in_a_mask_they_are_the_singular_vectors_of_its_rows_beside_those_kept(keep: int):
    model, sigma = gaussian_image(), 0.7
    mask = torch.zeros(36, dtype=torch.bool)
    mask[6:18] = True
    found = find_directions(Jacobian(model, torch.randn(1, 6, 6, dtype=F64), sigma), mask, 3, keep=keep)
    j = jacobian_matrix(model, sigma)
    outside = torch.linalg.svd(j[~mask]).Vh[:keep]
    free = torch.eye(36, dtype=F64) - outside.T @ outside
    _, values, vectors = torch.linalg.svd(j[mask] @ free)
    assert torch.allclose(found.gains, values[:3], rtol=1e-3)
    assert alike(found.vectors, vectors[:3], 1e-3)
    assert torch.allclose(found.leaks, (found.vectors @ j.T)[:, ~mask].norm(dim=1), atol=1e-10)
    if keep == 24:  # all of the outside's rank: nothing moves there
        assert float(found.leaks.max()) < 1e-12


def test_only_what_moves_the_outside_is_left_alone():
    """Pixels that know nothing of each other: two outside vary, and directions inside lose nothing to those that do not."""
    variances = torch.tensor([3.0, 2.0, 1.0, 0.0, 0.0, 2.5, 0.0, 0.0, 4.0])
    model = GaussianDenoiser(torch.zeros(1, 3, 3), torch.eye(9), variances, schedule=LEVELS)
    jacobian = Jacobian(model, torch.zeros(1, 3, 3, dtype=F64), 1.0)
    found = find_directions(jacobian, torch.arange(9) < 4, 3, keep=4)
    assert found.kept == 2
    assert torch.allclose(found.vectors, torch.eye(9, dtype=F64)[:3], atol=1e-12)
    assert torch.allclose(found.gains, variances[:3].double() / (1 + variances[:3].double()))
    with pytest.raises(FarfieldError, match="only 3 move the answer"):
        find_directions(jacobian, torch.arange(9) < 4, 4, keep=4)
    flat = Jacobian(gaussian_image(rank=4), torch.zeros(1, 6, 6, dtype=F64), 1.0)
    with pytest.raises(FarfieldError, match="only 0 move the answer"):
        find_directions(flat, torch.arange(36) < 18, 1, keep=10)


def test_the_iteration_agrees_with_the_singular_value_decomposition():
    model, sigma = gaussian_image(12), 0.5
    mask = torch.zeros(144, dtype=torch.bool)
    mask[:90] = True
    jacobian = Jacobian(model, torch.randn(1, 12, 12, dtype=F64), sigma)
    without = torch.linalg.svd(jacobian_matrix(model, sigma)[~mask]).Vh[:3]
    vectors, values = right_singular(jacobian, mask, 2, without=without, tolerance=1e-10)
    assert jacobian.calls > 200  # not row by row
    free = torch.eye(144, dtype=F64) - without.T @ without
    _, expected, rows = torch.linalg.svd(jacobian_matrix(model, sigma)[mask] @ free)
    assert torch.allclose(values, expected[:2], rtol=1e-8)
    assert alike(vectors, rows[:2], 1e-8)
    assert float((vectors @ without.T).abs().max()) < 1e-14


def test_an_edit_moves_the_image_by_the_flow_factor_and_edits_add():
    """One eigen-direction: the decoded image moves by s √(1 + σ²) √((l + σ₀²) / (l + σ²)) along it."""
    model, top = gaussian_image(), 2.0
    sigmas = model.schedule.sigmas(200, top)
    found = find_directions(Jacobian(model, torch.zeros(1, 6, 6, dtype=F64), top), torch.ones(36, dtype=torch.bool), 2)
    basis = Directions(("direction-1", "direction-2"), found.vectors.reshape(2, 1, 6, 6), sigma=top)
    z = torch.randn(1, 1, 6, 6, generator=torch.Generator().manual_seed(1), dtype=F64)
    shifts = torch.stack([compose(basis, w) for w in ([0.0], [1.5], [0.0, -2.0], [1.5, -2.0])])
    plain, first, second, both = decode(model, z + shifts, sigmas, "heun")
    for moved, strength, i in ((first, 1.5, 0), (second, -2.0, 1)):
        variance = float(model.variances[i])
        factor = ((1 + top**2) * (variance + float(sigmas[-1]) ** 2) / (variance + top**2)) ** 0.5
        assert torch.allclose(moved - plain, strength * factor * basis.values[i], atol=2e-3)
    assert torch.allclose(both - plain, first - plain + second - plain, atol=1e-10)
    assert float((both - plain).abs().max()) > 0.1


def test_with_everything_kept_an_edit_of_flat_data_stays_inside_the_mask():
    """Data of one variance on a subspace: the flow is linear in the same projector as J, so first order is all of it."""
    model, top = gaussian_image(rank=16), 2.0
    mask = torch.zeros(36, dtype=torch.bool)
    mask[:30] = True
    x = torch.zeros(1, 6, 6, dtype=F64)
    sigmas = model.schedule.sigmas(60, top)
    moved = []
    for keep, count in ((0, 16), (6, 10)):
        found = find_directions(Jacobian(model, x, top), mask, count, keep=keep)
        after = decode(model, torch.stack([x, 3 * found.vectors[-1].reshape(1, 6, 6)]), sigmas, "heun")
        moved.append(change(after[1:], after[:1], mask.reshape(6, 6)))
    assert float(moved[1].inside) > 0.1
    assert float(moved[0].outside) > 0.1
    assert float(moved[1].outside) < 1e-12


def test_change_is_a_mean_over_the_pixels_of_each_side():
    mask = torch.tensor([[True, False], [False, False]])
    before = torch.zeros(1, 2, 2, 2)
    after = before.clone()
    after[0, :, 0, 0] = torch.tensor([1.0, -3.0])
    after[0, 0, 1, 1] = 0.6
    found = change(after, before, mask)
    assert float(found.inside) == pytest.approx(2.0)
    assert float(found.outside) == pytest.approx(0.1)


def test_moves_have_a_key_each_and_the_first_moves_nothing():
    basis = Directions(("direction-1", "direction-2"), torch.eye(4, dtype=F64)[:2].reshape(2, 1, 2, 2), sigma=1.0)
    latents = Latents(("a", "b"), torch.randn(2, 1, 2, 2, dtype=F64), sigma=1.0)
    settings = Edit("", "", mask="", direction=(2,), strength=(-1.0, 0.0, 3.0), compose=("1:2,2:-1",))
    shifts, there = move(latents, basis, settings, rivals={"random": torch.full((1, 1, 2, 2), 0.5, dtype=F64)})
    alone, both = ["direction 2", "direction 2", "direction 1"], "+2 of 1 and -1 of 2"
    assert [s.name for s in shifts] == ["as it came back", *alone, both, "random", "random"]
    assert torch.equal(there.select(["b/000"]).values[0], latents.values[1])
    assert torch.allclose(there.select(["a/002"]).values - latents.values[:1], 3 * basis.values[1:])
    both = there.select(["a/004"]).values[0] - latents.values[0]
    assert torch.allclose(both, 2 * basis.values[0] - basis.values[1])
    assert shifts[4].parts == (3, 1), "what it is the sum of: direction 1 at 2, made for it, and direction 2 at -1"
    assert float((there.select(["a/006"]).values[0] - latents.values[0]).norm()) == pytest.approx(3.0)


class Constant(GaussianDenoiser):
    """A model without gradients."""

    def forward(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return super().forward(x, sigma)


def test_what_cannot_be_found_is_refused():
    model = gaussian_image(3)
    jacobian = Jacobian(model, torch.zeros(1, 3, 3, dtype=F64), 1.0)
    part, full, none = (torch.arange(9) < k for k in (4, 9, 0))
    for mask, count, keep, message in (
        (none, 1, 0, "not empty"),
        (torch.ones(4, dtype=torch.bool), 1, 0, r"expected \[9\]"),
        (full, 1, 2, "covers everything"),
        (part, 5, 0, "1 to 4 directions"),
        (part, 1, 6, "0 to 5 kept"),
        (part, 0, 0, "1 to 4 directions"),
    ):
        with pytest.raises(FarfieldError, match=message):
            find_directions(jacobian, mask, count, keep=keep)
    blind = Constant(torch.zeros(1, 3, 3), torch.eye(9), torch.ones(9), schedule=LEVELS)
    with pytest.raises(FarfieldError, match="no gradient"):
        find_directions(Jacobian(blind, torch.zeros(1, 3, 3, dtype=F64), 1.0), part, 1)
    basis = Directions(("direction-1",), torch.zeros(1, 1, 3, 3))
    with pytest.raises(FarfieldError, match="2 strengths"):
        compose(basis, [1.0, 2.0])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 8×8 pixels, two pictures, and masks as pictures."""
    folder = tmp_path_factory.mktemp("edit")
    make_model(folder / "model", (3, 8, 8))
    make_model(folder / "other", (1, 8, 8))
    make_images(folder / "images", 2, 8, 8)
    for name, size, bright in (("mask", 8, True), ("wide", 9, True), ("dark", 8, False)):
        picture = Image.new("L", (size, size))
        if bright:
            picture.paste(255, (1, 2, 4, 6))
        picture.save(folder / f"{name}.png")
    return folder


def run_edit(place: Path, out: Path, *options: object, model: str = "model") -> Outcome:
    always = ("--steps", 6, "--device", "cpu", "-q", "-o", out)
    return farfield("edit", place / model, place / "images", *always, *options)


SOME = ("--mask", "1,2,4,6", "--direction", "1,2", "--strength=-3,3", "--keep", 4, "--sigma", "2")


@pytest.fixture(scope="module")
def run(place: Path) -> Path:
    done = run_edit(place, place / "run", *SOME, "--compose", "1:2,2:-1")
    assert done.code == 0, done.err
    return place / "run"


def test_strength_0_is_the_round_trip_of_reconstruct(place: Path, run: Path):
    found = summary(run)
    sigma = found["sigma"]
    done = farfield(
        "reconstruct", place / "model", place / "images", "--sigma", sigma, "--steps", 6, "-q", "-o", place / "trip"
    )
    assert done.code == 0, done.err
    trip, edits = load(place / "trip" / "reconstructions", Images), load(run / "edits", Images)
    assert torch.allclose(edits.select([f"{k}/000" for k in trip.keys]).values, trip.values, atol=1e-5)
    assert found["moves"][0]["inside"]["value"] == 0.0


def test_the_run_says_how_local_each_move_is(place: Path, run: Path):
    found = summary(run)
    assert found["mask"] == {"given": "1,2,4,6", "pixels": 12, "of": 64}
    assert [m["name"] for m in found["moves"][1:]] == ["direction 1"] * 2 + ["direction 2"] * 2 + [
        "direction 1",
        "direction 2",
        "+2 of 1 and -1 of 2",
        "random",
        "random",
    ]
    edits = load(run / "edits", Images)
    moved = (
        edits.select(["img-000/002", "img-001/002"]).values.double()
        - edits.select(["img-000/000", "img-001/000"]).values
    )
    inside = float(moved[..., 2:6, 1:4].abs().mean()) / 2
    assert found["moves"][2]["inside"]["value"] == pytest.approx(inside, rel=1e-6)
    assert found["moves"][2]["ratio"]["n"] == 2
    assert all(d["gain"] > 0 for d in found["directions"])
    page = (run / "report.html").read_text()
    assert "Along each direction" in page and "data:image/png" in page


def test_saved_directions_serve_other_images_and_a_mask_may_be_a_picture(place: Path, run: Path):
    done = run_edit(
        place, place / "loaded", "--load", run, "--direction", "1,2", "--strength=-3,3", "--compose", "1:2,2:-1"
    )
    assert done.code == 0, done.err
    again, first = summary(place / "loaded"), summary(run)
    assert again["moves"] == first["moves"] and again["sigma"] == first["sigma"]
    done = run_edit(place, place / "pictured", *SOME, "--compose", "1:2,2:-1", "--mask", place / "mask.png")
    assert done.code == 0, done.err
    assert summary(place / "pictured")["moves"] == first["moves"]


def test_the_first_image_decides_and_others_change_nothing(place: Path, run: Path):
    one = place / "one"
    make_images(one, 1, 8, 8)
    done = farfield("edit", place / "model", one, *SOME, "--steps", 6, "--device", "cpu", "-q", "-o", place / "alone")
    assert done.code == 0, done.err
    a, b = (load(folder / "directions", Directions).values for folder in (run, place / "alone"))
    assert torch.allclose(a, b, atol=1e-5)
    assert "low" in summary(place / "alone")["moves"][1]["ratio"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--mask", "3,3,3,5"), "not empty"),
        (("--mask", "0,0,9,8"), "x1 <= 8"),
        (("--mask", "nothing.png"), "x0,y0,x1,y1 or a picture"),
        (("--mask", "WIDE"), "expected 8×8"),
        (("--mask", "DARK"), "bright"),
        ((), "--mask"),
        (("--mask", "0,0,8,8", "--keep", "2"), "--keep 0"),
        (("--mask", "0,0,1,1", "--direction", "4"), "up to 3"),
        (("--mask", "0,0,2,2", "--keep", "300"), "can be kept"),
        (("--mask", "0,0,2,2", "--sigma", "9999"), "out of range"),
        (("--mask", "0,0,2,2", "--direction", "0"), "at least 1"),
        (("--mask", "0,0,2,2", "--compose", "1=2"), "direction:strength"),
        (("--load", "RUN", "--sigma", "3"), "leave --sigma out"),
        (("--load", "RUN", "--direction", "3"), "give fewer"),
        (("--load", "RUN", "--direction", "1", "OTHER"), "another model"),
    ],
)
def test_bad_input_is_one_line_and_begins_no_folder(place: Path, run: Path, options: tuple[str, ...], message: str):
    names = {"WIDE": place / "wide.png", "DARK": place / "dark.png", "RUN": run}
    given = [names.get(o, o) for o in options if o != "OTHER"]
    done = run_edit(place, place / "bad", *given, model="other" if "OTHER" in options else "model")
    assert done.code == 2 and message in done.err, done.err
    assert done.err.count("\n") == 1
    assert not (place / "bad").exists()


def test_latents_are_moved_where_the_directions_were_found(place: Path, run: Path):
    from farfield.checkpoints.load import load_denoiser

    denoiser = load_denoiser(str(place / "model"))
    found = summary(run)
    carrier = Carrier(denoiser, denoiser.schedule.sigmas(6, found["sigma"]))
    basis, latents = load(run / "directions", Directions), load(run / "latents", Latents)
    x = latents.values[0] * (1 + carrier.sigma**2) ** 0.5
    jacobian = Jacobian(denoiser, x, carrier.sigma)
    mask = torch.zeros(3, 8, 8, dtype=torch.bool)
    mask[:, 2:6, 1:4] = True
    moved = jacobian.columns(basis.values.flatten(1))
    assert torch.allclose(moved[:, mask.flatten()].norm(dim=1), torch.tensor(basis.gains, dtype=F64), rtol=1e-3)
    assert basis.sigma == latents.sigma == carrier.sigma
