"""Style transfer: maps that carry one Gaussian onto another, and the command that carries images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from tiny import farfield, make_images, make_model, summary

from farfield.audit.content import kept
from farfield.command.result import from_json
from farfield.command.transfer import TransferResult
from farfield.core.artifact import Images, Store
from farfield.core.error import FarfieldError
from farfield.core.score import Score
from farfield.present.transfer import content
from farfield.present.verdict import NEGATIVE
from farfield.unseen.prior import LowRankPrior
from farfield.unseen.transfer import KINDS, fit_transfer, moved, transport, transport_matrix

pytestmark = pytest.mark.usefixtures("few_views")


def latents(seed: int, n: int = 12, shape: tuple[int, ...] = (3, 4, 6)) -> torch.Tensor:
    """Latents with a mean, correlated channels, and a spectrum of their own."""
    g = torch.Generator().manual_seed(seed)
    mix = torch.randn(3, 3, generator=g, dtype=torch.float64)
    smooth = torch.rand(shape[1:], generator=g, dtype=torch.float64) + 0.2
    z = torch.randn(n, *shape, generator=g, dtype=torch.float64)
    z = torch.fft.ifft2(torch.fft.fft2(z) * (smooth + smooth.flip(0, 1).roll((1, 1), (0, 1)))).real
    return torch.einsum("cd,ndhw->nchw", mix, z) + torch.randn(shape, generator=g, dtype=torch.float64)


def dense(law: LowRankPrior) -> torch.Tensor:
    """The covariance in full."""
    eye = torch.eye(law.mean.numel(), dtype=torch.float64)
    return law.residual * eye + (law.basis * (law.variances - law.residual)) @ law.basis.T


def spectrum(z: torch.Tensor) -> torch.Tensor:
    """The cross spectrum ``[H, W, C, C]`` by numpy's transform, plus C white images of the same power."""
    f = np.fft.fft2((z - z.mean(0)).numpy()) / np.sqrt(z[0, 0].numel())
    n, c = f.shape[:2]
    cross = np.stack([np.cov(f[:, :, i, j].T) for i in range(f.shape[2]) for j in range(f.shape[3])])
    # np.cov centres again, which changes nothing: the rows are centred
    white = np.diag(np.mean([np.diag(s).real for s in cross], 0))
    return torch.from_numpy((n * cross + c * white) / (n + c))


def monge(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The transport matrix by scipy's square root."""
    root = sqrtm(a)
    inverse = np.linalg.inv(root)
    return inverse @ sqrtm(root @ b @ root) @ inverse


# --- laws ----------------------------------------------------------------------------------------------------------


def transfer(z, source, target, kind, strength=1.0):
    return moved(z, fit_transfer(kind, source, target), strength)


@pytest.mark.parametrize("kind", KINDS)
def test_strength_nothing_and_a_domain_to_itself_change_nothing(kind):
    a, b, z = latents(1), latents(2), latents(3)
    assert torch.equal(transfer(z, a, b, kind=kind, strength=0.0), z)
    torch.testing.assert_close(transfer(z, a, a, kind=kind), z, atol=1e-10, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_mean_arrives_exactly_and_evenly_with_strength(kind):
    a, b = latents(1), latents(2)
    for strength in (0.3, 1.0, 1.5):
        expected = a.mean(0) + strength * (b.mean(0) - a.mean(0))
        found = transfer(a, a, b, kind=kind, strength=strength).mean(0)
        if kind == "channels":  # moves the mean over places alone
            found, expected = found.mean((1, 2)), expected.mean((1, 2))
        torch.testing.assert_close(found, expected, atol=1e-10, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_there_and_back_is_where_it_was_and_rows_are_moved_alone(kind):
    a, b, z = latents(1), latents(2), latents(3)
    there, back = fit_transfer(kind, a, b), fit_transfer(kind, b, a)
    torch.testing.assert_close(back(there(z)), z, atol=1e-8, rtol=0)
    torch.testing.assert_close(there(z)[4:5], there(z[4:5]), atol=1e-12, rtol=0)


def test_the_shift_is_the_difference_of_the_means():
    a, b, z = latents(1), latents(2), latents(3)
    torch.testing.assert_close(transfer(z, a, b, kind="mean") - z, (b.mean(0) - a.mean(0)).expand_as(z))


def test_scales_arrive():
    a, b = latents(1), latents(2)
    total = [float((x - x.mean(0)).square().sum()) for x in (transfer(a, a, b, kind="isotropic"), b)]
    assert total[0] == pytest.approx(total[1])
    moved_on = transfer(a, a, b, kind="channels")
    torch.testing.assert_close(moved_on.std((0, 2, 3)), b.std((0, 2, 3)))
    many = latents(1, 4000), latents(2, 4000)  # so many that the shrinkage of single variances does not matter
    torch.testing.assert_close(transfer(*many[:1], *many, kind="diagonal").std(0), many[1].std(0), rtol=2e-3, atol=0)


def test_the_map_carries_one_gaussian_exactly_onto_the_other():
    """T is linear, symmetric and positive, and T C_A T = C_B: Brenier's conditions, on matrices formed in full."""
    a, b = LowRankPrior.fit(latents(1)), LowRankPrior.fit(latents(2, n=9))
    carry = transport(a, b)
    d = a.mean.numel()
    columns = carry(a.mean + torch.eye(d, dtype=torch.float64).reshape(d, *a.mean.shape)) - b.mean
    t = columns.flatten(1).T
    torch.testing.assert_close(t @ dense(a) @ t.T, dense(b), atol=1e-10, rtol=0)
    torch.testing.assert_close(t, t.T, atol=1e-10, rtol=0)
    assert float(torch.linalg.eigvalsh(t).min()) > 0
    torch.testing.assert_close(t, torch.from_numpy(monge(dense(a).numpy(), dense(b).numpy())), atol=1e-8, rtol=0)


def test_more_directions_than_dimensions_and_equal_bases_are_no_exception():
    small = [latents(s, n=40, shape=(3, 2, 2)) for s in (1, 2)]  # 12 dimensions: both bases are complete
    a, b = (LowRankPrior.fit(z) for z in small)
    expected = (
        b.mean.flatten()
        + torch.from_numpy(monge(dense(a).numpy(), dense(b).numpy())) @ (small[1][0] - a.mean).flatten()
    )
    torch.testing.assert_close(transport(a, b)(small[1][:1]).flatten(), expected, atol=1e-8, rtol=0)
    same = LowRankPrior(b.mean, a.basis[:, :3], 4 * a.variances[:3], 0.25)
    from_ = LowRankPrior(a.mean, a.basis[:, :3], a.variances[:3], 1.0)
    z = small[0][:1]
    inside = (z - a.mean).flatten() @ from_.basis @ from_.basis.T
    expected = b.mean.flatten() + 2 * inside + 0.5 * ((z - a.mean).flatten() - inside)
    torch.testing.assert_close(transport(from_, same)(z).flatten(), expected, atol=1e-10, rtol=0)


def test_the_part_of_the_way_is_the_geodesic():
    """At strength s the law's distance to the source is the part s of the whole (Bures–Wasserstein)."""
    a, b = (LowRankPrior.fit(latents(s, n=30, shape=(3, 2, 2))) for s in (1, 2))
    t = torch.from_numpy(monge(dense(a).numpy(), dense(b).numpy()))

    def distance(first: torch.Tensor, second: torch.Tensor) -> float:
        root = sqrtm(first.numpy())
        return float(torch.trace(first) + torch.trace(second) - 2 * np.trace(sqrtm(root @ second.numpy() @ root)).real)

    eye = torch.eye(12, dtype=torch.float64)
    part = eye + 0.3 * (t - eye)
    found = distance(dense(a), part @ dense(a) @ part.T)
    assert found == pytest.approx(0.09 * distance(dense(a), dense(b)), rel=1e-6)
    z = latents(5, shape=(3, 2, 2))
    carried = moved(z, transport(a, b), 0.3) - (a.mean + 0.3 * (b.mean - a.mean))
    torch.testing.assert_close(carried.flatten(1), (z - a.mean).flatten(1) @ part.T, atol=1e-8, rtol=0)


def test_the_spectrum_is_carried_exactly_frequency_by_frequency():
    a, b, z = latents(1), latents(2), latents(3)
    found = torch.fft.fft2(fit_transfer("spectrum", a, b)(z) - b.mean(0), norm="ortho").flatten(2)
    before = torch.fft.fft2(z - a.mean(0), norm="ortho").flatten(2)
    for i, (sa, sb) in enumerate(zip(spectrum(a), spectrum(b), strict=True)):
        t = torch.from_numpy(monge(sa.numpy(), sb.numpy()))
        torch.testing.assert_close(t @ sa @ t.mH, sb, atol=1e-9, rtol=0)
        torch.testing.assert_close(found[:, :, i], before[:, :, i] @ t.T, atol=1e-8, rtol=0)


def test_the_spectrum_s_map_moves_with_its_image():
    """It is a filter: it does not matter whether an image is shifted before or after."""
    carry = fit_transfer("spectrum", latents(1), latents(2))
    change = carry(latents(3)) - carry(latents(4))
    shifted = carry(latents(3).roll((1, 2), (2, 3))) - carry(latents(4).roll((1, 2), (2, 3)))
    torch.testing.assert_close(change.roll((1, 2), (2, 3)), shifted, atol=1e-10, rtol=0)


def test_transport_of_complex_matrices():
    g = torch.Generator().manual_seed(0)
    f = torch.randn(2, 5, 4, 4, generator=g, dtype=torch.complex128)
    a, b = f @ f.mH + 0.1 * torch.eye(4)
    t = transport_matrix(a, b)
    torch.testing.assert_close(t @ a @ t, b, atol=1e-9, rtol=0)
    torch.testing.assert_close(t, t.mH, atol=1e-9, rtol=0)


def test_what_cannot_be_carried_is_refused():
    a, b = latents(1), latents(2)
    for kind, source, target, says in (
        ("ot", a, b, "kind 'ot'"),
        ("mean", a, latents(2, shape=(3, 4, 4)), "one shape"),
        ("spectrum", a.flatten(1), b.flatten(1), "C, H, W"),
        ("lowrank", a[:1], b, "at least 2"),
        ("channels", a, b[:1].expand(2, -1, -1, -1), "same image"),
    ):
        with pytest.raises(FarfieldError, match=says):
            fit_transfer(kind, source, target)
    flat = LowRankPrior(a.mean(0), torch.zeros(a[0].numel(), 0), torch.zeros(0), 0.0)
    with pytest.raises(FarfieldError, match="without variance"):
        transport(flat, LowRankPrior.fit(b))


# --- what is kept --------------------------------------------------------------------------------------------------


def test_style_may_change_what_content_does_not():
    g = torch.Generator().manual_seed(0)
    x = torch.nn.functional.interpolate(torch.rand(20, 3, 8, 8, generator=g), scale_factor=4) - 0.5
    texture = torch.rand(20, 3, 32, 32, generator=g)
    texture -= torch.nn.functional.interpolate(torch.nn.functional.avg_pool2d(texture, 4), scale_factor=4)
    common = torch.rand(1, 3, 32, 32, generator=g)
    same = kept(x, 0.5 * x + common + texture)
    assert same.correlation.value == pytest.approx(1, abs=1e-6) and same.recognised.value == 1
    other = kept(x, x.roll(1, 0))
    assert abs(other.correlation.value) < 0.2 and other.recognised.value == 0 and other.chance == 0.05
    negative = kept(x, -x)
    assert negative.correlation.value == pytest.approx(-1, abs=1e-6)
    nothing = kept(x, torch.zeros_like(x))
    assert nothing.correlation.value == 0 and nothing.recognised.value == 0
    with pytest.raises(FarfieldError, match="20 and 19"):
        kept(x, x[1:])


def test_kept_correlation_agrees_with_numpy():
    g = torch.Generator().manual_seed(1)
    x, y = torch.rand(2, 6, 1, 16, 16, generator=g, dtype=torch.float64)
    blocks = [v.reshape(6, 8, 2, 8, 2).mean((2, 4)).flatten(1) for v in (x[:, 0], y[:, 0])]
    blocks = [v - v.mean(0) for v in blocks]
    matrix = np.corrcoef(blocks[1], blocks[0])[:6, 6:]
    assert kept(x, y).correlation.value == pytest.approx(matrix.diagonal().mean(), abs=1e-12)
    assert kept(x, y).recognised.value == (matrix.argmax(1) == np.arange(6)).mean()


# --- the command ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("transfer")
    make_model(root / "model")
    make_images(root / "content", 8)
    images = make_images(root / "style", 24)
    for path in images.iterdir():
        from PIL import Image, ImageOps

        ImageOps.colorize(Image.open(path).convert("L"), "black", "orange").save(path)
    return root


@pytest.fixture(scope="module")
def finished(root):
    found = farfield(
        "transfer", root / "model", root / "content", root / "style", "-o", root / "run", "--steps", 4, "-n", 5,
        "--examples", 8, "--strength", "0,0.5,1", "--batch-size", 2, "-q",
    )  # fmt: skip
    assert found.code == 0, found.err
    return root / "run"


def test_a_run_measures_every_strength_and_explains_itself(finished):
    found = summary(finished)
    assert found["sigma"] == pytest.approx(0.25, rel=0.05) and found["kind"] == "spectrum"
    assert found["content"]["n"] == 5 and found["style"]["n"] == 8 and found["references"]["n"] == 11
    for measures in found["measures"].values():
        assert set(measures) == {"before", "0", "0.5", "1", "plain", "real"}
        # orange is what sets the style apart, and it arrives
        assert measures["1"]["kernel_distance"]["value"] < 0.5 * measures["before"]["kernel_distance"]["value"]
    assert found["kept"]["0"]["recognised"]["value"] == 1 and found["kept"]["0"]["ssim"]["median"] > 0.95
    page = (finished / "report.html").read_text()
    for part in ("content → style", "strength 0.5", "more like their own source", "the same map on the pixels",
                 "farfield transfer"):  # fmt: skip
        assert part in page
    assert (finished / "grids" / "strips.png").is_file() and len(list((finished / "png").iterdir())) == 5


@pytest.mark.parametrize("value", [0.3, -0.3])
def test_a_distance_below_zero_is_explained_where_it_stands(finished, value):
    result = from_json(TransferResult, summary(finished))
    for by_set in result.measures.values():
        by_set |= {name: one.but(kernel_distance=Score(value, 9, value - 1, value + 1)) for name, one in by_set.items()}
    page = content(finished, result)
    tables = [table for section in page.sections for table in section.tables]
    assert len(tables) > 1 and {table.note for table in tables} == ({NEGATIVE} if value < 0 else {""})
    tiles = [beside for title, *_, beside in page.key_numbers if title.startswith("kernel distance")]
    assert tiles and all(beside.endswith("; below 0 by chance") == (value < 0) for beside in tiles)
    assert any(NEGATIVE in said for said in page.verdict) == (value < 0)


def test_strength_nothing_is_the_reconstruction(finished):
    content = Store(finished / "content", Images).read()
    same = Store(finished / "transferred" / "0", Images).read()
    assert same.keys == content.keys
    assert float((same.values - content.values).abs().max()) < 0.05


def test_the_result_has_the_style_s_colour(finished):
    style, result = (Store(finished / name, Images).read().values for name in ("examples", "samples"))
    torch.testing.assert_close(result.mean((0, 2, 3)), style.mean((0, 2, 3)), atol=0.1, rtol=0)


def test_a_grey_style_gives_grey_images(root, tmp_path):
    from PIL import Image

    grey = tmp_path / "grey"
    grey.mkdir()
    for path in (root / "style").iterdir():
        Image.open(path).convert("L").save(grey / path.name)
    found = farfield("transfer", root / "model", root / "content", grey, "-o", tmp_path / "run", "--steps", 4, "-n", 4,
                     "--examples", 6, "--strength", 1, "--kind", "mean", "--descriptor", "pixels", "-q")  # fmt: skip
    assert found.code == 0, found.err
    values = Store(tmp_path / "run" / "samples", Images).read().values
    assert float((values.amax(1) - values.amin(1)).max()) < 1e-5


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--kind", "ot"), "--kind ot: expected one of mean"),
        (("--strength", "much"), "strength 'much'"),
        (("--strength", -1), "--strength -1.0: expected a number, at least 0 and at most 4"),
        (("--sigma", 1e9), "sigma"),
        (("-n", 1), "at least 2"),
        (("--examples", 99), "99 examples"),
        (("--seed", -1), "--seed -1"),
        (("--descriptor", "nothing"), "nothing"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(root, tmp_path, options, says):
    found = farfield("transfer", root / "model", root / "content", root / "style", "-o", tmp_path / "run", *options)
    assert found.code == 2 and says in found.err and "Traceback" not in found.err
    assert not (tmp_path / "run").exists()
