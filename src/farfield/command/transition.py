"""`farfield transition`: what it takes and what it leaves."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Final, Literal

from farfield.command.likeness import Alike, Likeness, Paired
from farfield.command.option import Option
from farfield.command.result import Result
from farfield.command.score import Generalization, MaeLimit
from farfield.command.settings import Settings, leaves
from farfield.command.shared import DeviceName
from farfield.command.train import Train
from farfield.core.error import FarfieldError
from farfield.core.score import Score

DEFAULT: Final = "digits"
SIZES: Final = (16, 32, 64, 128, 256, 1024)
WIDTHS: Final = (12, 24)
TRAIN: Final = tuple(
    shlex.split(
        "--network unet2d --multipliers 1,2 --blocks 1 --attention none --images 100k --batch-size 128 --learning-rate 4e-3 "
        "--warmup 5k --decay cosine --ema 5k --levels 0,1.3 --sigma-data 0.75 --every 20k"
    )
)
"""What the default is trained with, unless other options are given; spelt as in the requests of the runs that there are."""
DECIDED: Final = {
    "data", "start", "max_images", "heldout", "heldout_images", "width", "seed", "labels", "samples", "device"
}  # fmt: skip
"""Options of `farfield train` that the grid decides; its models know no classes."""

Regime = Literal["memorizes", "generalizes", "between"]


class Grid(Result):
    """Every size of the training set with every width and every seed, each ascending."""

    sizes: list[int]
    widths: Annotated[list[int], "channels of the networks at the full resolution"]
    seeds: list[int]


@dataclass(frozen=True)
class Transition(Settings):
    """From how many training images on does a model generalize? Trains a grid, sizes × widths × seeds, and scores it.

    Every other option is one of `farfield train` (--length, --network, --learning-rate …) and holds for all cells. The
    descriptor auto is copy, and pixels for digits.
    """

    wing: ClassVar[str] = "Audit"
    epilog: ClassVar[tuple[str, ...]] = (
        "farfield transition",
        "farfield transition --data photos.zip --sizes 64,512,4096 --widths 64,128 --length 20M",
    )

    data: Annotated[
        str, Option("A folder, zip, npz, or a bundled domain (see `farfield domains`).", names="source")
    ] = DEFAULT
    sizes: Annotated[
        tuple[int, ...] | None,
        Option(
            "The sizes of the training sets, each the beginning of the next.",
            least=2,
            key=None,
            default=f"{','.join(map(str, SIZES))} for {DEFAULT}",
        ),
    ] = None
    widths: Annotated[
        tuple[int, ...] | None,
        Option(
            "The widths of the networks: their channels at full resolution.",
            least=1,
            key=None,
            default=f"{','.join(map(str, WIDTHS))} for {DEFAULT}",
        ),
    ] = None
    seeds: Annotated[tuple[int, ...], Option("Train every cell with each of these seeds.", least=0, key=None)] = (0,)
    train: Annotated[tuple[str, ...], Option("Any option of `farfield train`.", rest=True, key="options")] = ()
    samples: Annotated[
        int, Option("How many images to make with each model, from the seeds 0, 1 and so on.", least=2)
    ] = 256
    heldout_images: Annotated[
        int | None,
        Option(
            "Hold out this many images first and never train on them.",
            least=1,
            key="heldout",
            default="a quarter, at most 2,000",
        ),
    ] = None
    likeness: Likeness = Likeness(descriptor="auto")
    mae_limit: MaeLimit = 15
    jobs: Annotated[
        int | None, Option("How many cells to train at a time.", least=1, key=None, default="the number of cores")
    ] = None
    commands: Annotated[
        bool,
        Option(
            "Train nothing, but print a command for each cell that is not done; run them, then collect without "
            "this option.",
            key=None,
        ),
    ] = False
    device: DeviceName = "auto"

    def check(self) -> None:
        if self.data != DEFAULT and (self.sizes is None or self.widths is None):
            raise FarfieldError(f"{self.data}: expected --sizes and --widths, such as 64,256,1024 and 32,64")
        for name in ("sizes", "widths", "seeds"):
            values = getattr(self, name)
            if values is not None and (not values or len(set(values)) < len(values)):
                raise FarfieldError(
                    f"--{name} {','.join(map(str, values)) or 'none'}: expected different whole numbers"
                )
        given = Train.parse(self.options)
        if own := [leaf.said for leaf in leaves(Train) if leaf.name in DECIDED & set(given)]:
            raise FarfieldError(f"{own[0]}: the grid decides it; leave it out")
        Train.of(data=self.data, **given)

    @property
    def options(self) -> tuple[str, ...]:
        """Of `farfield train`, for every cell."""
        return (*(TRAIN if self.data == DEFAULT else ()), *self.train)

    @property
    def grid(self) -> Grid:
        return Grid(sizes=sorted(self.sizes or SIZES), widths=sorted(self.widths or WIDTHS), seeds=sorted(self.seeds))

    @property
    def alike(self) -> Likeness:
        """With the descriptor that auto stands for."""
        if self.likeness.descriptor != "auto":
            return self.likeness
        return replace(self.likeness, descriptor="pixels" if self.data == DEFAULT else "copy")


class GridData(Result):
    """What the training sets were taken from."""

    source: Annotated[str, "as it was given"]
    shape: Annotated[list[int], "of its images, [C, H, W]"]
    n: Annotated[int, "images"]
    repeated: Annotated[int, "of these, repetitions, which were left out"]
    held_out: Annotated[int, "images that no model was trained on"]


class GridAlike(Alike):
    rp: Annotated[
        dict[str, float], "cosines above which two samples agree; pairs: which different held-out images exceed"
    ]


class Agreement(Result):
    """How often two models make the same image of a seed, beside chance."""

    rp: Annotated[dict[str, Paired], "in features, by threshold; `audit.reproducibility.rp`"]
    mae: Annotated[Paired, "in pixels; `audit.reproducibility.mae_rp`"]


class TwoModels(Result):
    """Two models of one training set."""

    first: str
    second: str
    size: Annotated[int, "of the training set"]


class Between(Agreement, TwoModels):  # keys of the last base come first
    pass


class Losses(Result):
    """The denoising loss over the same levels and noises; `diffusion.objective.heldout_loss`."""

    training: Annotated[Score, "of training images"]
    held_out: Annotated[Score, "of held-out images"]
    gap: Annotated[float, "the second minus the first"]


class Nearest(Result):
    """The median cosine to the nearest training image; `audit.search.neighbours`."""

    samples: float
    held_out: float


class CellScores(Result):
    """One model."""

    name: str
    size: Annotated[int, "of the training set"]
    width: int
    seed: int
    parameters: Annotated[int, "of the network"]
    images: Annotated[int, "seen in training, with repetition"]
    epochs: Annotated[float, "those over the size"]
    seconds: Annotated[float, "that the training took"]
    loss: Losses
    gl: Annotated[dict[str, Generalization], "by threshold"]
    nearest: Nearest
    regime: Annotated[Regime, "by the interval of the first score; `study.audit.grid_scores.regime`"]
    theory: Annotated[Agreement, "with the optimal denoiser of its training set"]


class TheoryScores(Result):
    """The optimal denoiser of a training set."""

    size: int
    gl: Annotated[dict[str, Generalization], "by threshold"]


class TransitionResult(Result):
    data: GridData
    grid: Grid
    descriptor: Annotated[str, "its name, which says all that its numbers depend on"]
    alike: GridAlike
    mae_limit: Annotated[float, "mean absolute difference up to which a pair agrees, of the range from black to white"]
    held_out_exceed: Annotated[
        dict[str, dict[str, Score]], "by size and threshold, the share of held-out images alike a training image"
    ]
    cells: list[CellScores]
    between: list[Between]
    theory: list[TheoryScores]
    crossing: Annotated[
        dict[str, float | None],
        "size from which on half of the samples are new, by width and seed; `study.audit.grid_scores.crossing`",
    ]
    notes: Annotated[list[str], "what is missing, and what looks wrong"]
