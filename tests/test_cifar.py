"""Hostile and damaged batches of CIFAR: a small file takes little, a lying one is refused, and nothing is left out in silence."""

import gzip
import io
import pickle
import re
import struct
import tarfile
import tracemalloc

import numpy as np
import pytest

from farfield.core.error import FarfieldError
from farfield.data.cifar import IN_TAR, MEMBERS, MOST
from farfield.data.cifar_pickle import FEW
from farfield.data.dataset import open_dataset

HEAD, TAIL = b"\x80\x02}(X\x04\x00\x00\x00data", b"X\x06\x00\x00\x00labels]u."
ARRAY = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
DTYPE = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"


def text(value: bytes) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value


def nested(shut: bytes) -> bytes:
    """Lists of the last one twice: 2³² numbers to whoever writes them out."""
    return b"](K\x01e" + b"".join(b"q%c](h%ch%ce%b" % (i, i, i, shut) for i in range(1, 33))


@pytest.fixture
def batch(tmp_path):
    """Opens a batch of that content, and says what its refusal says; memory beyond four times its size is an error."""

    def refused(content: bytes) -> str:
        path = tmp_path / "data_batch_1"
        path.write_bytes(content)
        tracemalloc.start()
        try:
            with pytest.raises(FarfieldError) as refusal:
                open_dataset(path)
            assert tracemalloc.get_traced_memory()[1] < 4 * len(content) + (4 << 20)
        finally:
            tracemalloc.stop()
        assert str(refusal.value).isprintable() and len(str(refusal.value)) < 500
        return str(refusal.value)

    return refused


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x80\x02}r\xf0\xff\xff\x7f.", "expected a batch"),
        (b"\x80\x02}p" + b"9" * 4000 + b"\n.", "expected a batch"),
        (HEAD + b"(" + nested(b"") + b"l" + TAIL, r"bytes \[n, 3072\]"),
        (HEAD + b"(" + nested(b"\x85") + b"t" + TAIL, r"bytes \[n, 3072\]"),
        (b"\x80\x04" + nested(b"") + b"\x94\x93.", "a list where a str should be"),
        (
            HEAD + b"](" + text(b"a" * 90_000) + b"q\x00c_codecs\nencode\nq\x01" + b"h\x01h\x00\x85R" * 300 + b"e" + TAIL,
            "repeated beyond its size",
        ),
        (
            HEAD + ARRAY + b"q\x00" + DTYPE + b"q\x01" + text(b"a" * 90_000) + b"q\x02"
            + b"h\x00(K\x01J\x90\x5f\x01\x00\x85h\x01\x89h\x02tb" * 100 + b"u.",
            "repeated beyond its size",
        ),
        (b"\x80\x02(" + b"]" * (FEW + 5000) + b"l.", "far more in it than its images need"),
        (b"\x80\x03B\xff\xff\xff\xffabc.", "but only 4 remain"),
        (b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b"abc.", "but only 4 remain"),
        (b"\x80\x04\x95" + struct.pack("<Q", 1 << 62) + b"N.", "a NoneType"),
        (b"\x80\x02\x8b" + struct.pack("<i", 10_000) + bytes(10_000) + b".", "the opcode LONG4"),
        (b"L" + b"9" * 20_000 + b"L\n.", "damaged file"),
        (b"\x80\x02}K\x01Ns.", "a key that is no name"),
        (b"\x80\x02cos\x1b[31m\nsystem\n.", r"os\\x1b\[31m.system"),
        (b"\x80\x02}" + text(b"\xed\xa0\x80") + b"Ns.", "damaged file"),
        (HEAD + b"c_codecs\nencode\n)R" + TAIL, "without its arguments"),
        (HEAD + b"K\x05(K\x01tb" + TAIL, "damaged file"),
        (HEAD + b"K\x01a" + TAIL, "where a list should be"),
        (b"0.", "the opcode POP"),
        (b"t.", "damaged file"),
    ],
)  # fmt: skip
def test_no_batch_takes_many_times_its_size(batch, content, message):
    assert re.search(message, batch(content))


def tarred(path, members, form=tarfile.GNU_FORMAT):
    """A tar of headers as they are given, each with what follows it."""
    content = b"".join(info.tobuf(form) + body + bytes(-len(body) % 512) for info, body in members) + bytes(1024)
    path.write_bytes(gzip.compress(content, 1) if path.suffix == ".gz" else content)
    return path


def member(name="data_batch_1.bin", size=3073, kind=tarfile.REGTYPE):
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info


BODY = bytes([7]) + bytes(range(256)) * 12


@pytest.mark.parametrize("ending", [".tar", ".tar.gz"])
@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([(member(size=MOST + 1), BODY)], "160 MiB of batches"),
        ([(member("x", IN_TAR), BODY)], "in a tar of 320 MiB"),
        ([(member(size=100 << 30), BODY)], "in a tar of 320 MiB"),
        ([(member(size=4 * 3073), BODY)], "damage"),
        ([(member(size=-512), b"")], "the last of -512 bytes"),
        ([(member("x", -1024, tarfile.DIRTYPE), b"")], "the last of -1024 bytes"),
        ([(member("././@LongLink", 10 << 30, tarfile.GNUTYPE_LONGNAME), b"")], "found 10737"),
        ([(member("x", 3 << 30, tarfile.XHDTYPE), b"")], "found 3221"),
        ([(member("././@LongLink", 10, tarfile.GNUTYPE_LONGNAME), b"a" * 10)] * 1500, "damage"),
        ([(member(f"x{i}", 0), b"") for i in range(MEMBERS + 2)], "1001 members"),
        ([(member("a/data_batch_1.bin"), BODY), (member("b/data_batch_1.bin"), BODY)], "data_batch_1.bin twice"),
        ([(member("data_batch_1.bin", 0, tarfile.SYMTYPE), b"")], "expected train batches of CIFAR, found none"),
        ([(member(size=0), b"")], "records of 3073 bytes, found 0"),
        ([], "damage|found none"),
    ],
)
def test_tars_that_lie(tmp_path, ending, members, message):
    path = tarred(tmp_path / f"cifar-10-binary{ending}", members)
    with pytest.raises(FarfieldError, match=message):
        open_dataset(path)


@pytest.mark.parametrize("ending", [".tar", ".tar.gz"])
def test_a_tar_that_is_cut_short_loses_no_batch_in_silence(tmp_path, ending):
    path = tarred(tmp_path / f"cifar-10-binary{ending}", [(member(), BODY), (member("data_batch_2.bin"), BODY)])
    assert len(open_dataset(path)) == 2
    whole = path.read_bytes()
    plain = gzip.decompress(whole) if ending == ".tar.gz" else whole
    for cut in (512 + 3584, 2 * (512 + 3584), 2 * (512 + 3584) - 100, 600, 100):
        path.write_bytes(gzip.compress(plain[:cut], 1) if ending == ".tar.gz" else plain[:cut])
        with pytest.raises(FarfieldError, match="found damage"):
            open_dataset(path)
    if ending == ".tar.gz":
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(FarfieldError, match="found damage"):
            open_dataset(path)


def test_a_folder_of_too_much_is_refused_before_it_is_read(tmp_path):
    with (tmp_path / "data_batch_1").open("wb") as file:
        file.truncate(MOST + 1)
    with pytest.raises(FarfieldError, match="160 MiB of batches at most"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("protocol", range(2, 6))
def test_labels_and_pixels_as_arrays_of_any_order(tmp_path, protocol):
    pixels = np.asfortranarray(np.random.default_rng(0).integers(0, 256, (3, 3072), dtype=np.uint8))
    given = {
        "data": pixels,
        "labels": np.array([2, 0, 1], ">i4"),
        "batch_label": "1 of 1",
        "filenames": ["a", "b", "c"],
    }
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps(given, protocol))
    found = open_dataset(tmp_path / "data_batch_1")
    assert np.array_equal(found.images.reshape(3, -1), pixels) and found.labels.tolist() == [2, 0, 1]


def test_a_batch_is_the_same_with_a_name_for_each_image(tmp_path):
    """As many opcodes as any has: bytes in protocol 2 are calls."""
    n = 400
    batch = {
        b"data": np.zeros((n, 3072), np.uint8),
        b"labels": [1] * n,
        b"filenames": [b"%05d.png" % i for i in range(n)],
    }
    out = io.BytesIO()
    pickle.dump({**batch, b"coarse_labels": [0] * n}, out, 2)
    (tmp_path / "data_batch_1").write_bytes(out.getvalue())
    assert len(open_dataset(tmp_path / "data_batch_1")) == n
