"""Inputs that are taken for something else without a word, as people give them: each is asked about or refused in one line."""

from pathlib import Path

import numpy as np
import pytest
from tiny import farfield, make_images, make_model, picture

import farfield as door
from farfield.command.measures import Measures, Novelty, Standing
from farfield.core.error import FarfieldError
from farfield.core.score import Score
from farfield.diffusion.own import own_denoiser
from farfield.present.headline import headline

pytestmark = pytest.mark.usefixtures("without_the_page")


def test_real_images_are_no_generated_ones(tmp_path: Path):
    make_images(tmp_path / "real", 24, 8, 8)
    make_images(tmp_path / "made", 8, 8, 8, first=100)
    done = farfield(
        "distances", tmp_path / "real", tmp_path / "real", "--descriptor", "pixels", "-o", tmp_path / "a", "-q"
    )
    assert done.code == 2 and "24 of its 24 images are among those of" in done.err
    done = farfield(
        "distances", tmp_path / "real", tmp_path / "made", "--descriptor", "pixels", "-o", tmp_path / "b", "-q"
    )
    assert done.code == 0, done.err


def test_one_picture_is_not_many_grey_ones():
    with pytest.raises(FarfieldError, match=r"one image \[H, W, 3\] and not several; give image\[None\]"):
        door.expand("cifar10-32", np.asarray(picture(0)), n=2)


def test_whole_floats_up_to_255_are_asked_about(tmp_path: Path):
    make_model(tmp_path / "model", (3, 8, 8))
    values = np.stack([np.asarray(picture(i, 8, 8)) for i in range(12)]).astype(np.float32)
    line = ("expand", tmp_path / "model", tmp_path / "floats.npz", "--examples", 6, "--dry-run", "-o", tmp_path / "run")
    np.savez(tmp_path / "floats.npz", images=values)
    done = farfield(*line)
    assert done.code == 2 and "float32 from 0 to 255 can be pictures or counts" in done.err
    assert farfield(*line, "--stretch", "linear").code == 0
    np.savez(tmp_path / "floats.npz", images=values / 255)
    assert farfield(*line).code == 0


def test_channels_of_a_module_stand_first():
    import torch

    with pytest.raises(FarfieldError, match=r"channels stand first; expected \(3, 32, 32\)"):
        own_denoiser(torch.nn.Identity(), (32, 32, 3), betas="linear")
    with pytest.raises(FarfieldError, match=r"expected \(channels, height, width\)"):
        own_denoiser(torch.nn.Identity(), 32, betas="linear")  # type: ignore[arg-type]


def test_copies_come_first_where_they_are_more_than_among_real_images():
    stands, measures = Standing(compared=4, apart=0, rows=[]), {"d": {"samples": Measures()}}

    def said(copies: Score) -> str:
        news = Novelty(threshold=0.1, copies=copies, copies_floor=Score(0.1, 64, 0.05, 0.2))
        return headline(64, "galaxies", stands, measures, {"d": news}).replace("\u202f", " ")

    assert said(Score(0.5, 64, 0.4, 0.6)).startswith(
        "32 of 64 new images are nearly copies (of real images 10 %); the 64 new images pass"
    )
    assert said(Score(0.1, 64, 0.05, 0.2)).startswith("The 64 new images pass")
