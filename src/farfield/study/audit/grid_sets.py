"""What a grid of models is trained on: nested subsets of one data set, or of the images that a teacher makes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch

from farfield.command.transition import Grid
from farfield.core.artifact import Images
from farfield.core.error import FarfieldError
from farfield.data.dataset import Dataset
from farfield.data.picture import to_uint8
from farfield.data.subset import shuffled
from farfield.diffusion.denoiser import Denoiser
from farfield.study.audit.grid import data_name
from farfield.study.bench.carrier import Carrier
from farfield.study.bench.run import Run
from farfield.unseen.method import Method

LARGEST = 2000
"""Images that are held out, at most, where their number is not given."""
SOLVER, STEPS = "heun", 18
"""That make the samples."""
MOMENT = 128
"""Samples of a snapshot, at most, and twice as many images as its losses are taken of: it has many."""
SEED = 0
"""Of the split and of the subsets."""
BLOCK = 1_000_000
"""Seeds of a teacher for each purpose: training, training of other halves, held-out images, and samples to be compared."""


@dataclass(frozen=True)
class Sets:
    """The largest training set, of which smaller ones are the beginning, and perhaps another of other images; held-out ones.

    ``n`` images there were, ``repeated`` of them more than once, of these ``classes``: a small set may lack some.
    """

    halves: tuple[Dataset, ...]
    held: Dataset
    n: int
    repeated: int = 0
    classes: tuple[str, ...] = ()

    @property
    def largest(self) -> Dataset:
        return self.halves[0]

    def files(self, grid: Grid) -> dict[str, Dataset]:
        """What each model is trained on, by `data_name`, and what none is."""
        parts = enumerate(self.halves)
        return {"heldout": self.held} | {data_name(n, half): part.subset(n) for half, part in parts for n in grid.sizes}


def split(whole: Dataset, source: str, largest: int, held_out: int | None = None, halves: bool = False) -> Sets:
    """Training sets and held-out images of a data set.

    Args:
        held_out: how many [default: a quarter, at most LARGEST].
        halves: two training sets, the other from the end of what is drawn: it is the same whatever the largest size is.
    """
    place = {key: i for i, key in enumerate(whole.keys)}
    different: dict[bytes, int] = {}
    for row in (place[key] for key in shuffled(whole.keys, SEED)):
        different.setdefault(hashlib.blake2b(whole.images[row].numpy().tobytes(), digest_size=16).digest(), row)
    rows = list(different.values())
    count = min(len(rows) // 4, LARGEST) if held_out is None else held_out
    if not 1 <= count <= len(rows) - (1 + halves) * largest:
        raise FarfieldError(
            f"{source}: {len(rows)} different images, of which {count} are held out; expected at least 1 held-out one and "
            f"{(1 + halves) * largest} others for the largest training set{' and its other half' * halves}; give smaller sizes"
        )
    chosen = [rows[count : count + largest], *([rows[::-1][:largest]] if halves else [])]
    parts = tuple(_rows(whole, part) for part in chosen)
    classes = whole.class_names or tuple(map(str, range(whole.classes)))
    return Sets(parts, _rows(whole, rows[:count]), len(whole), len(whole) - len(rows), classes)


def taught(run: Run, teacher: Denoiser, grid: Grid, held: int) -> Sets:
    """Training sets and held-out images that a model makes, each of its own block of seeds."""
    carrier = Carrier(teacher, teacher.schedule.sigmas(STEPS), Method(solver=SOLVER))
    parts = []
    for block, count in enumerate((grid.sizes[-1], grid.sizes[-1] * grid.halves, held)):
        keys = [str(block * BLOCK + k) for k in range(count)]
        if keys:
            name, batch = f"taught/{block}", carrier.batch_size
            made = run.compute(name, Images, keys, batch, carrier.sample, "the teacher's images", STEPS).read()
            parts.append(Dataset(tuple(f"{int(key):07d}" for key in keys), to_uint8(made.values)))
    *halves, kept = parts
    return Sets(tuple(halves), kept, sum(map(len, parts)))


def _rows(whole: Dataset, rows: list[int]) -> Dataset:
    """These rows, in this order, with keys that sort in it."""
    keys = tuple(f"{i:06d}-{whole.keys[row]}" for i, row in enumerate(rows))
    index = torch.tensor(rows)
    return Dataset(keys, whole.images[index], None if whole.labels is None else whole.labels[index])
