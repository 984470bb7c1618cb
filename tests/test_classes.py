"""Classes keep their names: wherever they come from, in every format that is written, and between the sources of a command."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from farfield.api.call import function
from farfield.command.commands import COMMANDS
from farfield.core.error import FarfieldError, FarfieldWarning
from farfield.core.note import kept
from farfield.data.dataset import open_dataset

convert = function(COMMANDS["dataset convert"])

RNG = np.random.default_rng(0)


def put(folder, names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)
    return folder


def classes(source):
    found = open_dataset(source)
    return {} if found.labels is None else dict(zip(found.keys, found.labels.tolist(), strict=True))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["0/x.png", "1/x.png", "2/x.png", "10/x.png"], {"0/x": 0, "1/x": 1, "2/x": 2, "10/x": 10}),
        (["2019/x.png", "2021/x.png"], {"2019/x": 0, "2021/x": 1}),
        (["c2/x.png", "c10/x.png"], {"c2/x": 0, "c10/x": 1}),
        (["a/1.png", "a/sub/2.png", "b/1.png"], {"a/1": 0, "a/sub/2": 0, "b/1": 1}),
        (["cat_0.png", "dog_0.png", "cat_1.png"], {"cat_0": 0, "cat_1": 0, "dog_0": 1}),
        (["IMG_0.png", "IMG_1.png"], {}),
        (["1.png", "2.png"], {}),
    ],
)
def test_classes_by_folders_and_names(tmp_path, names, expected):
    assert classes(put(tmp_path / "d", names)) == expected
    with zipfile.ZipFile(tmp_path / "w.zip", "w") as archive:  # as .NET writes them
        for name in names:
            member = zipfile.ZipInfo("x")
            member.filename = "d\\" + name.replace("/", "\\")
            archive.writestr(member, (tmp_path / "d" / name).read_bytes())
    assert classes(tmp_path / "w.zip") == expected


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("metadata.jsonl", '{"file_name":"0.png","label":1}\n{"file_name":"1.png","label":0}\n', {"0": 1, "1": 0}),
        ("metadata.jsonl", '{"file_name":"0.png","label":"b"}\n{"file_name":"1.png","label":"a"}\n', {"0": 1, "1": 0}),
        ("metadata.csv", "file_name,label\n0.png,1\n1.png,0\n", {"0": 1, "1": 0}),
        ("metadata.csv", "file_name,text\n0.png,hello\n1.png,you\n", {}),
        ("dataset.json", '{"labels":[["0.png",1],["1.png",-1]]}', {"0": 1}),
        ("dataset.json", '{"labels":[["0.png",-1],["1.png",-1]]}', {}),
    ],
)
def test_classes_by_files(tmp_path, file, text, expected):
    put(tmp_path / "d", ["0.png", "1.png"])
    (tmp_path / "d" / file).write_text(text)
    assert classes(tmp_path / "d") == expected
    assert len(open_dataset(tmp_path / "d", labels=False)) == 2


@pytest.mark.parametrize("name", ["labels", "label", "targets", "y", "ans"])
def test_classes_in_arrays(tmp_path, name):
    images = RNG.integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", images=images, **{name: [3, 1, 0, 2]})
    assert list(classes(tmp_path / "a.npz").values()) == [3, 1, 0, 2]
    np.savez(tmp_path / "b.npz", images, [3, 1, 0, 2])  # arr_0, arr_1
    assert list(classes(tmp_path / "b.npz").values()) == [3, 1, 0, 2]
    np.savez(tmp_path / "c.npz", images=images, **{name: ["dog", "cat", "cat", "eel"]})
    found = open_dataset(tmp_path / "c.npz")
    assert found.labels.tolist() == [1, 0, 0, 2] and found.class_names == ("cat", "dog", "eel")


def test_an_image_without_a_class_is_left_out_and_said(tmp_path):
    np.savez(tmp_path / "a.npz", images=RNG.integers(0, 256, (3, 8, 8), dtype=np.uint8), labels=[1, -1, 0])
    with kept() as said:
        assert classes(tmp_path / "a.npz") == {"000000": 1, "000002": 0}
    assert "1 of 3 images have no class (-1) and are left out" in said[0]


@pytest.mark.parametrize("out", ["o.zip", "o.npz", "o"])
def test_names_travel_through_every_format(tmp_path, out):
    put(tmp_path / "d", ["dog/1.png", "ant/1.png", "dog/2.png"])
    convert(str(tmp_path / "d"), tmp_path / out, quiet=True)
    before, after = open_dataset(tmp_path / "d"), open_dataset(tmp_path / out)
    assert before.class_names == after.class_names == ("ant", "dog") and before.labels.tolist() == after.labels.tolist()


def test_a_subset_is_drawn_from_all_classes(tmp_path):
    put(tmp_path / "d", [f"{c}/{i:02d}.png" for c in "abc" for i in range(20)])
    convert(str(tmp_path / "d"), tmp_path / "o.zip", max_images=15, quiet=True)
    convert(str(tmp_path / "d"), tmp_path / "p.zip", max_images=30, quiet=True)
    small, large = open_dataset(tmp_path / "o.zip"), open_dataset(tmp_path / "p.zip")
    assert set(small.labels.tolist()) == {0, 1, 2} and small.digest() == large.subset(15).digest()


SMALL = {"network": "ddpmpp", "width": 8, "multipliers": (1, 1), "blocks": 1, "attention": ()}


def trained(data, out, heldout=None, **options):
    fixed = {"length": 8, "batch_size": 4, "warmup": 1, "samples": 0}
    given = {**SMALL, "labels": True} if "start" not in options else {}
    given |= {"heldout": heldout and str(heldout), **options}
    return function(COMMANDS["train"])(data=str(data), out=out, quiet=True, **fixed, **given)


def test_the_sources_of_a_training_are_compared_by_name(tmp_path):
    data = put(tmp_path / "train", [f"{c}/{i}.png" for c in "abc" for i in range(3)])
    test = put(tmp_path / "test", [f"{c}/{i}.png" for c in "ac" for i in range(3)])
    assert open_dataset(test).labels.tolist() == [0, 0, 0, 1, 1, 1]
    found = open_dataset(test).with_classes_of(open_dataset(data).class_names, "test", "train")
    assert found.labels.tolist() == [0, 0, 0, 2, 2, 2] and found.class_names == ("a", "b", "c")
    trained(data, tmp_path / "r", test)
    told = json.loads(next((tmp_path / "r" / "snapshots").glob("*/training.json")).read_text())
    assert told["class_names"] == ["a", "b", "c"]
    more = put(tmp_path / "more", [f"{c}/{i}.png" for c in "abcde" for i in range(2)])
    with pytest.raises(FarfieldError, match=r"more: expected the classes of .*train \(a, b, c\), found also d, e"):
        trained(data, tmp_path / "s", more)
    # the model's own classes decide when it is trained further, on fewer of them
    with pytest.raises(FarfieldError, match=r"expected the classes of .*found also d, e"):
        trained(more, tmp_path / "t", start=str(tmp_path / "r"))
    trained(test, tmp_path / "u", start=str(tmp_path / "r"))


def test_a_training_with_classes_wants_them_in_every_source(tmp_path):
    data = put(tmp_path / "train", [f"{c}/{i}.png" for c in "ab" for i in range(3)])
    flat = put(tmp_path / "flat", [f"{i}.png" for i in range(4)])
    with pytest.raises(FarfieldError, match="flat: --labels, but its images have no classes"):
        trained(flat, tmp_path / "r")
    with pytest.raises(FarfieldError, match="flat: has no classes, but the model is class-conditional"):
        trained(data, tmp_path / "r", flat)
    assert not (tmp_path / "r").exists()


def test_held_out_images_must_not_be_training_images(tmp_path):
    data = put(tmp_path / "train", [f"{i}.png" for i in range(20)])
    with pytest.raises(FarfieldError, match=r"train: 20 of its 20 images are among .*train .*never trained on"):
        trained(data, tmp_path / "r", data, labels=False)
    test = put(tmp_path / "test", [f"{i}.png" for i in range(20)])
    (test / "twin.png").write_bytes((data / "7.png").read_bytes())
    with pytest.warns(FarfieldWarning, match=r"test: 1 of its 21 images are among .*train .twin.; left out"):
        trained(data, tmp_path / "r", test, labels=False)
