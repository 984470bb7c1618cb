"""`farfield restore`: what it is held against in closed form, and the command end to end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import farfield, make_images, make_model, summary

from farfield.core.artifact import Images, Store
from farfield.diffusion.operator import Blur, Reduce, Seen, Whole, gaussian_kernel
from farfield.unseen.restoration import plain, psnr, smooth, spread_over_error

pytestmark = pytest.mark.usefixtures("without_the_page")

QUICK = ("--steps", 3, "--iterations", 2, "--device", "cpu", "-q")


def ramp(side: int = 8) -> torch.Tensor:
    """A plane: the smoothest image between any of its pixels."""
    line = torch.linspace(-0.5, 0.5, side, dtype=torch.float64)
    return (line[:, None] + line / 2)[None, None].expand(1, 2, -1, -1)


def test_a_gap_is_filled_with_the_mean_or_as_a_soap_film():
    seen = torch.ones(1, 1, 8, 8, dtype=torch.bool)
    seen[..., 2:5, 3:6] = False
    gap = Seen(Whole(), seen)
    name, filled = plain(gap, gap.forward(ramp()))
    assert name == "filled" and torch.equal(filled[:, :, 0], ramp()[:, :, 0])
    assert torch.allclose(filled[0, 0, 3, 4], ramp()[0, 0][seen[0, 0]].mean())
    soap = smooth(gap, gap.forward(ramp()), 1e-6, filled)
    assert torch.allclose(soap, ramp(), atol=1e-3)


def test_what_is_reduced_is_enlarged_and_what_is_blurred_is_sharpened():
    small = Reduce(2)
    name, large = plain(small, small.forward(ramp()))
    assert name == "bicubic" and torch.allclose(large[..., 3:-3, 3:-3], ramp()[..., 3:-3, 3:-3], atol=1e-6)
    blur, image = Blur(gaussian_kernel(1.0)), torch.randn(2, 1, 16, 16, dtype=torch.float64)
    y = blur.forward(image)
    name, same = plain(blur, y)
    assert name == "measurement" and torch.equal(same, y)
    sharper = smooth(blur, y, 1e-6, y)
    assert float(psnr(sharper, image, torch.ones(1)[None].bool()).min()) > float(
        psnr(y, image, torch.ones(1)[None].bool()).max()
    )


def test_psnr_and_spread_are_those_of_the_judged_pixels():
    truth, judged = torch.zeros(300, 1, 4, 4, dtype=torch.float64), torch.zeros(4, 4, dtype=torch.bool)
    judged[0] = True
    found = torch.where(judged, 0.2, 9.0).expand_as(truth).double()
    assert torch.allclose(psnr(found, truth, judged), torch.tensor(20.0, dtype=torch.float64))
    draws = torch.randn(300, 6, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    truth = torch.randn(300, 1, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    right, narrow = spread_over_error(draws, truth, judged), spread_over_error(draws / 2, truth, judged)
    assert right.low < 1 < right.high and narrow.high < 0.7


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("restore")
    make_model(root / "model", (3, 8, 8), channels=(8,))
    make_model(root / "grey", (1, 8, 8), channels=(8,))
    make_images(root / "images", 3, 8, 8)
    make_images(root / "small", 2, 4, 4)
    fields = np.random.default_rng(0).random((2, 8, 8)).cumsum(1) * 100
    fields[0, 2:4, 3:6] = np.nan
    np.savez(root / "fields.npz", images=fields, keys=np.array(["a", "b"]), unit=np.array("Jy"))
    return root


def test_a_mask_is_restored_and_held_against_the_image(root, tmp_path):
    done = farfield("restore", root / "model", root / "images", "--mask", "2,2,6,6", "--mask", "0,0,1,8", "-n", 3,
                    "--against", root / "model", *QUICK, "-o", tmp_path / "run")  # fmt: skip
    assert done.code == 0, done.err
    found = summary(tmp_path / "run")
    assert found["degraded"]["missing"] == pytest.approx(24 / 64) and found["degraded"]["given"] == "2,2,6,6 0,0,1,8"
    assert set(found["restored"]["psnr"]) == {"mean", "draws", "filled", "smooth"}
    assert set(found["restored"]["coverage"]) == {"another image", "plain"}
    assert found["network_calls"] == 5 * 3 and found["draws"] == 3 and not found["measured"]
    # the same model agrees with itself to the bit, and not with the next draw
    assert found["against"]["pfd"]["value"] == 0 and found["against"]["pfd_chance"]["value"] > 0
    draws, images = (Store(tmp_path / "run" / name, Images).read() for name in ("samples", "images"))
    assert draws.keys[:4] == ("img-000/000", "img-000/001", "img-000/002", "img-001/000")
    mean = Store(tmp_path / "run" / "mean", Images).read()
    assert torch.allclose(draws.values[:3].mean(0), mean.values[0], atol=1e-6)
    assert images.keys == mean.keys


def test_a_draw_depends_on_its_image_and_number_alone(root, tmp_path):
    for name, more in (("one", ("--limit", 1, "-n", 2)), ("all", ("-n", 3, "--batch-size", 2))):
        done = farfield("restore", root / "model", root / "images", "--scale", 2, *more, *QUICK, "-o", tmp_path / name)
        assert done.code == 0, done.err
    one, every = (Store(tmp_path / name / "samples", Images).read() for name in ("one", "all"))
    assert torch.allclose(one.values, every.select(one.keys).values, atol=1e-4)


def test_measured_pictures_are_restored_alone(root, tmp_path):
    line = ("restore", root / "model", root / "small", "--scale", 2, "--measured", "-n", 2, *QUICK)
    done = farfield(*line, "-o", tmp_path / "run")
    assert done.code == 0, done.err
    found = summary(tmp_path / "run")
    assert found["measured"] and found["restored"] is None and found["degraded"]["shape"] == [3, 4, 4]
    assert Store(tmp_path / "run" / "samples", Images).read().values.shape == (4, 3, 8, 8)
    large = farfield(
        "restore", root / "model", root / "images", "--scale", 2, "--measured", *QUICK, "-o", tmp_path / "b"
    )
    assert large.code and "8×8 → 4×4 pixels; measured images of --scale 2 have 4×4" in large.err


@pytest.mark.parametrize("model", ["grey", "model"])
def test_masked_pixels_of_fields_are_drawn_and_all_others_stay(root, tmp_path, model):
    done = farfield("restore", root / model, root / "fields.npz", "--limit", 1, "-n", 2, *QUICK, "-o", tmp_path / "run")
    assert done.code == 0, done.err
    found = summary(tmp_path / "run")
    assert (
        found["measured"]
        and found["degraded"]["given"] is None
        and found["degraded"]["missing"] == pytest.approx(6 / 64)
    )
    given = np.load(root / "fields.npz")["images"][0]
    drawn = np.load(tmp_path / "run" / "physical" / "samples.npz")["images"]
    assert drawn.shape == (2, 1, 8, 8) and np.isfinite(drawn).all()
    seen = np.isfinite(given)
    assert (drawn[:, 0, seen] == given[seen]).all() and (drawn[0, 0, ~seen] != drawn[1, 0, ~seen]).all()
    spread = np.load(tmp_path / "run" / "physical" / "spread.npz")["images"][0, 0]
    assert (spread[seen] == 0).all() and (spread[~seen] > 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "nothing is missing: give --mask, --blur or --scale"),
        (("--mask", "0,0,8,8"), "covers all of the image"),
        (("--mask", "0,0,2,2", "--scale", 2), "--mask and --scale: expected one"),
        (("--scale", 3), "scale 3: does not divide the model's size of 8×8"),
        (("--blur", "0"), "--blur 0: expected a width in pixels above 0"),
        (("--blur", "nowhere.fits"), "nowhere.fits: expected a width in pixels, or a kernel's file"),
        (("--blur", "9"), "its kernel has 73×73 pixels, too many"),
        (("--mask", "0,0,2,2", "--noise", 0), "--noise 0"),
        (("--mask", "0,0,2,2", "--eta", 1), "add --solver euler"),
    ],
)
def test_what_cannot_be_restored_is_refused_before_the_run(root, tmp_path, options, message):
    done = farfield("restore", root / "model", root / "images", *options, "-o", tmp_path / "run", "-q")
    assert done.code and message in done.err, done.err
    assert not (tmp_path / "run").exists()


def test_a_blur_of_fields_needs_a_linear_stretch(root, tmp_path):
    line = ("restore", root / "grey", root / "fields.npz", "--blur", 0.6, "-n", 2, *QUICK, "--stretch")
    bent = farfield(*line, "asinh", "-o", tmp_path / "bent")
    assert bent.code and "light adds up before the stretch" in bent.err
    done = farfield(*line, "linear", "-o", tmp_path / "run")
    assert done.code == 0, done.err
    assert 6 / 128 < summary(tmp_path / "run")["degraded"]["missing"] < 1  # masked pixels, and what they had a part in


def test_a_mask_is_an_array_too(root, tmp_path):
    np.savez(root / "mask.npz", mask=np.eye(8, dtype=bool))
    done = farfield(
        "restore", root / "model", root / "images", "--mask", root / "mask.npz", "-n", 2, *QUICK, "--dry-run"
    )
    assert done.code == 0 and "3 images of 8×8" in done.out, done.err
    np.save(root / "wide.npy", np.ones((8, 9)))
    done = farfield(
        "restore", root / "model", root / "images", "--mask", root / "wide.npy", "-n", 2, *QUICK, "--dry-run"
    )
    assert done.code and "9×8 pixels; expected 8×8" in done.err
