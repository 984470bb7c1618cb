"""No file acts, explodes or gets past: hundreds that try are refused with a message, and a fuzz of good ones that were spoilt."""

import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest
from fuzz import fuzz
from guard import CONSTANT, LINES, Seen, open_all, understand_all, warm_up, watched
from hostile import corpus, held, valid
from hostile_calls import calls

TESTS = Path(__file__).parent

COUNTED = 20_000
"""Bytes of a file whose work is counted line by line."""


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    """Everything that reading needs is imported before anything is watched."""
    folder = tmp_path_factory.mktemp("warm")
    for i, content in enumerate(valid().values()):
        (folder / str(i)).write_bytes(content)
    warm_up(sorted(folder.iterdir()))


THIRD = [pytest.param(3, id="a third"), pytest.param(1, id="all", marks=pytest.mark.slow)]
"""Of the corpus one file in so many: of what stands in four containers each time another one."""


@pytest.fixture(scope="module", params=THIRD)
def outcomes(tmp_path_factory, warm, request) -> list[tuple[str, int, bool, Seen, Seen]]:
    """Of every file: its kind, its size, whether it may open, and what happened when it was opened, and understood."""
    folder = tmp_path_factory.mktemp("hostile")
    found = []
    for i, file in enumerate(islice(corpus(folder / "mark"), 0, None, request.param)):
        path = folder / f"{i}.pt"
        path.write_bytes(file.content)
        opened = watched(
            lambda path=path: open_all(path), memory=not file.acts, work=len(file.content) < COUNTED and i % 4 == 1
        )
        understood = (
            watched(lambda path=path: understand_all(path), memory=False) if file.opens or i % 4 == 0 else opened
        )
        found.append((file.kind, len(file.content), file.opens, opened, understood))
        path.unlink()
    assert not (folder / "mark").exists()
    return found


def test_there_are_many_kinds(outcomes):
    kinds = {kind.rsplit(" in ", 1)[0] for kind, *_ in outcomes}
    assert len(kinds) >= 60 and len({kind for kind, *_ in outcomes}) == len(outcomes)


def test_every_one_is_refused_with_a_message(outcomes):
    for kind, _, opens, opened, understood in outcomes:
        assert understood.said is not None, kind
        assert (opened.said is None) == opens, (kind, opened.said)
        assert ".pt: " in understood.said and len(understood.said) < 1000, (kind, understood.said)


def test_nothing_is_done_but_reading(outcomes):
    assert {kind: seen.done for kind, *_, a, b in outcomes for seen in (a, b) if seen.done} == {}


def test_none_takes_more_than_four_times_its_size(outcomes):
    assert {kind: seen.peak for kind, size, _, seen, _ in outcomes if seen.peak > 4 * size + CONSTANT} == {}


def test_none_takes_more_work_than_its_size(outcomes):
    """Counted of a fourth of those that are not large."""
    assert {kind: seen.lines for kind, size, _, seen, _ in outcomes if seen.lines > LINES + 16 * size} == {}
    assert sum(seen.lines > 0 for *_, seen, _ in outcomes) > 0.15 * len(outcomes) > 30


def test_the_guard_notices(warm, tmp_path):
    """What it is to notice is done here on purpose."""
    import os
    import pickle

    for act in (
        lambda: os.system("true"),
        lambda: exec("1"),
        lambda: (tmp_path / "x").write_text("x"),
        lambda: subprocess.run(["true"]),
        lambda: pickle.loads(held(calls(tmp_path / "mark")["os:system"])["a bare pickle"]),
    ):
        assert watched(act).done
    assert not (tmp_path / "x").exists() and not (tmp_path / "mark").exists()


def test_the_files_are_armed(tmp_path):
    """Opened as they should not be, by Python's own reader, most of those that would make a file do."""
    files = {}
    for i, kind in enumerate(calls(Path())):
        mark, path = tmp_path / f"mark-{i}", tmp_path / f"{i}.pkl"
        content = held(calls(mark)[kind])["a bare pickle"]
        if str(mark).encode() in content and not kind.startswith(("torch", "numpy", "webbrowser")):
            path.write_bytes(content)
            files[kind] = path, mark
    paths = [str(path) for path, _ in files.values()]
    subprocess.run([sys.executable, TESTS / "hostile_calls.py", *paths], stdin=subprocess.DEVNULL, capture_output=True)
    armed = {kind for kind, (_, mark) in files.items() if mark.exists()}
    assert len(armed) >= 25 and {"os:system", "builtins:eval", "what partial gave", "pathlib:Path.touch"} <= armed, (
        armed
    )


MEASURE = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from guard import warm_up

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

first, *others = map(Path, sys.argv[2:])
warm_up([first])
before = peak()
warm_up(others)
print(peak() - before)
"""


@pytest.mark.parametrize("share", THIRD)
def test_none_takes_more_of_the_machine(tmp_path, share):
    """The same of the whole process, as the system counts it, file and torch's memory among it."""
    files = [tmp_path / "good"]
    files[0].write_bytes(valid()["an EDM pickle"])
    for i, file in enumerate(islice(corpus(tmp_path / "mark"), 0, None, share)):
        if not file.acts:
            files.append(tmp_path / f"{i}.pt")
            files[-1].write_bytes(file.content)
    largest = max(path.stat().st_size for path in files)
    run = [sys.executable, "-c", MEASURE, TESTS, *files]
    taken = int(subprocess.run(run, capture_output=True, text=True, check=True).stdout)
    assert taken < 4 * largest + 2 * CONSTANT


def test_good_files_that_were_spoilt(warm, tmp_path):
    """A short fuzz; `make fuzz` is a long one."""
    report = fuzz(tmp_path, cases=100, seed=0)
    assert report.cases == 100 and 0 < report.opened < 100
