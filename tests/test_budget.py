"""Files that claim more than they hold, that name other files, or that would end the process: refused, cheaply."""

import gzip
import io
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from farfield.core.error import FarfieldError
from farfield.data import budget
from farfield.data.array_file import open_npz
from farfield.data.dataset import open_dataset
from farfield.data.decode import decode
from farfield.data.field_file import Unreadable, read_field_file
from farfield.data.image import load_images

fits = pytest.importorskip("astropy.io.fits")
h5py = pytest.importorskip("h5py")
import tifffile  # noqa: E402

SIDE = 400
"""Of a square of doubles that is over the 1 MiB which a small file may give here: 1.2 MiB."""


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """A 64th of what a small file may give otherwise, so that nothing large is made here."""
    monkeypatch.setattr(budget, "FLOOR", 1 << 13)


def npy_header(shape, dtype="<f8") -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return file.getvalue()


def cards(*lines: str) -> bytes:
    return b"".join(line.ljust(80).encode() for line in (*lines, "END")).ljust(2880)


FITS_CARDS = ("SIMPLE  =                    T", "BITPIX  =                    8", "NAXIS   =                    2")


def claim(path: Path, side: int = SIDE) -> Path:
    """A small file whose header says ``side`` × ``side``, or which unpacks to as much."""
    if path.name.endswith(".fits.gz"):
        with gzip.open(path, "wb", 9) as file:
            file.write(cards(*FITS_CARDS, f"NAXIS1  = {1 << 10:>20}", f"NAXIS2  = {1 << 12:>20}") + bytes(1 << 22))
    elif path.suffix == ".fits":
        path.write_bytes(cards(*FITS_CARDS, f"NAXIS1  = {SIDE:>20}", f"NAXIS2  = {SIDE:>20}") + bytes(2880))
    elif path.suffix == ".npy":
        path.write_bytes(npy_header((SIDE, SIDE)) + bytes(99))
    elif path.suffix == ".npz":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("images.npy", npy_header((1, SIDE, SIDE)) + bytes(99))
    elif path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file.create_dataset("data", (SIDE, SIDE), "u1", chunks=(8, SIDE), compression="gzip")
    elif path.suffix == ".tif":
        tifffile.imwrite(path, np.zeros((8, 8), np.float32))
        content = bytearray(path.read_bytes())
        at = struct.unpack_from("<I", content, 4)[0] + 2
        for entry in range(at, at + 12 * struct.unpack_from("<H", content, at - 2)[0], 12):
            if struct.unpack_from("<H", content, entry)[0] in (256, 257):
                struct.pack_into("<HII", content, entry + 2, 4, 1, side)
        path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", ["a.fits", "a.fits.gz", "a.npy", "a.npz", "a.h5", "a.tif"])
def test_a_small_file_that_claims_much_is_refused_and_says_how_it_is_read_all_the_same(tmp_path, name):
    path = claim(tmp_path / name)
    with pytest.raises(
        Unreadable, match=r"unpacks to [12][. ].* expected at most 1 MiB; FARFIELD_UNPACK_GIB.* allows it"
    ):
        read_field_file(path, 1)


def test_what_unpacks_to_much_is_read_where_it_is_allowed(tmp_path, monkeypatch):
    path = claim(tmp_path / "a.h5")
    monkeypatch.setenv(budget.VARIABLE, "0.002")
    (values,) = read_field_file(path, 1).parts.values()
    assert values.shape == (1, SIDE, SIDE)
    monkeypatch.setenv(budget.VARIABLE, "much")
    with pytest.raises(FarfieldError, match=r"FARFIELD_UNPACK_GIB is 'much': expected a number of GiB, such as 4"):
        read_field_file(path, 1)


@pytest.mark.parametrize("scale", [1, 8])
def test_data_at_rest_are_no_bombs(scale):
    assert 8 * scale * (1 << 30) <= budget.allowed(scale * (1 << 30))  # bytes as doubles, of any length


@pytest.mark.parametrize("shape", [(9, 9), (SIDE, SIDE)])
def test_headers_that_promise_more_than_follows(tmp_path, monkeypatch, shape):
    monkeypatch.setenv(budget.VARIABLE, "1")
    (tmp_path / "a.npy").write_bytes(npy_header(shape) + bytes(99))
    with pytest.raises(Unreadable, match=r"its header promises .* 99 bytes follow"):
        read_field_file(tmp_path / "a.npy", 1)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        file.writestr("images.npy", npy_header((1, *shape)) + bytes(99))
    with pytest.raises(FarfieldError, match="its header promises"):
        load_images(tmp_path / "a.npz", (1, 8, 8))


def test_npz_pictures_are_checked_before_they_are_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("images.npy", npy_header((1 << 12, 32, 32), "|u1") + bytes(1 << 22))
    with pytest.raises(FarfieldError, match=r"a\.npz: unpacks to 4 MiB from .* expected at most 1 MiB"):
        load_images(tmp_path / "a.npz", (1, 8, 8))


def test_npz_members_are_read_as_numpy_reads_them(tmp_path):
    arrays = {"a": np.arange(6).reshape(2, 3), "b": np.array(["x", "yz"]), "c": np.asfortranarray(np.eye(3))[:, ::2]}
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    with open_npz(tmp_path / "a.npz") as found:
        assert found.files == list(arrays)
        assert all(np.array_equal(found[name], array) for name, array in arrays.items())
        with pytest.raises(KeyError):
            found["d"]


def png(width: int, height: int) -> bytes:
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes(99))),
        (b"IEND", b""),
    ]
    chunks = [struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d)) for t, d in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_pictures_that_claim_much_are_refused_by_their_header(tmp_path):
    for content in (png(400, 1000), claim(tmp_path / "a.tif", 600).read_bytes()):
        with pytest.raises(budget.TooLarge, match=r"unpacks to 1\.\d+ MiB from"):
            decode(content, "a: a")


def test_a_zip_whose_directory_lies(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.png", bytes(1 << 22))
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, content.rindex(b"a.png") - 46 + 24, 100)  # its size in the directory
    path.write_bytes(content)
    tracemalloc.start()
    with pytest.raises(FarfieldError, match=r"expected readable images, .*a\.png"):
        load_images(path, (1, 8, 8))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 21


def test_a_gzipped_idx_that_unpacks_to_much(tmp_path):
    path = tmp_path / "train-images-idx3-ubyte.gz"
    with gzip.open(path, "wb") as file:
        file.write(struct.pack(">IIII", 0x803, 4, 1024, 1024) + bytes(1 << 22))
    with pytest.raises(FarfieldError, match="unpacks to 2 MiB and more"):
        open_dataset(path)


# --- numbers that lie in other files ----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["external storage", "a virtual data set", "an external link"])
def test_hdf5_that_would_read_another_file_is_refused(tmp_path, how):
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["s"] = np.arange(64.0).reshape(8, 8)
    with h5py.File(tmp_path / "a.h5", "w", libver="latest") as file:
        if how == "external storage":
            (tmp_path / "secret").write_bytes(bytes(64))
            file.create_dataset("data", (8, 8), "u1", external=[(str(tmp_path / "secret"), 0, 64)])
        elif how == "an external link":
            file["data"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "/s")
        else:
            layout = h5py.VirtualLayout((8, 8), "f8")
            layout[:] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "s", (8, 8))
            file.create_virtual_dataset("data", layout)
    for part in (None, "data"):
        with pytest.raises(FarfieldError, match=f"a.h5: data is {how}, which would read another file"):
            read_field_file(tmp_path / "a.h5", 1, part)


def test_hdf5_masks_are_held_to_the_same(tmp_path):
    (tmp_path / "secret").write_bytes(bytes(64))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = np.eye(8)
        file.create_dataset("mask", (8, 8), "u1", external=[(str(tmp_path / "secret"), 0, 64)])
    with pytest.raises(FarfieldError, match=r"a\.h5: mask is external storage"):
        read_field_file(tmp_path / "a.h5", 1, None, "mask")
    assert read_field_file(tmp_path / "a.h5", 1, None, "none").parts


def test_an_ome_tiff_is_read_by_itself(tmp_path):
    tifffile.imwrite(tmp_path / "b.tif", np.full((8, 8), 7, np.float32))
    plane = '<TiffData IFD="0" FirstZ="{0}" PlaneCount="1"><UUID FileName="{1}">urn:uuid:{0}</UUID></TiffData>'
    ome = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        '<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="float" SizeX="8" SizeY="8" SizeZ="2" SizeC="1" SizeT="1">'
        f"{plane.format(0, 'a.tif')}{plane.format(1, 'b.tif')}</Pixels></Image></OME>"
    )
    tifffile.imwrite(tmp_path / "a.tif", np.eye(8, dtype=np.float32), description=ome, metadata=None)
    assert np.array_equal(read_field_file(tmp_path / "a.tif", 1).parts[""][0], np.eye(8))


# --- LMDB -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["cut", "spoiled", "turned"])
def test_a_damaged_lmdb_is_an_error_and_not_the_end_of_the_process(tmp_path, damage):
    lmdb = pytest.importorskip("lmdb")
    with lmdb.open(str(tmp_path / "a"), map_size=1 << 20) as store, store.begin(write=True) as write:
        for i in range(40):
            write.put(b"k%02d" % i, png(8, 8) * 20)
    path = tmp_path / "a" / "data.mdb"
    content = bytearray(path.read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "spoiled":
        content[3 * 4096 :] = bytes(b ^ 0x55 for b in content[3 * 4096 :])
    else:
        at = content.rindex(b"k05")
        content[at : at + 3] = b"k99"
    path.write_bytes(content)
    with pytest.raises(FarfieldError, match=r"expected an LMDB folder, found damage \(.+\); unpack it again"):
        open_dataset(tmp_path / "a")
