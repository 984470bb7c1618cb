"""An archive whose directory, end or headers contradict each other is refused; torch's and Python's own are read."""

import io
import struct
import zipfile

import pytest
import torch
from forge import pickled, zipped

from farfield.checkpoints.file.mapped import Mapped
from farfield.checkpoints.file.tree import open_tree
from farfield.checkpoints.file.zip_directory import zip_members
from farfield.core.error import FarfieldError

ENTRY, LOCAL, END, END64, LOCATOR = b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"


def of_torch() -> bytes:
    out = io.BytesIO()
    torch.save({"w": torch.arange(4.0)}, out)
    return out.getvalue()


def of_python() -> bytes:
    """Without an end in 64 bits, and with sizes before each member."""
    return zipped([("archive/data.pkl", pickled({"w": 1})), ("archive/data/0", bytes(16)), ("archive/version", b"3\n")])


def changed(content: bytes, mark: bytes, at: int, form: str, *values: int, which: int = 0) -> bytes:
    """The same with other numbers, so far behind the mark."""
    place = -1
    for _ in range(which + 1):
        place = content.index(mark, place + 1)
    out = bytearray(content)
    struct.pack_into(form, out, place + at, *values)
    return bytes(out)


def moved(content: bytes, entry: int, to: int) -> bytes:
    """The same with one entry of the directory that says its member lies where another does."""
    at = [i for i in range(len(content)) if content.startswith(ENTRY, i)]
    return changed(content, ENTRY, 42, "<I", struct.unpack_from("<I", content, at[to] + 42)[0], which=entry)


def overlapping() -> bytes:
    """Two members of which one is within the other: it has a header there."""
    inner = LOCAL + bytes(22) + struct.pack("<HH", 1, 0) + b"b"
    content = zipped([("archive/data.pkl", pickled({})), ("a", inner + bytes(9)), ("b", b"")])
    return changed(content, ENTRY, 42, "<I", content.index(inner), which=2)


def on_the_directory() -> bytes:
    """A member that says it goes on to the end, over the directory."""
    content = of_torch()
    size = content.index(END64) - content.rindex(LOCAL) - 200
    last = content.count(ENTRY) - 1
    return changed(content, ENTRY, 20, "<II", size, size, which=last)


def with_comment(comment: bytes) -> bytes:
    content = of_python()
    return content[:-2] + struct.pack("<H", len(comment)) + comment


LIES = {
    "more members than it counts": (changed(of_python(), END, 8, "<HH", 2, 2), "more members than it says"),
    "fewer members than it counts": (changed(of_python(), END, 8, "<HH", 4, 4), "fewer members|up to its end"),
    "two counts": (changed(of_torch(), END, 10, "<H", 1), "two directories"),
    "two places": (changed(of_torch(), END, 16, "<I", 5), "two directories"),
    "two lengths": (changed(of_torch(), END, 12, "<I", 99), "two directories"),
    "an end in 64 bits that is elsewhere": (changed(of_torch(), LOCATOR, 8, "<Q", 3), "not where it should be"),
    "a directory over its end": (changed(of_torch(), END64, 40, "<Q", 1 << 40), "two directories|up to its end"),
    "a directory of 2^60 members": (changed(of_torch(), END64, 32, "<Q", 1 << 60), "two directories|up to its end"),
    "an end within its own comment": (with_comment(END + bytes(18) + b"junk"), "not the end of the file"),
    "something behind its end": (of_python() + b"junk", "not the end of the file"),
    "a whole archive behind it": (of_python() + of_python(), "does not go up to its end"),
    "a size before the member": (changed(of_python(), LOCAL, 18, "<II", 7, 7, which=1), "another size where it lies"),
    "a size before the member alone": (changed(of_python(), LOCAL, 22, "<I", 7, which=1), "another size where it lies"),
    "two sizes in the directory": (changed(of_python(), ENTRY, 24, "<I", 7, which=1), "two sizes"),
    "sizes that reach into the next": (changed(of_torch(), ENTRY, 20, "<II", 900, 900, which=0), "lie on each other"),
    "a place that another has": (moved(of_python(), 1, 0), "another name where it lies"),
    "a member in another": (overlapping(), "lie on each other"),
    "a member on the directory": (on_the_directory(), "on its directory"),
    "a name twice": (zipped([("archive/data.pkl", pickled({})), ("a", b"1"), ("a", b"2")]), "two members called"),
    "a long name": (zipped([("archive/data.pkl", pickled({})), ("a" * 5000, b"")]), "a name of 5000 bytes"),
}


@pytest.mark.parametrize("lie", LIES)
def test_archives_that_contradict_themselves(tmp_path, lie):
    content, message = LIES[lie]
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    with pytest.raises(FarfieldError, match=message):
        open_tree(path)


@pytest.mark.parametrize("content", [of_torch(), of_python(), with_comment(b"a comment")])
def test_honest_archives_are_read(tmp_path, content):
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    file = Mapped(path)
    with zipfile.ZipFile(path) as archive:
        assert zip_members(file, file.data) == {name: archive.read(name) for name in archive.namelist()}


def test_sizes_in_64_bits_are_read(tmp_path):
    """As they are where a member might have become larger than 4 GB."""
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w") as archive, archive.open("archive/data.pkl", "w", force_zip64=True) as member:
        member.write(pickled({"w": 1}))
    assert open_tree(path).root == {"w": 1}
