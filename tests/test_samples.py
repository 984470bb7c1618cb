"""Samples come back under their seeds, whoever wrote them and however."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import make_images, picture

from farfield.core.artifact import Images, Store
from farfield.core.error import FarfieldError
from farfield.core.seeds import parse_numbers, show_numbers
from farfield.data.image import load_images
from farfield.data.samples import open_samples, seed_keys


def shards(folder, keys, size=2):
    values = torch.arange(len(keys), dtype=torch.float32)[:, None, None, None].expand(-1, 3, 4, 4) / 10
    for i in range(0, len(keys), size):
        Store(folder, Images).write(i // size, Images(tuple(keys[i : i + size]), values[i : i + size].clone()))
    return values


@pytest.mark.parametrize("inside", ["run/samples", "folder"])
def test_shards_are_read_from_a_run_and_from_a_folder(tmp_path, inside):
    values = shards(tmp_path / inside, ["7", "3", "12"])
    top = tmp_path / inside.split("/")[0]
    if inside == "run/samples":
        (top / "config.json").write_text('{"request": {"command": "generate"}}')
    found = open_samples(top)
    assert found.keys == ("7", "3", "12") and torch.equal(found.values, values)
    assert open_samples(top, limit=1).keys == ("7",)


def test_names_that_are_numbers_are_seeds(tmp_path):
    for seed in (0, 7, 123):
        picture(seed, 6, 5).save(tmp_path / f"{seed:06d}.png")
    found = open_samples(tmp_path)
    assert found.keys == ("0", "7", "123") and found.values.shape == (3, 3, 6, 5)
    assert torch.equal(found.values, load_images(tmp_path, (3, 6, 5)).values)


def test_an_npz_and_a_bundled_domain_are_sources_too(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros((2, 4, 4, 3), np.uint8), keys=np.array(["000004", "000010"]))
    assert open_samples(tmp_path / "a.npz").keys == ("4", "10")
    assert open_samples("digits", limit=3).values.shape == (3, 1, 8, 8)


def test_names_that_would_become_one_stay_as_they_are():
    assert seed_keys(["01", "1"]) == ("01", "1")
    assert seed_keys(["0007", "img-1"]) == ("7", "img-1")


def test_too_few_and_unequal_images_are_refused(tmp_path):
    shards(tmp_path / "s", ["1", "2"])
    with pytest.raises(FarfieldError, match="1 to 2 images, found 3"):
        open_samples(tmp_path / "s", limit=3)
    make_images(tmp_path / "images", 1)
    picture(5, 8, 8).save(tmp_path / "images" / "small.png")
    with pytest.raises(FarfieldError, match="one size"):
        open_samples(tmp_path / "images")


@pytest.mark.parametrize(
    ("text", "numbers"), [("0-3", [0, 1, 2, 3]), ("1,5, 9-11", [1, 5, 9, 10, 11]), ("7", [7]), ("5,4", [5, 4])]
)
def test_numbers_are_read_and_shown(text, numbers):
    assert parse_numbers(text) == numbers
    assert parse_numbers(show_numbers(numbers)) == numbers


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("3-1", "runs backwards"),
        ("1,1", "1 occurs more than once"),
        ("0-4,2", "2 occurs more than once"),
        ("-1", "at least 0"),
        ("", "at least 0"),
        ("1,,2", "at least 0"),
        ("a", "at least 0"),
        ("0-99999999999", "at most 10,000,000"),
        (str(2**63), "below 2"),
    ],
)
def test_other_texts_are_refused(text, said):
    with pytest.raises(FarfieldError, match=said):
        parse_numbers(text)
