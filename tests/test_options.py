"""Absurd values for every option of every command: a result or one line, never a traceback and never a hang.

The fast commands do their work with them; of the others, what stands before the work is seen.
"""

import itertools
import os
from dataclasses import dataclass

import pytest
from tiny import farfield, make_images, make_model

from farfield.cli.failure import failure
from farfield.command.commands import COMMANDS
from farfield.command.settings import Settings, leaves
from farfield.core.error import FarfieldError

pytestmark = pytest.mark.usefixtures("without_the_page")

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
    "molrg": "--dry-run --n 12 --classes 2 --dimension 2 --per-class 5 --ratios 1 -o OUT",
}
"""Of commands that would do all of their own with no argument at all."""


@dataclass(frozen=True)
class Numbers(Settings):
    sizes: tuple[int, ...] = ()
    t: tuple[float, ...] = ()


@pytest.mark.parametrize("text", ["2.7", "1,2.5", "nan", "1e400", "1e12", "", "1,", "one", "1;2"])
def test_whole_numbers_are_whole(text):
    """2.7 was 2 once."""
    with pytest.raises(FarfieldError, match=r"--sizes.*expected"):
        Numbers(sizes=text)


def test_numbers_that_count_are_such_that_can_be_counted():
    assert Numbers("1,2e3,-4", "0.5,-1") == Numbers((1, 2000, -4), (0.5, -1.0))
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
    required = [leaf for leaf in leaves(COMMANDS[name].settings) if leaf.required]
    return [word for leaf in required for word in (("none/none",) if leaf.argument else (leaf.said, "none"))]


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "ui"])  # which waits for a browser
def test_absurd_values_end_in_a_result_or_one_line(name, place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for thing in place.iterdir():
        (tmp_path / thing.name).symlink_to(thing)
    values = itertools.cycle(ABSURD)
    fields = [leaf for leaf in leaves(COMMANDS[name].settings) if leaf.kind is not bool and not leaf.option.rest]
    flags = [leaf.said for leaf in fields if not leaf.argument]
    flags += ["--out"] if COMMANDS[name].result is not None else []
    for place_of, flag in [
        *enumerate(leaf.name for leaf in fields if leaf.argument),
        *((None, flag) for flag in flags),
    ]:
        value, given = next(values), base(name)
        if place_of is None:
            given.append(f"{flag}={value}" if flag.startswith("--") else f"{flag}{value}")
        else:
            given[place_of : place_of + 1] = [value]
        try:
            done = farfield(*name.split(), *given)
        except Exception as error:
            line, code = failure(error)
            assert "Nobody foresaw" not in line, (name, flag, value, line)
            assert code in (1, 2)
        else:
            assert done.code in (0, 2) and "\x1b[2J" not in done.out + done.err, (name, flag, value, done)
        next(values)  # so that one option is not always given the same
