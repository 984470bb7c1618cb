"""Good files spoilt at random, known words in any order, and pickles made for hard work: they are refused or open, and do
nothing else; memory and work are linear in their size.

``python tests/fuzz.py [SECONDS] [SEED]`` goes on for that long; whatever goes wrong is kept in the folder it names.
"""

from __future__ import annotations

import random
import resource
import shutil
import struct
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from adversary import program
from forge import Call, Global, loaded, pickled, storage, tensor, torch_old, torch_zip
from guard import CONSTANT, LINES, open_all, understand_all, warm_up, watched
from hostile import valid

from farfield.checkpoints.file.torch_file import IN_PICKLE

WORDS = sorted({*IN_PICKLE.inert, *IN_PICKLE.values, *IN_PICKLE.calls, *IN_PICKLE.builds})

NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


@dataclass(frozen=True)
class Report:
    """How many files were tried, and how many of them still opened."""

    cases: int
    opened: int


def spoilt(chance: random.Random, good: list[bytes]) -> bytes:
    """One of the good files, changed in one to six ways."""
    content = bytearray(chance.choice(good))
    for _ in range(chance.choice((1, 1, 1, 2, 3, 6))):
        if not content:
            break
        at = chance.randrange(len(content))
        if chance.random() < 0.5:  # where structure is, not numbers: at the ends
            at = min(chance.randrange(400), len(content) - 1)
            at = len(content) - 1 - at if chance.random() < 0.5 else at
        size = chance.choice((1, 2, 4, 8, 30, 500))
        match chance.randrange(8):
            case 0 | 1:
                content[at] ^= 1 << chance.randrange(8)
            case 2:
                content[at : at + 1] = bytes([chance.randrange(256)])
            case 3:
                if chance.random() < 0.3:
                    del content[at:]
            case 4:
                del content[at : at + size]
            case 5:
                content[at:at] = content[at : at + size]
            case 6:
                other = chance.choice(good)
                begin = chance.randrange(len(other))
                content[at : at + size] = other[begin : begin + size]
            case 7:
                number = struct.pack("<I", chance.choice(NUMBERS))
                content[at : at + len(number)] = number
    return bytes(content)


def invented(chance: random.Random, depth: int) -> Any:
    """A value of known words in an order that nobody would put them in."""
    if depth == 0 or chance.random() < 0.2:
        plain = (
            None,
            True,
            -1,
            0,
            4,
            2**70,
            0.5,
            "",
            "storage",
            "latin1",
            b"abcd",
            (),
            (2, 2),
            (1,),
            [],
            {},
            torch.ones(2),
        )
        return chance.choice((*plain, Global("numpy", "ndarray"), storage(4), name_of(chance.choice(WORDS))))
    some = [invented(chance, depth - 1) for _ in range(chance.randrange(5))]
    match chance.randrange(6):
        case 0:
            return some
        case 1:
            return {chance.choice(("w", "state", 1, None)): value for value in some}
        case 2:
            return tensor(*[*some, storage(4), (2,), (1,), 0][:4])
        case 3:
            return Call(Global("numpy", "dtype"), ("f4", False, True), (3, "<", None, None, None, -1, -1, 0))
        case _:
            what = name_of(chance.choice(WORDS))
            return Call(what, tuple(some), chance.choice((None, None, tuple(some), {"w": some})), chance.random() < 0.2)


def name_of(word: str) -> Global:
    return Global(*word.rsplit(".", 1))


def made_up(chance: random.Random) -> bytes:
    """A file that holds an invented value."""
    value = invented(chance, chance.randrange(1, 6))
    match chance.randrange(4):
        case 0:
            return torch_zip(value, {"0": bytes(16)})
        case 1:
            return torch_old(value, [("0", 4, bytes(16))], chance.choice((None, None, invented(chance, 1))))
        case 2:
            return pickled(tensor(loaded(torch_old(value)), (1,), (1,)), 4)
        case _:
            return pickled(value, chance.choice((2, 4)))


def fuzz(
    folder: Path,
    cases: int | None = None,
    seconds: float = float("inf"),
    seed: int = 0,
    *,
    traced: bool = True,
    timed: bool = False,
) -> Report:
    """Try so many files, or for so long.

    Args:
        traced: measure the memory that each fourth file takes, and the work of each fourth.
        timed: hold the others to a time of the processor, too.

    Raises:
        AssertionError: one of them did something, took too much, or failed without a message; it is left in the folder.
    """
    good, began, tried, opened = list(valid().values()), time.monotonic(), 0, 0
    while (cases is None or tried < cases) and time.monotonic() - began < seconds:
        chance = random.Random(f"{seed} {tried}")
        match tried % 3:
            case 0:
                content = spoilt(chance, good)
            case 1:
                content = made_up(chance)
            case _:
                content = program(chance, chance.choice((2_000, 20_000)))
        path = folder / f"spoilt-{seed}-{tried}"
        path.write_bytes(content)
        for action in (open_all, understand_all):
            try:
                seen = watched(
                    lambda action=action, path=path: action(path),
                    memory=traced and tried % 4 == 0,
                    work=traced and tried % 4 == 1,
                )
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    raise
                raise AssertionError(f"{path}: {action.__name__} failed without a message") from error
            assert not seen.done, (path, seen.done)
            assert seen.peak <= 4 * len(content) + CONSTANT, (path, seen.peak)
            assert seen.lines <= LINES + 16 * len(content), (path, seen.lines)
            assert not timed or seen.lines or seen.seconds < 2 + len(content) / 1e6, (path, seen.seconds)
            opened += action is open_all and seen.said is None
        path.unlink()
        tried += 1
    return Report(tried, opened)


def resident() -> float:
    """Memory of this process, in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 300
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else time.time_ns() % 10**6
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    print(f"seed {seed}, {seconds:g} s, in {folder}", flush=True)
    for name, content in valid().items():
        (folder / name).write_bytes(content)
    warm_up(sorted(folder.iterdir()))
    found = fuzz(folder, seconds=seconds, seed=seed, timed=True)
    # what tracing keeps for itself, about 2 MB for each thousand files, would hide what reading keeps
    fuzz(folder, cases=500, seed=seed + 1, traced=False)
    before = resident()
    fuzz(folder, cases=2000, seed=seed + 2, traced=False)
    grown = resident() - before
    assert grown < 4, f"{grown:.1f} MB more after 2,000 files, of which none is kept"
    shutil.rmtree(folder)
    print(f"{found.cases} passed, 0 failed")
    print(f"{found.opened} still opened, the others were refused; 2,000 more left {grown:.1f} MB behind")


if __name__ == "__main__":
    main()
