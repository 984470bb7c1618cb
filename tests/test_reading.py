"""What is done to pictures and fields on the way in is said, once a source, and kept for the summary."""

import warnings

import numpy as np
import pytest
from tiny import make_images

from farfield.core.note import kept
from farfield.data.dataset import open_dataset
from farfield.data.field_source import open_fields
from farfield.data.image import list_keys, load_images
from farfield.data.picture import say_fit
from farfield.data.science import load_fields


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize(
    ("sizes", "shape", "line"),
    [
        ([(32, 32, 3)], (3, 32, 32), None),
        ([(423, 423, 1)], (3, 32, 32), "423×423 → 32×32 (reduced 13.2 to 1), one channel repeated in 3"),
        ([(16, 32, 3)], (3, 32, 32), "16×32 → 32×32 (cropped 50%, enlarged 1 to 2)"),
        ([(64, 64, 3), (16, 16, 3)], (3, 32, 32),
         "16×16 to 64×64 → 32×32 (reduced up to 2 to 1, enlarged up to 1 to 2)"),
        ([(32, 32, 3)], (1, 32, 32), "colours turned to grey"),
        ([(32, 32, 1)], (3, 32, 32), "one channel repeated in 3"),
        ([(40, 80, 3), (64, 64, 3)], (3, 32, 32), "40×80 to 64×64 → 32×32 (cropped up to 50%, reduced up to 2 to 1)"),
    ],
)  # fmt: skip
def test_the_line_says_what_fit_does(sizes, shape, line):
    with kept() as book:
        say_fit("src", sizes, shape)
    assert book == ([f"src: {line}"] if line else [])


def test_each_way_of_reading_says_it_once(tmp_path):
    files = make_images(tmp_path / "files", 3, 12, 16)
    np.savez(tmp_path / "a.npz", images=np.zeros((3, 12, 16, 3), np.uint8))
    np.save(tmp_path / "f.npy", np.random.default_rng(0).normal(size=(24, 24)))
    said = "12×16 → 8×8 (cropped 25%, reduced 1.5 to 1)"
    with kept() as book:
        for _ in range(2):
            for source in (files, tmp_path / "a.npz"):
                load_images(source, (3, 8, 8))
        list_keys(files, strict=True)
        load_fields(tmp_path / "f.npy", (3, 8, 8))
        open_fields("clouds", (3, 16, 16), keys=["clouds-0001"])
    assert book == [
        f"{files}: {said}",
        f"{tmp_path / 'a.npz'}: {said}",
        f"{tmp_path / 'f.npy'}: 24×24 → 8×8 (averaged 3 to 1), one channel repeated in 3",
        "clouds: 64×64 → 16×16 (averaged 4 to 1), one channel repeated in 3",
    ]
    with kept() as book:
        open_dataset(files, shape=(3, 8, 8))
        open_dataset(files)
    assert book == [f"{files}: {said}"]
