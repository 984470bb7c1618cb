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
HALF: Final = 512
"""In place of the last size, where as many other images are wanted."""
WIDTHS: Final = (12, 24)
TRAIN: Final = tuple(
    shlex.split(
        "--network unet2d --multipliers 1,2 --blocks 1 --attention none --images 100k --batch-size 128 --learning-rate 4e-3 "
        "--warmup 5k --decay cosine --ema 5k --levels 0,1.3 --sigma-data 0.75 --every 20k"
    )
)
"""What the default is trained with, unless other options are given; spelt as in the requests of the runs that there are."""
DECIDED: Final = {
    "data", "max_images", "heldout", "heldout_images", "width", "seed", "labels", "samples", "device", "at",
}  # fmt: skip
"""Options of `farfield train` that the grid decides."""
TEACHERS: Final = ("digits-generalizing", "digits-memorizing")
"""Bundled models of the default's pictures, for which its sizes, widths and training do too."""
TAUGHT: Final = 512
"""Images of a teacher that are held out."""
FIRST: Final = 100
"""The first snapshot of ``--times`` comes after this share of a training."""

Regime = Literal["memorizes", "generalizes", "between"]


class Grid(Result):
    """Every size of the training set with every width and every seed, each ascending."""

    sizes: list[int]
    widths: Annotated[list[int], "channels of the networks at the full resolution; 0 for that of --from"]
    seeds: list[int]
    halves: Annotated[bool, "and trained on as many other images"] = False
    labels: Annotated[bool, "and told the classes"] = False


@dataclass(frozen=True)
class Transition(Settings):
    """From how many training images on does a model generalize? Trains a grid, sizes × widths × seeds, and scores it.

    Every other option is one of `farfield train` (--length, --network, --learning-rate …) and holds for all cells. The
    descriptor auto is copy, and pixels for digits.
    """

    wing: ClassVar[str] = "Audit"
    epilog: ClassVar[tuple[str, ...]] = (
        "farfield transition --times 8",
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
            default=f"{','.join(map(str, SIZES))} for {DEFAULT}; of --halves {HALF} in place of {SIZES[-1]}",
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
    times: Annotated[
        int | None,
        Option(
            f"Keep so many snapshots of each training, from a {FIRST}th of its length on in equal ratios, and score them: when it"
            " is at its best, and when it begins to copy; 8 take three minutes more on digits.",
            least=2,
            most=64,
            key=None,
        ),
    ] = None
    halves: Annotated[
        bool,
        Option(
            "Train a second model of each kind on as many other images, of which neither set holds one of the other's.",
            key=None,
        ),
    ] = False
    labels: Annotated[
        bool,
        Option("Train a class-conditional model of each kind too, on the same images with their classes.", key=None),
    ] = False
    teacher: Annotated[
        str | None,
        Option(
            "Train on images that this model makes, of the seeds 0, 1 and so on, and hold what is learned against the model"
            " itself, on other seeds; in place of --data.",
            key=None,  # but where it is given: requests are as they were before there was such an option
            names="model",
        ),
    ] = None
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
            default=f"a quarter, at most 2,000; {TAUGHT} of a teacher",
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
        if self.teacher is not None and (self.data != DEFAULT or self.labels):
            raise FarfieldError("--teacher makes the images, which have no classes; leave --data and --labels out")
        if self.begun and (self.widths is not None or self.labels):
            raise FarfieldError("--from: its network has its own width and classes; leave --widths and --labels out")
        if not self.stock and (self.sizes is None or (self.widths is None and not self.begun)):
            raise FarfieldError(f"{self.source}: expected --sizes and --widths, such as 64,256,1024 and 32,64")
        for name in ("sizes", "widths", "seeds"):
            values = getattr(self, name)
            if values is not None and (not values or len(set(values)) < len(values)):
                raise FarfieldError(
                    f"--{name} {','.join(map(str, values)) or 'none'}: expected different whole numbers"
                )
        given = Train.parse(self.options)
        decided = DECIDED | ({"snapshots"} if self.times else set())
        if own := [leaf.said for leaf in leaves(Train) if leaf.name in decided & set(given)]:
            raise FarfieldError(f"{own[0]}: the grid decides it; leave it out")
        Train.of(data=self.data, **given)

    @property
    def source(self) -> str:
        """What the images come from."""
        return self.data if self.teacher is None else self.teacher

    @property
    def begun(self) -> str | None:
        """The model that is trained further (--from), in place of new ones of several widths."""
        start: str | None = Train.parse(self.train).get("start")
        return start

    @property
    def stock(self) -> bool:
        """Whether the default's sizes, widths and training suit the images."""
        return self.data == DEFAULT and (self.teacher is None or self.teacher in TEACHERS)

    @property
    def options(self) -> tuple[str, ...]:
        """Of `farfield train`, for every cell."""
        if not self.stock:
            return self.train
        # a length by the name that the default has for it
        return (*TRAIN, *(f"--images{word[8:]}" if word.startswith("--length") else word for word in self.train))

    @property
    def moments(self) -> list[int]:
        """After how many images snapshots are kept; the last at the end."""
        if self.times is None:
            return []
        length = Train.of(data=self.data, **Train.parse(self.options)).recipe.length
        ratios = (FIRST ** (i / (self.times - 1) - 1) for i in range(self.times))
        return [max(1, round(length * ratio)) for ratio in ratios]

    @property
    def grid(self) -> Grid:
        usual = (*SIZES[:-1], HALF) if self.halves and self.teacher is None else SIZES
        return Grid(
            sizes=sorted(self.sizes or usual),
            widths=[0] if self.begun else sorted(self.widths or WIDTHS),
            seeds=sorted(self.seeds),
            halves=self.halves,
            labels=self.labels,
        )

    @property
    def alike(self) -> Likeness:
        """With the descriptor that auto stands for."""
        if self.likeness.descriptor != "auto":
            return self.likeness
        return replace(self.likeness, descriptor="pixels" if self.stock else "copy")


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
    pfd: Annotated[
        Paired | None, "how far the two flows carry a seed apart, in pixels; `audit.reproducibility.pfd`"
    ] = None


class TwoModels(Result):
    """Two models of one size."""

    first: str
    second: str
    size: Annotated[int, "of the training set"]
    differ: Annotated[
        Literal["width", "seed", "half", "labels"] | None,
        "in what they differ alone; of labels, the class of each sample is the one that is most alike",
    ] = None


class AtLevel(Result):
    sigma: float
    agreement: Annotated[
        Score, "1 for one denoiser, −1 for errors that have nothing in common; `audit.reproducibility.agreement`"
    ]


class Halves(Result):
    """Two models of disjoint training sets: medians of cosines, and how far their denoisers agree on held-out images."""

    same_seed: Annotated[float, "of the two samples of a seed; `audit.similarity.similarity`"]
    strangers: Annotated[float, "of samples of different seeds"]
    nearest: Annotated[
        list[float], "of the samples of each with the nearest image of its own training set; `audit.search.neighbours`"
    ]
    held_out: Annotated[list[float], "of held-out images with the nearest of each set"]
    levels: list[AtLevel]


class Between(Agreement, TwoModels):  # keys of the last base come first
    halves: Annotated[Halves | None, "where they were trained on different images"] = None


class Losses(Result):
    """The denoising loss over the same levels and noises; `diffusion.objective.heldout_loss`."""

    training: Annotated[Score, "of training images"]
    held_out: Annotated[Score, "of held-out images"]
    gap: Annotated[float, "the second minus the first"]


class Nearest(Result):
    """The median cosine to the nearest training image; `audit.search.neighbours`."""

    samples: float
    held_out: float


class Row(Result):
    """A model at one moment of its training."""

    loss: Losses
    gl: Annotated[dict[str, Generalization], "by threshold"]
    nearest: Nearest
    distance: Annotated[
        Score | None, "squared, of the samples' features from held-out images'; `audit.distribution.kernel_distance`"
    ] = None


class Trained(Result):
    """What was trained, and how."""

    name: str
    size: Annotated[int, "of the training set"]
    width: int
    seed: int
    half: Annotated[int, "1 of the model that was trained on as many other images"] = 0
    labels: Annotated[bool, "whether it is told the classes"] = False
    parameters: Annotated[int, "of the network"]
    images: Annotated[int, "seen in training, with repetition"]
    epochs: Annotated[float, "those over the size"]
    seconds: Annotated[float, "that the training took"]


class Seen(Result):
    images: Annotated[int, "seen so far, with repetition"]


class Moment(Row, Seen):
    """A snapshot."""


class Course(Result):
    """A training over time, in images seen; `audit.onset.onset`. Null for what did not come."""

    moments: Annotated[list[Moment], "every snapshot, in their order"]
    best: Annotated[int, "τ_gen: the snapshot whose samples are least far from held-out images"]
    copies: Annotated[
        float | None,
        "τ_mem: from when on the share of copies exceeds a tenth of its last value and the floor's interval",
    ]
    apart: Annotated[float | None, "from when on the intervals of held-out and of training loss lie apart"]
    stop: Annotated[int, "the best of the snapshots before copies begin, where to stop"]


class CellScores(Row, Trained):
    """One model."""

    regime: Annotated[Regime, "by the interval of the first score; `study.audit.grid_scores.regime`"]
    theory: Annotated[Agreement, "with the optimal denoiser of its training set; pfd is E_mem"]
    teacher: Annotated[Agreement | None, "with the teacher; pfd is E_gen"] = None
    course: Annotated[Course | None, "with --times"] = None


class Law(Result):
    """How times grow with the number of training images: the exponent; `audit.onset.growth`."""

    best: Annotated[Score | None, "of τ_gen"]
    copies: Annotated[Score | None, "of τ_mem"]
    apart: Annotated[Score | None, "of the time at which the losses part"]


class TheoryScores(Result):
    """The optimal denoiser of a training set."""

    size: int
    half: int = 0
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
    laws: Annotated[dict[str, Law] | None, "with --times, by width and seed"] = None
    notes: Annotated[list[str], "what is missing, and what looks wrong"]
