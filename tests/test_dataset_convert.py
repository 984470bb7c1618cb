"""Conversion: between all formats and back to the byte, nested, all or nothing, and every way to ask wrongly."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_dataset import GREY, RGB, edm, folder
from tiny import farfield

from farfield.api.call import function
from farfield.command.commands import COMMANDS
from farfield.core.error import FarfieldError, FarfieldWarning
from farfield.data.dataset import open_dataset
from farfield.data.source import open_collection
from farfield.study.model import duplicates

convert = function(COMMANDS["dataset convert"])
scan = function(COMMANDS["dataset scan"])

EMOJI = Path(__file__).resolve().parents[2] / "shared" / "data" / "noto-emoji-64x64.npz"


def contents(path: Path) -> dict[str, bytes]:
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    return {p.relative_to(path).as_posix(): p.read_bytes() for p in files}


@pytest.mark.parametrize("pictures", [RGB, GREY], ids=["rgb", "grey"])
@pytest.mark.parametrize("labels", [None, list(range(9))], ids=["plain", "classes"])
def test_every_way_round_ends_at_the_same_bytes(tmp_path, pictures, labels):
    source, paths = edm(tmp_path / "source.zip", pictures, labels), {}
    for kind, name in (("zip", "a.zip"), ("folder", "a"), ("npz", "a.npz")):
        paths[kind] = tmp_path / name
        convert(str(source), paths[kind], quiet=True)
    for before in paths.values():
        for kind, after in paths.items():
            again = tmp_path / "again" / f"{before.name}-{after.name}"
            convert(str(before), again, quiet=True, format=kind)
            assert contents(again) == contents(after)
    expected = open_dataset(source)
    for path in paths.values():
        assert open_dataset(path).digest() == expected.digest()
    assert np.array_equal(expected.images.permute(0, 2, 3, 1).numpy().reshape(pictures.shape), pictures)


def test_the_layout_is_edms(tmp_path):
    np.savez(tmp_path / "many.npz", images=np.arange(1003, dtype=np.uint8)[:, None, None].repeat(2, 1).repeat(2, 2))
    convert(str(tmp_path / "many.npz"), tmp_path / "many.zip", quiet=True)
    with zipfile.ZipFile(tmp_path / "many.zip") as archive:
        names = archive.namelist()
        assert names[0] == "00000/img00000000.png" and names[1002] == "00001/img00001002.png"
        assert names[1003] == "dataset.json" and len(names) == 1004
        assert json.loads(archive.read("dataset.json")) == {"labels": None}
        with archive.open(names[1001]) as file:
            assert np.asarray(Image.open(file)).tolist() == [[1001 % 256] * 2] * 2


def test_the_reader_of_edm_itself_finds_images_and_classes(tmp_path):
    """What EDM's data loader does with a zip: sorted names of image files, and ``labels[name]`` of its json."""
    convert(str(edm(tmp_path / "s.zip", labels=[8, *range(8)])), tmp_path / "a.zip", seed=1, quiet=True)
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        names = sorted(n for n in archive.namelist() if Path(n).suffix.lower() in Image.registered_extensions())
        classes = dict(json.loads(archive.read("dataset.json"))["labels"])
        loaded = [(np.asarray(Image.open(archive.open(n))), classes[n]) for n in names]
    expected = {RGB[i].tobytes(): label for i, label in enumerate([8, *range(8)])}
    assert {picture.tobytes(): label for picture, label in loaded} == expected


def test_subsets_of_a_seed_are_nested_row_by_row(tmp_path):
    source = str(edm(tmp_path / "s.zip", labels=range(9)))
    for n in (2, 4, 8):
        convert(source, tmp_path / f"{n}.npz", max_images=n, seed=7, quiet=True)
        convert(source, tmp_path / f"{n}.zip", max_images=n, seed=7, quiet=True)
    for n in (2, 4):
        half, whole = (np.load(tmp_path / f"{m}.npz") for m in (n, 2 * n))
        for name in ("images", "labels", "keys"):
            assert np.array_equal(half[name], whole[name][:n])
        small, large = (open_dataset(tmp_path / f"{m}.zip") for m in (n, 2 * n))
        assert small.digest() == large.subset(n).digest()
    convert(source, tmp_path / "other.npz", max_images=8, seed=8, quiet=True)
    assert not np.array_equal(np.load(tmp_path / "other.npz")["keys"], np.load(tmp_path / "8.npz")["keys"])


def test_floats_keep_their_values_in_an_npz_and_are_rounded_in_a_png(tmp_path):
    digits = open_dataset("digits")
    convert("digits", tmp_path / "d.npz", quiet=True)
    found = open_dataset(tmp_path / "d.npz")
    assert found.keys == digits.keys and torch.equal(found.labels, digits.labels)
    assert (found.images - digits.images).abs().max() < 1e-6
    with pytest.warns(FarfieldWarning, match="8 bits"):
        convert("digits", tmp_path / "d.zip", quiet=True)
    assert (open_dataset(tmp_path / "d.zip").values() - digits.images).abs().max() <= 0.5001 / 127.5


def test_bright_floats_are_not_taken_for_another_range(tmp_path):
    np.savez(tmp_path / "bright.npz", np.linspace(0.6, 1, 32, dtype=np.float32).reshape(2, 4, 4))
    convert(str(tmp_path / "bright.npz"), tmp_path / "again.npz", quiet=True)
    before, after = (open_dataset(tmp_path / name) for name in ("bright.npz", "again.npz"))
    assert (before.images - after.images).abs().max() < 1e-6 and before.images.min() > 0


# --- sizes ------------------------------------------------------------------------------------------------------------


def test_resizing_crops_stretches_or_pads(tmp_path):
    # 8 × 20: a white middle of 8 × 8 between black
    wide = np.zeros((8, 20), np.uint8)
    wide[:, 6:14] = 255
    folder(tmp_path / "s", [wide])
    found = {}
    for mode in ("center-crop", "stretch", "pad"):
        convert(str(tmp_path / "s"), tmp_path / f"{mode}.npz", resize=(20, 20), resize_mode=mode, quiet=True)
        found[mode] = np.load(tmp_path / f"{mode}.npz")["images"][0, ..., 0]
    assert found["center-crop"].min() == 255
    columns = np.abs(found["stretch"].astype(int) - wide[0]).max(0)
    assert columns.max() == 0  # rows are alike, so only their number grows
    assert found["pad"][:6].max() == 0 and found["pad"][14:].max() == 0
    assert np.array_equal(found["pad"][6:14], wide)


def test_channels_are_those_of_all_images_or_as_asked(tmp_path):
    folder(tmp_path / "s", [RGB[0], GREY[1]])
    with pytest.raises(FarfieldError, match=r"3×12×10 \(000\) and 1×12×10 \(001\)"):
        convert(str(tmp_path / "s"), tmp_path / "a.npz", quiet=True)
    assert convert(str(tmp_path / "s"), tmp_path / "a.npz", resize=6, quiet=True).shape == (3, 6, 6)
    assert convert(str(tmp_path / "s"), tmp_path / "b.npz", channels=1, quiet=True).shape == (1, 12, 10)
    assert convert(str(tmp_path / "s"), tmp_path / "c.npz", resize="4x5", channels=3, quiet=True).shape == (3, 4, 5)
    folder(tmp_path / "s", [RGB[0, :5]], ["other.png"])
    with pytest.raises(FarfieldError, match=r"12×10 \(000\) and 5×10 \(other\)"):
        convert(str(tmp_path / "s"), tmp_path / "d.npz", channels=1, quiet=True)


def test_five_channels_go_into_an_npz_only(tmp_path):
    np.savez(tmp_path / "five.npz", np.ones((2, 7, 6, 5), np.uint8))
    assert convert(str(tmp_path / "five.npz"), tmp_path / "a.npz", quiet=True).shape == (5, 7, 6)
    with pytest.raises(FarfieldError, match="1 or 3 channels, found 5"):
        convert(str(tmp_path / "five.npz"), tmp_path / "a.zip", quiet=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.npz", "five.npz"]


# --- all or nothing ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a", "a.zip", "a.npz"])
def test_what_is_there_stays_and_must_be_the_same(tmp_path, name):
    source, other, out = str(edm(tmp_path / "s.zip")), str(edm(tmp_path / "o.zip", GREY)), tmp_path / "out" / name
    convert(source, out, quiet=True)
    before = contents(out)
    convert(source, out, quiet=True)
    with pytest.raises(FarfieldError, match="holds something else"):
        convert(other, out, quiet=True)
    assert contents(out) == before and [p.name for p in out.parent.iterdir()] == [name]


def test_an_error_leaves_nothing(tmp_path):
    source = folder(tmp_path / "s")
    (source / "005.png").write_bytes((source / "005.png").read_bytes()[:60])
    for name in ("a", "a.zip", "a.npz"):
        with pytest.raises(FarfieldError, match=r"1 of 9 unreadable: 005"):
            convert(str(source), tmp_path / name, strict=True, quiet=True)
    assert [p.name for p in tmp_path.iterdir()] == ["s"]
    with pytest.warns(FarfieldWarning, match=r"1 of 9 unreadable: 005"):
        assert convert(str(source), tmp_path / "a.zip", quiet=True).images == 8


def test_corrupt_members_of_a_zip_are_named_and_left_out(tmp_path):
    source = edm(tmp_path / "s.zip", labels=range(9))
    data = bytearray(source.read_bytes())
    with zipfile.ZipFile(source) as archive:
        at = archive.getinfo("00000/img00000003.png").header_offset
    data[at + 120] ^= 255
    source.write_bytes(data)
    with pytest.warns(FarfieldWarning, match="1 of 9 unreadable: 00000/img00000003"):
        convert(str(source), tmp_path / "a.npz", quiet=True)
    assert np.load(tmp_path / "a.npz")["labels"].tolist() == [0, 1, 2, 4, 5, 6, 7, 8]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_images": 10}, "1 to 9 images, found 10"),
        ({"max_images": 0}, "--max-images 0: expected a whole number, at least 1"),
        ({"seed": -1}, "--seed -1"),
        ({"resize_mode": "squeeze"}, "center-crop, stretch, pad"),
        ({"channels": 2}, "--channels 2"),
        ({"format": "tar"}, "folder, zip, npz"),
    ],
)
def test_wrong_options(tmp_path, options, message):
    with pytest.raises(FarfieldError, match=message):
        convert(str(edm(tmp_path / "s.zip")), tmp_path / "a.zip", quiet=True, **options)


def test_wrong_places(tmp_path):
    source = str(folder(tmp_path / "s"))
    for out, message in ((tmp_path / "a.tar", "say --format"), (tmp_path / "s" / "a", "lies in the source")):
        with pytest.raises(FarfieldError, match=message):
            convert(source, out, quiet=True)
    (tmp_path / "d.zip").mkdir()
    with pytest.raises(FarfieldError, match="expected a file"):
        convert(source, tmp_path / "d.zip", quiet=True)
    (tmp_path / "f").write_text("")
    for out in (tmp_path / "f", tmp_path / "f" / "a.zip"):
        with pytest.raises(FarfieldError, match=r"expected a folder|cannot write here"):
            convert(source, out, quiet=True)


# --- what occurs twice ------------------------------------------------------------------------------------------------


def test_a_scan_finds_exact_and_near_copies_and_nothing_else(tmp_path):
    pictures = np.random.default_rng(1).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    pictures[7] = pictures[3]
    pictures[30] = pictures[3]
    pictures[11] = pictures[12]
    pictures[20] = np.clip(pictures[21].astype(int) + 2, 0, 255)
    pictures[22] = np.clip(pictures[21].astype(int) - 3, 0, 255)
    np.savez(tmp_path / "a.npz", pictures)
    found = scan(str(tmp_path / "a.npz"), quiet=True)
    assert found.exact == (("000003", "000007", "000030"), ("000011", "000012")) and found.copies == 3
    assert found.near_groups == (("000020", "000021", "000022"),)
    nearest = found.near[0]
    assert (nearest.first, nearest.second) == ("000020", "000021")
    difference = pictures[20].astype(float) - pictures[21]
    assert nearest.distance == pytest.approx(np.sqrt((difference**2).mean()), abs=1e-3)
    assert found.threshold == pytest.approx(0.25 * found.quantiles["0.5"])
    assert scan(str(tmp_path / "a.npz"), near=0, quiet=True).near == ()
    assert (found.search, found.recall) == ("exact", None)
    for search in ("ivf", "hnsw"):
        other = scan(str(tmp_path / "a.npz"), search=search, quiet=True)
        assert other.near_groups == found.near_groups and other.exact == found.exact
        assert other.search == search and other.recall.n == 37 and search in str(other)
        assert other.quantiles == pytest.approx(found.quantiles) and other.threshold == pytest.approx(found.threshold)


def test_a_scan_of_a_large_set_says_that_it_does_not_look_at_all_pairs(tmp_path, monkeypatch):
    monkeypatch.setattr(duplicates, "LARGE", 30)
    np.savez(tmp_path / "a.npz", np.random.default_rng(1).integers(0, 256, (31, 8, 8, 3), dtype=np.uint8))
    found = scan(str(tmp_path / "a.npz"), quiet=True)
    assert found.search == "ivf" and f"found {found.recall}" in str(found)
    assert scan(str(tmp_path / "a.npz"), max_images=30, quiet=True).search == "exact"
    assert scan(str(tmp_path / "a.npz"), search="exact", quiet=True).recall is None


def test_a_scan_of_images_of_several_sizes_and_kinds(tmp_path):
    folder(tmp_path, [RGB[0], RGB[1, :7], GREY[2], np.stack([GREY[2]] * 3, 2), GREY[2]])
    found = scan(str(tmp_path), quiet=True)
    assert found.exact == (("002", "004"),)  # grey and the same in colour differ in their pixels
    assert [(p.first, p.second, p.distance) for p in found.near] == [("002", "003", 0.0)]
    assert scan(str(tmp_path), max_images=1, quiet=True).quantiles == {}
    with pytest.raises(FarfieldError, match=r"--near 1\.5"):
        scan(str(tmp_path), near=1.5)


@pytest.mark.skipif(not EMOJI.is_file(), reason="no shared data")
def test_the_known_copies_among_the_emoji():
    found = scan(str(EMOJI), quiet=True)
    assert found.images == 3845 and found.copies == 17
    pictures = np.load(EMOJI)["images"]
    assert len({picture.tobytes() for picture in pictures}) == 3845 - 17
    assert len(found.near) < 0.05 * found.images


# --- from the shell ---------------------------------------------------------------------------------------------------


def test_the_commands(tmp_path):
    np.savez(tmp_path / "a.npz", np.concatenate([RGB, RGB[:2]]))
    source, out = str(tmp_path / "a.npz"), tmp_path / "b.zip"
    done = farfield(
        "dataset", "convert", source, out, "--max-images", 4, "--seed", 1, "--resize", "6x5", "--json", "-q"
    )
    assert done.code == 0 and json.loads(done.out) == {"out": str(out), "images": 4, "shape": [3, 6, 5], "classes": 0}
    with open_collection(out) as found:
        assert len(found.keys) == 4
    found = json.loads(farfield("dataset", "scan", source, "--json", "-q").out)
    assert found["copies"] == 2 and found["exact"] == [["000000", "000009"], ["000001", "000010"]]
    assert "2 exact copies in 2 groups\n  000000 = 000009\n" in farfield("dataset", "scan", source, "-q").out
    for command, message in ((("convert", source, out, "--resize", "6by5"), "6by5"), (("scan", "nowhere"), "nowhere")):
        wrong = farfield("dataset", *command)
        assert wrong.code == 2 and message in wrong.err and wrong.err.count("\n") == 1
