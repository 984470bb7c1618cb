"""What lies below a folder is read, or said: links, runs, strays, patterns, zips as folders, kinds side by side."""

from __future__ import annotations

import io
import json
import os
import zipfile

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from farfield.core.error import FarfieldError, FarfieldWarning
from farfield.core.note import kept
from farfield.data.dataset import open_dataset
from farfield.data.field_source import is_physical
from farfield.data.image import list_keys
from farfield.data.listing import natural
from farfield.data.samples import open_samples


def put(folder, *names, value=0):
    for i, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (value + i, 0, 0)).save(path)


def as_zip(folder, path, slash="/"):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(p for p in folder.rglob("*") if p.is_file()):
            member = zipfile.ZipInfo("x")
            member.filename = "top" + slash + file.relative_to(folder).as_posix().replace("/", slash)
            archive.writestr(member, file.read_bytes())
    return path


def test_a_stray_beside_class_folders_is_named_and_passed_over(tmp_path):
    put(tmp_path / "d", "a/0.png", "a/1.png", "b/0.png", "preview.png")
    for source in (tmp_path / "d", as_zip(tmp_path / "d", tmp_path / "d.zip")):
        with pytest.warns(FarfieldWarning, match=r"preview\.png beside the folders of images: passed over"):
            found = open_dataset(source)
        assert found.keys == ("a/0", "a/1", "b/0") and found.class_names == ("a", "b")


def test_many_beside_folders_are_asked_about_and_a_pattern_answers(tmp_path):
    put(tmp_path / "d", "a/0.png", "b/0.png", *(f"{i}.png" for i in range(3)))
    with pytest.raises(
        FarfieldError, match=r"3 images lie beside 2 folders .*a, b.* give '.*/d/\*' for those"
    ) as error:
        list_keys(tmp_path / "d")
    asked = str(error.value).split("'")[1::2]
    assert [len(list_keys(pattern)) for pattern in asked] == [3, 2, 5]
    with pytest.raises(FarfieldError, match=r"files that fit '\*\.jpg' in .*d, found none"):
        list_keys(tmp_path / "d" / "*.jpg")


def test_links_are_followed_and_cycles_end(tmp_path):
    put(tmp_path, "d/ant/0.png", "elsewhere/bee/1.png", "elsewhere/bee/2.png")
    os.symlink(tmp_path / "elsewhere" / "bee", tmp_path / "d" / "bee")
    os.symlink(tmp_path / "d", tmp_path / "d" / "ant" / "back")
    os.symlink(tmp_path / "nowhere", tmp_path / "d" / "lost.png")
    with kept() as said:
        found = open_dataset(tmp_path / "d")
    assert found.keys == ("ant/0", "bee/1", "bee/2") and found.labels.tolist() == [0, 1, 1]
    assert "ant/back/ (a link back to a folder above it)" in said[0] and "lost.png (a broken link)" in said[0]


def test_runs_below_a_source_are_no_data_and_a_run_is_its_samples(tmp_path):
    put(tmp_path / "d", "0.png", "1.png", "out/png/0.png", "made/samples/000003.png", "made/sheet.png")
    for name, command in (("out", "expand"), ("made", "generate")):
        (tmp_path / "d" / name / "config.json").write_text(json.dumps({"request": {"command": command}}))
    with kept() as said:
        assert list_keys(tmp_path / "d") == ["0", "1"]
    assert said == [f"{tmp_path / 'd'}: passed over made/ (a run of farfield), out/ (a run of farfield)"]
    assert list_keys(tmp_path / "d" / "made") == ["000003"] and open_samples(tmp_path / "d" / "made").keys == ("3",)
    (tmp_path / "d" / "made" / "config.json").write_text(json.dumps({"request": {"command": "train"}}))
    with pytest.raises(FarfieldError, match="a run of farfield train without samples"):
        list_keys(tmp_path / "d" / "made")


def test_what_is_passed_over_is_counted_by_its_ending(tmp_path):
    put(tmp_path, "0.png", "1.png", "2.tga", "3.jp2")
    for name in ("a.heic", "b.heic", "c.xyz", "notes.txt", "README", ".hidden"):
        (tmp_path / name).write_text("x")
    with kept() as said:
        assert list_keys(tmp_path) == ["0", "1", "2", "3"]
    assert said == [f"{tmp_path}: passed over 2 .heic, 1 .xyz"]


@pytest.mark.parametrize("parts", [("train", "test"), ("Train", "val", "test"), ("images", "masks")])
def test_parts_of_a_data_set_are_asked_about(tmp_path, parts):
    put(tmp_path / "d", *(f"{part}/{i}.png" for part in parts for i in range(2)))
    for source in (tmp_path / "d", as_zip(tmp_path / "d", tmp_path / "d.zip")):
        with pytest.raises(FarfieldError, match=r"which are parts of a data set and no classes; give .* or "):
            open_dataset(source)
    assert len(list_keys(tmp_path / "d" / parts[0])) == 2


def test_kinds_side_by_side_are_asked_about_unless_one_is_a_stray(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(4):
        fits.PrimaryHDU(rng.normal(9, 3, (8, 8))).writeto(tmp_path / f"{i}.fits")
    put(tmp_path, "mosaic.png")
    assert is_physical(tmp_path)
    put(tmp_path, *(f"{i}.jpg" for i in range(4)))
    with pytest.raises(FarfieldError, match=r"holds 4 \.fits and 5 \.(jpg|png), two kinds of data"):
        list_keys(tmp_path)
    assert is_physical(f"{tmp_path}/*.fits") and not is_physical(f"{tmp_path}/*.jpg")
    assert list_keys(f"{tmp_path}/*.jpg") == ["0", "1", "2", "3"]


@pytest.mark.parametrize("ending", ["npz", "npy", "h5"])
def test_bytes_are_pictures_in_every_container_and_in_folders_of_them(tmp_path, ending):
    import h5py

    x = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)

    def write(path):
        path.parent.mkdir(exist_ok=True)
        if ending == "h5":
            with h5py.File(path, "w") as file:
                file["images"], file["ans"] = x, [2, 0, 1]
        elif ending == "npy":
            np.save(path, x)
        else:
            np.savez(path, images=x, label=[2, 0, 1])

    write(tmp_path / f"a.{ending}")
    write(tmp_path / "d" / f"a.{ending}")
    write(tmp_path / "d" / f"b.{ending}")
    one, both = open_dataset(tmp_path / f"a.{ending}"), open_dataset(tmp_path / "d")
    assert one.images.dtype == both.images.dtype and np.array_equal(one.images.permute(0, 2, 3, 1).numpy(), x)
    assert both.keys == tuple(f"{stem}/{i:06d}" for stem in "ab" for i in range(3))
    if ending != "npy":
        assert one.labels.tolist() == [2, 0, 1] and both.labels.tolist() == [2, 0, 1] * 2
    assert not is_physical(tmp_path / f"a.{ending}") and not is_physical(tmp_path / "d")


@pytest.mark.parametrize(
    ("low", "kind"), [(-1e-9, "unit"), (0, "unit"), (-0.2, "asked"), (-0.5, "signed"), (-1, "signed")]
)
def test_the_range_of_floats(tmp_path, low, kind):
    x = np.random.default_rng(0).random((4, 8, 8, 3))
    x[0, 0, 0, 0] = low
    for name, save in (("a.npy", np.save), ("a.npz", lambda path, v: np.savez(path, images=v))):
        save(tmp_path / name, x)
        if kind == "asked":
            with pytest.raises(
                FarfieldError, match=r"floats from -0\.2 .* can be pictures in \[-1, 1\], or in \[0, 1\]"
            ):
                open_dataset(tmp_path / name)
            continue
        with kept() as said:
            found = open_dataset(tmp_path / name).images.permute(0, 2, 3, 1).double().numpy()
        assert np.abs(found - (x if kind == "signed" else x * 2 - 1)).max() < 1e-6
        assert f"{tmp_path / name}: floats are read as pictures in [{-1 if kind == 'signed' else 0}, 1]" in said[0]
    np.savez(tmp_path / "told.npz", images=x, range=[-1, 1])
    assert np.abs(open_dataset(tmp_path / "told.npz").images.permute(0, 2, 3, 1).double().numpy() - x).max() < 1e-6


def test_files_of_one_folder_are_of_one_kind_and_range(tmp_path):
    x = np.random.default_rng(0).random((8, 8, 3))
    for i in range(3):
        np.save(tmp_path / f"{i}.npy", x[None])
    with kept() as said:
        assert open_dataset(tmp_path).keys == ("0", "1", "2")
    assert said == [f"{tmp_path}: floats are read as pictures in [0, 1]; --stretch reads them as physical fields"]
    np.save(tmp_path / "3.npy", x[None] * 2 - 1)
    with pytest.raises(FarfieldError, match=r"floats of 0\.npy are in \[0, 1\], those of 3\.npy in \[-1, 1\]"):
        open_dataset(tmp_path)
    for name in ("3", "4"):
        np.save(tmp_path / f"{name}.npy", x[None] * 40)
    with pytest.raises(FarfieldError, match=r"3\.npy holds physical numbers, 0\.npy a picture's; give --stretch"):
        open_dataset(tmp_path)


def test_edm_s_folders_of_a_thousand_samples_are_seeds(tmp_path):
    put(tmp_path, "000000/000007.png", "000000/000999.png", "001000/001004.png")
    assert open_samples(tmp_path).keys == ("7", "999", "1004")
    assert open_dataset(tmp_path).labels is None


def test_a_pipe_is_no_source(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FarfieldError, match="found a device or a pipe"):
        list_keys(tmp_path / "pipe")


def test_natural_order():
    assert sorted(["10", "2", "a10", "a2", "b"], key=natural) == ["a2", "a10", "b", "2", "10"]


def test_a_zip_of_another_kind_is_refused(tmp_path):
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.npy", buffer.getvalue())
    with pytest.raises(FarfieldError, match=r"expected images .*found none"):
        list_keys(tmp_path / "a.zip")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_files_of_one_name_in_a_zip_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for _ in range(2):
            archive.writestr("a.png", b"x")
    with pytest.raises(FarfieldError, match=r"names of their own, found several called a\.png"):
        list_keys(tmp_path / "a.zip")
