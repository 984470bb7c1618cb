"""The symmetries of a square are a group, and images keep their names under it."""

from __future__ import annotations

import pytest
import torch

from farfield.core.artifact import Images
from farfield.core.error import FarfieldError
from farfield.data.symmetry import ELEMENTS, apply, augment, group, parse

SQUARE = torch.arange(25.0).reshape(1, 5, 5)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["rot90"], ["identity", "rot90", "rot180", "rot270"]),
        (["flip"], ["identity", "flip"]),
        (["flip", "flipud"], ["identity", "rot180", "flip", "flipud"]),
        (["rot90", "flip"], list(ELEMENTS)),
        (["transpose", "flip"], list(ELEMENTS)),
        (["rot180"], ["identity", "rot180"]),
        (["transpose", "antitranspose"], ["identity", "rot180", "transpose", "antitranspose"]),
    ],
)
def test_names_generate_their_group(names, expected):
    assert list(group(names)) == expected


def test_one_after_another_is_one_of_them():
    for first, (k, b) in ELEMENTS.items():
        for second, (j, a) in ELEMENTS.items():
            product = next(n for n, e in ELEMENTS.items() if e == ((j + (-1) ** a * k) % 4, (a + b) % 2))
            assert torch.equal(apply(apply(SQUARE, first), second), apply(SQUARE, product)), (first, second)


def test_each_name_does_what_it_says():
    assert torch.equal(apply(SQUARE, "flip"), SQUARE.flip(-1))
    assert torch.equal(apply(SQUARE, "flipud"), SQUARE.flip(-2))
    assert torch.equal(apply(SQUARE, "transpose"), SQUARE.mT)
    assert torch.equal(apply(SQUARE, "rot180"), SQUARE.flip(-1, -2))
    assert torch.equal(apply(SQUARE, "rot90"), SQUARE.mT.flip(-2))
    assert len({tuple(apply(SQUARE, n).flatten().tolist()) for n in ELEMENTS}) == 8


def test_augmented_images_keep_the_name_of_their_original():
    images = Images(("a", "b"), torch.randn(2, 3, 4, 4))
    found = augment(images, ["rot90"])
    assert found.keys == ("a", "b", "a@rot90", "b@rot90", "a@rot180", "b@rot180", "a@rot270", "b@rot270")
    assert torch.equal(found.select(["a", "b"]).values, images.values)
    assert torch.equal(found.select(["b@rot270"]).values[0], apply(images.values[1], "rot270"))


def test_what_is_not_square_cannot_be_turned_by_a_quarter():
    wide = Images(("a",), torch.randn(1, 3, 4, 6))
    assert len(augment(wide, ["flip", "flipud"])) == 4
    with pytest.raises(FarfieldError, match="square images, found 4 × 6"):
        augment(wide, ["rot90"])


@pytest.mark.parametrize("text", ["spin", "rot90,mirror", "", ",", "identity"])
def test_unknown_symmetries_are_refused(text):
    with pytest.raises(FarfieldError, match="expected some of rot90"):
        parse(text)
