"""Whatever ends a command is one line, and what is printed does nothing but be read."""

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import farfield, make_images

import farfield as package
from farfield import cli
from farfield.cli.failure import failure
from farfield.core.error import FarfieldError, MachineError
from farfield.core.json_file import DEEPEST, parse_json, read_json
from farfield.core.runtime import Ranks
from farfield.core.terminal import plain

ESCAPES = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202e\r"
"""Clears the screen, names the window, colours, turns the direction of writing, and goes back to write over a line."""


def raised(work):
    with pytest.raises(Exception) as caught:
        work()
    return caught.value


@pytest.mark.parametrize(
    "work",
    [
        lambda: np.empty(1 << 60, np.uint8),
        lambda: torch.empty(1 << 60),
        lambda: bytearray(1 << 62),
        lambda: (_ for _ in ()).throw(
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 TiB.\nGPU 0 has …")
        ),
    ],
    ids=["numpy", "torch", "python", "cuda"],
)
def test_memory_that_is_out_is_one_line_with_advice(work):
    line, code = failure(raised(work))
    assert code == 1 and line.startswith("out of memory") and "--batch-size" in line and "\n" not in line


@pytest.mark.parametrize(
    ("number", "code", "advice"),
    [
        (errno.ENOSPC, 1, "make room"),
        (errno.EDQUOT, 1, "make room"),
        (errno.EROFS, 1, "another folder"),
        (errno.EACCES, 1, "another folder"),
        (errno.EIO, 1, "give the same command again"),
        (errno.ENOENT, 2, "check the name"),
        (errno.EISDIR, 2, "check the name"),
    ],
)
def test_an_error_of_the_system_names_the_file(number, code, advice):
    line, found = failure(OSError(number, os.strerror(number), "runs/a"))
    assert found == code and line.startswith(f"runs/a: {os.strerror(number)}; ") and advice in line


def test_input_and_machine_have_codes_of_their_own():
    assert failure(FarfieldError("a"))[1] == 2 and failure(MachineError("b")) == ("b", 1)


def test_an_error_that_nobody_foresaw_is_one_line_and_its_traceback_at_hand(monkeypatch, capsys):
    def broken():
        return parse_json(3)

    monkeypatch.setattr("farfield.cli.application.application", lambda words: broken)
    monkeypatch.delenv("FARFIELD_DEBUG", raising=False)
    with pytest.raises(SystemExit) as stop:
        cli.main()
    said = capsys.readouterr().err
    assert stop.value.code == 1 and said.count("\n") == 1
    assert said.startswith("farfield: unexpected: TypeError in core/json_file.py:") and "FARFIELD_DEBUG=1" in said
    monkeypatch.setenv("FARFIELD_DEBUG", "1")
    with pytest.raises(TypeError):
        cli.main()


LIES = [
    ({"WORLD_SIZE": "2"}, "without RANK and MASTER_ADDR"),
    ({"WORLD_SIZE": "2", "RANK": ""}, "without RANK"),
    ({"WORLD_SIZE": "2", "RANK": "2"}, "from 0 to 1"),
    ({"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "7"}, "from 0 to 1"),
    ({"WORLD_SIZE": "2", "RANK": "-1"}, "whole number"),
    ({"WORLD_SIZE": "two"}, "whole number"),
    ({"WORLD_SIZE": "0"}, "whole number"),
    ({"WORLD_SIZE": "²"}, "whole number"),
    ({"WORLD_SIZE": "9" * 5000}, "whole number"),
]


@pytest.mark.parametrize(("told", "message"), LIES, ids=range(len(LIES)))
def test_a_launcher_that_contradicts_itself_is_one_line(told, message, monkeypatch):
    place = {} if "ADDR" in message else {"MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}
    for name, value in {**place, **told}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(FarfieldError, match=message):
        Ranks.current()


@pytest.mark.parametrize(
    "told", [{}, {"WORLD_SIZE": ""}, {"WORLD_SIZE": "1", "RANK": "5"}, {"RANK": "1"}, {"WORLD_SIZE": " 1 "}]
)
def test_one_process_needs_no_launcher(told, monkeypatch):
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    assert Ranks.current() == Ranks()


def test_the_ranks_of_a_launcher_are_taken(monkeypatch):
    told = {"WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    assert Ranks.current() == Ranks(3, 4, 1)


def test_an_environment_that_libraries_stumble_over_is_put_right():
    told = {
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "COLUMNS": "abc",
        "LINES": "0",
        "TERMINAL_WIDTH": "99999",
    }
    cli._settle(told)
    assert told == {"MPLBACKEND": "Agg"}
    told = {"COLUMNS": "100"}
    cli._settle(told)
    assert told["COLUMNS"] == "100"


def test_odd_surroundings_in_a_process_of_their_own():
    """A backend of a notebook, no UTF-8, no home, no colour, threads that are none, and a reader that stops at once."""
    surroundings = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "PYTHONIOENCODING": "ascii",
        "LC_ALL": "C",
        "NO_COLOR": "1",
        "TMPDIR": "/nowhere",
        "COLUMNS": "-1",
        "WORLD_SIZE": "",
    }
    code = "import sys; sys.argv = ['farfield', 'größe\\x1b[2J']; from farfield.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], env=surroundings, capture_output=True, timeout=300)
    assert (
        done.returncode == 2
        and b"No such command 'gr\\xf6\\xdfe\\x1b[2J'" in done.stderr
        and b"Traceback" not in done.stderr
    )
    code = "import sys; sys.argv = ['farfield', '--version']; from farfield.cli import main; main()"
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", code], env=surroundings, stdout=writer, stderr=subprocess.PIPE, timeout=300
    )
    os.close(writer)
    assert done.returncode == 1 and done.stderr == b""


def clean(text):
    return all(c.isprintable() or c == "\n" for c in text)


def test_text_is_shown_and_nothing_else():
    assert plain("größe\n5 σ") == "größe\n5 σ" and plain(ESCAPES) == r"\x1b[2J\x1b]0;owned\x07\x9b31m\u202e\r"
    assert plain("\udce9") == r"\udce9" and plain("7.4\u202f%") == "7.4 %"


@pytest.mark.parametrize(
    "arguments",
    [
        ("inspect", f"no{ESCAPES}model"),
        ("generate", f"no{ESCAPES}model", "--seeds", f"0{ESCAPES}", "-o", f"out{ESCAPES}"),
        ("generate", f"a{ESCAPES}", f"b{ESCAPES}"),
        (f"command{ESCAPES}",),
        (f"--option{ESCAPES}",),
        ("domains", f"--option{ESCAPES}"),
        ("dataset", f"scan{ESCAPES}"),
        ("report", f"run{ESCAPES}"),
        ("score", "rp", f"a{ESCAPES}", f"b{ESCAPES}", "-o", "out"),
    ],
    ids=range(9),
)
def test_arguments_are_quoted_without_their_escape_sequences(arguments):
    done = farfield(*arguments)
    assert done.code == 2 and clean(done.out + done.err) and "owned" in done.out + done.err


def test_names_of_files_are_said_without_their_escape_sequences(tmp_path):
    images = make_images(tmp_path / f"images{ESCAPES[:-1]}", 3)
    (images / "img-000.png").rename(images / f"img{ESCAPES}.png")
    (images / f"torn{ESCAPES}.png").write_bytes(b"nothing")
    (images / f"same{ESCAPES}.png").write_bytes((images / "img-001.png").read_bytes())
    done = farfield("dataset", "scan", images, "--show", 5)
    assert done.code == 0 and clean(done.out + done.err), done
    assert "same\\x1b[2J" in done.out and "torn\\x1b[2J" in done.err


def test_everything_that_is_printed_goes_through_one_door():
    """Besides it, tables are made of `plain` cells, and bars have a `plain` label."""
    doors = re.compile(r"(?<![\w.])print\(|typer\.s?echo|sys\.std(out|err)\.write")
    found = [p for p in Path(package.__file__).parent.rglob("*.py") if doors.search(p.read_text(encoding="utf-8"))]
    assert [p.name for p in found] == ["terminal.py"]


BAD_JSON = {
    "torn": b'{"a": [1, 2',
    "empty": b"",
    "nested": b"[" * 100_000 + b"]" * 100_000,
    "nested a little": b"[" * (DEEPEST + 1) + b"]" * (DEEPEST + 1),
    "nested in turn": b'{"a":[' * 300 + b"1" + b"]}" * 300,
    "no text": b'{"a": "caf\xe9"}',
    "nan": b'{"a": NaN}',
    "infinity": b"[-Infinity]",
    "huge": b'{"a": ' + b"9" * 10_000 + b"}",
    "two": b"{}{}",
}


@pytest.mark.parametrize("content", BAD_JSON.values(), ids=BAD_JSON)
def test_json_that_is_none_is_one_line(content, tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(FarfieldError, match=r"a\.json: expected JSON, found damage") as caught:
        read_json(path)
    assert len(str(caught.value)) < 400


def test_json_is_read_in_every_encoding_of_unicode(tmp_path):
    value = {"a": [1, 2.5, None, "größe"], "b": {}}
    text = json.dumps(value, ensure_ascii=False)
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        assert parse_json(text.encode(encoding)) == value
    deep = json.loads("[" * DEEPEST + "]" * DEEPEST)
    assert parse_json(json.dumps(deep)) == deep
    with pytest.raises(FarfieldError, match="cannot be read"):
        read_json(tmp_path / "none.json")
