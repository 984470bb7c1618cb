"""What is otherwise on Windows, as far as it can be tried elsewhere: the system's answers are stood in for, our side is real."""

from __future__ import annotations

import errno
import os
import sys
from types import SimpleNamespace

import pytest

from farfield.core import disk
from farfield.core.hold import BEHIND, lock, wait_for_lock
from farfield.ui import form


@pytest.fixture
def windows(monkeypatch):
    monkeypatch.setattr(disk, "WINDOWS", True)
    monkeypatch.setattr(form, "WINDOWS", True)


def test_no_file_is_open_while_it_is_put_in_place(windows, monkeypatch, tmp_path):
    """There an open file can be neither renamed nor removed, and a folder cannot be opened."""
    real = os.replace

    def replace(a, b):
        held = [
            os.readlink(f"/proc/self/fd/{n}")
            for n in os.listdir("/proc/self/fd")
            if os.path.exists(f"/proc/self/fd/{n}")
        ]
        assert not [path for path in held if path.startswith(str(tmp_path))]
        real(a, b)

    if os.path.isdir("/proc/self/fd"):
        monkeypatch.setattr(os, "replace", replace)
    disk.write_bytes(tmp_path / "a", b"1")
    disk.write_bytes(tmp_path / "a", b"2")
    with disk.beside(tmp_path / "folder", folder=True) as temporary:
        (temporary / "x").write_bytes(b"3")
        disk.put(temporary, tmp_path / "folder")
    assert (tmp_path / "a").read_bytes() == b"2" and (tmp_path / "folder" / "x").read_bytes() == b"3"
    assert sorted(os.listdir(tmp_path)) == ["a", "folder"]


def test_a_file_that_someone_looks_at_is_waited_for(windows, monkeypatch, tmp_path):
    real, refusals = os.replace, [PermissionError(), PermissionError()]

    def replace(a, b):
        if refusals:
            raise refusals.pop()
        real(a, b)

    monkeypatch.setattr(os, "replace", replace)
    disk.write_bytes(tmp_path / "a", b"1")
    assert (tmp_path / "a").read_bytes() == b"1" and not refusals
    monkeypatch.setattr(disk, "PAUSES", (0.0,))
    refusals += [PermissionError(errno.EACCES, "in use")] * 2
    with pytest.raises(ValueError, match="cannot write here"):
        disk.write_bytes(tmp_path / "a", b"2")
    assert (tmp_path / "a").read_bytes() == b"1"


def test_what_may_be_in_work_is_left(windows, tmp_path):
    (tmp_path / f"{disk.PREFIX}x").write_bytes(b"")
    disk.sweep(tmp_path)
    assert (tmp_path / f"{disk.PREFIX}x").exists()


def test_a_lock_is_behind_the_end_of_its_file(monkeypatch, tmp_path):
    taken: set[tuple[int, int]] = set()

    def locking(handle, mode, size):
        place = os.fstat(handle).st_ino, os.lseek(handle, 0, os.SEEK_CUR)
        if place in taken:
            raise OSError(errno.EACCES, "taken")
        taken.add(place)

    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(locking=locking, LK_NBLCK=2))
    monkeypatch.setattr(sys, "platform", "win32")
    (tmp_path / "mark").write_text("read by all")
    one, other = (os.open(tmp_path / "mark", os.O_RDWR) for _ in range(2))
    try:
        assert lock(one) is True and lock(other) is False and {place for _, place in taken} == {BEHIND}
        monkeypatch.setattr("time.sleep", lambda seconds: taken.clear())
        wait_for_lock(other)
        assert taken and (tmp_path / "mark").read_text() == "read by all"
    finally:
        os.close(one)
        os.close(other)


def test_a_path_in_a_form_keeps_its_backslashes(windows):
    assert form._split(r"pixels C:\nets\a.pt 'C:\my nets\b.pt'") == ("pixels", r"C:\nets\a.pt", r"C:\my nets\b.pt")
    form.WINDOWS = False
    assert form._split(r"a\ b 'c d'") == ("a b", "c d")
