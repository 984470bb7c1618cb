"""Absurd values for every option of every command: a result or one line, never a traceback and never a hang.

The fast commands do their work with them; of the others, what stands before the work is seen.
"""

import itertools
import os

import pytest
import typer
from tiny import farfield, make_images, make_model

from farfield.cli import app
from farfield.cli.failure import failure
from farfield.cli.options import numbers, whole_numbers
from farfield.core.error import FarfieldError

ABSURD = (
    "",
    "-1",
    "0",
    "nan",
    "1e400",
    "9" * 25,
    "ü\x1b[2J",
    "EMPTY",
    "FIFO",
    "GARBAGE",
    "a=b",
    "3-1",
    "²",
    "1,1",
    "~nobody/x",
)
FAST = {
    "generate": "MODEL --seeds 0 -o OUT --steps 1",
    "dataset convert": "IMAGES OUT",
    "dataset scan": "IMAGES",
    "inspect": "MODEL",
    "convert": "MODEL OUT",
    "score gl": "IMAGES IMAGES -o OUT --descriptor pixels --threshold 1",
    "fetch": "",
}
NEEDED = {
    "transition": "--commands -o OUT --data IMAGES --sizes 4 --widths 8",
    "molrg": "--n 12 --classes 2 --dimension 2 --per-class 5 --ratios 1 --seeds 1 --starts 1 --sigmas 1 --points 1 -o OUT",
}
"""Of commands that would do all of their own with no argument at all."""


def commands(group=None, name=""):
    group = group or typer.main.get_command(app)
    for word, command in group.commands.items():
        if getattr(command, "commands", None):
            yield from commands(command, f"{word} ")
        else:
            yield name + word, command


COMMANDS = dict(commands())


@pytest.mark.parametrize("text", ["2.7", "1,2.5", "nan", "1e400", "1e12", "", "1,", "one", "1;2"])
def test_whole_numbers_are_whole(text):
    """2.7 was 2 once."""
    with pytest.raises(FarfieldError, match="expected"):
        whole_numbers(text, "sizes")


def test_numbers_that_count_are_such_that_can_be_counted():
    assert whole_numbers("1,2e3,-4", "sizes") == (1, 2000, -4) and numbers("0.5,-1", "t", "two") == [0.5, -1.0]
    for option, value in (("--steps", 10**9), ("--seed", 2**63), ("--limit", -(10**30)), ("--eta", "nan")):
        done = farfield("reconstruct", "none/none", "none", "-o", "none", option, value)
        assert done.code == 2 and done.err.startswith(f"farfield: {option} {str(value)[:10]}"), done


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("absurd")
    make_model(root / "MODEL", (3, 8, 8))
    make_images(root / "IMAGES", 3, 8, 8)
    (root / "EMPTY").mkdir()
    os.mkfifo(root / "FIFO")
    (root / "GARBAGE").write_bytes(bytes(range(256)))
    return root


def base(name):
    """The arguments that a command needs."""
    if name in FAST or name in NEEDED:
        return {**FAST, **NEEDED}[name].split()
    required = [p for p in COMMANDS[name].params if p.required]
    return [word for p in required for word in ((p.opts[-1], "none") if p.opts[0].startswith("-") else ("none/none",))]


@pytest.mark.parametrize("name", COMMANDS)
def test_absurd_values_end_in_a_result_or_one_line(name, place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for thing in place.iterdir():
        (tmp_path / thing.name).symlink_to(thing)
    values = itertools.cycle(ABSURD)
    for place_of, parameter in enumerate(COMMANDS[name].params):
        if parameter.name == "help" or getattr(parameter, "is_flag", False):
            continue
        for value in itertools.islice(values, 1):
            given = base(name)
            if parameter.opts[0].startswith("-"):
                long = parameter.opts[-1].startswith("--")
                given.append(f"{parameter.opts[-1]}={value}" if long else f"{parameter.opts[-1]}{value}")
            elif place_of < len(given):
                given[place_of] = value
            try:
                done = farfield(*name.split(), *given)
            except Exception as error:
                line, code = failure(error)
                assert "Nobody foresaw" not in line, (name, parameter.name, value, line)
                assert code in (1, 2)
            else:
                assert done.code in (0, 2) and "\x1b[2J" not in done.out + done.err, (name, parameter.name, value, done)
        next(values)  # so that one option is not always given the same
