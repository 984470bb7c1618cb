"""Data sets in memory: sizes from headers, classes and their files, nested subsets, 8 bits a value."""

import json
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from farfield.core.error import FarfieldError, FarfieldWarning
from farfield.data.dataset import Dataset, open_dataset
from farfield.data.image import load_images
from farfield.data.labels import parse_labels
from farfield.data.source import open_collection
from farfield.data.subset import choose, first, shuffled

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (9, 12, 10, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (9, 12, 10), dtype=np.uint8)


def folder(path, pictures=RGB, names=None):
    for i, picture in enumerate(pictures):
        file = path / (names[i] if names else f"{i:03d}.png")
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(file)
    return path


def edm(path, pictures=RGB, labels=None, edit=lambda labels: labels):
    """A zip in EDM's layout, made without our writer."""
    names = [f"00000/img{i:08d}.png" for i in range(len(pictures))]
    with zipfile.ZipFile(path, "w") as archive:
        for name, picture in zip(names, pictures, strict=True):
            with archive.open(name, "w") as file:
                Image.fromarray(picture).save(file, "PNG")
        rows = None if labels is None else [list(row) for row in zip(names, labels, strict=True)]
        archive.writestr("dataset.json", json.dumps({"labels": edit(rows)}))
    return path


# --- sizes ------------------------------------------------------------------------------------------------------------


def common_shape(source, keys=None):
    with open_collection(source, labels=False) as collection:
        return collection.common_shape(keys)


@pytest.mark.parametrize(
    ("array", "shape"),
    [
        (RGB, (3, 12, 10)),
        (GREY, (1, 12, 10)),
        (RGB.transpose(0, 3, 1, 2), (3, 12, 10)),
        (GREY[..., None], (1, 12, 10)),
        (np.zeros((2, 12, 10, 5), np.uint8), (5, 12, 10)),
        (np.zeros((2, 5, 12, 10), np.uint8), (5, 12, 10)),
        (np.zeros((2, 1, 12, 3), np.uint8), (3, 1, 12)),
    ],
)
def test_the_size_of_an_npz_is_that_at_which_it_loads_unchanged(tmp_path, array, shape):
    np.savez(tmp_path / "a.npz", array)
    assert common_shape(tmp_path / "a.npz") == common_shape(tmp_path / "a.npz", keys=["000001"]) == shape
    found = open_dataset(tmp_path / "a.npz").images
    assert found.shape[1:] == shape and np.array_equal(np.sort(found.numpy().ravel()), np.sort(array.ravel()))


MODES = {
    "l.png": lambda: Image.fromarray(GREY[0]),
    "rgb.png": lambda: Image.fromarray(RGB[0]),
    "one.png": lambda: Image.fromarray(GREY[0] > 99),
    "la.png": lambda: Image.fromarray(GREY[0]).convert("LA"),
    "rgba.png": lambda: Image.fromarray(RGB[0]).convert("RGBA"),
    "p.png": lambda: Image.fromarray(RGB[0]).convert("P"),
    "i16.png": lambda: Image.fromarray(GREY[0].astype(np.uint16)),
    "f.tif": lambda: Image.fromarray(GREY[0].astype(np.float32) / 255),
    "cmyk.jpg": lambda: Image.fromarray(RGB[0]).convert("CMYK"),
    "grey.gif": lambda: Image.fromarray(GREY[0]),
    "colour.gif": lambda: Image.fromarray(RGB[0]).convert("P"),
    "a.webp": lambda: Image.fromarray(RGB[0]),
}


@pytest.mark.parametrize("name", MODES)
@pytest.mark.parametrize("orientation", [1, 6])
def test_headers_tell_the_size_that_decoding_finds(tmp_path, name, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    MODES[name]().save(tmp_path / name, **({"exif": exif} if orientation > 1 and ".gif" not in name else {}))
    with open_collection(tmp_path / name) as found:
        (key,) = found.keys
        height, width, channels = found.picture(key).shape
        assert found.shape(key) == (channels, height, width) == common_shape(tmp_path / name)


def test_transparent_grey_is_laid_over_the_background_in_colour(tmp_path):
    Image.fromarray(GREY[0]).save(tmp_path / "t.png", transparency=7)
    with open_collection(tmp_path / "t.png") as found:
        assert found.picture("t").shape[2] == found.shape("t")[0] == 3


def test_two_images_that_differ_are_named(tmp_path):
    folder(tmp_path, [RGB[0], RGB[1], RGB[2, :5]])
    with pytest.raises(FarfieldError, match=r"3×12×10 \(000\) and 3×5×10 \(002\)"):
        common_shape(tmp_path)
    assert common_shape(tmp_path, keys=["001", "000"]) == (3, 12, 10)
    with pytest.raises(FarfieldError, match="nosuch"):
        common_shape(tmp_path, keys=["nosuch"])


def test_damaged_files_are_passed_over_as_long_as_one_is_good(tmp_path):
    folder(tmp_path, RGB[:1])
    (tmp_path / "a.png").write_bytes(b"no picture")
    assert common_shape(tmp_path) == (3, 12, 10)
    (tmp_path / "000.png").unlink()
    with pytest.raises(FarfieldError, match=r"found none \(a: "):
        common_shape(tmp_path)


def test_sizes_of_domains():
    assert common_shape("digits") == (1, 8, 8) and common_shape("clouds") == (1, 64, 64)
    with pytest.raises(FarfieldError, match=r"hubble-0001.*hubble-0002"):
        common_shape("hubble")


# --- in memory --------------------------------------------------------------------------------------------------------


def test_values_are_those_of_the_image_loader(tmp_path):
    for source, shape in ((folder(tmp_path / "f"), (3, 12, 10)), (edm(tmp_path / "z.zip", GREY), (3, 5, 7))):
        found, expected = open_dataset(source, shape=shape), load_images(source, shape)
        assert found.keys == expected.keys and found.images.dtype == torch.uint8 and found.shape == shape
        assert torch.equal(found.values(), expected.values)
        assert torch.equal(found.values(torch.tensor([4, 1])), expected.values[[4, 1]])
        assert torch.equal(found.as_images().values, expected.values)


def test_digits_keep_their_levels_and_classes():
    from sklearn.datasets import load_digits

    found = open_dataset("digits")
    assert found.images.dtype == torch.float32 and found.classes == 10
    assert torch.equal(found.labels, torch.from_numpy(load_digits().target).long())
    assert np.array_equal((found.values()[:, 0].numpy() + 1) * 8, load_digits().images)


def test_a_mixture_of_8_and_16_bits_loses_nothing(tmp_path):
    folder(tmp_path, GREY[:2])
    Image.fromarray(GREY[2].astype(np.uint16) * 100).save(tmp_path / "deep.png")
    found = open_dataset(tmp_path)
    assert found.images.dtype == torch.float32
    assert torch.equal(found.values(), load_images(tmp_path, (1, 12, 10)).values)


def test_damaged_images_are_left_out_with_their_class(tmp_path):
    folder(tmp_path, names=[f"{'ab'[i % 2]}/{i}.png" for i in range(9)])
    (tmp_path / "a" / "4.png").write_bytes(b"no picture")
    with pytest.warns(FarfieldWarning, match=r"1 of 9 unreadable: a/4"):
        found = open_dataset(tmp_path)
    assert "a/4" not in found.keys and [key[0] == "b" for key in found.keys] == found.labels.bool().tolist()
    with pytest.raises(FarfieldError, match="a/4"):
        open_dataset(tmp_path, strict=True)


def test_the_digest_sees_keys_pixels_and_classes(tmp_path):
    labels = list(range(9))
    one = open_dataset(edm(tmp_path / "a.zip", labels=labels))
    np.savez(tmp_path / "b.npz", images=RGB, labels=labels, keys=one.keys)
    assert open_dataset(tmp_path / "b.npz").digest() == one.digest()
    other = Dataset(one.keys, one.images, one.labels.flip(0)), Dataset(one.keys, one.images)
    moved = Dataset(one.keys[::-1], one.images, one.labels), Dataset(one.keys, one.images ^ 1, one.labels)
    assert len({d.digest() for d in (one, *other, *moved)}) == 5


def test_a_data_set_has_as_many_keys_as_images_and_each_once():
    for keys in (("a",), ("a", "a")):
        with pytest.raises(FarfieldError, match="different key"):
            Dataset(keys, torch.zeros(2, 1, 4, 4))


# --- subsets ----------------------------------------------------------------------------------------------------------


def test_subsets_are_nested_and_hang_on_the_set_of_keys_alone():
    keys = [f"k{i}" for i in range(100)]
    order = shuffled(keys, 5)
    assert sorted(order) == sorted(keys) and order == shuffled(keys[::-1], 5) and order != shuffled(keys, 6)
    for n in (1, 50, 100):
        assert first(keys, n, 5, "") == order[:n] and first(keys, n, None, "") == keys[:n]
    assert choose(keys, 50, 5)[0] == sorted(order[:50])
    for n in (0, 101):
        with pytest.raises(FarfieldError, match=f"1 to 100 images, found {n}"):
            first(keys, n, None, "")
    with pytest.raises(FarfieldError, match="seed -1"):
        shuffled(keys, -1)


def test_a_subset_takes_images_and_classes_along(tmp_path):
    whole = open_dataset(edm(tmp_path / "a.zip", labels=range(9)))
    for seed in (None, 3):
        half, quarter = whole.subset(8, seed), whole.subset(4, seed)
        assert half.keys[:4] == quarter.keys and torch.equal(half.images[:4], quarter.images)
        assert all(int(key[-2:]) == label for key, label in zip(half.keys, half.labels.tolist(), strict=True))
        assert open_dataset(tmp_path / "a.zip", limit=8, seed=seed).digest() == half.digest()


# --- classes ----------------------------------------------------------------------------------------------------------


def test_classes_of_a_zip_and_of_the_same_unpacked(tmp_path):
    labels = [3, 1, 4, 1, 5, 9, 2, 6, 5]
    source = edm(tmp_path / "a.zip", labels=labels)
    zipfile.ZipFile(source).extractall(tmp_path / "a")
    for found in (open_dataset(source), open_dataset(tmp_path / "a")):
        assert found.labels.tolist() == labels and found.classes == 10 and found.labels.dtype == torch.int64
        assert found.keys[0] == "00000/img00000000"  # the same in a small subset as in a large one
    assert open_dataset(source, labels=False).labels is None
    assert open_dataset(edm(tmp_path / "null.zip")).labels is None


def test_class_folders_are_numbered_in_the_order_of_their_names(tmp_path):
    names = ["dog/1.png", "cat/1.png", "dog/2.png", "eel/x.png"]
    found = open_dataset(folder(tmp_path / "a", RGB[:4], names))
    assert dict(zip(found.keys, found.labels.tolist(), strict=True)) == {"cat/1": 0, "dog/1": 1, "dog/2": 1, "eel/x": 2}
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in names:
            archive.write(tmp_path / "a" / name, f"top/{name}")
    assert open_dataset(tmp_path / "a.zip").digest() == found.digest()


@pytest.mark.parametrize(
    "names", [["a/b/1.png", "a/2.png"], ["a/1.png", "a/2.png"], [f"0000{i}/img0000{i}000.png" for i in (0, 1)]]
)
def test_other_folders_are_no_classes(tmp_path, names):
    assert open_dataset(folder(tmp_path, RGB[:2], names)).labels is None


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda rows: rows[:-2], r"found none for 2 of them: 00000/img00000007.png"),
        (lambda rows: [*rows, ["other.png", 1]], r"found 1 more: other.png"),
        (lambda rows: [*rows, rows[0]], "each name once"),
        (lambda rows: [[name, str(label)] for name, label in rows], "found '0'"),
        (lambda rows: [[name, label + 0.5] for name, label in rows], r"found 0\.5"),
        (lambda rows: [[name, True] for name, _ in rows], "found True"),
        (lambda rows: [[name, -2] for name, _ in rows], "found -2"),
        (lambda rows: [[name, [1, 0]] for name, _ in rows], r"found \[1, 0\]"),
        (lambda rows: [name for name, _ in rows], "something else"),
        (lambda rows: 7, "something else"),
    ],
)
def test_a_wrong_label_file_is_an_error_that_can_be_left_out(tmp_path, edit, message):
    source = edm(tmp_path / "a.zip", labels=range(9), edit=edit)
    with pytest.raises(FarfieldError, match=message):
        open_dataset(source)
    assert len(open_dataset(source, labels=False)) == 9 and common_shape(source) == (3, 12, 10)


@pytest.mark.parametrize("content", [b"", b"[]", b'{"a": 1}', b"\xff", b'{"labels": [1]}'])
def test_what_is_no_label_file(content):
    with pytest.raises(FarfieldError, match=r"there: expected .*labels"):
        parse_labels(content, "there", {"a": "a.png"})


@pytest.mark.parametrize("labels", [[1, 2], [0.5] * 9, [-2] * 9])
def test_wrong_labels_in_an_npz(tmp_path, labels):
    np.savez(tmp_path / "a.npz", images=RGB, labels=labels)
    with pytest.raises(FarfieldError, match=r"a\.npz: labels: expected"):
        open_dataset(tmp_path / "a.npz")
    assert open_dataset(tmp_path / "a.npz", labels=False).labels is None
