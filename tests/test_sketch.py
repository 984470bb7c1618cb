"""`sketch:SOURCE`: a domain of drawings made of any pictures."""

import numpy as np
import pytest
from tiny import make_images

from farfield.core.error import FarfieldError
from farfield.data.field_source import is_physical
from farfield.data.image import list_keys, load_images
from farfield.data.place import look
from farfield.data.sketch import sketch


def test_a_flat_picture_is_paper_at_any_brightness():
    for value in (1, 90, 255):
        assert (sketch(np.full((16, 16, 3), value, np.uint8)) == 1).all()
    assert (sketch(np.zeros((8, 8, 1), np.uint8)) == 1).all()  # no light at all: nothing to draw


def test_lines_are_drawn_where_it_is_darker_than_around_and_brightness_does_not_matter():
    picture = np.full((32, 32, 3), 200, np.uint8)
    picture[:, 16:] = 100
    drawing = sketch(picture)[..., 0]
    assert drawing.shape == (32, 32) and drawing.dtype == np.float32
    assert (drawing[:, :16] == 1).all()  # the bright side of an edge is paper
    row = drawing[5, 16:]
    assert row[0] < 0.6 and np.all(np.diff(row) >= 0) and row[-1] > 0.999  # dark at the edge, paper away from it
    assert np.allclose(drawing, drawing[0]) and np.allclose(drawing, sketch(picture // 2)[..., 0], atol=1e-6)
    assert np.allclose(drawing, sketch((picture / 127.5 - 1).astype(np.float32))[..., 0], atol=1e-5)
    assert np.allclose(drawing.T, sketch(picture.transpose(1, 0, 2))[..., 0], atol=1e-6)


def test_it_is_a_source_like_any_other(tmp_path):
    folder = str(make_images(tmp_path / "some", 5, 24, 16))
    source = f"sketch:{folder}"
    look(source)
    assert not is_physical(source) and list_keys(source) == list_keys(folder)
    images, plain = load_images(source, (3, 16, 16)), load_images(folder, (3, 16, 16))
    assert images.keys == plain.keys and images.values.shape == plain.values.shape
    assert bool((images.values[:, 0] == images.values[:, 2]).all())  # grey, also for a model of colours
    assert float(images.values.mean()) > 0.5 > float(plain.values.mean())
    assert len(list_keys("sketch:digits")) == len(list_keys("digits"))


def test_what_cannot_be_drawn_is_named(tmp_path):
    for gone in ("sketch:nowhere", "sketch:hubbel"):
        with pytest.raises(FarfieldError, match=gone.partition(":")[2]):
            look(gone)
    np.savez(tmp_path / "five.npz", images=np.zeros((3, 5, 8, 8), np.uint8))
    with pytest.raises(FarfieldError, match="found 5 channels"):
        load_images(f"sketch:{tmp_path / 'five.npz'}", (5, 8, 8))
