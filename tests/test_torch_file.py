"""Files of torch.save, bare pickles and safetensors are read as torch reads them, tensor by tensor."""

import argparse
import io
import pickle
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

from farfield.checkpoints.file.mapped import Mapped
from farfield.checkpoints.file.stored import Made, Stored, states
from farfield.checkpoints.file.tree import open_tree
from farfield.checkpoints.file.zip_directory import zip_members
from farfield.core.error import FarfieldError

DTYPES = (
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.bool),
    *(torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.uint16, torch.uint32, torch.float8_e5m2),
)


def filled(shape, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Random bits of any dtype; of bool, random truths."""
    bits = torch.randint(
        0, 256, (*shape, dtype.itemsize), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )
    return bits[..., 0] > 127 if dtype == torch.bool else bits.view(dtype)[..., 0]


def contents() -> dict:
    """Much of what checkpoints hold: every dtype, every way for a tensor to lie on its storage, and plain data."""
    base = filled((4, 6))
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3))
    moments = {"step": torch.tensor(3.0), "exp_avg": filled((3,)), "exp_avg_sq": filled((3,))}
    return {
        "dtypes": [filled((3, 5), dtype) for dtype in DTYPES],
        "views": [base, base[1:3], base.T, base[:, ::2], base[2, 3], base[1:1], base.permute(1, 0)[2:, :3]],
        "small": (
            torch.tensor(2.5),
            torch.tensor([], dtype=torch.int64),
            torch.zeros(3, 0, 2),
            torch.ones(1).expand(7),
        ),
        "model": network.state_dict(),
        "optimizer": {"state": {0: moments}, "param_groups": [{"lr": 0.1, "betas": (0.9, 0.999), "params": [0, 1]}]},
        "parameter": nn.Parameter(filled((2, 3)).nan_to_num()),
        "last": filled((4, 4, 2, 3)).contiguous(memory_format=torch.channels_last),
        "kinds": [torch.float16, torch.Size([1, 2]), torch.device("cpu")],
        "plain": OrderedDict(step=10**6, lr=1e-4, name="x", none=None, nested=[(1, [2.0, {"a": True}])]),
    }


def same(found, expected) -> None:
    """Assert that a tree is what torch has loaded: bit for bit, since random bits have NaNs."""
    if isinstance(expected, torch.Tensor):
        assert isinstance(found, Stored) and (found.shape, found.dtype) == (tuple(expected.shape), expected.dtype)
        loaded = found.load()
        assert loaded.is_contiguous() and not loaded.requires_grad
        raw = [t.detach().contiguous().reshape(-1).view(torch.uint8) for t in (loaded, expected)]
        assert torch.equal(*raw)
    elif isinstance(expected, dict):
        assert type(found) is dict and list(found) == list(expected)
        for key in expected:
            same(found[key], expected[key])
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected) and isinstance(found, list if isinstance(expected, list) else tuple)
        for one, other in zip(found, expected, strict=True):
            same(one, other)
    elif isinstance(expected, torch.device):
        assert found == str(expected)
    else:
        assert type(found) is type(expected) and found == expected


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("new", [True, False], ids=["zip", "old"])
def test_files_of_torch_save_hold_what_was_saved(tmp_path, new, protocol):
    path, saved = tmp_path / "file.pt", contents()
    torch.save(saved, path, _use_new_zipfile_serialization=new, pickle_protocol=protocol)
    tree = open_tree(path)
    assert tree.kind == "torch" and tree.path == path
    same(tree.root, saved)
    if new and protocol == 2:  # all that torch itself reads back in all its dtypes
        same(tree.root, torch.load(path, weights_only=True))


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_bare_pickles_hold_their_tensors_too(tmp_path, protocol):
    """As EDM's do: each storage is an old torch file within the pickle."""
    path, saved = tmp_path / "file.pkl", contents()
    path.write_bytes(pickle.dumps(saved, protocol))
    tree = open_tree(path)
    assert tree.kind == "pickle"
    same(tree.root, saved)


def test_a_storage_within_a_pickle_may_be_a_new_file(tmp_path):
    inner, path, values = io.BytesIO(), tmp_path / "file.pkl", filled((2, 3))
    torch.save(values.untyped_storage(), inner)

    class Call:
        def __init__(self, function, *arguments):
            self.parts = function, arguments

        def __reduce__(self):
            return self.parts

    storage = Call(torch.storage._load_from_bytes, inner.getvalue())
    tensor = Call(torch._utils._rebuild_tensor_v3, storage, 0, (2, 3), (3, 1), False, OrderedDict(), torch.float32)
    path.write_bytes(pickle.dumps([tensor], 4))
    same(open_tree(path).root, [values])


def test_safetensors_are_read(tmp_path):
    from safetensors.torch import save_file

    state = {str(dtype): filled((3, 2), dtype) for dtype in DTYPES if dtype.itemsize > 1 or dtype == torch.bool}
    state = {k: v for k, v in state.items() if not k.startswith(("torch.uint", "torch.complex"))}
    save_file({**state, "scalar": torch.tensor(2.0), "none": torch.zeros(0, 3)}, tmp_path / "file.anything")
    tree = open_tree(tmp_path / "file.anything")
    assert tree.kind == "safetensors"
    same(
        dict(sorted(tree.root.items())),
        dict(sorted({**state, "scalar": torch.tensor(2.0), "none": torch.zeros(0, 3)}.items())),
    )


def test_a_loaded_tensor_is_its_own(tmp_path):
    """Neither the file nor another tensor on the same storage changes with it."""
    path, base = tmp_path / "file.pt", torch.arange(6.0)
    torch.save([base, base[2:]], path)
    before = path.read_bytes()
    first, second = open_tree(path).root
    first.load().zero_()
    assert torch.equal(first.load(), base) and torch.equal(second.load(), base[2:]) and path.read_bytes() == before


@pytest.mark.parametrize("kind", ["zip", "old", "pickle"])
def test_opening_reads_no_tensor(tmp_path, kind):
    """16 MB of weights are opened within 2 MB of memory, and a small one among them is loaded within as little."""
    import tracemalloc

    path, state = tmp_path / "file", {"large": torch.zeros(4 << 20), "small": torch.ones(3)}
    if kind == "pickle":
        path.write_bytes(pickle.dumps(state))
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "zip")
    del state
    tracemalloc.start()
    tree = open_tree(path)
    assert torch.equal(tree.root["small"].load(), torch.ones(3))
    assert tracemalloc.get_traced_memory()[1] < 2 << 20
    tracemalloc.stop()


def test_settings_beside_the_weights_are_kept(tmp_path):
    told = argparse.Namespace(lr=0.1, kinds={"a"})
    torch.save(
        {"args": told, "mean": np.arange(3.0), "step": np.int64(4), "state": {"w": torch.ones(2)}}, tmp_path / "a.pt"
    )
    root = open_tree(tmp_path / "a.pt").root
    assert root["args"] == Made("argparse.Namespace", state={"lr": 0.1, "kinds": ["a"]}) and root["step"] == 4
    assert root["mean"].load().tolist() == [0, 1, 2] and root["mean"].dtype == torch.float64
    assert [place for place, _ in states(root)] == ["", "state"]


def test_a_link_to_a_file_is_followed(tmp_path):
    """The hub's cache is made of them."""
    torch.save({"w": torch.ones(2)}, tmp_path / "blob")
    (tmp_path / "link.pt").symlink_to(tmp_path / "blob")
    assert open_tree(tmp_path / "link.pt").root["w"].shape == (2,)


def test_the_directory_of_an_archive_is_as_zipfile_reads_it(tmp_path):
    path = tmp_path / "file.pt"
    torch.save(contents(), path)
    file = Mapped(path)
    with zipfile.ZipFile(path) as archive:
        expected = {name: archive.read(name) for name in archive.namelist()}
    assert {name: bytes(piece) for name, piece in zip_members(file, file.data).items()} == expected


def test_a_directory_of_64_bits_is_read(tmp_path, monkeypatch):
    """As archives beyond 4 GB have it; the writer is told that everything is beyond."""
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 0)
    path, expected = tmp_path / "wide.zip", {"a/b": b"wide", "a/c": b"wider", "empty": b""}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in expected.items():
            archive.writestr(name, content)
    file = Mapped(path)
    assert bytes(file.data).count(b"PK\x06\x06") == 1
    assert {name: bytes(piece) for name, piece in zip_members(file, file.data).items()} == expected


def image() -> bytes:
    from PIL import Image

    raw = io.BytesIO()
    Image.new("RGB", (8, 8)).save(raw, "png")
    return raw.getvalue()


def archive(**members: bytes) -> bytes:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as out:
        for name, content in members.items():
            out.writestr(name.replace("__", "/").replace("_dot_", "."), content)
    return raw.getvalue()


def packed(kind: str) -> bytes:
    import tarfile

    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode=kind) as out:
        out.addfile(tarfile.TarInfo("a"))
    return raw.getvalue()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: b"", "an empty file"),
        (lambda: b"<!DOCTYPE html><html>Sign in</html>", "a web page"),
        (lambda: b"\n  <html>", "a web page"),
        (lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 2\n", "git lfs pull"),
        (image, "a PNG image"),
        (lambda: packed("w:gz"), "a gzip archive"),
        (lambda: packed("w"), "a tar archive"),
        (lambda: archive(a_dot_png=b"", b_dot_jpg=b""), "a zip of images"),
        (lambda: archive(a_dot_npy=b""), "an npz of arrays"),
        (lambda: archive(a=b""), "a zip archive of something else"),
        (
            lambda: archive(m__data_dot_pkl=b"N.", m__constants_dot_pkl=b"N.", m__code__a_dot_py=b""),
            "a program of TorchScript",
        ),
        (lambda: archive(m__data_dot_pkl=b"N.", m__byteorder=b"big"), "a big-endian machine"),
        (lambda: b"hello, this is a text\n", "this is text"),
        (lambda: b'{"model": "json"}', "this is text"),
        (lambda: bytes(range(128, 200)), "begins with 80 81|damaged"),
        (lambda: bytes(100), "nothing that is known here"),
    ],
)
def test_what_is_no_checkpoint_is_called_by_its_name(tmp_path, make, message):
    (tmp_path / "model.pt").write_bytes(make())
    with pytest.raises(FarfieldError, match=message) as caught:
        open_tree(tmp_path / "model.pt")
    assert str(caught.value).startswith(f"{tmp_path / 'model.pt'}: ")


def test_what_is_no_file_is_said(tmp_path):
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(FarfieldError, match="no such file"):
            open_tree(path)
