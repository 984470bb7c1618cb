"""Foreign formats, written here by their own rules: MNIST's idx, CIFAR's batches, LSUN's LMDB, Hugging Face's data sets."""

import collections
import gzip
import io
import os
import pickle
import pickletools
import struct
import sys
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image
from test_dataset import GREY, RGB, common_shape, folder

from farfield.api.call import function
from farfield.command.commands import COMMANDS
from farfield.core.error import FarfieldError, FarfieldWarning
from farfield.data.dataset import open_dataset
from farfield.data.idx import read_idx
from farfield.data.picture import fit
from farfield.data.source import open_collection

convert = function(COMMANDS["dataset convert"])

# --- idx --------------------------------------------------------------------------------------------------------------


def idx(path, array, kind=8):
    content = struct.pack(f">BBBB{array.ndim}I", 0, 0, kind, array.ndim, *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("sign", ["-", "."])
def test_idx_images_with_the_classes_beside_them(tmp_path, ending, sign):
    source = idx(tmp_path / f"train-images{sign}idx3-ubyte{ending}", GREY)
    assert open_dataset(source).labels is None
    idx(tmp_path / f"train-labels{sign}idx1-ubyte", np.arange(9, dtype=np.uint8))
    found = open_dataset(source)
    assert np.array_equal(found.images[:, 0].numpy(), GREY) and found.labels.tolist() == list(range(9))
    assert found.keys[8] == "000008" and common_shape(source) == (1, 12, 10)
    convert(str(source), tmp_path / "a.npz", quiet=True)
    assert open_dataset(tmp_path / "a.npz").digest() == found.digest()


@pytest.mark.parametrize(("kind", "dtype"), [(0x08, ">u1"), (0x0B, ">i2"), (0x0C, ">i4"), (0x0D, ">f4"), (0x0E, ">f8")])
def test_idx_numbers_are_big_endian(tmp_path, kind, dtype):
    array = np.array([[1, 2, 3], [250, 5, 6]], dtype)
    found = read_idx(idx(tmp_path / "a.idx1-ubyte", array, kind))
    assert np.array_equal(found, array) and found.dtype.isnative


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[:-1], "expected 1080 bytes of numbers for .9, 12, 10., found 1079"),
        (lambda content: content[:10], "another or a damaged one"),
        (lambda content: b"", "another or a damaged one"),
        (lambda content: b"PK" + content[2:], "another or a damaged one"),
        (lambda content: gzip.compress(content)[:-20], "fetch it again"),
        (lambda content: b"\x1f\x8b" + content, "fetch it again"),
    ],
)
def test_damaged_idx_files(tmp_path, damage, message):
    source = idx(tmp_path / "images-idx3-ubyte", GREY)
    source.write_bytes(damage(source.read_bytes()))
    with pytest.raises(FarfieldError, match=message):
        open_dataset(source)


def test_idx_files_that_do_not_belong(tmp_path):
    labels = idx(tmp_path / "t10k-labels-idx1-ubyte", np.arange(8, dtype=np.uint8))
    with pytest.raises(FarfieldError, match="give the file of the images"):
        open_dataset(labels)
    images = idx(tmp_path / "t10k-images-idx3-ubyte", GREY)
    with pytest.raises(FarfieldError, match=r"t10k-labels-idx1-ubyte: expected 9 whole numbers.*\[8\]"):
        open_dataset(images)
    assert len(open_dataset(images, labels=False)) == 9
    with pytest.raises(FarfieldError, match="the idx files t10k-images-idx3-ubyte; give one"):
        open_dataset(tmp_path)


# --- CIFAR ------------------------------------------------------------------------------------------------------------

TEN = np.random.default_rng(2).integers(0, 256, (12, 3, 32, 32), dtype=np.uint8)
CLASSES = [i % 10 for i in range(12)]


def batches():
    """Four batches of 2, and one of 4 for the test."""
    for i in range(4):
        yield f"data_batch_{i + 1}", TEN[2 * i : 2 * i + 2], CLASSES[2 * i : 2 * i + 2]
    yield "test_batch", TEN[8:], CLASSES[8:]


def python_ten(path, protocol):
    for name, images, classes in batches():
        batch = {b"data": images.reshape(len(images), -1), b"labels": classes, b"filenames": [b"x.png"] * len(images)}
        (path / name).write_bytes(pickle.dumps(batch, protocol))
    (path / "batches.meta").write_bytes(pickle.dumps({"label_names": ["cat"]}))


def binary_ten(path, protocol):
    for name, images, classes in batches():
        rows = zip(images, classes, strict=True)
        (path / f"{name}.bin").write_bytes(b"".join(bytes([c]) + image.tobytes() for image, c in rows))


def python_hundred(path, protocol):
    for name, rows in (("train", slice(0, 8)), ("test", slice(8, 12))):
        fine = CLASSES[rows]
        batch = {"data": TEN[rows].reshape(-1, 3072), "fine_labels": fine, "coarse_labels": [0] * len(fine)}
        (path / name).write_bytes(pickle.dumps(batch, protocol))
    (path / "meta").write_bytes(pickle.dumps({}))


def binary_hundred(path, protocol):
    for name, rows in (("train", slice(0, 8)), ("test", slice(8, 12))):
        parts = zip(TEN[rows], CLASSES[rows], strict=True)
        (path / f"{name}.bin").write_bytes(b"".join(bytes([7, c]) + image.tobytes() for image, c in parts))


@pytest.mark.parametrize("protocol", [2, 5])
@pytest.mark.parametrize("write", [python_ten, binary_ten, python_hundred, binary_hundred])
@pytest.mark.parametrize("ending", [None, ".tar.gz", ".tar"])
def test_cifar_as_it_is_given_out(tmp_path, write, protocol, ending):
    unpacked = tmp_path / "cifar-batches"
    unpacked.mkdir()
    write(unpacked, protocol)
    source = unpacked
    if ending:
        source = tmp_path / f"cifar-10-python{ending}"
        with tarfile.open(source, "w:gz" if ending.endswith("gz") else "w") as archive:
            archive.add(unpacked, "cifar-10-batches-py")
    train, test = open_dataset(source), open_dataset(f"{source}[test]")
    assert np.array_equal(train.images, TEN[:8]) and train.labels.tolist() == CLASSES[:8]
    assert np.array_equal(test.images, TEN[8:]) and test.labels.tolist() == CLASSES[8:]
    assert open_dataset(source, labels=False).labels is None


def test_one_batch_of_cifar_by_itself(tmp_path, monkeypatch):
    python_ten(tmp_path, 2)
    monkeypatch.chdir(tmp_path.parent)
    assert len(open_dataset(f"{tmp_path.name}[test]")) == 4  # a bare name that is no domain's
    assert np.array_equal(open_dataset(tmp_path / "data_batch_3").images, TEN[4:6])
    assert np.array_equal(open_dataset(tmp_path / "test_batch").images, TEN[8:])


def test_a_batch_as_python_2_wrote_it(tmp_path):
    """The authors' files: protocol 2 of Python 2, whose text is bytes and whose arrays hold their bytes as text."""
    pixels = np.arange(2 * 3072, dtype=np.uint64).astype(np.uint8)
    content = (
        b"\x80\x02}("
        b"U\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02M\x00\x0c\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        + b"T"
        + struct.pack("<i", len(pixels))
        + pixels.tobytes()
        + b"tb"
        b"U\x06labels](K\x03K\x07eu."
    )
    (tmp_path / "data_batch_1").write_bytes(content)
    pickletools.dis(content, out=io.StringIO())  # it is well formed
    found = open_dataset(tmp_path / "data_batch_1")
    assert np.array_equal(found.images.flatten(), pixels) and found.labels.tolist() == [3, 7]


class _Malice:
    """Pickles to a call of any function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "what",
    [
        lambda mark: _Malice(os.system, f"touch {mark}"),
        lambda mark: _Malice(eval, f"open({str(mark)!r}, 'w')"),
        lambda mark: _Malice(open, str(mark), "w"),
        lambda mark: _Malice(np.save, str(mark), 1),
        lambda mark: _Malice(getattr, 1, "real"),
        lambda mark: _Malice(collections.OrderedDict),
        lambda mark: np.array([_Malice(os.system, f"touch {mark}")], dtype=object),
        lambda mark: torch.zeros(2),
    ],
)
@pytest.mark.parametrize("protocol", [2, 5])
def test_a_malicious_batch_runs_nothing(tmp_path, what, protocol):
    mark = tmp_path / "mark"
    for batch in (what(mark), {"data": what(mark), "labels": [1]}, [what(mark)]):
        (tmp_path / "data_batch_1").write_bytes(pickle.dumps(batch, protocol))
        with pytest.raises(
            FarfieldError, match=r"data_batch_1: (found .* which might run code|expected arrays of whole)"
        ):
            open_dataset(tmp_path / "data_batch_1")
    assert not mark.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "damaged file"),
        (b"\x80\x04garbage", "damaged file"),
        (pickle.dumps([1, 2]), "expected a batch of CIFAR"),
        (pickle.dumps({"data": [[1, 2]], "labels": [1]}), r"bytes \[n, 3072\]"),
        (pickle.dumps({"data": np.zeros((2, 3072)), "labels": [1, 2]}), "whole numbers, found 'f8'"),
        (pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [1]}), "expected 2 whole numbers"),
        (pickle.dumps({"data": np.zeros((2, 3072), np.uint8)}), "expected 2 whole numbers"),
    ],
)
def test_damaged_batches_of_python(tmp_path, content, message):
    (tmp_path / "data_batch_1").write_bytes(content)
    with pytest.raises(FarfieldError, match=message):
        open_dataset(tmp_path / "data_batch_1")


def test_damaged_cifar(tmp_path):
    (tmp_path / "data_batch_1.bin").write_bytes(b"\0" * 3072)
    with pytest.raises(FarfieldError, match="records of 3073 bytes, found 3072"):
        open_dataset(tmp_path)
    with pytest.raises(FarfieldError, match="expected test batches of CIFAR, found none"):
        open_dataset(f"{tmp_path}[test]")
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"\x1f\x8bno archive")
    with pytest.raises(FarfieldError, match="expected a tar of CIFAR"):
        open_dataset(tmp_path / "cifar-10-python.tar.gz")
    with pytest.raises(FarfieldError, match=r"before \[test\]"):
        open_dataset(f"{folder(tmp_path / 'images')}[test]")


DEEP = b"P6\n2 2\n65535\n" + bytes(range(24))
"""A picture of 16 bits a colour, which are read as 8."""

# --- LMDB -------------------------------------------------------------------------------------------------------------


def test_an_lsun_folder(tmp_path):
    lmdb = pytest.importorskip("lmdb")
    with lmdb.open(str(tmp_path / "bedroom"), map_size=1 << 20) as store, store.begin(write=True) as write:
        for i, picture in enumerate(RGB):
            content = io.BytesIO()
            Image.fromarray(picture).save(content, "WEBP", lossless=True)
            write.put(f"{9 - i:040x}".encode() + b"\xff", content.getvalue())
    found = open_dataset(tmp_path / "bedroom")
    assert np.array_equal(found.images.permute(0, 2, 3, 1), RGB[::-1]) and found.labels is None
    assert found.keys[0] == f"{1:040x}\xff" and common_shape(tmp_path / "bedroom") == (3, 12, 10)
    convert(str(tmp_path / "bedroom"), tmp_path / "a.zip", quiet=True)
    assert torch.equal(open_dataset(tmp_path / "a.zip").images, found.images)
    (tmp_path / "bedroom" / "data.mdb").write_bytes(b"damaged")
    with pytest.raises(FarfieldError, match="found damage"):
        open_dataset(tmp_path / "bedroom")
    with lmdb.open(str(tmp_path / "deep"), map_size=1 << 20) as store, store.begin(write=True) as write:
        write.put(b"a", DEEP)
    with open_collection(tmp_path / "deep") as deep, pytest.warns(FarfieldWarning, match="8 bits a colour are read as"):
        assert deep.picture("a").shape == (2, 2, 3)
    lmdb.open(str(tmp_path / "empty")).close()
    with pytest.raises(FarfieldError, match="empty LMDB"):
        open_dataset(tmp_path / "empty")


# --- Hugging Face -----------------------------------------------------------------------------------------------------


def test_packages_that_are_missing_are_named(tmp_path, monkeypatch):
    for package in ("lmdb", "datasets"):
        monkeypatch.setitem(sys.modules, package, None)
    (tmp_path / "data.mdb").write_bytes(b"")
    for source in (tmp_path, "hf:cifar10"):
        with pytest.raises(FarfieldError, match="pip install"), open_collection(source):
            pass


def test_a_data_set_of_hugging_face(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
    names = [f"{'train' if i < 6 else 'test'}/{'ab'[i % 2]}/{i}.png" for i in range(9)]
    folder(tmp_path / "set", names=names)
    train, test = open_dataset(f"hf:{tmp_path / 'set'}"), open_dataset(f"hf:{tmp_path / 'set'}:test")
    for found, expected in ((train, RGB[[0, 2, 4, 1, 3, 5]]), (test, RGB[[6, 8, 7]])):
        assert np.array_equal(found.images.permute(0, 2, 3, 1), expected)
    assert train.labels.tolist() == [0, 0, 0, 1, 1, 1] and train.keys[5] == "000005"
    with pytest.raises(FarfieldError, match=r"cannot be had \(.*nosplit"):
        open_dataset(f"hf:{tmp_path / 'set'}:nosplit")
    datasets.Dataset.from_dict(
        {"image": [{"bytes": DEEP}]}, features=datasets.Features(image=datasets.Image())
    ).to_parquet(tmp_path / "deep" / "train.parquet")
    with open_collection(f"hf:{tmp_path / 'deep'}") as deep, pytest.warns(FarfieldWarning, match="8 bits a colour are"):
        assert deep.picture("000000").shape == (2, 2, 3)
    datasets.Dataset.from_dict({"text": ["no", "pictures"]}).to_parquet(tmp_path / "texts" / "train.parquet")
    with pytest.raises(FarfieldError, match=r"column of images, found .*text"):
        open_dataset(f"hf:{tmp_path / 'texts'}")


def test_a_picture_is_resized_as_its_channels_are():
    picture = np.random.default_rng(0).integers(0, 256, (37, 23, 3), dtype=np.uint8)
    whole = fit(picture, (3, 16, 16), "a", "stretch")
    for channel in range(3):
        one = fit(picture[..., channel : channel + 1], (1, 16, 16), "a", "stretch")
        assert torch.equal(whole[channel], one[0])
